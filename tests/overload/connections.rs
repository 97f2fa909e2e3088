//! Those who connect and say nothing, or half of something.

use std::time::Duration;

use c2l_testkit::{RawConnection, http2::PREFACE};
use tokio::{task::JoinSet, time::Instant};

use super::{Place, crowd};

/// Of each sort. A thousand in all would only need more descriptors than a desktop allows a process.
const EACH: usize = 100;

#[tokio::test]
async fn res_01_strangers_who_say_nothing_or_half_a_thing_are_hung_up_on() {
    const LIMIT: Duration = Duration::from_secs(4);
    let _crowd = crowd().await;
    let place = Place::with(|config| config.head_timeout = LIMIT).await;
    let head = "GET /api/tags HTTP/1.1\r\nhost: relay\r\nx-half: ";
    let mut strangers = JoinSet::new();
    for first in [
        b"".as_slice(),
        head.as_bytes(),
        &PREFACE[..PREFACE.len() / 2],
    ] {
        for _ in 0..EACH {
            let mut raw = RawConnection::open(place.relay.address()).await;
            raw.send(first).await;
            strangers.spawn(async move {
                let began = Instant::now();
                let said = raw.rest().await;
                (began.elapsed(), said)
            });
        }
    }
    let all = 3 * EACH as u64 + 2;
    place.relay.metric_becomes("c2l_connections", all).await;
    place.is_calm().await;
    let mut longest = Duration::ZERO;
    while let Some(stranger) = strangers.join_next().await {
        let (waited, said) = stranger.expect("a stranger that is hung up on");
        // Nothing was asked, so nothing is answered.
        assert!(said.is_empty(), "{said:?}");
        longest = longest.max(waited);
    }
    println!(
        "RES-01: {} strangers, the last one left after {longest:?}",
        3 * EACH
    );
    // Once for the first byte, and once for the head.
    assert!(longest < 2 * LIMIT + Duration::from_secs(3), "{longest:?}");
    place.is_flat().await;
}

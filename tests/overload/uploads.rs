//! Uploads that crawl, that stop, and that are larger than allowed.

use std::time::Duration;

use bytes::Bytes;
use c2l_demo::Counters;
use c2l_testkit::{Caller, RawConnection, full};
use http::{Method, StatusCode};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{Place, crowd};

fn head(token: &str, framing: &str) -> String {
    format!(
        "POST /api/chat HTTP/1.1\r\nhost: relay\r\nauthorization: Bearer {token}\r\n{framing}\r\n\r\n"
    )
}

#[tokio::test]
async fn res_02_uploads_that_move_live_and_those_that_stop_end_with_a_timeout() {
    const LIMIT: Duration = Duration::from_millis(1600);
    const UPLOADS: u64 = 150;
    let _crowd = crowd().await;
    let place = Place::with(|config| config.first_byte_timeout = LIMIT).await;
    let head = head(&place.token(), "content-length: 1000");
    let mut uploads = Vec::new();
    for _ in 0..UPLOADS {
        let mut raw = RawConnection::open(place.relay.address()).await;
        raw.send(&head).await;
        uploads.push(raw);
    }
    let began = Instant::now();
    let mut sent = 0;
    // paced: bytes that trickle are what is tested
    let mut pace = interval(LIMIT / 4);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while began.elapsed() < 2 * LIMIT {
        pace.tick().await;
        for raw in &mut uploads {
            raw.send("{").await;
        }
        sent += UPLOADS;
    }
    let received = |counters: &Counters| counters.bytes_received == sent;
    let counters = place.upstream.wait_for("every byte", received).await;
    assert_eq!(counters.requests_active, UPLOADS, "all of them live");
    place.is_calm().await;

    let mut ends = JoinSet::new();
    for mut raw in uploads {
        ends.spawn(async move {
            let answer = raw.head(true).await;
            (answer.status, raw.rest().await)
        });
    }
    let stopped = Instant::now();
    while let Some(end) = ends.join_next().await {
        let (status, body) = end.expect("an answer");
        assert_eq!(status, 504);
        let error: serde_json::Value = serde_json::from_slice(&body).expect("an error");
        assert_eq!(
            (&error["code"], &error["origin"]),
            (&"timeout".into(), &"caller".into())
        );
    }
    let waited = stopped.elapsed();
    assert!(waited < LIMIT + Duration::from_secs(4), "{waited:?}");
    let aborted = |counters: &Counters| counters.uploads_aborted == UPLOADS;
    place.upstream.wait_for("aborted uploads", aborted).await;
    place.is_flat().await;
}

const BODY_LIMIT: u64 = 100_000;

#[tokio::test]
async fn res_09_a_body_announced_too_large_is_a_413_before_it_is_read() {
    let place = Place::with(|config| config.max_body_bytes = Some(BODY_LIMIT)).await;
    let mut raw = RawConnection::open(place.relay.address()).await;
    let framing = format!("content-length: {}", BODY_LIMIT + 1);
    raw.send(head(&place.token(), &framing)).await;
    // Not one byte of the body has been sent.
    let answer = raw.head(true).await;
    assert_eq!(answer.status, 413, "{}", answer.head);
    let error: serde_json::Value = serde_json::from_slice(&raw.rest().await).expect("an error");
    assert_eq!(error["code"], "body_too_large");
    assert_eq!(place.upstream.demo.counters().requests_started, 0);
    // One byte less is within it.
    let body = Bytes::from(vec![b' '; usize::try_from(BODY_LIMIT).expect("small")]);
    let request = place.caller().request(Method::POST, "/api/chat");
    let request = request.body(full(body)).expect("a request");
    let answer = place.caller().send(request).await;
    assert_eq!(
        answer.status(),
        StatusCode::BAD_REQUEST,
        "read, and no JSON"
    );
    assert_eq!(place.upstream.demo.counters().bytes_received, BODY_LIMIT);
    drop(answer);
    place.is_flat().await;
}

#[tokio::test]
async fn res_09_a_chunked_body_that_crosses_the_limit_is_a_413_and_the_upstream_is_let_go() {
    let place = Place::with(|config| config.max_body_bytes = Some(BODY_LIMIT)).await;
    let mut raw = RawConnection::open(place.relay.address()).await;
    raw.send(head(&place.token(), "transfer-encoding: chunked"))
        .await;
    let chunk = format!("{BODY_LIMIT:x}\r\n{}\r\n", " ".repeat(100_000));
    raw.send(&chunk).await;
    let at_the_limit = |counters: &Counters| counters.bytes_received == BODY_LIMIT;
    place
        .upstream
        .wait_for("all that may come", at_the_limit)
        .await;
    raw.send("1\r\n \r\n").await;
    let answer = raw.head(true).await;
    assert_eq!(answer.status, 413, "{}", answer.head);
    let aborted = |counters: &Counters| counters.uploads_aborted == 1;
    let counters = place.upstream.wait_for("aborted upload", aborted).await;
    assert_eq!(counters.bytes_received, BODY_LIMIT, "and not one more");
    drop(raw);
    place.is_flat().await;
    let anyone = Caller::new(place.relay.address(), place.token());
    assert_eq!(anyone.chat("tiny", "hello").await.status(), StatusCode::OK);
}

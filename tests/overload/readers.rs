//! Callers who do not read, or slowly, and what the tunnel does for the others meanwhile.

use std::time::Duration;

use c2l_demo::{Counters, pattern_byte};
use c2l_testkit::{
    Answer, RawConnection,
    http2::{END_HEADERS, END_STREAM, Http2Connection, fields, frame, kind},
};
use http::StatusCode;

use super::Place;

const GIB: u64 = 1 << 30;
/// The credit of the stream, what each program queues, and what the system buffers in four sockets. Far below what was
/// asked for, and far above what a machine's settings for sockets make of it.
const HELD_BYTES: u64 = 48 << 20;

#[tokio::test]
async fn res_03_a_caller_who_never_reads_is_reset_and_holds_up_no_one() {
    const LIMIT: Duration = Duration::from_millis(1500);
    let place = Place::with(|config| config.gap_timeout = LIMIT).await;
    let mut raw = RawConnection::open(place.relay.address()).await;
    let body = format!("{{\"model\":\"tiny+bytes={GIB}\",\"prompt\":\"x\"}}");
    let request = format!(
        "POST /api/generate HTTP/1.1\r\nhost: relay\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
        place.token(),
        body.len()
    );
    raw.send(request).await;
    let running = |counters: &Counters| counters.requests_active == 1;
    place.upstream.wait_for("the request", running).await;
    place.is_calm().await;
    let stopped = |counters: &Counters| counters.generations_stopped == 1;
    place.upstream.wait_for("reset", stopped).await;
    let taken = place.upstream.demo.recorded()[0].lines * (64 << 10);
    println!(
        "RES-03: {} KiB were taken for a caller who read none",
        taken >> 10
    );
    assert!(taken < HELD_BYTES, "{taken}");
    place.relay.metric_becomes("c2l_requests_active", 0).await;
    // What it finds when it looks at last is no whole answer.
    let rest = raw.rest().await;
    assert!((rest.len() as u64) < HELD_BYTES);
    place.is_flat().await;
}

#[tokio::test]
async fn res_03_a_stream_without_credit_is_given_up_and_its_connection_goes_on() {
    const LIMIT: Duration = Duration::from_millis(1500);
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let place = Place::with(|config| config.gap_timeout = LIMIT).await;
    let mut raw = Http2Connection::open(place.relay.address(), &[(INITIAL_WINDOW_SIZE, 0)]).await;
    let mut block = raw.request("POST", "/api/generate", &place.token());
    block.extend(fields([("content-type", "application/json")]));
    let body = format!("{{\"model\":\"tiny+bytes={GIB}\",\"prompt\":\"x\"}}");
    raw.send(frame(kind::HEADERS, END_HEADERS, 1, &block)).await;
    raw.send(frame(kind::DATA, END_STREAM, 1, body.as_bytes()))
        .await;
    raw.next_of(kind::HEADERS)
        .await
        .expect("the head of the answer");
    place.is_calm().await;
    let stopped = |counters: &Counters| counters.generations_stopped == 1;
    place.upstream.wait_for("reset", stopped).await;
    let taken = place.upstream.demo.recorded()[0].lines * (64 << 10);
    assert!(taken < HELD_BYTES, "{taken}");
    place.relay.metric_becomes("c2l_requests_active", 0).await;
    let reset = raw.next_of(kind::RST_STREAM).await.expect("a reset");
    assert_eq!(reset.stream, 1);
    // The connection may be one that several share.
    let block = raw.request("HEAD", "/api/tags", &place.token());
    raw.send(frame(kind::HEADERS, END_HEADERS | END_STREAM, 3, &block))
        .await;
    let head = raw.next_of(kind::HEADERS).await.expect("an answer");
    assert_eq!(head.stream, 3);
    drop(raw);
    place.is_flat().await;
}

/// Checks raw bytes as they come, so that nothing has to be kept.
struct Checked {
    answer: Answer,
    bytes: u64,
}

impl Checked {
    async fn ask(place: &Place, model: &str) -> Self {
        let answer = place.caller().chat(model, "hello").await;
        assert_eq!(answer.status(), StatusCode::OK);
        Self { answer, bytes: 0 }
    }

    /// One more piece; false at the whole end.
    async fn go_on(&mut self) -> bool {
        let Some(piece) = self
            .answer
            .piece()
            .await
            .expect("an answer that is not torn")
        else {
            return false;
        };
        for (byte, at) in piece.iter().zip(self.bytes..) {
            assert_eq!(*byte, pattern_byte(at), "at {at}");
        }
        self.bytes += piece.len() as u64;
        true
    }
}

#[tokio::test]
async fn res_15_two_hundred_thousand_small_pieces_for_a_slow_reader_leave_the_tunnel_whole() {
    const PIECES: u64 = 200_000;
    let place = Place::with(|_| {}).await;
    let status = place.agent.status();
    let session = status.borrow().clone();
    let model = format!("tiny+pieces={PIECES}+piece=1-60");
    let mut slow = Checked::ask(&place, &model).await;
    let mut quick = Checked::ask(&place, &model).await;
    // The slow one reads a piece for every eight of the other, so it is behind from the beginning to the end of it.
    let mut pieces = 0_u64;
    while quick.go_on().await {
        pieces += 1;
        if pieces.is_multiple_of(8) {
            assert!(slow.go_on().await);
        }
    }
    let behind = quick.bytes - slow.bytes;
    while slow.go_on().await {}
    println!(
        "RES-15: {} bytes each, the slow one {behind} behind when the other was done",
        quick.bytes
    );
    assert!(behind > 0, "it was slow");
    assert_eq!(slow.bytes, quick.bytes);
    let sent = place.upstream.demo.recorded();
    assert!(sent.iter().all(|request| request.lines == PIECES));
    assert_eq!(*status.borrow(), session, "the same session all the while");
    drop((slow, quick));
    place.is_flat().await;
}

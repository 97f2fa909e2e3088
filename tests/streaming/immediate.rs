//! Each piece leaves as soon as it is there, alone, and in order.
//!
//! Where a test says "before the next was sent", no clock is involved: the test itself is the upstream, and lets the
//! next line go only once the caller has the one before.

use std::time::Duration;

use c2l_testkit::{
    Answer, Caller, PATIENCE, PlayedConnection, PlayedUpstream, TestUpstream, within,
};
use http::Method;
use tokio::time::Instant;

use super::Loop;

const LINES: usize = 2_000;

/// A chat whose answer has begun, seen from both ends.
async fn chat(caller: &Caller, upstream: &PlayedUpstream) -> (PlayedConnection, Answer) {
    let asking = caller.chat("tiny", "hello");
    let answering = async {
        let (_head, mut connection) = upstream.request().await;
        connection.answer("application/x-ndjson").await;
        connection
    };
    let (connection, answer) = tokio::join!(answering, asking);
    assert_eq!(answer.status(), 200);
    (connection, answer)
}

fn line(number: usize) -> String {
    format!("{{\"message\":{{\"content\":\"word {number}\"}},\"done\":false}}\n")
}

#[tokio::test]
async fn each_of_2000_lines_reaches_the_caller_alone_before_the_next_is_sent() {
    let upstream = PlayedUpstream::start().await;
    let ring = Loop::around(upstream.address()).await;
    for (name, caller) in ring.callers() {
        let (mut connection, mut answer) = chat(&caller, &upstream).await;
        for number in 0..LINES {
            let line = line(number);
            connection.send_chunk(line.as_bytes()).await;
            let piece = within(PATIENCE, "the line that was sent", answer.piece()).await;
            let piece = piece.expect("no tear").expect("no end");
            assert_eq!(piece, line, "{name}: one flush, one piece");
        }
        connection.finish().await;
        assert_eq!(answer.piece().await.expect("no tear"), None, "{name}");
    }
}

#[tokio::test]
async fn a_flush_is_neither_split_nor_merged_whatever_its_size() {
    let upstream = PlayedUpstream::start().await;
    let ring = Loop::around(upstream.address()).await;
    for (name, caller) in ring.callers() {
        let (mut connection, mut answer) = chat(&caller, &upstream).await;
        for size in [1, 2, 7, 60, 255, 256, 257, 1_000, 1_024, 4_000, 4_096] {
            let flush = vec![b'x'; size];
            connection.send_chunk(&flush).await;
            let piece = answer.piece().await.expect("no tear").expect("no end");
            assert_eq!(piece.len(), size, "{name}");
        }
        // Several lines that the upstream flushed together stay together.
        let burst: String = (0..8).map(line).collect();
        connection.send_chunk(burst.as_bytes()).await;
        let piece = answer.piece().await.expect("no tear").expect("no end");
        assert_eq!(piece, burst, "{name}");
        connection.finish().await;
        assert_eq!(answer.piece().await.expect("no tear"), None, "{name}");
    }
}

#[tokio::test]
async fn the_head_reaches_the_caller_before_any_body() {
    let upstream = PlayedUpstream::start().await;
    let ring = Loop::around(upstream.address()).await;
    for (name, caller) in ring.callers() {
        // `chat` returns once the caller has the head; nothing else was sent.
        let (mut connection, mut answer) = chat(&caller, &upstream).await;
        connection.finish().await;
        let (body, is_whole) = answer.rest().await;
        assert!(body.is_empty() && is_whole, "{name}");
    }
}

#[tokio::test]
async fn events_of_openai_and_anthropic_streams_arrive_one_by_one() {
    let upstream = PlayedUpstream::start().await;
    let ring = Loop::around(upstream.address()).await;
    for path in ["/v1/chat/completions", "/v1/messages"] {
        for (name, caller) in ring.callers() {
            let body = serde_json::json!({ "model": "tiny", "stream": true });
            let answering = async {
                let (_head, mut connection) = upstream.request().await;
                connection.answer("text/event-stream").await;
                connection
            };
            let (mut connection, mut answer) = tokio::join!(answering, caller.post(path, &body));
            for number in 0..20 {
                let event = format!("data: {{\"number\":{number}}}\n\n");
                connection.send_chunk(event.as_bytes()).await;
                let piece = answer.piece().await.expect("no tear").expect("no end");
                assert_eq!(piece, event, "{path} over {name}");
            }
            connection.finish().await;
            assert_eq!(
                answer.piece().await.expect("no tear"),
                None,
                "{path} over {name}"
            );
        }
    }
}

#[tokio::test]
async fn lines_as_fast_as_they_go_arrive_in_order_and_complete() {
    let upstream = TestUpstream::start().await;
    let ring = Loop::around(upstream.address()).await;
    for (name, caller) in ring.callers() {
        let mut answer = caller
            .chat(&format!("tiny+nodelay+lines={LINES}"), "hello")
            .await;
        let (body, is_whole) = answer.rest().await;
        assert!(is_whole, "{name}");
        let text: String = std::str::from_utf8(&body)
            .expect("text")
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a line"))
            .map(|line| {
                line["message"]["content"]
                    .as_str()
                    .expect("text")
                    .to_owned()
            })
            .collect();
        assert_eq!(text, c2l_demo::answer_text(LINES as u64), "{name}");
    }
}

#[tokio::test]
async fn pieces_that_wait_already_may_share_a_message_but_keep_their_order() {
    let upstream = PlayedUpstream::start().await;
    let ring = Loop::around(upstream.address()).await;
    let (mut connection, mut answer) = chat(&ring.caller, &upstream).await;
    // All of them wait before the caller takes the first.
    let all: String = (0..LINES).map(line).collect();
    for number in 0..LINES {
        connection.send_chunk(line(number).as_bytes()).await;
    }
    connection.finish().await;
    let (body, is_whole) = answer.rest().await;
    assert!(is_whole);
    assert_eq!(body, all);
}

/// Reports how evenly lines arrive that leave each 50 ms. On a busy machine the figures are only figures.
#[tokio::test]
async fn lines_each_50_ms_arrive_each_50_ms() {
    const TOKENS: usize = 30;
    let upstream = TestUpstream::start().await;
    let ring = Loop::around(upstream.address()).await;
    for (name, caller) in ring.callers() {
        let mut answer = caller
            .chat(&format!("tiny+lines={TOKENS}+gap=50ms"), "hello")
            .await;
        let mut arrivals = Vec::new();
        let mut lines = 0;
        while let Some(piece) = answer.piece().await.expect("no tear") {
            arrivals.push(Instant::now());
            lines += piece.iter().filter(|byte| **byte == b'\n').count();
        }
        assert_eq!(lines, TOKENS + 1, "{name}");
        let mut gaps: Vec<Duration> = arrivals.windows(2).map(|two| two[1] - two[0]).collect();
        gaps.sort();
        let all: Duration = gaps.iter().sum();
        println!(
            "{name}: {lines} lines each 50 ms came as {} pieces, after {:?} in the median, {:?} to {:?}, {:?} in all",
            arrivals.len(),
            gaps[gaps.len() / 2],
            gaps[0],
            gaps[gaps.len() - 1],
            all,
        );
    }
}

#[tokio::test]
async fn an_answer_to_a_get_streams_too() {
    let upstream = PlayedUpstream::start().await;
    let ring = Loop::around(upstream.address()).await;
    let request = ring.caller.request(Method::GET, "/api/tags");
    let request = request.body(c2l_testkit::empty()).expect("a request");
    let answering = async {
        let (_head, mut connection) = upstream.request().await;
        connection.answer("application/json").await;
        connection
    };
    let (mut connection, mut answer) = tokio::join!(answering, ring.caller.send(request));
    for piece in ["{\"models\":", "[]", "}"] {
        connection.send_chunk(piece.as_bytes()).await;
        let seen = answer.piece().await.expect("no tear").expect("no end");
        assert_eq!(seen, piece);
    }
    connection.finish().await;
    assert_eq!(answer.piece().await.expect("no tear"), None);
}

//! Every switch of the model name does what it says.

use std::time::Duration;

use c2l_demo::{Ended, LINES_TRAILER, answer_text, pattern_byte};
use serde_json::json;
use tokio::time::Instant;

use crate::client::{Answer, DEADLINE, Server};

fn generate(model: &str) -> String {
    json!({"model": model, "prompt": "one two"}).to_string()
}

async fn run(server: &Server, model: &str) -> Answer {
    server.post("/api/generate", &generate(model)).await
}

#[tokio::test]
async fn cut_resets_and_tear_closes_after_so_many_lines() {
    let server = Server::start().await;
    for (model, is_reset) in [
        ("tiny+cut=10", true),
        ("tiny+tear=10", false),
        ("tiny+cut=10+burst=4+gap=1ms", true),
    ] {
        let answer = run(&server, model).await;
        assert_eq!(
            (
                answer.status,
                answer.pieces.len(),
                answer.is_whole,
                answer.was_reset
            ),
            (200, 10, false, is_reset),
            "{model}"
        );
    }
    assert!(
        server
            .demo
            .recorded()
            .iter()
            .all(|request| request.ended == Ended::Cut && request.lines == 10)
    );
    for (model, is_reset) in [("tiny+cut=0", true), ("tiny+tear=0", false)] {
        let mut caller = server.connect().await;
        caller.send("POST /api/generate", &generate(model)).await;
        assert_eq!(caller.ends().await, is_reset);
    }
    assert_eq!(server.demo.counters().faults_played, 5);
    assert_eq!(server.demo.counters().generations_stopped, 0);
}

#[tokio::test]
async fn errors_come_before_or_inside_the_stream() {
    let server = Server::start().await;
    let before = run(&server, "tiny+status=503").await;
    assert_eq!(
        (before.status, before.text().contains("server busy")),
        (503, true)
    );
    let inside = run(&server, "tiny+error=10").await;
    assert!(inside.is_whole && inside.lines().len() == 11);
    assert!(inside.lines()[10]["error"].is_string() && inside.lines()[10].get("done").is_none());
    let body = json!({"model": "tiny+error=2", "stream": true, "messages": [{"role": "user", "content": "x"}]}).to_string();
    let openai = server.post("/v1/chat/completions", &body).await;
    assert!(openai.is_whole && !openai.text().contains("[DONE]") && openai.events().len() == 3);
    let body = json!({"model": "tiny+status=529", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}).to_string();
    assert_eq!(
        server.post("/v1/messages", &body).await.json()["error"]["type"],
        "overloaded_error"
    );
    assert_eq!(
        run(&server, "tiny+status=401").await.json()["error"],
        "unauthorized"
    );
}

#[tokio::test]
async fn delays_are_kept() {
    let server = Server::start().await;
    let started = Instant::now();
    assert_eq!(
        run(&server, "tiny+first=60ms+gap=20ms+lines=3")
            .await
            .lines()
            .len(),
        4
    );
    assert!(
        started.elapsed() >= Duration::from_millis(100),
        "{:?}",
        started.elapsed()
    );
    let started = Instant::now();
    let whole = server
        .post(
            "/api/generate",
            r#"{"model":"tiny+gap=20ms+lines=3","prompt":"x","stream":false}"#,
        )
        .await;
    assert_eq!(whole.json()["response"], answer_text(3));
    assert!(started.elapsed() >= Duration::from_millis(60));
}

#[tokio::test]
async fn each_line_leaves_alone() {
    let server = Server::start().await;
    let mut caller = server.connect().await;
    caller
        .send("POST /api/generate", &generate("tiny+silent=3"))
        .await;
    caller.head().await.unwrap();
    for _ in 0..3 {
        assert!(!caller.chunk().await.unwrap().unwrap().is_empty());
    }
    assert_eq!(server.demo.counters().requests_active, 1);
    drop(caller);
    server
        .demo
        .wait_for(
            "stop",
            |counters| counters.generations_stopped == 1,
            DEADLINE,
        )
        .await;
}

#[tokio::test]
async fn raw_bodies_are_the_pattern() {
    let server = Server::start().await;
    let expected = |length: u64| (0..length).map(pattern_byte).collect::<Vec<u8>>();
    let large = run(&server, "tiny+bytes=1000000").await;
    assert_eq!(
        (large.header("content-length"), large.header("content-type")),
        (Some("1000000"), Some("application/octet-stream"))
    );
    assert!(large.bytes() == expected(1_000_000));
    let pieces = run(&server, "tiny+pieces=2000+piece=1-60").await;
    assert_eq!(pieces.pieces.len(), 2000);
    assert!(
        pieces
            .pieces
            .iter()
            .all(|piece| (1..=60).contains(&piece.len()))
    );
    assert!(pieces.bytes() == expected(pieces.bytes().len() as u64));
    let chunked = run(&server, "tiny+bytes=1000+piece=300").await;
    assert_eq!(
        chunked.pieces.iter().map(Vec::len).collect::<Vec<_>>(),
        [300, 300, 300, 100]
    );
    let short = run(&server, "tiny+bytes=1000000+cut=2").await;
    assert!(!short.is_whole);
    assert_eq!(run(&server, "tiny+bytes=0").await.bytes(), b"");
    assert_eq!(run(&server, "tiny+pieces=0").await.bytes(), b"");
    let counters = server
        .demo
        .wait_for("ends", |counters| counters.requests_finished == 6, DEADLINE)
        .await;
    assert_eq!(
        (counters.generations_finished, counters.generations_stopped),
        (5, 0)
    );
}

#[tokio::test]
async fn bursts_and_trailers() {
    let server = Server::start().await;
    assert_eq!(
        run(&server, "tiny+lines=10+burst=4").await.lines().len(),
        11,
        "still a line a chunk"
    );
    let answer = server
        .call(
            "POST /api/generate\nTE: trailers",
            &generate("tiny+lines=5+trailers"),
        )
        .await;
    assert_eq!(answer.header("trailer"), Some(LINES_TRAILER));
    assert_eq!(answer.trailers.to_lowercase(), "x-demo-lines: 5\r\n");
    assert!(run(&server, "tiny+lines=5+trailers").await.is_whole);
}

#[tokio::test]
async fn echo_says_whose_server_this_is() {
    let config = c2l_demo::DemoConfig {
        name: "ada".to_owned(),
        line_interval: Duration::ZERO,
        ..Default::default()
    };
    let server = Server::with(config).await;
    let said: String = run(&server, "tiny+echo")
        .await
        .lines()
        .iter()
        .map(|line| line["response"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(said, "ada heard: one two");
    let whole = server
        .post(
            "/api/generate",
            r#"{"model":"tiny+echo","prompt":"n0nce","stream":false}"#,
        )
        .await;
    assert_eq!(whole.json()["response"], "ada heard: n0nce");
}

#[tokio::test]
async fn the_queue_has_one_slot() {
    let server = Server::start().await;
    let mut first = server.connect().await;
    first
        .send("POST /api/generate", &generate("tiny+queue+silent=1"))
        .await;
    first.head().await.unwrap();
    let mut second = server.connect().await;
    second
        .send("POST /api/generate", &generate("tiny+queue+silent=1"))
        .await;
    server
        .demo
        .wait_for(
            "second waiting",
            |counters| counters.waits_started == 2,
            DEADLINE,
        )
        .await;
    assert_eq!(server.demo.counters().generations_started, 1);
    assert!(
        run(&server, "tiny+queue+lines=1").await.is_whole,
        "another name has another slot"
    );
    drop(first);
    assert!(second.head().await.is_some());
}

#[tokio::test]
async fn shutdown_cuts_answers_and_waits() {
    let server = Server::start().await;
    let mut caller = server.connect().await;
    caller
        .send("POST /api/generate", &generate("tiny+silent=1"))
        .await;
    caller.head().await.unwrap();
    server.shutdown.cancel();
    server.task.await.unwrap();
    caller.ends().await;
    let counters = server.demo.counters();
    assert_eq!(
        (
            counters.requests_active,
            counters.connections_open,
            counters.generations_stopped
        ),
        (0, 0, 0)
    );
    assert_eq!(server.demo.recorded()[0].ended, Ended::Shutdown);
}

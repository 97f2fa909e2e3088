//! A caller who leaves is noticed at once, and counted for what was given up.

use c2l_demo::Ended;
use serde_json::json;

use crate::client::{DEADLINE, Server};

fn generate(model: &str) -> String {
    json!({"model": model, "prompt": "x"}).to_string()
}

#[tokio::test]
async fn leaving_stops_the_generation() {
    let server = Server::start().await;
    let mut caller = server.connect().await;
    caller
        .send(
            "POST /api/generate",
            &generate("tiny+gap=1ms+lines=1000000"),
        )
        .await;
    caller.head().await.unwrap();
    caller.chunk().await.unwrap().unwrap();
    drop(caller);
    let counters = server
        .demo
        .wait_for(
            "stop",
            |counters| counters.generations_stopped == 1,
            DEADLINE,
        )
        .await;
    assert_eq!(
        (
            counters.requests_active,
            counters.requests_finished,
            counters.callers_left
        ),
        (0, 1, 1)
    );
    let request = &server.demo.recorded()[0];
    assert_eq!(request.ended, Ended::CallerLeft);
    assert!(request.lines >= 1);
}

#[tokio::test]
async fn leaving_before_the_first_byte_is_noticed() {
    let server = Server::start().await;
    for (number, body) in [
        generate("tiny+first=1m"),
        generate("tiny+silent=0"),
        json!({"model": "tiny+gap=1m", "prompt": "x", "stream": false}).to_string(),
    ]
    .iter()
    .enumerate()
    {
        let number = number as u64 + 1;
        let mut caller = server.connect().await;
        caller.send("POST /api/generate", body).await;
        server
            .demo
            .wait_for(
                "start",
                |counters| counters.generations_started == number,
                DEADLINE,
            )
            .await;
        drop(caller);
        server
            .demo
            .wait_for(
                "stop",
                |counters| counters.generations_stopped == number,
                DEADLINE,
            )
            .await;
    }
}

#[tokio::test]
async fn leaving_during_a_load_leaves_the_model_cold() {
    let server = Server::start().await;
    let model = "tiny+load=1m";
    let mut caller = server.connect().await;
    caller.send("POST /api/generate", &generate(model)).await;
    server
        .demo
        .wait_for("load", |counters| counters.loads_started == 1, DEADLINE)
        .await;
    // A second caller shares the load, and takes it over when the first one leaves.
    let mut second = server.connect().await;
    second.send("POST /api/generate", &generate(model)).await;
    server
        .demo
        .wait_for(
            "second waiting",
            |counters| counters.waits_started == 1,
            DEADLINE,
        )
        .await;
    drop(caller);
    let counters = server
        .demo
        .wait_for("abort", |counters| counters.loads_aborted == 1, DEADLINE)
        .await;
    assert_eq!(counters.generations_stopped, 0);
    server
        .demo
        .wait_for(
            "second load",
            |counters| counters.loads_started == 2,
            DEADLINE,
        )
        .await;
    assert_eq!(server.demo.counters().loads_finished, 0);
}

#[tokio::test]
async fn a_load_that_ends_leaves_the_model_warm() {
    let server = Server::start().await;
    let model = "tiny+load=20ms+lines=1";
    assert!(
        server
            .post("/api/generate", &generate(model))
            .await
            .is_whole
    );
    assert!(
        server
            .post("/api/generate", &generate(model))
            .await
            .is_whole
    );
    assert_eq!(
        (
            server.demo.counters().loads_started,
            server.demo.counters().loads_finished
        ),
        (1, 1)
    );
    assert_eq!(
        server.get("/api/ps").await.json()["models"][1]["name"],
        model
    );
    server
        .post(
            "/api/generate",
            &json!({"model": model, "keep_alive": 0}).to_string(),
        )
        .await;
    assert!(
        server
            .post("/api/generate", &generate(model))
            .await
            .is_whole
    );
    assert_eq!(server.demo.counters().loads_finished, 2);
}

#[tokio::test]
async fn leaving_the_queue_frees_nothing_and_blocks_nobody() {
    let server = Server::start().await;
    let model = "tiny+queue+silent=1";
    let mut first = server.connect().await;
    first.send("POST /api/generate", &generate(model)).await;
    first.head().await.unwrap();
    let mut second = server.connect().await;
    second.send("POST /api/generate", &generate(model)).await;
    server
        .demo
        .wait_for("waiting", |counters| counters.waits_started == 2, DEADLINE)
        .await;
    drop(second);
    server
        .demo
        .wait_for(
            "given up",
            |counters| counters.waits_abandoned == 1,
            DEADLINE,
        )
        .await;
    drop(first);
    server
        .demo
        .wait_for(
            "stop",
            |counters| counters.generations_stopped == 1,
            DEADLINE,
        )
        .await;
    let mut third = server.connect().await;
    third.send("POST /api/generate", &generate(model)).await;
    assert!(third.head().await.is_some());
}

#[tokio::test]
async fn leaving_a_pull_stops_it() {
    let server = Server::start().await;
    let mut caller = server.connect().await;
    caller
        .send("POST /api/pull", r#"{"model":"tiny+silent=2"}"#)
        .await;
    caller.head().await.unwrap();
    drop(caller);
    server
        .demo
        .wait_for("stop", |counters| counters.transfers_stopped == 1, DEADLINE)
        .await;
}

#[tokio::test]
async fn an_unread_answer_does_not_run_ahead() {
    let server = Server::start().await;
    let mut caller = server.connect().await;
    caller
        .send("POST /api/generate", &generate("tiny+bytes=1073741824"))
        .await;
    caller.head().await.unwrap();
    drop(caller);
    server
        .demo
        .wait_for(
            "stop",
            |counters| counters.generations_stopped == 1,
            DEADLINE,
        )
        .await;
    assert!(
        server.demo.recorded()[0].lines < 1024,
        "socket buffers bound it"
    );
}

#[tokio::test]
#[should_panic(expected = "no miracle within")]
async fn waiting_ends_with_a_panic_that_says_for_what() {
    let server = Server::start().await;
    server
        .demo
        .wait_for("miracle", |_| false, std::time::Duration::from_millis(1))
        .await;
}

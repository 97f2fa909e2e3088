//! The record of requests, in Rust and over the side listener.

use c2l_demo::{DemoConfig, Ended};
use serde_json::json;
use tokio::net::TcpListener;

use crate::client::{DEADLINE, Server};

#[tokio::test]
async fn requests_are_recorded_as_received() {
    let server = Server::start().await;
    let head =
        "POST /api/generate?ts=1&x=%2F\nX-First: a\nAuthorization: Bearer secret\nX-Second: b";
    server
        .call(head, r#"{"model":"tiny+lines=1","prompt":"x"}"#)
        .await;
    server
        .demo
        .wait_for("end", |counters| counters.requests_finished == 1, DEADLINE)
        .await;
    let request = server.demo.recorded().pop().unwrap();
    assert_eq!(
        (request.method.as_str(), request.target.as_str()),
        ("POST", "/api/generate?ts=1&x=%2F")
    );
    let names: Vec<&str> = request
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "host",
            "x-first",
            "authorization",
            "x-second",
            "content-length"
        ]
    );
    assert_eq!(request.header("authorization"), Some("Bearer secret"));
    assert_eq!(
        request.body.as_deref(),
        Some(&br#"{"model":"tiny+lines=1","prompt":"x"}"#[..])
    );
    assert_eq!(
        (request.status, request.lines, request.ended),
        (Some(200), 2, Ended::Answered)
    );
}

#[tokio::test]
async fn the_record_is_bounded() {
    let server = Server::with(DemoConfig {
        recorded_requests: 3,
        ..DemoConfig::default()
    })
    .await;
    for _ in 0..5 {
        server.get("/api/version").await;
    }
    let numbers: Vec<u64> = server
        .demo
        .recorded()
        .iter()
        .map(|request| request.number)
        .collect();
    assert_eq!(numbers, [3, 4, 5]);
}

#[tokio::test]
async fn keep_alive_connections_carry_many_requests() {
    let server = Server::start().await;
    let mut caller = server.connect().await;
    for path in [
        "GET /api/version",
        "HEAD /api/tags",
        "GET /nothing",
        "GET /api/version",
    ] {
        caller.send(path, "").await;
        caller.answer(path.starts_with("HEAD")).await;
    }
    assert_eq!(server.demo.counters().connections_accepted, 1);
    assert!(
        server
            .demo
            .recorded()
            .iter()
            .all(|request| request.connection == 1)
    );
}

#[tokio::test]
async fn the_side_listener_tells_what_was_seen() {
    let mut server = Server::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let side = listener.local_addr().unwrap();
    let task = tokio::spawn({
        let (demo, shutdown) = (server.demo.clone(), server.shutdown.clone());
        async move { demo.serve_control(listener, shutdown).await }
    });
    server.call("GET /api/version\nX-Mark: <here>", "").await;
    server
        .demo
        .wait_for(
            "end",
            |counters| counters.requests_finished == 1 && counters.connections_open == 0,
            DEADLINE,
        )
        .await;
    server.address = side;
    assert_eq!(server.get("/counters").await.json()["requests_finished"], 1);
    let requests = server.get("/requests").await.json();
    assert_eq!(
        requests["requests"][0]["headers"][1],
        json!(["x-mark", "<here>"])
    );
    assert_eq!(requests["requests"][0]["ended"], "answered");
    assert_eq!(
        server.post("/reset", "").await.json()["requests_started"],
        0
    );
    assert_eq!(
        server.get("/requests").await.json(),
        json!({"requests": []})
    );
    assert_eq!(server.get("/other").await.status, 404);
    server.shutdown.cancel();
    task.await.unwrap();
}

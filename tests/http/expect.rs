//! HTTP-12: a body that is held back is asked for when the upstream wants it, and never for nothing.

use c2l_demo::KNOWN_BLOB;
use c2l_testkit::{RawConnection, TestRelay, tokens};

use super::{
    Loop, field,
    frames::{Frames, Outcome},
};

const NEW_BLOB: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
const BODY: &[u8] = &[7; 100_000];

fn upload(here: &Loop, digest: &str, token: &str) -> String {
    let lines = format!("Expect: 100-continue\r\nContent-Length: {}\r\n", BODY.len());
    here.head(&format!("POST /api/blobs/{digest}"), &lines)
        .replace(&here.token, token)
}

fn managing(here: &Loop) -> String {
    here.relay.sign(&tokens::managing("ada"))
}

#[tokio::test]
async fn http_12_a_new_blob_is_asked_for_and_uploaded() {
    let here = Loop::start().await;
    let mut connection = here.connection().await;
    connection
        .send(upload(&here, NEW_BLOB, &managing(&here)))
        .await;
    let interim = connection.head(false).await;
    assert_eq!(interim.head, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(here.upstream.demo.counters().bytes_received, 0);
    connection.send(BODY).await;
    let answer = connection.head(false).await;
    assert_eq!(answer.status, 201, "{}", answer.head);
    let recorded = here.upstream.demo.recorded();
    assert_eq!(recorded.len(), 1);
    assert_eq!(recorded[0].header("expect"), Some("100-continue"));
    assert!(recorded[0].body_complete);
    assert_eq!(recorded[0].body_bytes, BODY.len() as u64);
}

#[tokio::test]
async fn http_12_a_known_blob_is_never_uploaded() {
    let here = Loop::start().await;
    let mut connection = here.connection().await;
    connection
        .send(upload(&here, KNOWN_BLOB, &managing(&here)))
        .await;
    let answer = connection.head(false).await;
    assert_eq!(answer.status, 200, "no 100 before it: {}", answer.head);
    let recorded = here.upstream.demo.recorded();
    assert_eq!(recorded.len(), 1);
    assert_eq!(recorded[0].body_bytes, 0);
    assert_eq!(here.upstream.demo.counters().uploads_started, 0);
}

#[tokio::test]
async fn http_12_a_body_sent_without_waiting_is_uploaded_as_well() {
    let here = Loop::start().await;
    let mut connection = here.connection().await;
    connection
        .send(upload(&here, NEW_BLOB, &managing(&here)))
        .await;
    connection.send(BODY).await;
    assert_eq!(connection.head(true).await.status, 201);
    let recorded = here.upstream.demo.recorded();
    assert_eq!(recorded[0].body_bytes, BODY.len() as u64);
}

/// The first head that comes is final, and the upstream has seen nothing.
async fn is_refused(here: &Loop, head: String, status: u16) {
    let mut connection: RawConnection = here.connection().await;
    connection.send(head).await;
    let answer = connection.head(false).await;
    assert_eq!(answer.status, status, "no 100 before it: {}", answer.head);
    assert!(field(&answer.head, "x-request-id").is_some());
    here.is_untouched(&format!("{status}")).await;
}

#[tokio::test]
async fn http_12_a_refused_upload_is_refused_before_its_body() {
    let here = Loop::start_with(|config| config.max_body_bytes = Some(50_000)).await;
    is_refused(&here, upload(&here, NEW_BLOB, "not-a-token"), 401).await;
    is_refused(&here, upload(&here, NEW_BLOB, &managing(&here)), 413).await;
    // Only `infer`: refused by the relay.
    is_refused(&here, upload(&here, NEW_BLOB, &here.token), 403).await;
}

#[tokio::test]
async fn http_12_nobody_home_is_said_before_the_body() {
    let relay = TestRelay::start().await;
    let mut connection = RawConnection::open(relay.address()).await;
    let token = relay.api_token("ada");
    let head = format!(
        "POST /api/chat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Expect: 100-continue\r\nContent-Length: 100000\r\n\r\n"
    );
    connection.send(head).await;
    let answer = connection.head(false).await;
    assert_eq!(answer.status, 503, "{}", answer.head);
    assert_eq!(field(&answer.head, "retry-after"), Some("5"));
}

#[tokio::test]
async fn http_12_another_expectation_cannot_be_met() {
    let here = Loop::start().await;
    for expect in [
        "other",
        "100-continue, other",
        "100-continue; q=1",
        "100-continue\r\nExpect: other",
        "other\r\nExpect: 100-continue",
    ] {
        let lines = format!("Expect: {expect}\r\nContent-Length: 2\r\n");
        is_refused(&here, here.head("POST /api/chat", &lines), 417).await;
    }
}

#[tokio::test]
async fn http_12_an_older_caller_is_never_told_to_continue() {
    let here = Loop::start().await;
    let mut connection = here.connection().await;
    let head = upload(&here, NEW_BLOB, &managing(&here));
    connection.send(head.replace("HTTP/1.1", "HTTP/1.0")).await;
    connection.send(BODY).await;
    let answer = connection.head(false).await;
    assert_eq!(answer.status, 201, "no 100 before it: {}", answer.head);
}

#[tokio::test]
async fn http_12_over_http2_a_known_blob_is_not_uploaded_and_a_new_one_is() {
    let here = Loop::start().await;
    let token = format!("Bearer {}", managing(&here));
    let authority = here.relay.address().to_string();
    let fields = |path| {
        vec![
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", authority.as_str()),
            ("authorization", token.as_str()),
            ("expect", "100-continue"),
            ("content-length", "5"),
        ]
    };
    let mut frames = Frames::open(here.relay.address()).await;
    let known = format!("/api/blobs/{KNOWN_BLOB}");
    frames.head(1, &fields(&known), false).await;
    assert_eq!(frames.outcome(1).await, Outcome::Status(200));
    assert_eq!(here.upstream.demo.counters().uploads_started, 0);
    // The HTTP library has no 100 for HTTP/2. A caller must not wait for one for ever (RFC 9110 §10.1.1).
    let new = format!("/api/blobs/{NEW_BLOB}");
    frames.head(3, &fields(&new), false).await;
    frames.data(3, b"bytes", true).await;
    assert_eq!(frames.outcome(3).await, Outcome::Status(201));
    assert_eq!(here.upstream.demo.counters().uploads_finished, 1);
}

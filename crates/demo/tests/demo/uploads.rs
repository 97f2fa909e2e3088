//! Blobs, `Expect: 100-continue`, and answers that come before the end of the request.

use c2l_demo::{Ended, KEPT_BODY_BYTES, KNOWN_BLOB, MISMATCHED_BLOB, early_blob};
use tokio::io::AsyncWriteExt;

use crate::client::{DEADLINE, Server};

const NEW_BLOB: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

#[tokio::test]
async fn a_new_blob_is_counted_and_then_known() {
    let server = Server::start().await;
    let path = format!("/api/blobs/{NEW_BLOB}");
    assert_eq!(server.call(&format!("HEAD {path}"), "").await.status, 404);
    let body = "x".repeat(300_000);
    let answer = server.post(&path, &body).await;
    assert_eq!(
        (answer.status, answer.header("content-length")),
        (201, Some("0"))
    );
    let counters = server.demo.counters();
    assert_eq!(
        (
            counters.uploads_started,
            counters.uploads_finished,
            counters.bytes_uploaded
        ),
        (1, 1, 300_000)
    );
    let request = server.demo.recorded().pop().unwrap();
    assert_eq!(
        (request.body_bytes, request.body, request.body_complete),
        (300_000, None, true)
    );
    const { assert!(KEPT_BODY_BYTES < 300_000) };
    assert_eq!(server.call(&format!("HEAD {path}"), "").await.status, 200);
    assert_eq!(server.post(&path, "x").await.status, 200);
    assert_eq!(
        server
            .post(&format!("/api/blobs/{MISMATCHED_BLOB}"), "x")
            .await
            .status,
        400
    );
    assert_eq!(server.post("/api/blobs/sha256:abc", "x").await.status, 400);
}

#[tokio::test]
async fn a_known_blob_is_not_asked_for() {
    let server = Server::start().await;
    let mut caller = server.connect().await;
    let head =
        format!("POST /api/blobs/{KNOWN_BLOB}\nExpect: 100-continue\nContent-Length: 1000000");
    caller.send(&head, "").await;
    let answer = caller.answer(false).await;
    assert_eq!(
        (answer.status, answer.header("connection")),
        (200, Some("close")),
        "and no 100 before it"
    );
    assert!(!caller.ends().await);
    assert_eq!(
        (
            server.demo.counters().bytes_received,
            server.demo.counters().uploads_started
        ),
        (0, 0)
    );
}

#[tokio::test]
async fn a_new_blob_is_asked_for() {
    let server = Server::start().await;
    let mut caller = server.connect().await;
    caller
        .send(
            &format!("POST /api/blobs/{NEW_BLOB}\nExpect: 100-continue\nContent-Length: 4"),
            "",
        )
        .await;
    assert!(caller.head().await.unwrap().starts_with("HTTP/1.1 100"));
    caller.stream.write_all(b"blob").await.unwrap();
    assert_eq!(caller.answer(false).await.status, 201);
    assert_eq!(
        server.demo.recorded()[0].body.as_deref(),
        Some(&b"blob"[..])
    );
    let other = server.call("POST /api/chat\nExpect: miracles", "{}").await;
    assert_eq!(other.status, 417);
}

#[tokio::test]
async fn an_answer_may_come_before_the_end_of_the_body() {
    let server = Server::start().await;
    let early_model = r#"{"model":"tiny+early=413","prompt":"and so on"#;
    for (path, beginning) in [
        ("/api/generate", early_model),
        (&format!("/api/blobs/{}", early_blob(413)), "first piece"),
    ] {
        let mut caller = server.connect().await;
        caller
            .send(&format!("POST {path}\nContent-Length: 100000000"), "")
            .await;
        caller.stream.write_all(beginning.as_bytes()).await.unwrap();
        let answer = caller.answer(false).await;
        assert_eq!(
            (answer.status, answer.header("connection"), answer.is_whole),
            (413, Some("close"), true),
            "{path}"
        );
    }
    assert_eq!(server.demo.counters().uploads_aborted, 0);
}

#[tokio::test]
async fn an_answer_to_a_flood_is_not_lost_to_a_reset() {
    let server = Server::start().await;
    let mut caller = server.connect().await;
    caller
        .send(
            &format!(
                "POST /api/blobs/{}\nContent-Length: 100000000",
                early_blob(413)
            ),
            "",
        )
        .await;
    let (mut reading, mut writing) = caller.stream.split();
    let flood = async {
        let piece = vec![0u8; 64 * 1024];
        while writing.write_all(&piece).await.is_ok() {}
    };
    let answer = async {
        let mut answer = vec![0u8; 512];
        let read = tokio::io::AsyncReadExt::read(&mut reading, &mut answer)
            .await
            .unwrap();
        answer.truncate(read);
        answer
    };
    tokio::pin!(flood);
    let answer = tokio::select! {
        answer = answer => answer,
        () = &mut flood => panic!("reset before the answer was read"),
    };
    assert!(answer.starts_with(b"HTTP/1.1 413"));
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_counted() {
    let server = Server::start().await;
    for (number, path) in [format!("/api/blobs/{NEW_BLOB}"), "/api/chat".to_owned()]
        .iter()
        .enumerate()
    {
        let number = number as u64 + 1;
        let mut caller = server.connect().await;
        caller
            .send(&format!("POST {path}\nContent-Length: 1000"), "")
            .await;
        caller.stream.write_all(b"ten bytes.").await.unwrap();
        server
            .demo
            .wait_for(
                "bytes",
                |counters| counters.bytes_received == 10 * number,
                DEADLINE,
            )
            .await;
        drop(caller);
        server
            .demo
            .wait_for(
                "abort",
                |counters| counters.uploads_aborted == number,
                DEADLINE,
            )
            .await;
    }
    assert!(
        server
            .demo
            .recorded()
            .iter()
            .all(|request| request.ended == Ended::CallerLeft && !request.body_complete)
    );
    assert_eq!(server.demo.counters().requests_active, 0);
}

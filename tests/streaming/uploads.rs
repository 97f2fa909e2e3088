//! The request body streams the same way as the answer: each piece before the next is sent, under credit.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use c2l_testkit::{Caller, PATIENCE, PlayedUpstream, RequestBody, TestUpstream, upload, within};
use http::{Method, Request};

use super::Loop;

pub(crate) fn post(caller: &Caller, path: &str, body: RequestBody) -> Request<RequestBody> {
    let request = caller.request(Method::POST, path);
    request.body(body).expect("a request")
}

#[tokio::test]
async fn each_piece_of_an_upload_reaches_the_upstream_before_the_next_is_sent() {
    let upstream = PlayedUpstream::start().await;
    let ring = Loop::around(upstream.address()).await;
    for (name, caller) in ring.callers() {
        let (pieces, body) = upload();
        let request = post(&caller, "/api/generate", body);
        let uploading = async {
            let (head, mut connection) = upstream.request().await;
            assert!(
                head.contains("transfer-encoding: chunked"),
                "{name}: {head}"
            );
            for number in 0..500 {
                let piece = Bytes::from(format!("piece {number}"));
                pieces
                    .send(piece.clone())
                    .await
                    .expect("a caller who sends");
                let seen = connection.chunk().await.expect("no tear");
                assert_eq!(seen, Some(piece), "{name}");
            }
            drop(pieces);
            assert_eq!(connection.chunk().await.expect("no tear"), None, "{name}");
            connection.answer("application/x-ndjson").await;
            connection.send_chunk(b"{\"done\":true}\n").await;
            connection.finish().await;
            connection
        };
        let (_connection, answer) = tokio::join!(uploading, caller.send(request));
        assert_eq!(answer.text().await, "{\"done\":true}\n", "{name}");
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_read_holds_the_upload_back_at_the_caller() {
    let upstream = PlayedUpstream::start().await;
    let ring = Loop::around(upstream.address()).await;
    let (pieces, body) = upload();
    let request = post(&ring.caller, "/api/generate", body);
    let piece = Bytes::from(vec![7; 64 * 1024]);
    let sent = AtomicU64::new(0);
    // Each buffer on the way has a bound, and the kernel's are the largest of them.
    let most = 1_024;
    let feeding = async {
        for _ in 0..most {
            pieces
                .send(piece.clone())
                .await
                .expect("a caller who sends");
            sent.fetch_add(1, Ordering::Relaxed);
        }
        drop(pieces);
    };
    let reading = async {
        let (_head, mut connection) = upstream.request().await;
        // Other streams go on meanwhile; each that does shows that the upload had time to move and did not.
        let mut before = u64::MAX;
        loop {
            let (asking, answering) = (ring.caller.chat("tiny", "hello"), async {
                let (_head, mut other) = upstream.request().await;
                other.answer("application/x-ndjson").await;
                other.send_chunk(b"{}\n").await;
                other.finish().await;
                other
            });
            let (answer, _other) = tokio::join!(asking, answering);
            assert_eq!(answer.text().await, "{}\n");
            let now = sent.load(Ordering::Relaxed);
            if now == before {
                break;
            }
            before = now;
        }
        let mut received = 0;
        while let Some(chunk) = connection.chunk().await.expect("no tear") {
            received += chunk.len();
        }
        connection.answer("application/x-ndjson").await;
        connection.finish().await;
        (before, received, connection)
    };
    let all = Box::pin(async { tokio::join!(feeding, reading, ring.caller.send(request)) });
    let ((), (held, received, _connection), answer) =
        within(3 * PATIENCE, "an upload that is held back and goes on", all).await;
    assert!(held < most, "nothing held the caller back");
    assert_eq!(received, piece.len() * usize::try_from(most).expect("few"));
    assert_eq!(answer.status(), 200);
    println!(
        "an upload to an upstream that does not read stood after {} KiB",
        held * 64
    );
}

#[tokio::test]
async fn an_upload_of_many_megabytes_arrives_whole() {
    let upstream = TestUpstream::start().await;
    let ring = Loop::around(upstream.address()).await;
    for (name, caller) in ring.callers() {
        let (pieces, body) = upload();
        let prompt = "x".repeat(1_000);
        let feeding = async {
            let mut length = 0;
            let mut pieces_of = vec!["{\"model\":\"tiny+lines=3\",\"prompt\":\"".to_owned()];
            pieces_of.extend((0..4_000).map(|_| prompt.clone()));
            pieces_of.push("\"}".to_owned());
            for piece in pieces_of {
                length += piece.len() as u64;
                pieces.send(piece.into()).await.expect("a caller who sends");
            }
            drop(pieces);
            length
        };
        let sending = caller.send(post(&caller, "/api/generate", body));
        let (length, answer) = tokio::join!(feeding, sending);
        assert_eq!(answer.status(), 200, "{name}");
        answer.text().await;
        let recorded = upstream.demo.recorded();
        let last = recorded.last().expect("a request");
        assert_eq!(last.body_bytes, length, "{name}");
        assert!(last.body_complete, "{name}");
    }
}

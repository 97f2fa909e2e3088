//! HTTP-01 to HTTP-06: one framing, or none at all.

use c2l_testkit::RawConnection;

use super::{Loop, field};

/// A request that a confused parser would find behind another one.
fn smuggled(here: &Loop) -> String {
    here.head("GET /api/tags", "")
}

#[tokio::test]
async fn http_01_length_beside_chunked_reaches_the_upstream_as_one_request() {
    let here = Loop::start().await;
    let body = r#"{"model":"tiny+lines=1"}"#;
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for lines in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
    ] {
        let head = here.head("POST /api/chat", lines);
        // The HTTP library takes the length away, reads the chunks, and closes after the answer (RFC 9112 §6.3).
        let (answer, rest) = here
            .exchange(format!("{head}{chunked}{}", smuggled(&here)))
            .await;
        assert_eq!(answer.status, 200, "{lines}: {}", answer.head);
        assert_eq!(field(&answer.head, "connection"), Some("close"));
        assert!(!rest.contains("HTTP/1.1"), "{lines}: {rest}");
        let recorded = here.upstream.demo.recorded();
        assert_eq!(recorded.len(), 1, "{lines}");
        assert_eq!(recorded[0].body.as_deref(), Some(body.as_bytes()));
        assert_eq!(recorded[0].header("transfer-encoding"), Some("chunked"));
        assert_eq!(recorded[0].header("content-length"), None);
        here.upstream.demo.reset();
    }
}

#[tokio::test]
async fn http_02_a_length_that_is_not_one_number_is_refused() {
    let here = Loop::start().await;
    for lines in [
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: 3, 4\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x3\r\n",
        "Content-Length: 3_0\r\n",
        "Content-Length:\r\n",
        "Content-Length: 18446744073709551616\r\n",
    ] {
        let head = here.head("POST /api/chat", lines);
        here.refuses(format!("{head}abc{}", smuggled(&here)), 400, lines)
            .await;
    }
}

#[tokio::test]
async fn http_02_a_length_repeated_with_the_same_value_is_one_length() {
    let here = Loop::start().await;
    let body = r#"{"model":"tiny+lines=1"}"#;
    let length = format!("Content-Length: {}\r\n", body.len());
    let lines = format!("{length}{length}Connection: close\r\n");
    let head = here.head("POST /api/chat", &lines);
    let (answer, _) = here.exchange(format!("{head}{body}")).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    let recorded = here.upstream.demo.recorded();
    let lengths: Vec<_> = recorded[0]
        .headers
        .iter()
        .filter(|(name, _)| name == "content-length")
        .collect();
    assert_eq!(lengths.len(), 1);
}

#[tokio::test]
async fn http_03_only_a_single_chunked_is_a_transfer_coding() {
    let here = Loop::start().await;
    for lines in [
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Content-Type: application/grpc\r\nTransfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: ,chunked\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
    ] {
        let head = here.head("POST /api/chat", lines);
        let body = format!("2\r\n{{}}\r\n0\r\n\r\n{}", smuggled(&here));
        here.refuses(format!("{head}{body}"), 400, lines).await;
    }
}

#[tokio::test]
async fn http_04_an_older_request_has_no_transfer_coding() {
    let here = Loop::start().await;
    let head = here
        .head("POST /api/chat", "Transfer-Encoding: chunked\r\n")
        .replace("HTTP/1.1", "HTTP/1.0");
    let body = format!("2\r\n{{}}\r\n0\r\n\r\n{}", smuggled(&here));
    here.refuses(format!("{head}{body}"), 400, "1.0").await;
}

#[tokio::test]
async fn http_05_fields_that_are_none_are_refused() {
    let here = Loop::start().await;
    for lines in [
        "X-A: 1\r\n 2\r\n",
        "X-A: 1\r\n\t2\r\n",
        "X-A : 1\r\n",
        "X-A: a\0b\r\n",
        "X-A: a\rb\r\n",
        "X A: 1\r\n",
        "X(A): 1\r\n",
        "X-\u{e4}: 1\r\n",
        ": 1\r\n",
        "X-A\r\n",
    ] {
        let head = here.head("GET /api/tags", lines);
        here.refuses(format!("{head}{}", smuggled(&here)), 400, lines)
            .await;
    }
}

/// Sends a first chunk, waits until the upstream has it, and then something that is no chunk.
async fn breaks_chunks_with(here: &Loop, wrong: &[u8], what: &str) {
    let mut connection: RawConnection = here.connection().await;
    let head = here.head("POST /api/chat", "Transfer-Encoding: chunked\r\n");
    connection.send(format!("{head}4\r\n{{\"mo\r\n")).await;
    let arrived = here.upstream.wait_for(what, |c| c.bytes_received == 4);
    arrived.await;
    connection.send(wrong).await;
    let (answer, rest) = (connection.head(true).await, connection.rest().await);
    // The answer is best effort: the connection is broken. What counts is that nobody takes the body for whole.
    assert!([0, 400].contains(&answer.status), "{what}: {}", answer.head);
    assert!(!rest.windows(4).any(|four| four == b"HTTP"), "{what}");
    // A part of it is at the upstream: to send it again may do something twice.
    let is_safe = rest.windows(17).any(|said| said == br#""retry_safe":true"#);
    assert!(!is_safe, "{what}");
    let ended = here.upstream.wait_for(what, |c| c.requests_finished == 1);
    ended.await;
    let recorded = here.upstream.demo.recorded();
    assert_eq!(recorded.len(), 1, "{what}");
    assert!(!recorded[0].body_complete, "{what}");
    assert_eq!(recorded[0].body_bytes, 4, "{what}");
    here.upstream.demo.reset();
}

#[tokio::test]
async fn http_06_a_broken_chunk_never_ends_a_body() {
    let here = Loop::start().await;
    let extension = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(20 * 1024));
    for (wrong, what) in [
        (&b"0x3\r\nabc\r\n0\r\n\r\n"[..], "a prefix"),
        (b"+3\r\nabc\r\n0\r\n\r\n", "a sign"),
        (b"3_0\r\nabc\r\n0\r\n\r\n", "an underscore"),
        (b"\r\nabc\r\n0\r\n\r\n", "no size"),
        (b"10000000000000003\r\nabc\r\n0\r\n\r\n", "17 digits"),
        (b"3\nabc\r\n0\r\n\r\n", "a bare LF after the size"),
        (b"3\r\nabc0\r\n\r\n", "no CRLF after the data"),
        (extension.as_bytes(), "a huge extension"),
        (b"3\r\nabc\r\n0\r\nbad name: 1\r\n\r\n", "a broken trailer"),
    ] {
        breaks_chunks_with(&here, wrong, what).await;
    }
}

#[tokio::test]
async fn http_06_small_extensions_are_accepted_and_dropped() {
    let here = Loop::start().await;
    let body = r#"{"model":"tiny+lines=1"}"#;
    let lines = "Transfer-Encoding: chunked\r\nConnection: close\r\n";
    let head = here.head("POST /api/chat", lines);
    let chunks = format!("{:x};a=b;c=\"d\"\r\n{body}\r\n0;e\r\n\r\n", body.len());
    let (answer, _) = here.exchange(format!("{head}{chunks}")).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    let recorded = here.upstream.demo.recorded();
    assert_eq!(recorded[0].body.as_deref(), Some(body.as_bytes()));
}

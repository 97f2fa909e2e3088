//! What an ordinary exchange keeps: method, fields, framing, body, trailers, and that both directions move at once.

use bytes::Bytes;
use c2l_proto::tunnel::{Header, ResponseHead, tunnel_request, tunnel_response};
use c2l_testkit::{
    Caller, FakeAgent, RawConnection, RawUpstream, TestAgent, TestRelay, empty, full,
};
use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    Loop, field,
    scripted::{Scripted, keep},
};

const NEW_BLOB: &str =
    "/api/blobs/sha256:2222222222222222222222222222222222222222222222222222222222222222";

#[tokio::test]
async fn every_method_that_the_upstream_takes_is_forwarded() {
    let here = Loop::start().await;
    let name = r#"{"model":"tiny"}"#;
    let show = r#"{"model":"tiny+lines=1"}"#;
    for (method, path, body, status) in [
        (Method::GET, "/api/tags", "", 200),
        (Method::HEAD, "/api/tags", "", 200),
        (Method::POST, "/api/show", show, 200),
        (Method::POST, NEW_BLOB, "x", 201),
        (Method::HEAD, NEW_BLOB, "", 200),
        (Method::DELETE, "/api/delete", name, 200),
    ] {
        let request = here.manager.request(method.clone(), path);
        let request = request.body(full(body)).unwrap();
        let answer = here.manager.send(request).await;
        assert_eq!(answer.status(), status, "{method} {path}");
        let recorded = here.upstream.demo.recorded().pop().unwrap();
        assert_eq!(recorded.method, method.as_str());
        assert_eq!(recorded.target, path);
        let seen = recorded.body.unwrap_or_default();
        assert_eq!(seen, body.as_bytes(), "{method} {path}");
    }
}

#[tokio::test]
async fn a_method_that_the_upstream_does_not_take_is_refused_by_the_agent() {
    let here = Loop::start().await;
    for (method, path) in [
        (Method::PUT, "/api/tags"),
        (Method::PATCH, "/api/chat"),
        (Method::GET, "/api/chat"),
        (Method::DELETE, "/v1/models/tiny"),
    ] {
        let request = here.manager.request(method.clone(), path);
        let answer = here.manager.send(request.body(empty()).unwrap()).await;
        assert_eq!(answer.status(), 405, "{method} {path}");
        assert!(!answer.header("allow").is_empty(), "{method} {path}");
        here.is_untouched(path).await;
    }
}

#[tokio::test]
async fn repeated_fields_of_a_request_keep_their_order() {
    let here = Loop::start().await;
    let lines = "X-A: 1\r\nX-B: 2\r\nX-A: 3, 4\r\nX-A: \u{e4}\r\nX-A:\r\nConnection: close\r\n";
    let (answer, _) = here.exchange(here.head("GET /api/tags", lines)).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    let recorded = here.upstream.demo.recorded();
    let values = recorded[0].headers.iter().filter(|(name, _)| name == "x-a");
    let values: Vec<_> = values.map(|(_, value)| value.clone()).collect();
    assert_eq!(values, [&b"1"[..], b"3, 4", "\u{e4}".as_bytes(), b""]);
}

#[tokio::test]
async fn repeated_fields_of_an_answer_keep_their_order() {
    let there = Scripted::start(|_| {
        keep(
            "HTTP/1.1 200 OK\r\nX-A: 1\r\nVary: a\r\nX-A: 3, 4\r\nX-A: \u{e4}\r\nVary: b\r\nX-A:\r\nContent-Length: 0\r\n\r\n",
        )
    })
    .await;
    let answer = there.caller.get("/api/tags").await;
    let values = |name: &str| -> Vec<Vec<u8>> {
        let values = answer.headers().get_all(name).iter();
        values.map(|value| value.as_bytes().to_vec()).collect()
    };
    assert_eq!(
        values("x-a"),
        [&b"1"[..], b"3, 4", "\u{e4}".as_bytes(), b""]
    );
    assert_eq!(values("vary"), [b"a", b"b"]);
}

/// Bytes that show a piece that is missing, doubled or in the wrong place.
fn pattern(length: u64) -> Vec<u8> {
    (0..length).map(c2l_demo::pattern_byte).collect()
}

#[tokio::test]
async fn a_sized_upload_arrives_with_its_length() {
    let here = Loop::start().await;
    let body = pattern(60_000);
    let request = here.manager.request(Method::POST, NEW_BLOB);
    let request = request.body(full(body.clone())).unwrap();
    assert_eq!(here.manager.send(request).await.status(), 201);
    let recorded = here.upstream.demo.recorded();
    assert_eq!(recorded[0].header("content-length"), Some("60000"));
    assert_eq!(recorded[0].header("transfer-encoding"), None);
    assert!(recorded[0].body.as_deref() == Some(&body[..]), "the bytes");
}

#[tokio::test]
async fn a_chunked_upload_arrives_chunked() {
    let here = Loop::start().await;
    let body = pattern(60_000);
    let mut bytes = here
        .head(
            &format!("POST {NEW_BLOB}"),
            "Transfer-Encoding: chunked\r\nConnection: close\r\n",
        )
        .replace(&here.token, &manager_token(&here))
        .into_bytes();
    for chunk in body.chunks(7_001) {
        bytes.extend(format!("{:X}\r\n", chunk.len()).bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    let (answer, _) = here.exchange(bytes).await;
    assert_eq!(answer.status, 201, "{}", answer.head);
    let recorded = here.upstream.demo.recorded();
    assert_eq!(recorded[0].header("content-length"), None);
    assert_eq!(recorded[0].header("transfer-encoding"), Some("chunked"));
    assert!(recorded[0].body.as_deref() == Some(&body[..]), "the bytes");
}

fn manager_token(here: &Loop) -> String {
    here.relay.sign(&c2l_testkit::tokens::managing("ada"))
}

#[tokio::test]
async fn an_upload_larger_than_every_window_arrives_whole() {
    let here = Loop::start().await;
    let body = vec![7; 3 * 1024 * 1024];
    let request = here.manager.request(Method::POST, NEW_BLOB);
    let request = request.body(full(body.clone())).unwrap();
    assert_eq!(here.manager.send(request).await.status(), 201);
    let recorded = here.upstream.demo.recorded();
    assert!(recorded[0].body_complete);
    assert_eq!(recorded[0].body_bytes, body.len() as u64);
}

#[tokio::test]
async fn an_empty_answer_is_whole() {
    for (answer, status) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            200,
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204),
        ("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", 500),
    ] {
        let there = Scripted::start(move |_| keep(answer)).await;
        for caller in [there.caller.clone(), there.caller.clone().over_http2()] {
            let mut got = caller.get("/api/tags").await;
            assert_eq!(got.status(), status, "{answer}");
            assert_eq!(got.rest().await, (Bytes::new(), true), "{answer}");
        }
    }
}

#[tokio::test]
async fn an_answer_may_end_before_the_request_has() {
    let there =
        Scripted::start(|_| keep("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly")).await;
    let mut connection = RawConnection::open(there.address()).await;
    let head = there
        .get("/api/chat", "Transfer-Encoding: chunked\r\n")
        .replacen("GET", "POST", 1);
    connection.send(format!("{head}1\r\nx\r\n")).await;
    let answer = connection.head(false).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    let body = connection.read_until(b"early").await;
    assert_eq!(body.as_deref(), Some(&b"early"[..]));
    // The rest of the request has nobody to go to: the connection is not kept for it.
    assert_eq!(&connection.rest().await[..], b"");
}

#[tokio::test]
async fn both_directions_move_at_the_same_time() {
    // It answers at once, and then says back each byte as it comes, until the one that ends it.
    let upstream = RawUpstream::start(|mut stream| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let begin = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(begin).await.unwrap();
        while let Ok(byte) = stream.read_u8().await {
            if byte.is_ascii_lowercase() {
                let chunk = [b'1', b'\r', b'\n', byte.to_ascii_uppercase(), b'\r', b'\n'];
                stream.write_all(&chunk).await.unwrap();
            } else if byte == b'!' {
                stream.write_all(b"0\r\n\r\n").await.unwrap();
            }
        }
    })
    .await;
    let relay = TestRelay::start().await;
    let _agent = TestAgent::connect_unjudging(&relay, "ada", upstream.address()).await;
    let mut connection = RawConnection::open(relay.address()).await;
    let token = relay.api_token("ada");
    let head = format!(
        "POST /api/chat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    connection.send(head).await;
    let answer = connection.head(false).await;
    assert_eq!(
        answer.status, 200,
        "the answer begins first: {}",
        answer.head
    );
    for letter in ["x", "y", "z"] {
        connection.send(format!("1\r\n{letter}\r\n")).await;
        let echo = letter.to_uppercase();
        let came = connection.read_until(echo.as_bytes()).await;
        assert!(came.is_some(), "{letter}");
    }
    connection.send("1\r\n!\r\n0\r\n\r\n").await;
    let end = connection.read_until(b"0\r\n\r\n").await;
    assert!(end.is_some(), "a clean end");
}

#[tokio::test]
async fn trailers_of_an_answer_reach_a_caller_over_http2() {
    let there = Scripted::start(|_| {
        keep(
            "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
             2\r\n{}\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\nContent-Length: 7\r\n\r\n",
        )
    })
    .await;
    let caller = there.caller.clone().over_http2();
    let (body, trailers) = caller.get("/api/tags").await.collect().await;
    assert_eq!(&body[..], b"{}");
    let trailers = trailers.expect("trailers");
    let sums: Vec<_> = trailers.get_all("x-sum").iter().collect();
    assert_eq!(sums, ["1", "2"]);
    assert_eq!(trailers.len(), 2, "none that frames");

    // HTTP/1.1 wants them announced in `Trailer`, a field of one hop that does not cross (HTTP-09). RFC 9110 §6.5.1
    // lets a hop drop them, and that is what the HTTP library does. The body is whole either way.
    let (body, trailers) = there.caller.get("/api/tags").await.collect().await;
    assert_eq!((&body[..], trailers), (&b"{}"[..], None));
}

#[tokio::test]
async fn trailers_of_a_request_cross_the_tunnel() {
    let relay = TestRelay::start().await;
    let token = relay.agent_token("ada");
    let mut agent = FakeAgent::connect(relay.address(), &token, "laptop")
        .await
        .unwrap();
    let mut connection = RawConnection::open(relay.address()).await;
    let token = relay.api_token("ada");
    let request = format!(
        "POST /api/chat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nTrailer: x-sum\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\n{{}}\r\n0\r\nX-Sum: 1\r\nCookie: a\r\nX-Sum: 2\r\n\r\n"
    );
    connection.send(request).await;
    let mut body = Vec::new();
    let (id, trailers) = loop {
        let request = agent.request().await.unwrap();
        match request.frame.expect("a frame") {
            tunnel_request::Frame::Body(piece) => body.extend(piece),
            tunnel_request::Frame::End(end) => break (request.stream_id, end.trailers),
            _ => {}
        }
    };
    assert_eq!(body, b"{}");
    let field = |value: &'static [u8]| Header {
        name: Bytes::from_static(b"x-sum"),
        value: Bytes::from_static(value),
    };
    assert_eq!(trailers, [field(b"1"), field(b"2")]);
    let head = ResponseHead {
        status: 204,
        headers: Vec::new(),
        is_whole: true,
        model: String::new(),
    };
    agent.respond(id, tunnel_response::Frame::Head(head)).await;
    assert_eq!(connection.head(false).await.status, 204);
}

#[tokio::test]
async fn trailers_of_a_request_end_before_the_upstream() {
    let here = Loop::start().await;
    let body = r#"{"model":"tiny+lines=1"}"#;
    let lines = "Trailer: x-sum\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n";
    let head = here.head("POST /api/chat", lines);
    let chunks = format!(
        "{:x}\r\n{body}\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\n",
        body.len()
    );
    let (answer, _) = here.exchange(format!("{head}{chunks}")).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    let recorded = here.upstream.demo.recorded();
    assert_eq!(recorded.len(), 1);
    assert_eq!(recorded[0].body.as_deref(), Some(body.as_bytes()));
    assert_eq!(recorded[0].header("trailer"), None);
    assert!(recorded[0].body_complete);
}

#[tokio::test]
async fn one_connection_carries_request_after_request() {
    let here = Loop::start().await;
    let mut connection = here.connection().await;
    for _ in 0..3 {
        // Two at once: they are answered one after the other.
        let head = here.head("GET /api/version", "");
        connection.send(format!("{head}{head}")).await;
        for _ in 0..2 {
            let answer = connection.head(false).await;
            assert_eq!(answer.status, 200, "{}", answer.head);
            let length = field(&answer.head, "content-length").unwrap();
            let length: usize = length.parse().unwrap();
            let body = connection.read_until(b"}").await.unwrap();
            assert_eq!(body.len(), length);
        }
    }
    assert_eq!(here.upstream.demo.counters().connections_accepted, 1);
}

#[tokio::test]
async fn every_forwarded_answer_is_marked_as_foreign_content() {
    let here = Loop::start().await;
    let path_caller = Caller::anonymous(here.relay.address());
    for path in [
        "/api/tags".to_owned(),
        "/v1/models".to_owned(),
        "/v1/models/unknown".to_owned(),
        format!("/k/{}/api/tags", here.token),
        format!("/k/{}/", here.token),
    ] {
        let caller = if path.starts_with("/k/") {
            &path_caller
        } else {
            &here.caller
        };
        for caller in [caller.clone(), caller.clone().over_http2()] {
            let answer = caller.get(&path).await;
            let sandbox = "sandbox; default-src 'none'";
            assert_eq!(answer.header("content-security-policy"), sandbox);
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
            assert_eq!(answer.header("referrer-policy"), "no-referrer");
            assert_eq!(answer.header("x-c2l-device"), "laptop");
            assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        }
    }
}

#[tokio::test]
async fn a_service_worker_is_never_fetched() {
    let here = Loop::start().await;
    let lines = "Service-Worker: script\r\nConnection: close\r\n";
    let head = here.head("GET /api/tags", lines);
    here.refuses(head, 400, "a service worker").await;
}

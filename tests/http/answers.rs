//! HTTP-19 to HTTP-24: whatever the agent or the upstream says, the caller gets one valid answer or sees that it has none.

use std::time::Duration;

use c2l_demo::early_blob;
use c2l_proto::tunnel::{End, Header, ResponseHead, tunnel_request, tunnel_response};
use c2l_testkit::{FakeAgent, PATIENCE, RawConnection, TestRelay, eventually, tokens, within};

use super::{
    Loop, field,
    scripted::{Scripted, close, keep},
};

fn header(name: &[u8], value: &[u8]) -> Header {
    Header {
        name: name.to_vec().into(),
        value: value.to_vec().into(),
    }
}

#[tokio::test]
async fn http_19_a_field_that_is_none_is_never_written_to_the_caller() {
    let relay = TestRelay::start().await;
    for (name, value) in [
        (&b"x-a"[..], &b"1\r\nSet-Cookie: a=b"[..]),
        (b"x-a", b"1\rb"),
        (b"x-a", b"1\nb"),
        (b"x-a", b"1\0b"),
        (b"x a", b"1"),
        (b"x-a:", b"1"),
        (b"x-a\r\nset-cookie: a", b"b"),
        (b"X-A", b"1"),
        (b"", b"1"),
    ] {
        let what = format!("{:?}", (name.escape_ascii(), value.escape_ascii()));
        let token = relay.agent_token("ada");
        let mut agent = FakeAgent::connect(relay.address(), &token, "laptop")
            .await
            .unwrap();
        let mut connection = RawConnection::open(relay.address()).await;
        let token = relay.api_token("ada");
        let head = format!(
            "GET /api/tags HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        connection.send(head).await;
        let request = agent.request().await.unwrap();
        assert!(matches!(
            request.frame,
            Some(tunnel_request::Frame::Head(_))
        ));
        let head = ResponseHead {
            status: 200,
            headers: vec![header(b"x-first", b"1"), header(name, value)],
            is_whole: true,
            model: String::new(),
        };
        let frame = tunnel_response::Frame::Head(head);
        agent.respond(request.stream_id, frame).await;
        let answer = connection.head(false).await;
        assert_eq!(answer.status, 502, "{what}: {}", answer.head);
        assert_eq!(field(&answer.head, "set-cookie"), None, "{what}");
        assert_eq!(field(&answer.head, "x-first"), None, "{what}");
        let body = String::from_utf8(connection.rest().await.to_vec()).unwrap();
        assert!(
            body.contains(r#""code":"agent_protocol""#),
            "{what}: {body}"
        );
        assert!(!body.contains("HTTP/1.1"), "{what}: {body}");
        assert_eq!(agent.end().await.code() as i32, 13, "{what}: INTERNAL");
    }
}

/// An agent that answers one `GET /api/tags` with these lengths and this body: what the caller sees, to the end.
async fn from_an_agent(lengths: &[&str], is_whole: bool, body: &'static [u8]) -> (u16, String) {
    let relay = TestRelay::start().await;
    let token = relay.agent_token("ada");
    let mut agent = FakeAgent::connect(relay.address(), &token, "laptop")
        .await
        .expect("a session");
    let mut connection = RawConnection::open(relay.address()).await;
    let token = relay.api_token("ada");
    let head = format!(
        "GET /api/tags HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    connection.send(head).await;
    let id = agent.request().await.expect("a request").stream_id;
    let lengths = lengths.iter().map(|length| length.as_bytes());
    let head = ResponseHead {
        status: 200,
        headers: lengths
            .map(|length| header(b"content-length", length))
            .collect(),
        is_whole,
        model: String::new(),
    };
    agent.respond(id, tunnel_response::Frame::Head(head)).await;
    if !is_whole {
        let body = tunnel_response::Frame::Body(body.into());
        agent.respond(id, body).await;
        let end = tunnel_response::Frame::End(End::default());
        agent.respond(id, end).await;
    }
    let answer = connection.head(false).await;
    let rest = within(PATIENCE, "the end of the connection", connection.rest()).await;
    (
        answer.status,
        String::from_utf8(rest.to_vec()).expect("text"),
    )
}

#[tokio::test]
async fn http_20_an_agents_answer_of_ambiguous_length_is_a_502() {
    for lengths in [&["2", "3"][..], &["2, 3"], &["+2"], &["x"], &[""]] {
        let (status, body) = from_an_agent(lengths, false, b"{}").await;
        assert_eq!(status, 502, "{lengths:?}: {body}");
        assert!(body.contains(r#""code":"agent_protocol""#), "{body}");
    }
}

#[tokio::test]
async fn http_20_an_agents_answer_that_is_not_as_long_as_announced_is_cut() {
    for (is_whole, body, what) in [
        (false, &b"{"[..], "too short"),
        (false, b"{}}", "too long"),
        (true, b"", "none at all"),
    ] {
        let (status, body) = from_an_agent(&["2"], is_whole, body).await;
        assert_eq!(status, 200, "{what}");
        assert!(body.len() < 2, "{what}: {body}");
    }
}

/// What a caller of `/api/tags` gets from an upstream that answers so: status, body, and whether it was whole.
async fn asked(there: &Scripted) -> (u16, String, bool) {
    let mut answer = there.caller.get("/api/tags").await;
    let status = answer.status().as_u16();
    let (body, is_whole) = answer.rest().await;
    let body = String::from_utf8(body.to_vec()).expect("text");
    (status, body, is_whole)
}

/// A second request goes on another connection to the upstream.
async fn is_not_reused(there: &Scripted, what: &str) {
    let second = there.caller.get("/api/ps").await;
    assert_eq!(second.status(), 200, "{what}");
    assert_eq!(second.text().await, "{}", "{what}");
    assert_eq!(there.connections(), [0, 1], "{what}");
}

const EMPTY_OBJECT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

/// Says this to the first request, whatever its method, and `{}` to any for `/api/ps`.
async fn first_saying(answer: &'static [u8], is_kept: bool) -> Scripted {
    Scripted::start(move |head| {
        if head.contains("/api/ps") {
            return keep(EMPTY_OBJECT);
        }
        if is_kept { keep(answer) } else { close(answer) }
    })
    .await
}

#[tokio::test]
async fn http_20_an_answer_of_ambiguous_framing_is_a_502() {
    for (answer, what) in [
        (
            &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"[..],
            "two lengths",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\n{}",
            "a list of lengths",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}",
            "a length with a sign",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            "length and chunked",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            "chunked and length",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            "another coding",
        ),
        (
            b"HTTP/1.1 200 OK\r\nX-A: 1\r\n folded\r\nContent-Length: 2\r\n\r\n{}",
            "a folded field",
        ),
        (b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n", "999"),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", "another protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "half a head"),
        (b"", "nothing"),
    ] {
        let there = first_saying(answer, false).await;
        let (status, body, is_whole) = asked(&there).await;
        assert_eq!(status, 502, "{what}: {body}");
        assert!(is_whole, "{what}");
        assert!(body.contains(r#""code":"upstream_failed""#), "{body}");
        assert!(body.contains(r#""origin":"upstream""#), "{body}");
        is_not_reused(&there, what).await;
    }
}

#[tokio::test]
async fn http_20_a_body_that_breaks_off_is_a_cut_that_the_caller_notices() {
    for (answer, expected, what) in [
        (
            &b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234"[..],
            "01234",
            "shorter than its length",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n",
            "01234",
            "chunked without its end",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n0x5\r\n",
            "01234",
            "a broken chunk",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234",
            "01234",
            "a chunk without its end",
        ),
    ] {
        let there = first_saying(answer, false).await;
        let (status, body, is_whole) = asked(&there).await;
        // Head and break often arrive together, and then it is not too late for a plain error.
        if status == 502 {
            assert!(body.contains(r#""code":"upstream_failed""#), "{body}");
        } else {
            assert_eq!(status, 200, "{what}");
            assert!(expected.starts_with(&body), "{what}: {body}");
            assert!(!is_whole, "{what}: taken for whole");
        }
        is_not_reused(&there, what).await;
    }
}

#[tokio::test]
async fn http_20_bytes_behind_an_answer_belong_to_no_other() {
    for (answer, what) in [
        (
            &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n01234HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"[..],
            "longer than its length",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
            "more behind the last chunk",
        ),
    ] {
        let there = first_saying(answer, true).await;
        // The length is what ends an answer (RFC 9112 §6.3): these five bytes are whole, what follows is nobody's.
        assert_eq!(asked(&there).await, (200, "01234".to_owned(), true), "{what}");
        is_not_reused(&there, what).await;
    }
}

#[tokio::test]
async fn http_20_without_a_length_the_end_of_the_connection_is_the_end() {
    let there = first_saying(b"HTTP/1.1 200 OK\r\n\r\n01234", false).await;
    assert_eq!(asked(&there).await, (200, "01234".to_owned(), true));
    is_not_reused(&there, "no length").await;
}

#[tokio::test]
async fn http_21_answers_without_a_body_keep_their_fields_and_the_next_one_is_right() {
    for (method, answer, length, is_reused) in [
        (
            "HEAD",
            &b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"[..],
            Some("1000"),
            true,
        ),
        (
            "HEAD",
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
            Some("4"),
            false,
        ),
        (
            "HEAD",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            None,
            true,
        ),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", None, true),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\nbody", None, false),
        (
            "GET",
            b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nbody",
            None,
            false,
        ),
        ("GET", b"HTTP/1.1 304 Not Modified\r\n\r\n", None, true),
        // The HTTP library writes no length on a 304; RFC 9110 §8.6 lets a server leave it out.
        (
            "GET",
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n",
            None,
            true,
        ),
        (
            "GET",
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nbody",
            None,
            false,
        ),
    ] {
        let what = answer.escape_ascii().to_string();
        let there = first_saying(answer, true).await;
        let mut connection = RawConnection::open(there.address()).await;
        let first = there.get("/api/tags", "").replacen("GET", method, 1);
        connection.send(first).await;
        let head = connection.head(false).await;
        assert_eq!(head.head[9..12], what[9..12], "{what}");
        assert_eq!(field(&head.head, "content-length"), length, "{what}");
        assert_eq!(field(&head.head, "transfer-encoding"), None, "{what}");
        // On the same connection of the caller: had there been a body, it would stand before this head.
        connection
            .send(there.get("/api/ps", "Connection: close\r\n"))
            .await;
        let next = connection.head(false).await;
        assert_eq!(next.status, 200, "{what}: {}", next.head);
        assert_eq!(&connection.rest().await[..], b"{}", "{what}");
        let second = usize::from(!is_reused);
        assert_eq!(there.connections(), [0, second], "{what}");
    }
}

#[tokio::test]
async fn http_21_the_relays_own_answers_to_head_have_no_body_either() {
    let here = Loop::start().await;
    let mut connection = here.connection().await;
    for (path, status) in [
        ("/", 200),
        ("/relay/v1/version", 200),
        ("/unknown", 404),
        ("/api/chat", 405),
        ("/api/me", 403),
    ] {
        connection
            .send(here.head(&format!("HEAD {path}"), ""))
            .await;
        let answer = connection.head(false).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.head);
        let length = field(&answer.head, "content-length").unwrap_or_default();
        assert_ne!(length, "0", "{path}: what a GET would have");
    }
}

#[tokio::test]
async fn http_22_interim_answers_end_in_one_final_answer() {
    let there = first_saying(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
          HTTP/1.1 103 Early Hints\r\nX-Interim: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        true,
    )
    .await;
    let mut connection = RawConnection::open(there.address()).await;
    connection
        .send(there.get("/api/tags", "Connection: close\r\n"))
        .await;
    let answer = connection.head(false).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert_eq!(field(&answer.head, "x-interim"), None);
    assert_eq!(&connection.rest().await[..], b"{}");
}

#[tokio::test]
async fn http_22_interim_answers_without_end_are_a_502() {
    let there = Scripted::start(|head| {
        if head.contains("/api/ps") {
            return keep(EMPTY_OBJECT);
        }
        let interim = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(50);
        keep(format!("{interim}{EMPTY_OBJECT}"))
    })
    .await;
    let (status, body, _) = asked(&there).await;
    assert_eq!(status, 502, "{body}");
    assert!(body.contains(r#""code":"upstream_failed""#), "{body}");
    is_not_reused(&there, "fifty interim answers").await;
}

#[tokio::test]
async fn http_22_an_upgrade_that_nobody_asked_for_is_a_502() {
    let there = first_saying(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nhello",
        true,
    )
    .await;
    let (status, body, _) = asked(&there).await;
    assert_eq!(status, 502, "{body}");
    assert!(!body.contains("hello"), "{body}");
    is_not_reused(&there, "101").await;
}

#[tokio::test]
async fn http_23_a_refusal_in_mid_upload_is_there_at_once_and_stops_the_upload() {
    let here = Loop::start().await;
    let mut connection = here.connection().await;
    let manager = here.relay.sign(&tokens::managing("ada"));
    let target = format!("POST /api/blobs/{}", early_blob(413));
    let head = here
        .head(&target, "Content-Length: 100000000\r\n")
        .replace(&here.token, &manager);
    let piece = vec![7; 64 * 1024];
    let answer = within(Duration::from_secs(1), "the 413", async {
        connection.send(head).await;
        connection.send(&piece).await;
        connection.head(false).await
    })
    .await;
    assert_eq!(answer.status, 413, "{}", answer.head);
    // The rest is not read: the connection ends.
    let rest = connection.rest().await;
    assert!(rest.starts_with(b"{"), "{rest:?}");
    let counters = here
        .upstream
        .wait_for("the end of the request", |c| c.requests_active == 0)
        .await;
    assert!(counters.bytes_received <= piece.len() as u64);
    has_no_streams(&here).await;
}

/// Waits until the relay counts no stream of `ada`'s one device.
async fn has_no_streams(here: &Loop) {
    eventually(PATIENCE, "no stream is left", || async {
        let devices = here.caller.get("/relay/v1/devices").await.json().await;
        (devices["devices"][0]["active_streams"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn http_23_a_caller_who_sends_on_still_reads_the_refusal() {
    let here = Loop::start().await;
    let mut connection = here.connection().await;
    let manager = here.relay.sign(&tokens::managing("ada"));
    let target = format!("POST /api/blobs/{}", early_blob(413));
    let head = here
        .head(&target, "Content-Length: 100000000\r\n")
        .replace(&here.token, &manager);
    let piece = vec![7; 64 * 1024];
    // A hundred megabytes, all of it before the first look at the answer. What is written after the relay has closed
    // goes nowhere.
    let answer = within(PATIENCE, "the 413", async {
        connection.send(head).await;
        for _ in 0..1526 {
            connection.send(&piece).await;
        }
        connection.head(false).await
    })
    .await;
    assert_eq!(answer.status, 413, "{}", answer.head);
    here.upstream
        .wait_for("the end of the request", |c| c.requests_active == 0)
        .await;
    has_no_streams(&here).await;
}

#[tokio::test]
async fn http_24_an_upstream_sets_nothing_in_the_relays_origin() {
    let there = first_saying(
        b"HTTP/1.1 302 Found\r\nSet-Cookie: a=b\r\nSet-Cookie2: a=b\r\nAccess-Control-Allow-Origin: *\r\n\
          Access-Control-Allow-Credentials: true\r\nAlt-Svc: h3=\":443\"\r\nServer: inside\r\n\
          Strict-Transport-Security: max-age=31536000\r\nClear-Site-Data: \"*\"\r\n\
          Location: http://127.0.0.1:11434/x\r\nContent-Location: http://127.0.0.1:11434/x\r\nRefresh: 0;url=http://127.0.0.1\r\n\
          Link: <http://127.0.0.1>; rel=preload\r\nContent-Security-Policy: default-src *\r\n\
          Referrer-Policy: unsafe-url\r\nX-C2L-Device: other\r\nX-Request-Id: theirs\r\n\
          Service-Worker-Allowed: /\r\nWWW-Authenticate: Basic\r\nCache-Control: public\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\n{}",
        true,
    )
    .await;
    let answer = there.caller.get("/api/tags").await;
    assert_eq!(answer.status(), 302);
    let mut fields: Vec<_> = answer
        .headers()
        .iter()
        .filter(|(name, _)| !["date", "x-request-id"].contains(&name.as_str()))
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    fields.sort_unstable();
    let expected = [
        ("cache-control", "no-store"), // whatever the upstream says: a cache knows nothing of whose answer it is
        ("content-length", "2"),
        ("content-security-policy", "sandbox; default-src 'none'"),
        ("referrer-policy", "no-referrer"),
        ("x-c2l-device", "laptop"),
        ("x-content-type-options", "nosniff"),
        ("x-kept", "1"),
    ];
    assert_eq!(fields, expected);
    assert_ne!(answer.header("x-request-id"), "theirs");
}

#[tokio::test]
async fn http_24_trailers_set_nothing_either() {
    let there = first_saying(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\
          Set-Cookie: a=b\r\nAccess-Control-Allow-Origin: *\r\nStrict-Transport-Security: max-age=1\r\nX-C2L-Device: other\r\nX-Sum: 1\r\n\r\n",
        true,
    )
    .await;
    let caller = there.caller.clone().over_http2();
    let (body, trailers) = caller.get("/api/tags").await.collect().await;
    assert_eq!(&body[..], b"{}");
    let trailers = trailers.expect("trailers");
    let names: Vec<_> = trailers.keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["x-sum"]);
}

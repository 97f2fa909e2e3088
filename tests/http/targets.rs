//! HTTP-13 to HTTP-16: which methods and paths are forwarded, and that they arrive byte for byte.

use super::{Loop, field};

#[tokio::test]
async fn http_13_an_upgrade_is_an_ordinary_request_and_no_tunnel() {
    let here = Loop::start().await;
    for (upgrade, more) in [
        (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            &b"\x81\x85\x00\x00\x00\x00hello\r\n\r\n"[..],
        ),
        (
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ),
    ] {
        let mut bytes = here.head("GET /api/tags", upgrade).into_bytes();
        bytes.extend_from_slice(more);
        let (answer, rest) = here.exchange(bytes).await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        assert_eq!(field(&answer.head, "upgrade"), None);
        // What follows is read as the next request, which it is not: refused, or dropped with the connection.
        assert!(!rest.contains("101 ") && !rest.contains("200 OK"), "{rest}");
        let recorded = here.upstream.demo.recorded();
        assert_eq!(here.targets(), ["/api/tags"]);
        assert_eq!(recorded[0].body_bytes, 0);
        let kept: Vec<_> = recorded[0].headers.iter().map(|(name, _)| name).collect();
        assert_eq!(kept, ["host"], "nothing of the upgrade crosses");
        here.upstream.demo.reset();
    }
}

#[tokio::test]
async fn http_14_what_two_parsers_could_read_differently_is_refused() {
    let here = Loop::start().await;
    for path in [
        "/api/../relay/v1/keys",
        "/api/..",
        "/../api/tags",
        "/api/./tags",
        "/api/%2e%2e/x",
        "/api/%2E./x",
        "/api/..%2fx",
        "/api/.%2e/",
        "/api\\tags",
        "/api/a\\b",
        "/api/tags;x",
        "/api/tags%3bx",
        "/api/tags%00",
        "/v1/models/a%2Fb",
        "/v1/models/a%2fb",
        "/v1/models/a%5Cb",
        "/v1/models/%252e%252e",
        "/v1/models/a%0d%0ab",
        "/v1/models/a%zz",
        "/v1/models/a%2",
        "/v1/models/a\"b",
        "/v1/models/<a>",
        "/v1/models/{a}",
        "/v1/models/a|b",
        "/v1/models/\u{e9}",
        "/k/TOKEN/api/../../relay/v1/whoami",
        "/k/TOKEN/d/laptop/%2e%2e/api/tags",
    ] {
        let target = format!("GET {}", path.replace("TOKEN", &here.token));
        here.refuses(here.head(&target, ""), 400, path).await;
    }
}

#[tokio::test]
async fn http_14_everything_else_reaches_the_upstream_byte_for_byte() {
    let here = Loop::start().await;
    for target in [
        "/v1/models/tiny%3Alatest",
        "/v1/models/tiny%3alatest",
        "/v1/models/tiny:latest",
        "/v1/models/a.b..c@~!$&'()*+,=",
        "/v1/models/%C3%A9%20x",
        "/api/tags?a=%2F..%2f%00&b=//c/../;d&e=%zz",
        "/api/tags?",
    ] {
        let head = here.head(&format!("GET {target}"), "Connection: close\r\n");
        let (answer, _) = here.exchange(head).await;
        assert!(answer.status > 0, "{target}");
        assert_eq!(here.targets(), [target], "{}", answer.head);
        here.upstream.demo.reset();
    }
}

#[tokio::test]
async fn http_14_a_fragment_never_reaches_the_upstream() {
    let here = Loop::start().await;
    // The HTTP library cuts it off the target before the gateway sees one; what is left means the same to everybody.
    let head = here.head("GET /api/tags#/../x", "Connection: close\r\n");
    let (answer, _) = here.exchange(head).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert_eq!(here.targets(), ["/api/tags"]);
}

#[tokio::test]
async fn http_15_slashes_are_mended_without_a_redirect() {
    let here = Loop::start().await;
    let body = r#"{"model":"tiny+lines=1"}"#;
    let token = &here.token;
    for (asked, forwarded) in [
        ("//api//chat".to_owned(), "/api/chat"),
        ("/api/chat/".to_owned(), "/api/chat"),
        ("/api/chat//?a=//b/".to_owned(), "/api/chat?a=//b/"),
        (format!("/k/{token}//api/chat/"), "/api/chat"),
    ] {
        let lines = format!("Connection: close\r\nContent-Length: {}\r\n", body.len());
        let head = here.head(&format!("POST {asked}"), &lines);
        let (answer, _) = here.exchange(format!("{head}{body}")).await;
        assert_eq!(answer.status, 200, "{asked}: {}", answer.head);
        let recorded = here.upstream.demo.recorded();
        assert_eq!(here.targets(), [forwarded], "{asked}");
        assert_eq!(recorded[0].method, "POST");
        assert_eq!(recorded[0].body.as_deref(), Some(body.as_bytes()));
        here.upstream.demo.reset();
    }
    for asked in [
        format!("GET /k/{token}"),
        format!("GET /k/{token}/"),
        format!("HEAD /k/{token}/"),
        format!("GET /k/{token}/d/laptop"),
        "GET /d/laptop/".to_owned(),
    ] {
        let (answer, _) = here
            .exchange(here.head(&asked, "Connection: close\r\n"))
            .await;
        assert_eq!(answer.status, 200, "{asked}: {}", answer.head);
        assert_eq!(here.targets(), ["/"], "{asked}");
        here.upstream.demo.reset();
    }
}

#[tokio::test]
async fn http_16_methods_that_are_not_forwarded_say_which_are() {
    let here = Loop::start().await;
    let address = here.relay.address();
    let close = "Connection: close\r\n";
    for asked in [
        format!("CONNECT {address}"),
        "TRACE /api/tags".to_owned(),
        "PROPFIND /api/tags".to_owned(),
        "get /api/tags".to_owned(),
        "PRI /api/tags".to_owned(),
    ] {
        let answer = here.refuses(here.head(&asked, close), 405, &asked).await;
        let allow = field(&answer.head, "allow").unwrap_or_default();
        assert_eq!(allow, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    }
    // A tunnel to anywhere else is a target that differs from the host.
    let head = here.head("CONNECT 127.0.0.1:22", close);
    here.refuses(format!("{head}SSH-2.0-x\r\n"), 400, "CONNECT")
        .await;
    for asked in ["OPTIONS *", "OPTIONS /api/chat", "OPTIONS /anything"] {
        let answer = here.refuses(here.head(asked, close), 204, asked).await;
        assert!(field(&answer.head, "allow").is_some(), "{asked}");
    }
}

#[tokio::test]
async fn http_16_a_connect_opens_no_tunnel() {
    let here = Loop::start().await;
    let address = here.relay.address();
    let head = here.head(&format!("CONNECT {address}"), "");
    let bytes = format!(
        "{head}{}",
        here.head("GET /api/tags", "Connection: close\r\n")
    );
    let (answer, rest) = here.exchange(bytes).await;
    assert_eq!(answer.status, 405, "{}", answer.head);
    // What follows is at most a request of its own, with a credential of its own.
    assert!(!rest.contains("101 "), "{rest}");
}

//! HTTP-07 to HTTP-11: how much a head may hold, whom it names, and which of its fields cross.

use std::collections::BTreeSet;

use super::{
    Loop, field,
    scripted::{Scripted, keep},
};

#[tokio::test]
async fn http_07_a_head_that_is_too_large_is_refused_and_others_are_served() {
    let here = Loop::start().await;
    // Two fields are in every head of this test.
    let exactly_100: String = (0..97).map(|n| format!("X-{n}: 1\r\n")).collect();
    let accepted = format!("{exactly_100}Connection: close\r\n");
    let (answer, _) = here
        .exchange(here.head("GET /api/version", &accepted))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    here.upstream.demo.reset();

    let one_more = format!("{exactly_100}X-A: 1\r\nX-B: 1\r\n");
    let head = here.head("GET /api/tags", &one_more);
    here.refuses(head, 431, "101 fields").await;

    let wide = format!("X-A: {}\r\n", "a".repeat(64 * 1024));
    let head = here.head("GET /api/tags", &wide);
    here.refuses(head, 431, "64 KiB of fields").await;

    // The HTTP library counts the target into the head, whose limit is smaller than that of a target: 431 and not 414.
    let long = format!("GET /api/tags?{}", "a".repeat(70_000));
    let head = here.head(&long, "");
    here.refuses(head, 431, "a target of 70 KB").await;

    // A head without an end is refused at the limit as well, not when its time is over.
    let endless = here.head("GET /api/tags", "");
    let endless = format!("{}X-A: {}", endless.trim_end(), "a".repeat(80_000));
    here.refuses(endless, 431, "a head without an end").await;
}

#[tokio::test]
async fn http_07_a_path_longer_than_any_that_is_served_is_refused() {
    let here = Loop::start().await;
    let long = format!("GET /v1/models/{}", "a".repeat(17_000));
    here.refuses(here.head(&long, ""), 400, "a path of 17 KB")
        .await;
}

#[tokio::test]
async fn http_07_the_limit_of_a_head_is_configuration() {
    let here = Loop::start_with(|config| config.max_head_bytes = 8 * 1024).await;
    let wide = format!("X-A: {}\r\n", "a".repeat(8 * 1024));
    here.refuses(here.head("GET /api/tags", &wide), 431, "8 KiB")
        .await;
}

#[tokio::test]
async fn http_08_a_host_that_is_missing_doubled_or_none_is_refused() {
    let here = Loop::start().await;
    let address = here.relay.address();
    let host = format!("Host: {address}\r\n");
    let head = here.head("GET /api/tags", "");
    let with = |replacement: &str| head.replace(&host, replacement);
    let foreign = head.replace("/api/tags", "http://other.example/api/tags");
    let absolute = head.replace("/api/tags", &format!("http://{address}/api/tags"));
    let with_user = format!("http://ada@{address}/api/tags");
    for (bytes, what) in [
        (with(""), "no host"),
        (with(&format!("{host}{host}")), "two equal hosts"),
        (with(&format!("{host}Host: other\r\n")), "two hosts"),
        (with("Host: a/b@c\r\n"), "a path and a user"),
        (with("Host: ada@relay\r\n"), "a user"),
        (with("Host: a b\r\n"), "a blank"),
        (with("Host:\r\n"), "an empty host"),
        (foreign, "an absolute target with another host"),
        (
            absolute.replace(&host, ""),
            "an absolute target without a host",
        ),
        (
            head.replace("/api/tags", &with_user),
            "a user in the target",
        ),
    ] {
        let answer = here.refuses(bytes, 400, what).await;
        assert!(field(&answer.head, "x-request-id").is_some(), "{what}");
    }
}

#[tokio::test]
async fn http_08_whatever_host_is_asked_the_upstream_hears_its_own() {
    let here = Loop::start().await;
    let address = here.relay.address();
    let head = here.head("GET /api/tags", "Connection: close\r\n");
    let own = format!("localhost:{}", here.upstream.address().port());
    let relay = format!("Host: {address}\r\n");
    let absolute = head.replace("/api/tags", &format!("http://{address}/api/tags"));
    let older = head.replace(&relay, "").replace("HTTP/1.1", "HTTP/1.0");
    for (bytes, what) in [
        (head.clone(), "the relay's"),
        (head.replace(&relay, "Host: evil.example\r\n"), "another"),
        (head.replace(&relay, "Host: [::1]:80\r\n"), "an address"),
        (absolute, "an absolute target"),
        (older, "none, in HTTP/1.0"),
    ] {
        let (answer, _) = here.exchange(bytes).await;
        assert_eq!(answer.status, 200, "{what}: {}", answer.head);
        let recorded = here.upstream.demo.recorded();
        assert_eq!(recorded.len(), 1);
        assert_eq!(recorded[0].target, "/api/tags", "{what}");
        let hosts = recorded[0]
            .headers
            .iter()
            .filter(|(name, _)| name == "host");
        let hosts: Vec<_> = hosts.map(|(_, value)| value.as_slice()).collect();
        assert_eq!(hosts, [own.as_bytes()], "{what}");
        here.upstream.demo.reset();
    }
}

/// Names of the fields of the one request that the upstream has seen.
fn names_at(here: &Loop) -> BTreeSet<String> {
    let mut recorded = here.upstream.demo.recorded();
    assert_eq!(recorded.len(), 1);
    let fields = recorded.remove(0).headers;
    fields.into_iter().map(|(name, _)| name).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn http_09_fields_of_one_hop_do_not_reach_the_upstream() {
    let here = Loop::start().await;
    let lines = "Connection: close, x-secret\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\n\
                 Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nTE: gzip\r\n\
                 Upgrade: websocket\r\nTrailer: x-sum\r\nX-Kept: 1\r\n";
    let (answer, _) = here.exchange(here.head("GET /api/tags", lines)).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert_eq!(names_at(&here), set(&["host", "x-kept"]));
}

#[tokio::test]
async fn http_09_fields_of_one_hop_do_not_reach_the_caller() {
    let there = Scripted::start(|_| {
        keep(
            "HTTP/1.1 200 OK\r\nConnection: x-secret\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\n\
             Proxy-Connection: keep-alive\r\nProxy-Authenticate: Basic\r\nTE: gzip\r\n\
             Upgrade: h2c\r\nTrailer: x-sum\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\n{}",
        )
    })
    .await;
    let answer = there.caller.get("/api/tags").await;
    assert_eq!(answer.status(), 200);
    let names: BTreeSet<String> = answer.headers().keys().map(ToString::to_string).collect();
    let ours = [
        "cache-control",
        "content-length",
        "content-security-policy",
        "date",
        "referrer-policy",
        "x-c2l-device",
        "x-content-type-options",
        "x-kept",
        "x-request-id",
    ];
    assert_eq!(names, set(&ours));
    assert_eq!(answer.text().await, "{}");
}

#[tokio::test]
async fn http_10_nominated_fields_are_dropped_and_our_checks_still_see_them() {
    let here = Loop::start().await;
    let body = r#"{"model":"tiny+lines=1","messages":[{"role":"user","content":"x"}]}"#;
    let nominated = "Connection: close, authorization, host, content-length, x-c2l-device\r\n";
    let lines = format!(
        "{nominated}X-C2L-Device: laptop\r\nContent-Length: {}\r\n",
        body.len()
    );
    let head = here.head("POST /api/chat", &lines);
    let (answer, _) = here.exchange(format!("{head}{body}")).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    let recorded = here.upstream.demo.recorded();
    assert_eq!(recorded.len(), 1, "one request, one framing");
    assert_eq!(recorded[0].body.as_deref(), Some(body.as_bytes()));
    assert_eq!(recorded[0].header("transfer-encoding"), Some("chunked"));
    assert_eq!(recorded[0].header("content-length"), None);
    assert_eq!(names_at(&here), set(&["host", "transfer-encoding"]));
    here.upstream.demo.reset();

    // A device that is not there is refused although the field that names it was nominated.
    let lines = format!("{nominated}X-C2L-Device: other\r\nContent-Length: 0\r\n");
    let head = here.head("POST /api/chat", &lines);
    here.refuses(head, 404, "another device").await;
    // So is a wrong credential.
    let head = here.head(
        "POST /api/chat",
        &format!("{nominated}Content-Length: 0\r\n"),
    );
    let head = head.replace(&here.token, "not-a-token");
    here.refuses(head, 401, "a wrong credential").await;
}

#[tokio::test]
async fn http_11_nothing_that_says_who_asks_or_from_where_reaches_the_upstream() {
    let here = Loop::start().await;
    let lines = format!(
        "X-Api-Key: {}\r\nCookie: session=secret\r\nOrigin: https://page.example\r\n\
         Referer: https://page.example/k/secret/\r\nForwarded: for=192.0.2.1\r\n\
         X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Host: relay.example\r\n\
         X-Forwarded-Proto: https\r\nX-Real-IP: 192.0.2.1\r\nVia: 1.1 proxy\r\n\
         X-C2L-Device: laptop\r\nX-C2L-Anything: 1\r\nX-Request-Id: mine\r\n\
         X-OpenWebUI-User-Email: ada@example.org\r\nSec-Fetch-Site: cross-site\r\n\
         Accept-Encoding: gzip\r\nUser-Agent: ollama/0.33.0\r\nAccept: */*\r\nConnection: close\r\n",
        here.token
    );
    let (answer, _) = here.exchange(here.head("GET /api/tags", &lines)).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert_eq!(names_at(&here), set(&["accept", "host", "user-agent"]));
    let recorded = here.upstream.demo.recorded();
    let values = recorded[0].headers.iter().map(|(_, value)| value);
    let dump: String = values.map(|value| String::from_utf8_lossy(value)).collect();
    assert!(!dump.contains("secret") && !dump.contains(&here.token));
}

#[tokio::test]
async fn http_11_a_credential_in_the_path_does_not_reach_the_upstream() {
    let here = Loop::start().await;
    let path = format!("GET /k/{}/d/laptop/api/tags?a=b", here.token);
    let head = here
        .head(&path, "Connection: close\r\n")
        .replace(&format!("Authorization: Bearer {}\r\n", here.token), "");
    let (answer, _) = here.exchange(head).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert_eq!(here.targets(), ["/api/tags?a=b"]);
    assert_eq!(names_at(&here), set(&["host"]));
}

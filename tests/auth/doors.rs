//! Where a credential may stand, and which one counts.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use c2l_testkit::{Caller, RawConnection, empty};
use http::Method;
use tokio::time::Instant;

use super::{Stand, assert_unauthenticated, forge, refused};

const PATH: &str = "/api/tags";

/// `GET` of [`PATH`] with these fields and no others.
async fn with_fields(stand: &Stand, fields: &[(&str, &str)]) -> c2l_testkit::Answer {
    let caller = Caller::anonymous(stand.relay.address());
    let mut request = caller.request(Method::GET, PATH);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    caller.send(request.body(empty()).expect("a request")).await
}

#[tokio::test]
async fn jwt_11_of_two_credentials_among_the_fields_neither_counts() {
    let stand = Stand::start().await;
    let good = forge::token(&forge::claims());
    let other = forge::token(&forge::with("sub", "bob"));
    let bearer = |token: &str| format!("Bearer {token}");
    let (a, b) = (bearer(&good), bearer(&other));
    let both = format!("{a}, {b}");
    let basic = |text: String| format!("Basic {}", STANDARD.encode(text));
    let pair = basic(format!("{good}:{other}"));
    for fields in [
        &[("authorization", a.as_str()), ("authorization", b.as_str())][..],
        &[("authorization", b.as_str()), ("authorization", a.as_str())],
        &[("authorization", a.as_str()), ("authorization", a.as_str())],
        &[("authorization", both.as_str())],
        &[("authorization", a.as_str()), ("x-api-key", other.as_str())],
        &[
            ("authorization", "Bearer dummy"),
            ("x-api-key", good.as_str()),
        ],
        &[("x-api-key", good.as_str()), ("x-api-key", other.as_str())],
        &[("authorization", pair.as_str())],
    ] {
        let body = refused(with_fields(&stand, fields).await, 400).await;
        assert_eq!(body["code"], "invalid_request");
        let text = body.to_string();
        assert!(!text.contains(&good) && !text.contains(&other), "{text}");
    }
    stand.assert_untouched(&[good.clone(), other]);
    // Twice the same, in the two places that clients of two sorts use, is one.
    let same = [("authorization", a.as_str()), ("x-api-key", good.as_str())];
    assert_eq!(with_fields(&stand, &same).await.status(), 200);
}

#[tokio::test]
async fn jwt_11_two_credentials_on_a_tunnel_open_nothing() {
    let stand = Stand::start().await;
    let good = forge::token(&forge::with("c2l_kind", "agent"));
    let refused = c2l_testkit::FakeAgent::dial_with(stand.relay.address(), |metadata| {
        let bearer: tonic::metadata::MetadataValue<_> =
            format!("Bearer {good}").parse().expect("a value");
        metadata.append("authorization", bearer.clone());
        metadata.append("authorization", bearer);
    });
    let status = refused.await.expect_err("no session");
    assert_eq!(status.code(), tonic::Code::Unauthenticated);
    stand.assert_untouched(&[good]);
}

#[tokio::test]
async fn jwt_12_the_credential_in_the_path_decides_alone() {
    let stand = Stand::start().await;
    let good = forge::token(&forge::claims());
    let bad = forge::token(&forge::with("exp", forge::at(-3600)));
    let path = |token: &str| format!("/k/{token}{PATH}");
    for dummy in ["ollama", "sk-no-key-required", bad.as_str()] {
        let caller = Caller::new(stand.relay.address(), dummy);
        let answer = caller.get(&path(&good)).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
    }
    let seen = stand.upstream.demo.counters().requests_started;
    let fallback = Caller::new(stand.relay.address(), &good);
    assert_unauthenticated(fallback.get(&path(&bad)).await, &bad, "expired").await;
    assert_unauthenticated(fallback.get(&path("x")).await, "x", "malformed").await;
    assert_eq!(stand.upstream.demo.counters().requests_started, seen);
    for request in stand.upstream.demo.recorded() {
        assert!(!format!("{request:?}").contains(&good), "{request:?}");
        assert!(request.header("authorization").is_none());
    }
    stand.assert_unlogged(&[good, bad]);
}

#[tokio::test]
async fn jwt_13_a_credential_in_the_query_is_none() {
    let stand = Stand::start().await;
    let good = forge::token(&forge::claims());
    let anonymous = Caller::anonymous(stand.relay.address());
    for name in [
        "access_token",
        "key",
        "k",
        "token",
        "api_key",
        "authorization",
    ] {
        let answer = anonymous.get(&format!("{PATH}?{name}={good}")).await;
        assert_unauthenticated(answer, &good, "no credential").await;
        let answer = anonymous
            .get(&format!("/relay/v1/whoami?{name}={good}"))
            .await;
        assert_unauthenticated(answer, &good, "no credential").await;
    }
    // Nor in a cookie, which a browser sends by itself.
    let cookie = format!("c2l={good}; authorization={good}");
    let answer = with_fields(&stand, &[("cookie", &cookie)]).await;
    assert_unauthenticated(answer, &good, "no credential").await;
    stand.assert_untouched(&[good]);
}

#[tokio::test]
async fn jwt_14_a_token_of_a_mebibyte_is_turned_away_at_once() {
    let stand = Stand::start().await;
    let endless = "x".repeat(1024 * 1024);
    let host = stand.relay.address();
    let requests = [
        format!("GET {PATH} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {endless}\r\n\r\n"),
        format!("GET /k/{endless}{PATH} HTTP/1.1\r\nhost: {host}\r\n\r\n"),
    ];
    let good = stand.bearer(&forge::token(&forge::claims()));
    for request in requests {
        let mut times = Vec::new();
        for _ in 0..5 {
            let mut connection = RawConnection::open(host).await;
            let since = Instant::now();
            connection.send(&request).await;
            let answer = connection.head(true).await;
            times.push(since.elapsed());
            assert!(matches!(answer.status, 401 | 414 | 431), "{answer:?}");
            assert_eq!(good.get(PATH).await.status(), 200, "others go on");
        }
        let fastest = times.iter().min().expect("some");
        assert!(*fastest < Duration::from_millis(100), "{times:?}");
    }
    let refused = c2l_testkit::FakeAgent::dial(host, &endless).await;
    assert!(refused.is_err(), "no session");
    stand.assert_unlogged(&["x".repeat(64)]);
}

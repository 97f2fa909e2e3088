//! Other origins: what a page of somebody else's can do with this browser's cookie, and under a name that it points here.

use c2l_relay::PublicUrl;
use c2l_testkit::{Caller, CapturedLog, TestAgent, TestRelay, TestUpstream, empty, full};
use http::{HeaderValue, Method};
use serde_json::json;

use super::{Browser, refusal};

const NAMED: &str = "https://app.example";
/// What the page calls, each with its method.
const CALLS: [(Method, &str); 5] = [
    (Method::GET, "/web/v1/session"),
    (Method::DELETE, "/web/v1/session"),
    (Method::GET, "/web/v1/account/keys"),
    (Method::POST, "/web/v1/account/keys"),
    (Method::POST, "/web/v1/devices/desk/api/chat"),
];

#[tokio::test]
async fn web_01_no_other_origin_is_ever_permitted_what_a_cookie_opens() {
    let relay = TestRelay::start_with(|config| {
        config.cors_origins = vec![HeaderValue::from_static(NAMED)];
    })
    .await;
    let browser = Browser::of(&relay, "ada").await;
    for path in [
        "/web/v1/session",
        "//web/v1/account/keys",
        "/web/v1/account/keys",
        "/web/x",
    ] {
        for method in [Method::OPTIONS, Method::GET, Method::POST] {
            let request = browser
                .bare(method.clone(), path)
                .header("origin", NAMED)
                .header("sec-fetch-site", "cross-site")
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "x-c2l-web");
            let answer = browser
                .send(request.body(empty()).expect("a request"))
                .await;
            let fields = answer.headers();
            let is_cors = |name: &http::HeaderName| name.as_str().starts_with("access-control-");
            assert!(!fields.keys().any(is_cors), "{method} {path}: {fields:?}");
            assert!(answer.status() != 200, "{method} {path}");
        }
    }
    assert_eq!(
        browser.whose().await.as_deref(),
        Some("ada"),
        "and nothing came of it"
    );
}

#[tokio::test]
async fn web_02_a_cookie_alone_changes_and_reads_nothing() {
    let upstream = TestUpstream::start().await;
    let relay = TestRelay::start().await;
    let _agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let browser = Browser::of(&relay, "ada").await;
    let ours = format!("http://{}", relay.address());
    // What another site can have a browser send: no field of its own, and what the browser says of it.
    for fields in [
        &[][..],
        &[("x-c2l-web", "1"), ("sec-fetch-site", "cross-site")],
        &[("x-c2l-web", "1"), ("sec-fetch-site", "same-site")],
        &[("x-c2l-web", "1"), ("sec-fetch-site", "none")],
        &[
            ("x-c2l-web", "1"),
            ("sec-fetch-site", "cross-site"),
            ("origin", ours.as_str()),
        ],
        &[("x-c2l-web", "1"), ("origin", "https://evil.example")],
        &[("x-c2l-web", "1"), ("origin", "null")],
        &[("x-c2l-web", "true"), ("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "same-origin"), ("origin", ours.as_str())],
    ] {
        for (method, path) in CALLS {
            let mut request = browser
                .bare(method.clone(), path)
                .header("content-type", "text/plain");
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            let body = full(json!({ "name": "stolen" }).to_string());
            let answer = browser.send(request.body(body).expect("a request")).await;
            let said = refusal(answer).await;
            assert_eq!(
                said,
                (403, "forbidden".to_owned()),
                "{method} {path} {fields:?}"
            );
        }
    }
    // Where a cookie counts nowhere, no proof is asked for, and none helps.
    for (method, path) in [
        (Method::POST, "/api/pull"),
        (Method::GET, "/api/tags"),
        (Method::POST, "/v1/chat/completions"),
        (Method::POST, "/relay/v1/keys"),
        (Method::GET, "/relay/v1/whoami"),
        (Method::GET, "/d/desk/api/tags"),
    ] {
        for proof in [false, true] {
            let request = match proof {
                true => browser.request(method.clone(), path),
                false => browser.bare(method.clone(), path),
            };
            let request = request.header("content-type", "text/plain");
            let answer = browser
                .send(request.body(full("{}")).expect("a request"))
                .await;
            assert_eq!(answer.status(), 401, "{method} {path}");
        }
    }
    let keys = browser.get("/web/v1/account/keys").await.json().await;
    assert_eq!(keys, json!({ "keys": [] }));
    assert_eq!(upstream.demo.counters().requests_started, 0);
}

#[tokio::test]
async fn web_02_a_browser_that_says_no_site_is_believed_by_the_origin_that_it_names() {
    let relay = TestRelay::start_plain("the origin has a scheme", |config| {
        let web = config.web.as_mut().expect("a page");
        web.public_url = Some(PublicUrl::parse("https://relay.example").expect("an address"));
    })
    .await;
    let browser = Browser::of(&relay, "ada").await;
    let post = async |host: &str, origin: Option<&str>, method: Method| {
        let mut request = browser
            .bare(method, "/web/v1/account/keys")
            .header("x-c2l-web", "1");
        let fields = request.headers_mut().expect("fields");
        fields.insert("host", host.parse().expect("a host"));
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let request = request.header("content-type", "application/json");
        let body = full(json!({ "name": "x" }).to_string());
        browser
            .send(request.body(body).expect("a request"))
            .await
            .status()
            .as_u16()
    };
    let here = relay.address().to_string();
    let origin = format!("http://{here}");
    assert_eq!(post(&here, Some(&origin), Method::POST).await, 201);
    assert_eq!(
        post("relay.example", Some("https://relay.example"), Method::POST).await,
        201
    );
    assert_eq!(post(&here, None, Method::POST).await, 403);
    assert_eq!(post(&here, None, Method::GET).await, 200);
    for other in [
        "https://relay.example",
        "http://relay.example",
        "http://127.0.0.1:1",
    ] {
        assert_eq!(post(&here, Some(other), Method::POST).await, 403, "{other}");
    }
    for other in [
        "http://relay.example",
        "https://relay.example:8443",
        &origin,
    ] {
        assert_eq!(
            post("relay.example", Some(other), Method::POST).await,
            403,
            "{other}"
        );
    }
}

#[tokio::test]
async fn web_07_under_a_strange_name_there_is_no_page_and_nothing_that_it_calls() {
    let relay = TestRelay::start_with(|config| {
        let web = config.web.as_mut().expect("a page");
        web.public_url = Some(PublicUrl::parse("https://relay.example").expect("an address"));
        web.hosts = vec!["other.example".to_owned()];
    })
    .await;
    let browser = Browser::of(&relay, "ada").await;
    let status = async |address, host: &str, path: &str, fields: &[(&str, &str)]| {
        let caller = Caller::anonymous(address);
        let mut request = caller
            .request(Method::GET, path)
            .header("accept", "text/html");
        let known = request.headers_mut().expect("fields");
        known.insert("host", host.parse().expect("a host"));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let answer = caller.send(request.body(empty()).expect("a request")).await;
        answer.status().as_u16()
    };
    let cookie = format!("__Host-c2l={}", browser.session());
    let proof = [
        ("x-c2l-web", "1"),
        ("sec-fetch-site", "same-origin"),
        ("cookie", cookie.as_str()),
    ];
    let token = format!("Bearer {}", relay.api_token("ada"));
    let paths = [
        "/",
        "/favicon.svg",
        "/web/v1/session",
        "/web/v1/account/whoami",
    ];
    for host in [
        "evil.example",
        "evil.example:80",
        "relay.example.evil.example",
        "127.0.0.1.evil.example",
    ] {
        for path in paths {
            assert_eq!(
                status(relay.address(), host, path, &proof).await,
                421,
                "{host} {path}"
            );
        }
        assert_eq!(
            status(relay.address(), host, "/login", &[]).await,
            421,
            "{host}"
        );
        assert_eq!(
            status(relay.ops_address(), host, "/metrics", &[]).await,
            421,
            "{host}"
        );
        // The API: a page under such a name is told off, with whatever it has; a program needs its credential all the same.
        for path in ["/api/version", "/v1/models", "/relay/v1/whoami"] {
            let with_all = [&proof[..], &[("authorization", token.as_str())]].concat();
            assert_eq!(
                status(relay.address(), host, path, &with_all).await,
                421,
                "{host} {path}"
            );
            assert_eq!(
                status(relay.address(), host, path, &[]).await,
                401,
                "{host} {path}"
            );
        }
        let program = [("authorization", token.as_str())];
        assert_eq!(
            status(relay.address(), host, "/relay/v1/whoami", &program).await,
            200
        );
    }
    let port = relay.address().port();
    for host in [
        "relay.example",
        "RELAY.example:8443",
        "other.example",
        "localhost",
        &format!("127.0.0.1:{port}"),
        "[::1]",
    ] {
        for path in paths {
            assert_eq!(
                status(relay.address(), host, path, &proof).await,
                200,
                "{host} {path}"
            );
        }
    }
}

#[tokio::test]
async fn who_proves_nothing_fills_no_audit_log() {
    let log = CapturedLog::start();
    let relay = TestRelay::start().await;
    let stranger = Browser::at(&relay);
    let ours = format!("http://{}", relay.address());
    for turn in 0..50 {
        let (method, path) = &CALLS[turn % CALLS.len()];
        let bare = stranger.bare(Method::GET, "/web/v1/session");
        let foreign = stranger
            .bare(method.clone(), path)
            .header("x-c2l-web", "1")
            .header("sec-fetch-site", "cross-site");
        let unmarked = stranger.bare(method.clone(), path).header("origin", &ours);
        for request in [bare, foreign, unmarked] {
            let answer = stranger.send(request.body(empty()).expect("a request"));
            assert_eq!(answer.await.status(), 403, "{method} {path}");
        }
    }
    assert_eq!(log.text().matches("policy_refused").count(), 0);
    // Who shows a credential and asks for what is not allowed is in it.
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    assert_eq!(caller.post("/api/pull", &json!({})).await.status(), 403);
    assert_eq!(log.text().matches("policy_refused").count(), 1);
}

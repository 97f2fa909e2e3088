//! Doors: what a browser that has signed in reaches, and what it does not.

use c2l_testkit::{Caller, FakeAgent, RawUpstream, TestAgent, TestRelay, TestUpstream, empty};
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Code;

use super::{Browser, refusal};

/// The one device of this browser's user.
async fn device(browser: &Browser) -> String {
    let said = browser.get("/web/v1/account/devices").await.json().await;
    said["devices"][0]["name"]
        .as_str()
        .expect("a device")
        .to_owned()
}

#[tokio::test]
async fn a_cookies_value_opens_no_other_door() {
    let upstream = TestUpstream::start().await;
    let relay = TestRelay::start().await;
    let _agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let browser = Browser::of(&relay, "ada").await;
    let value = browser.session();
    let bearer = Caller::new(relay.address(), value.clone());
    for path in [
        "/api/tags",
        "/v1/models",
        "/relay/v1/whoami",
        "/relay/v1/devices",
        "/relay/v1/keys",
        "/d/x/api/tags",
    ] {
        assert_eq!(
            refusal(bearer.get(path).await).await,
            (401, "unauthenticated".to_owned()),
            "{path}"
        );
        let request = browser
            .request(Method::GET, path)
            .header("x-api-key", &value);
        let answer = browser
            .send(request.body(empty()).expect("a request"))
            .await;
        assert_eq!(answer.status(), 401, "{path}");
    }
    let answer = Caller::anonymous(relay.address())
        .get(&format!("/k/{value}/api/tags"))
        .await;
    assert_eq!(answer.status(), 401);
    let refused = FakeAgent::dial(relay.address(), &value).await;
    assert_eq!(
        refused.expect_err("no session").code(),
        Code::Unauthenticated
    );
    // The other way round: what is good there is no cookie.
    for other in [
        relay.api_token("ada"),
        relay.agent_token("ada"),
        super::account_token(&relay, "ada"),
    ] {
        assert_eq!(Browser::with(&relay, &other).whose().await, None);
        let bearer = Caller::new(relay.address(), other);
        let request = bearer
            .request(Method::GET, "/web/v1/account/whoami")
            .header("x-c2l-web", "1");
        let answer = bearer.send(request.body(empty()).expect("a request")).await;
        assert_eq!(answer.status(), 401, "a field is no cookie");
    }
    assert_eq!(upstream.demo.counters().requests_started, 0);
    assert_eq!(browser.whose().await.as_deref(), Some("ada"));
}

#[tokio::test]
async fn the_page_reaches_its_users_own_devices_and_what_it_is_for_there() {
    let ada = TestUpstream::named("ada").await;
    let relay = TestRelay::start().await;
    let _agent = TestAgent::connect(&relay, "ada", ada.address()).await;
    let browser = Browser::of(&relay, "ada").await;
    let at = format!("/web/v1/devices/{}/api", device(&browser).await);
    for path in ["tags", "ps", "version"] {
        let answer = browser.get(&format!("{at}/{path}")).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.header("x-c2l-device"), device(&browser).await);
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let body =
        json!({ "model": "tiny+lines=3", "messages": [{ "role": "user", "content": "hello" }] });
    let chat = browser
        .post(&format!("{at}/chat"), &body)
        .await
        .text()
        .await;
    let last: Value = serde_json::from_str(chat.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["done"], true);
    // And of a server that speaks OpenAI's API alone.
    let openai = at.replace("/api", "/v1");
    let listed = browser.get(&format!("{openai}/models")).await.json().await;
    assert_eq!(listed["object"], "list");
    let body = json!({ "model": "tiny", "stream": true, "messages": body["messages"] });
    let answer = browser
        .post(&format!("{openai}/chat/completions"), &body)
        .await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert!(answer.text().await.ends_with("data: [DONE]\n\n"));
    let answer = browser.get(&format!("{openai}/chat/completions")).await;
    assert_eq!(answer.status(), 405);
    let seen = ada.demo.recorded();
    let names = seen
        .iter()
        .flat_map(|request| request.headers.iter())
        .map(|(name, _)| name.as_str());
    let leaked: Vec<_> = names
        .filter(|name| ["cookie", "origin", "x-c2l-web"].contains(name) || name.starts_with("sec-"))
        .collect();
    assert!(leaked.is_empty(), "{leaked:?}");
    let before = ada.demo.counters().requests_started;
    for (method, path) in [
        (Method::POST, "pull"),
        (Method::DELETE, "delete"),
        (Method::POST, "create"),
        (Method::POST, "push"),
        (Method::POST, "copy"),
        (Method::GET, "me"),
        (Method::POST, "blobs/sha256:00"),
        (Method::GET, "nothing"),
        (Method::GET, "tags/x"),
    ] {
        let answer = browser.ask(method, &format!("{at}/{path}"), None).await;
        assert_eq!(answer.status(), 404, "{path}");
    }
    for path in [
        "/web/v1/devices/desk/v1/embeddings",
        "/web/v1/devices/desk/v1/models/x",
        "/web/v1/devices/desk/v1",
        "/web/v1/devices/desk",
        "/web/v1/devices/desk/tags",
        "/web/v1/api/tags",
        "/web/v1/devices",
        "/web/v1",
        "/web",
        "/web/v2/session",
        "/web/v1/account",
        "/web/v1/account/login/device",
        "/web/v1/account/links",
        "/web/v1/signin/0",
        "/web/v1/signin/x",
    ] {
        assert_eq!(browser.get(path).await.status(), 404, "{path}");
    }
    assert_eq!(ada.demo.counters().requests_started, before);
}

#[tokio::test]
async fn nothing_of_one_user_reaches_another_through_the_page() {
    let (ada, bob) = (
        TestUpstream::named("ada").await,
        TestUpstream::named("bob").await,
    );
    let relay = TestRelay::start().await;
    let _ada = TestAgent::connect_with(&relay, "ada", ada.address(), |config| {
        named(config, "ada-desk")
    })
    .await;
    let _bob = TestAgent::connect_with(&relay, "bob", bob.address(), |config| {
        named(config, "bob-desk")
    })
    .await;
    let (of_ada, of_bob) = (
        Browser::of(&relay, "ada").await,
        Browser::of(&relay, "bob").await,
    );
    let made = of_ada
        .post("/web/v1/account/keys", &json!({ "name": "x" }))
        .await
        .json()
        .await;
    let id = made["id"].as_str().expect("an id");
    assert_eq!(device(&of_ada).await, "ada-desk");
    assert_eq!(device(&of_bob).await, "bob-desk");
    assert_eq!(
        of_bob.get("/web/v1/account/keys").await.json().await,
        json!({ "keys": [] })
    );
    // Somebody else's and one that exists nowhere get the same answer.
    let said = async |path: String, method: Method| {
        let answer = of_bob.ask(method, &path, None).await;
        let status = answer.status().as_u16();
        let mut body = answer.json().await;
        body["request_id"] = Value::Null;
        (status, body)
    };
    for (theirs, nobodys, method) in [
        (
            format!("/web/v1/account/keys/{id}"),
            "/web/v1/account/keys/0000000000".to_owned(),
            Method::DELETE,
        ),
        (
            "/web/v1/devices/ada-desk/api/tags".to_owned(),
            "/web/v1/devices/nowhere/api/tags".to_owned(),
            Method::GET,
        ),
        (
            "/web/v1/devices/ada-desk/api/chat".to_owned(),
            "/web/v1/devices/nowhere/api/chat".to_owned(),
            Method::POST,
        ),
    ] {
        let (one, other) = (
            said(theirs.clone(), method.clone()).await,
            said(nobodys, method).await,
        );
        assert_eq!(one, other, "{theirs}");
        assert_eq!(one.0, 404, "{theirs}");
    }
    // Both cookies at once are none.
    let both = format!(
        "__Host-c2l={}; __Host-c2l={}",
        of_bob.session(),
        of_ada.session()
    );
    let nobody = Browser::at(&relay);
    let request = nobody
        .request(Method::GET, "/web/v1/account/whoami")
        .header("cookie", both);
    let answer = nobody.send(request.body(empty()).expect("a request")).await;
    assert_eq!(answer.status(), 401);
    assert_eq!(ada.demo.counters().requests_started, 0);
}

fn named(config: &mut c2l_agent::Config, name: &str) {
    config.device_name = name.to_owned();
}

#[tokio::test]
async fn web_05_what_an_upstream_says_runs_nowhere() {
    const PAGE: &str = "<script>fetch('/web/v1/account/keys')</script>";
    let upstream = RawUpstream::start(|mut stream| async move {
        let mut asked = vec![0; 4096];
        if stream.read(&mut asked).await.is_ok_and(|read| read > 0) {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\nset-cookie: __Host-c2l=x; Path=/; Secure\r\n";
            let answer = format!("{head}content-length: {}\r\nconnection: close\r\n\r\n{PAGE}", PAGE.len());
            drop(stream.write_all(answer.as_bytes()).await);
        }
    })
    .await;
    let relay = TestRelay::start().await;
    let _agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let browser = Browser::of(&relay, "ada").await;
    let at = format!("/web/v1/devices/{}/api/tags", device(&browser).await);
    let token = relay.api_token("ada");
    let bearer = Caller::new(relay.address(), token.clone());
    for answer in [
        browser.get(&at).await,
        bearer.get("/api/tags").await,
        Caller::anonymous(relay.address())
            .get(&format!("/k/{token}/api/tags"))
            .await,
    ] {
        assert_eq!(answer.status(), 200);
        assert_eq!(
            answer.header("content-security-policy"),
            "sandbox; default-src 'none'"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("content-type"), "application/octet-stream");
        assert!(!answer.headers().contains_key("set-cookie"));
        assert_eq!(answer.text().await, PAGE);
    }
    assert_eq!(browser.whose().await.as_deref(), Some("ada"));
}

#[tokio::test]
async fn web_08_a_key_in_a_path_is_told_to_nobody_and_kept_nowhere() {
    let upstream = TestUpstream::start().await;
    let relay = TestRelay::start().await;
    let _agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let browser = Browser::of(&relay, "ada").await;
    let made = browser
        .post("/web/v1/account/keys", &json!({ "name": "x" }))
        .await;
    assert_eq!(made.header("cache-control"), "no-store");
    let made = made.json().await;
    let key = made["key"].as_str().expect("a key");
    let anonymous = Caller::anonymous(relay.address());
    for (path, status) in [
        (format!("/k/{key}/api/tags"), 200),
        (format!("/k/{key}/"), 200),
        (format!("/k/{key}/api/nothing"), 404),
        (format!("/k/{key}/d/nowhere/api/tags"), 404),
        (format!("/k/{key}x/api/tags"), 401),
        (format!("/k/{key}/web/v1/session"), 404),
    ] {
        let answer = anonymous.get(&path).await;
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert!(!answer.text().await.contains(key), "{path}");
    }
    // The page is never told a key again, so it cannot put one anywhere.
    let listed = browser.get("/web/v1/account/keys").await.text().await;
    assert!(listed.contains(made["id"].as_str().expect("an id")) && !listed.contains(key));
}

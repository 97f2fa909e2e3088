//! Errors in the shape that each client parses, and the id by which everybody knows an exchange. The golden file
//! `errors.golden` is what callers see, word for word.

use std::{collections::HashSet, fmt::Write as _, time::Duration};

use c2l_testkit::{Answer, Caller, Nowhere, TestAgent, TestRelay, empty, full, tokens};
use http::Method;

use super::{Loop, field};

/// One path of each dialect.
const PATHS: [&str; 3] = ["/api/chat", "/v1/chat/completions", "/v1/messages"];
const CHAT: &str = r#"{"model":"MODEL","messages":[{"role":"user","content":"x"}],"max_tokens":9}"#;

/// What callers see, one paragraph for each answer.
#[derive(Default)]
struct Transcript {
    text: String,
}

impl Transcript {
    async fn add(&mut self, what: &str, answer: Answer) {
        let status = answer.status();
        writeln!(self.text, "{what}\n{status}").expect("memory");
        for name in [
            "content-type",
            "cache-control",
            "x-content-type-options",
            "x-request-id",
            "www-authenticate",
            "retry-after",
            "allow",
            "connection",
        ] {
            for value in answer.headers().get_all(name) {
                let value = value.to_str().expect("text");
                writeln!(self.text, "{name}: {value}").expect("memory");
            }
        }
        writeln!(self.text, "{}\n", answer.text().await).expect("memory");
    }
}

/// A request to be refused, with an id, and a body for the demonstration model.
fn request(
    caller: &Caller,
    method: Method,
    path: &str,
    fields: &[(&str, &str)],
    model: &str,
) -> http::Request<c2l_testkit::RequestBody> {
    let mut request = caller
        .request(method, path)
        .header("x-request-id", "golden-1");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let body = CHAT.replace("MODEL", model);
    request.body(full(body)).expect("a request")
}

#[tokio::test]
async fn errors_are_said_in_the_shape_of_each_dialect() {
    let here = Loop::start_with(|config| config.max_body_bytes = Some(500)).await;
    let impatient =
        Loop::start_with(|config| config.first_byte_timeout = Duration::from_millis(100)).await;
    let full_up = TestRelay::start_with(|config| config.max_requests_per_user = 0).await;
    let lonely = TestRelay::start().await;
    let closed = Nowhere::new();
    let _agent = TestAgent::connect(&lonely, "bob", closed.address()).await;
    let address = here.relay.address();
    let ada = &here.caller;
    let anonymous = Caller::anonymous(address);
    let wrong = Caller::new(address, "not-a-token");
    let expired = Caller::new(address, here.relay.sign(&tokens::expired("ada")));
    let agents = Caller::new(address, here.relay.agent_token("ada"));
    let over = Caller::new(full_up.address(), full_up.api_token("ada"));
    let offline = Caller::new(lonely.address(), lonely.api_token("ada"));
    let broken = Caller::new(lonely.address(), lonely.api_token("bob"));
    let large = "x".repeat(1000);

    let mut transcript = Transcript::default();
    for path in PATHS {
        for (what, caller, fields, model) in [
            (
                "two credentials",
                ada,
                &[("x-api-key", "other")][..],
                "tiny",
            ),
            ("no credential", &anonymous, &[], "tiny"),
            ("a wrong token", &wrong, &[], "tiny"),
            ("an expired token", &expired, &[], "tiny"),
            ("a token of an agent", &agents, &[], "tiny"),
            (
                "an unknown device",
                ada,
                &[("x-c2l-device", "other")],
                "tiny",
            ),
            ("a body over the limit", ada, &[], &*large),
            ("an expectation", ada, &[("expect", "other")], "tiny"),
            ("over the limit of requests", &over, &[], "tiny"),
            ("a panic", ada, &[("x-c2l-test-panic", "1")], "tiny"),
            ("no ollama", &broken, &[], "tiny"),
            ("no agent", &offline, &[], "tiny"),
            ("no first byte", &impatient.caller, &[], "tiny+silent=0"),
        ] {
            let request = request(caller, Method::POST, path, fields, model);
            let what = format!("{what}: POST {path}");
            transcript.add(&what, caller.send(request).await).await;
        }
        for (method, path) in [
            (Method::PUT, path.to_owned()),
            (Method::TRACE, path.to_owned()),
            (Method::POST, format!("{path}/unknown")),
        ] {
            let what = format!("{method} {path}");
            let request = request(ada, method, &path, &[], "tiny");
            transcript.add(&what, ada.send(request).await).await;
        }
    }
    for (method, path) in [
        (Method::POST, "/api/pull"),
        (Method::POST, "/api/me"),
        (Method::GET, "/unknown"),
        (Method::GET, "/api/a%2Fb"),
        (Method::GET, "/relay/v1/unknown"),
        (Method::POST, "/relay/v1/whoami"),
    ] {
        let what = format!("{method} {path}");
        let request = request(ada, method, path, &[], "tiny");
        transcript.add(&what, ada.send(request).await).await;
    }

    let text = transcript
        .text
        .replace(&closed.address().to_string(), "ADDRESS");
    let golden = include_str!("errors.golden");
    if text != golden {
        let first = text.lines().zip(golden.lines()).position(|(a, b)| a != b);
        panic!("errors.golden differs from line {first:?} (from 0):\n{text}");
    }
}

#[tokio::test]
async fn an_owner_who_allows_no_changes_is_named_as_the_reason() {
    let relay = TestRelay::start().await;
    let upstream = c2l_testkit::TestUpstream::start().await;
    let _agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let manager = Caller::new(relay.address(), relay.sign(&tokens::managing("ada")));
    let name = serde_json::json!({ "model": "tiny" });
    let answer = manager.post("/api/pull", &name).await;
    assert_eq!(answer.status(), 403);
    let body = answer.json().await;
    assert_eq!(body["code"], "forbidden");
    assert_eq!(body["origin"], "agent");
    assert!(upstream.demo.recorded().is_empty());
}

#[tokio::test]
async fn a_draining_relay_says_when_to_come_back() {
    let here = Loop::start().await;
    let mut running = here.caller.chat("tiny+silent=1", "x").await;
    assert!(running.piece().await.is_ok(), "the first line");
    here.relay.begin_shutdown();
    let answer = c2l_testkit::eventually(c2l_testkit::PATIENCE, "a 503", || async {
        let answer = here.caller.get("/api/tags").await;
        (answer.status() == 503).then_some(answer)
    })
    .await;
    assert_eq!(answer.header("retry-after"), "2");
    assert_eq!(answer.json().await["code"], "draining");
}

/// Every place from which an answer can come.
async fn everywhere(here: &Loop, caller: &Caller, id: Option<&str>) -> Vec<(String, Answer)> {
    let mut answers = Vec::new();
    for (method, path) in [
        (Method::GET, "/"),
        (Method::GET, "/relay/v1/version"),
        (Method::GET, "/relay/v1/whoami"),
        (Method::GET, "/relay/v1/unknown"),
        (Method::GET, "/unknown"),
        (Method::GET, "/api/tags"),
        (Method::HEAD, "/api/tags"),
        (Method::GET, "/v1/models/unknown"),
        (Method::GET, "/api/chat"),
        (Method::POST, "/api/pull"),
        (Method::TRACE, "/api/tags"),
        (Method::OPTIONS, "/api/tags"),
        (Method::GET, "/k/wrong/api/tags"),
        (Method::GET, "/api/%2e%2e/x"),
    ] {
        let mut request = caller.request(method.clone(), path);
        if let Some(id) = id {
            request = request.header("x-request-id", id);
        }
        let answer = caller.send(request.body(empty()).expect("a request")).await;
        answers.push((format!("{method} {path}"), answer));
    }
    here.upstream.demo.reset();
    answers
}

#[tokio::test]
async fn every_answer_has_an_id_of_its_own() {
    let here = Loop::start().await;
    let mut seen = HashSet::new();
    for caller in [here.caller.clone(), here.caller.clone().over_http2()] {
        for (what, answer) in everywhere(&here, &caller, None).await {
            let id = answer.header("x-request-id").to_owned();
            assert!(!id.is_empty(), "{what}");
            assert!(seen.insert(id), "{what}: an id for the second time");
        }
    }
}

#[tokio::test]
async fn the_callers_own_id_is_kept_and_is_in_the_error() {
    let here = Loop::start().await;
    let longest = "a".repeat(128);
    for id in ["ada-1_2.3:4", longest.as_str()] {
        for (what, answer) in everywhere(&here, &here.caller, Some(id)).await {
            let ids: Vec<_> = answer.headers().get_all("x-request-id").iter().collect();
            assert_eq!(ids, [id], "{what}");
            if ["GET /unknown", "GET /k/wrong/api/tags", "GET /api/chat"].contains(&&*what) {
                assert_eq!(answer.json().await["request_id"], id, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn an_id_that_could_be_anything_else_is_replaced() {
    let here = Loop::start().await;
    let too_long = "a".repeat(129);
    for id in [
        "",
        "a b",
        "a\tb",
        "<a>",
        "a,b",
        "\u{e4}",
        "\u{1b}[31m",
        &too_long,
    ] {
        let lines = format!("X-Request-Id: {id}\r\nConnection: close\r\n");
        let (answer, _) = here.exchange(here.head("GET /api/tags", &lines)).await;
        if id.contains('\u{1b}') {
            assert_eq!(answer.status, 400, "no field at all: {}", answer.head);
            continue;
        }
        assert_eq!(answer.status, 200, "{id:?}: {}", answer.head);
        let minted = field(&answer.head, "x-request-id").unwrap_or_default();
        assert!(!minted.is_empty() && minted != id, "{id:?} became {minted}");
    }
}

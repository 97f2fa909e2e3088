//! Promise: the owner of the machine says which routes and models are used there, and no request gets round it: however
//! it is spelled, cut or ordered, a request for another model has not reached Ollama whole.

use std::time::Duration;

use bytes::Bytes;
use c2l_agent::Policy;
use c2l_testkit::{
    Answer, Caller, PATIENCE, PlayedUpstream, TestAgent, TestRelay, TestUpstream, full, tokens,
    upload, within,
};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

const CLOUD: &str = "gpt-oss:120b-cloud";

/// A relay, an agent whose owner has a policy and allows changes, and the demonstration model.
struct House {
    upstream: TestUpstream,
    caller: Caller,
    /// May also change what the machine holds.
    manager: Caller,
    relay: TestRelay,
    _agent: TestAgent,
}

impl House {
    async fn with(change: impl FnOnce(&mut Policy)) -> Self {
        let upstream = TestUpstream::start().await;
        let relay = TestRelay::start().await;
        let agent = TestAgent::connect_with(&relay, "ada", upstream.address(), |config| {
            config.allow_manage = true;
            change(&mut config.policy);
        });
        Self {
            _agent: agent.await,
            caller: Caller::new(relay.address(), relay.api_token("ada")),
            manager: Caller::new(relay.address(), relay.sign(&tokens::managing("ada"))),
            upstream,
            relay,
        }
    }

    /// How many requests the upstream has read to the end of their bodies.
    fn whole(&self) -> usize {
        let recorded = self.upstream.demo.recorded();
        recorded
            .iter()
            .filter(|request| request.body_complete)
            .count()
    }

    /// Nothing whole has reached the upstream, also not what was under way. A request that is allowed goes all the way
    /// first.
    async fn is_untouched(&self, what: &str) {
        let settled = |counters: &c2l_demo::Counters| counters.requests_active == 0;
        self.upstream.wait_for("no request", settled).await;
        let recorded = self.upstream.demo.recorded();
        let whole = recorded.iter().find(|request| request.body_complete);
        assert!(whole.is_none(), "{what}: {whole:?}");
    }
}

/// A body of each dialect, for this model.
fn asks(model: &str) -> [(&'static str, Value); 9] {
    let messages = json!([{ "role": "user", "content": "hello" }]);
    let chat = json!({ "messages": messages, "max_tokens": 9, "model": model });
    [
        ("/api/chat", chat.clone()),
        ("/v1/chat/completions", chat.clone()),
        ("/v1/messages", chat),
        ("/v1/responses", json!({ "model": model, "input": "hello" })),
        (
            "/v1/completions",
            json!({ "model": model, "prompt": "hello" }),
        ),
        (
            "/api/generate",
            json!({ "model": model, "prompt": "hello" }),
        ),
        ("/api/embed", json!({ "model": model, "input": "hello" })),
        (
            "/api/embeddings",
            json!({ "model": model, "prompt": "hello" }),
        ),
        (
            "/v1/embeddings",
            json!({ "model": model, "input": "hello" }),
        ),
    ]
}

/// The sentence of an error in the shape of the path's dialect, whose status, code and origin are these.
async fn refusal(path: &str, answer: Answer, status: u16, code: &str, origin: &str) -> String {
    assert_eq!(answer.status(), status, "{path}");
    let body = answer.text().await;
    let body: Value = serde_json::from_str(&body).expect(&body);
    assert_eq!(
        (&body["code"], &body["origin"]),
        (&json!(code), &json!(origin)),
        "{body}"
    );
    assert_eq!(body["retry_safe"], true, "{body}");
    let sentence = match path {
        "/v1/messages" => {
            assert_eq!(body["type"], "error", "{body}");
            &body["error"]["message"]
        }
        path if path.starts_with("/v1/") => &body["error"]["message"],
        _ => &body["error"],
    };
    sentence.as_str().expect("a sentence").to_owned()
}

async fn forbidden(path: &str, answer: Answer) -> String {
    refusal(path, answer, 403, "forbidden", "agent").await
}

#[tokio::test]
async fn cloud_models_are_off_until_the_owner_allows_them() {
    let house = House::with(|_| {}).await;
    for (path, body) in asks(CLOUD) {
        let sentence = forbidden(path, house.caller.post(path, &body).await).await;
        assert!(sentence.contains("`gpt-oss:120b-cloud`"), "{sentence}");
        assert!(
            sentence.contains("c2l agent --allow-cloud-models"),
            "{sentence}"
        );
    }
    let answer = house.caller.get("/v1/models/gpt-oss%3Acloud").await;
    forbidden("/v1/models", answer).await;
    house.is_untouched("cloud models").await;
    let answer = house.caller.chat("tiny", "hello").await;
    assert_eq!(answer.status(), StatusCode::OK, "others are not touched");

    let house = House::with(|policy| policy.allow_cloud_models = true).await;
    for (path, body) in asks(CLOUD) {
        let answer = house.caller.post(path, &body).await;
        assert_ne!(answer.status(), StatusCode::FORBIDDEN, "{path}");
        assert!(answer.text().await.len() > 2, "{path}");
    }
    assert_eq!(house.whole(), asks(CLOUD).len());
}

#[tokio::test]
async fn a_model_that_is_not_allowed_never_reaches_the_upstream_whole() {
    let house = House::with(|policy| {
        policy.allow_models = vec!["tiny*".to_owned()];
        policy.deny_models = vec!["tiny-secret".to_owned()];
    })
    .await;
    for model in [
        "llama3.2",
        "TINY-Secret",
        "library/tiny-secret:latest",
        "bob/tiny",
    ] {
        for (path, body) in asks(model) {
            let sentence = forbidden(path, house.caller.post(path, &body).await).await;
            assert!(
                sentence.contains("does not allow the model `"),
                "{sentence}"
            );
        }
    }
    for body in [
        r#"{"MODEL":"llama3.2"}"#,
        r#"{"\u006d\u006f\u0064\u0065\u006c":"llama3.2"}"#,
        r#"{"model":"llama3\u002e2"}"#,
        r#"{"options":{"model":"tiny"},"model":"llama3.2"}"#,
        r#"{"messages":[]}"#,
        r#"{"model":"not a name"}"#,
    ] {
        let request = house
            .caller
            .request(Method::POST, "/api/chat")
            .body(full(body));
        let answer = house.caller.send(request.expect("a request")).await;
        forbidden("/api/chat", answer).await;
    }
    for body in [
        r#"{"model":"tiny","model":"llama3.2"}"#,
        r#"{"model":"tiny","Model":"llama3.2"}"#,
        r#"{"model":"tiny"} {"model":"llama3.2"}"#,
        r#"{"model":["llama3.2"]}"#,
        "\u{feff}{\"model\":\"llama3.2\"}",
        r#"{"model":"tiny""#,
        "model=llama3.2",
    ] {
        for path in ["/api/chat", "/v1/messages"] {
            let request = house.caller.request(Method::POST, path).body(full(body));
            let answer = house.caller.send(request.expect("a request")).await;
            refusal(path, answer, 400, "invalid_request", "caller").await;
        }
    }
    house.is_untouched("other models").await;
    let answer = house.caller.chat("tiny:latest", "hello").await;
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn changes_are_kept_to_the_models_that_are_allowed() {
    let house = House::with(|policy| policy.allow_models = vec!["tiny*".to_owned()]).await;
    for (method, path, body) in [
        (Method::POST, "/api/pull", json!({ "model": "llama3.2" })),
        (
            Method::POST,
            "/api/pull",
            json!({ "name": "hf.co/evil/tiny" }),
        ),
        (
            Method::POST,
            "/api/pull",
            json!({ "model": "", "name": "llama3.2" }),
        ),
        (
            Method::POST,
            "/api/push",
            json!({ "model": "ada/llama3.2" }),
        ),
        (
            Method::DELETE,
            "/api/delete",
            json!({ "model": "llama3.2" }),
        ),
        (
            Method::POST,
            "/api/copy",
            json!({ "source": "llama3.2", "destination": "tiny-2" }),
        ),
        (
            Method::POST,
            "/api/copy",
            json!({ "source": "tiny", "destination": "other" }),
        ),
        (
            Method::POST,
            "/api/create",
            json!({ "model": "tiny-2", "from": "llama3.2" }),
        ),
        (
            Method::POST,
            "/api/create",
            json!({ "model": "tiny-2", "from": "tiny:cloud" }),
        ),
        (
            Method::POST,
            "/api/create",
            json!({ "model": "tiny-2", "from": "tiny", "remote_host": "https://ollama.com" }),
        ),
        (Method::POST, "/api/show", json!({ "name": "llama3.2" })),
    ] {
        let request = house
            .manager
            .request(method, path)
            .body(full(body.to_string()));
        let answer = house.manager.send(request.expect("a request")).await;
        let sentence = forbidden(path, answer).await;
        assert!(sentence.contains("owner"), "{path} {body}: {sentence}");
    }
    let outdated = json!({ "name": "tiny-2", "modelfile": "FROM llama3.2" });
    let answer = house.manager.post("/api/create", &outdated).await;
    refusal("/api/create", answer, 400, "invalid_request", "caller").await;
    house.is_untouched("changes").await;
    for (path, body) in [
        ("/api/pull", json!({ "model": "tiny", "stream": false })),
        (
            "/api/copy",
            json!({ "source": "tiny", "destination": "tiny-2" }),
        ),
        ("/api/show", json!({ "model": "tiny" })),
    ] {
        let answer = house.manager.post(path, &body).await;
        assert_eq!(
            answer.status(),
            StatusCode::OK,
            "{path}: {}",
            answer.text().await
        );
    }
}

#[tokio::test]
async fn routes_are_kept_to_those_that_are_allowed() {
    let house = House::with(|policy| {
        policy.allow_routes = vec!["/".to_owned(), "/api/*".to_owned()];
        policy.deny_routes = vec!["/api/generate".to_owned(), "/api/p*".to_owned()];
    })
    .await;
    for path in ["/api/generate", "/api/pull", "/v1/chat/completions"] {
        let answer = house.manager.post(path, &json!({ "model": "tiny" })).await;
        let sentence = forbidden(path, answer).await;
        assert!(sentence.contains("does not allow this path"), "{sentence}");
    }
    forbidden("/v1/models", house.caller.get("/v1/models").await).await;
    forbidden("/api/ps", house.caller.get("/api/ps").await).await;
    assert_eq!(house.upstream.demo.counters().requests_started, 0);
    assert_eq!(house.caller.get("/").await.status(), StatusCode::OK);
    assert_eq!(
        house.caller.chat("tiny", "hello").await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn megabytes_before_the_model_stream_through_and_are_judged_all_the_same() {
    const IMAGE_BYTES: usize = 20 * 1024 * 1024;
    let house = House::with(|policy| policy.allow_models = vec!["tiny".to_owned()]).await;
    let image = "A".repeat(IMAGE_BYTES);
    for (model, is_allowed) in [("tiny", true), ("llama3.2", false)] {
        for is_announced in [true, false] {
            let before = house.upstream.demo.counters().bytes_received;
            let body = Bytes::from(format!(
                "{{\"stream\":false,\"prompt\":\"x\",\"images\":[\"{image}\"],\"model\":\"{model}\"}}"
            ));
            let length = body.len() as u64;
            let request = house.caller.request(Method::POST, "/api/generate");
            let began = Instant::now();
            let answer = if is_announced {
                house
                    .caller
                    .send(request.body(full(body)).expect("a request"))
                    .await
            } else {
                let (pieces, streamed) = upload();
                let feeding = async move {
                    let mut rest = body;
                    while !rest.is_empty() {
                        let piece = rest.split_to(rest.len().min(60_000));
                        pieces.send(piece).await.expect("a caller who sends");
                    }
                };
                let asking = house
                    .caller
                    .send(request.body(streamed).expect("a request"));
                tokio::join!(feeding, asking).1
            };
            println!(
                "{length} bytes for {model}, announced: {is_announced}: {:?}",
                began.elapsed()
            );
            let settled = |counters: &c2l_demo::Counters| counters.requests_active == 0;
            if is_allowed {
                assert_eq!(answer.status(), StatusCode::OK);
                drop(answer.text().await);
                let received = house
                    .upstream
                    .wait_for("the end", settled)
                    .await
                    .bytes_received;
                assert_eq!(received - before, length);
            } else {
                forbidden("/api/generate", answer).await;
                let received = house
                    .upstream
                    .wait_for("the end", settled)
                    .await
                    .bytes_received;
                assert!(received - before < length, "the end was held back");
            }
        }
    }
    assert_eq!(house.whole(), 2);
}

#[tokio::test]
async fn single_bytes_are_judged_as_the_whole_is() {
    let house = House::with(|_| {}).await;
    for (model, status) in [("tiny", 200), (CLOUD, 403)] {
        let body = json!({ "stream": false, "messages": [], "model": model }).to_string();
        let (pieces, streamed) = upload();
        let request = house
            .caller
            .request(Method::POST, "/api/chat")
            .body(streamed);
        let feeding = async move {
            for byte in body.into_bytes() {
                // Whoever is refused in the middle need not send the rest.
                if pieces.send(Bytes::from(vec![byte])).await.is_err() {
                    return;
                }
            }
        };
        let (answer, ()) = tokio::join!(house.caller.send(request.expect("a request")), feeding);
        assert_eq!(answer.status(), status, "{model}");
    }
    assert_eq!(house.whole(), 1);
}

#[tokio::test]
async fn what_has_been_sent_reaches_the_upstream_at_once_and_its_end_with_the_verdict() {
    let upstream = PlayedUpstream::start().await;
    let relay = TestRelay::start().await;
    let _agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    let (pieces, body) = upload();
    let request = caller.request(Method::POST, "/api/generate").body(body);
    let playing = async {
        let (_head, mut connection) = upstream.request().await;
        for number in 0..100 {
            let begin = if number == 0 { "{" } else { "," };
            let piece = Bytes::from(format!("{begin}\"option-{number}\":[{{}}]"));
            pieces
                .send(piece.clone())
                .await
                .expect("a caller who sends");
            let seen = connection.chunk().await.expect("no tear");
            assert_eq!(seen, Some(piece));
        }
        let last = Bytes::from_static(b",\"model\":\"tiny\"}");
        pieces.send(last).await.expect("a caller who sends");
        let seen = connection.chunk().await.expect("no tear");
        assert_eq!(seen.as_deref(), Some(&b",\"model\":\"tiny\""[..]));
        drop(pieces);
        assert_eq!(
            connection.chunk().await.expect("no tear").as_deref(),
            Some(&b"}"[..])
        );
        assert_eq!(connection.chunk().await.expect("no tear"), None);
        connection.answer("application/x-ndjson").await;
        connection.send_chunk(b"{\"done\":true}\n").await;
        connection.finish().await;
        connection
    };
    let asking = caller.send(request.expect("a request"));
    let both = async { tokio::join!(playing, asking) };
    let (_connection, answer) = within(PATIENCE, "the exchange", both).await;
    assert_eq!(answer.text().await, "{\"done\":true}\n");
}

/// What every client sends for a recording.
fn form(model: &str) -> String {
    format!(
        "--b-1\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n\
         --b-1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\
         Content-Type: audio/wav\r\n\r\nRIFF\r\n--b-1--\r\n"
    )
}

#[tokio::test]
async fn the_model_of_a_recording_is_judged_in_its_form() {
    let house = House::with(|policy| policy.allow_models = vec!["tiny".to_owned()]).await;
    let path = "/v1/audio/transcriptions";
    let ask = async |target: &str, body: String| {
        let request = house
            .caller
            .request(Method::POST, target)
            .header("content-type", "multipart/form-data; boundary=b-1");
        house
            .caller
            .send(request.body(full(body)).expect("a request"))
            .await
    };
    forbidden(path, ask(path, form("llama3.2")).await).await;
    forbidden(
        path,
        ask(path, form("tiny").replace("\"model\"", "\"other\"")).await,
    )
    .await;
    for (target, body) in [
        ("/v1/audio/transcriptions?model=llama3.2", form("tiny")),
        (path, form("tiny").replace("\r\n", "\n")),
        (path, format!("{}x", form("tiny"))),
        (
            path,
            form("tiny").replace("name=\"file\"", "name=\"model\""),
        ),
    ] {
        refusal(
            path,
            ask(target, body).await,
            400,
            "invalid_request",
            "caller",
        )
        .await;
    }
    house.is_untouched("recordings").await;
    assert_eq!(ask(path, form("tiny")).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn an_encoded_body_is_refused_with_what_to_do() {
    let house = House::with(|_| {}).await;
    let request = house
        .caller
        .request(Method::POST, "/v1/responses")
        .header("content-encoding", "zstd")
        .body(full("(compressed)"));
    let answer = house.caller.send(request.expect("a request")).await;
    let sentence = refusal("/v1/responses", answer, 400, "invalid_request", "caller").await;
    assert!(sentence.contains("send it as it is"), "{sentence}");
    house.is_untouched("an encoded body").await;
}

#[tokio::test]
async fn a_blob_is_nobodys_model_and_goes_through_unread() {
    let house = House::with(|policy| policy.allow_models = vec!["tiny".to_owned()]).await;
    // What is announced is the digest of these bytes.
    let digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let path = format!("/api/blobs/{digest}");
    let request = house
        .manager
        .request(Method::POST, &path)
        .body(full("hello"));
    let answer = house.manager.send(request.expect("a request")).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let held = house.caller.request(Method::HEAD, &path).body(full(""));
    let answer = house.caller.send(held.expect("a request")).await;
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_is_held_back_is_still_asked_for_and_judged() {
    let house = House::with(|_| {}).await;
    for (model, status) in [("tiny", 200), (CLOUD, 403)] {
        let body = json!({ "stream": false, "messages": [], "model": model }).to_string();
        let mut raw = c2l_testkit::RawConnection::open(house.relay.address()).await;
        let token = house.relay.api_token("ada");
        let length = body.len();
        raw.send(format!(
            "POST /api/chat HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
             expect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        ))
        .await;
        assert_eq!(raw.head(false).await.status, 100, "{model}");
        raw.send(body).await;
        let answer = within(Duration::from_secs(10), "an answer", raw.head(true)).await;
        assert_eq!(answer.status, status, "{model}: {}", answer.head);
    }
    assert_eq!(house.whole(), 1);
}

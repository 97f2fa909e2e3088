//! One connection with several requests: each is judged as if it came alone. Nothing is remembered of the connection, also not
//! that the same credential was good on it a moment ago.

use std::time::Duration;

use c2l_auth::LEEWAY;
use c2l_testkit::{Caller, RequestBody, TestRelay, empty, tokens, within};
use http::{Method, Request};
use http_body_util::BodyExt as _;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::Stand;

/// One connection to a relay, which stays.
enum Line {
    Http1(http1::SendRequest<RequestBody>),
    Http2(http2::SendRequest<RequestBody>),
}

impl Line {
    /// Both kinds.
    async fn of_each_kind(relay: &TestRelay) -> [Self; 2] {
        let stream = || async {
            let stream = TcpStream::connect(relay.address()).await;
            TokioIo::new(stream.expect("a connection"))
        };
        let (one, serving) = http1::handshake(stream().await).await.expect("HTTP/1.1");
        tokio::spawn(serving); // until `one` is dropped
        let handshake = http2::handshake(TokioExecutor::new(), stream().await).await;
        let (two, serving) = handshake.expect("HTTP/2");
        tokio::spawn(serving);
        [Self::Http1(one), Self::Http2(two)]
    }

    /// Status and message of the answer.
    async fn ask(&mut self, relay: &TestRelay, request: Request<RequestBody>) -> (u16, String) {
        let asking = async {
            let answer = match self {
                Self::Http1(sender) => sender.send_request(request).await,
                Self::Http2(sender) => {
                    let (mut head, body) = request.into_parts();
                    head.headers.remove("host");
                    let uri = format!("http://{}{}", relay.address(), head.uri);
                    head.uri = uri.parse().expect("a URL");
                    sender.send_request(Request::from_parts(head, body)).await
                }
            };
            let answer = answer.expect("an answer on the same connection");
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await.expect("whole");
            let said: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
            (
                status,
                said["error"].as_str().unwrap_or_default().to_owned(),
            )
        };
        within(Duration::from_secs(20), "an answer", asking).await
    }

    async fn get(&mut self, relay: &TestRelay, credential: &str) -> (u16, String) {
        let caller = Caller::new(relay.address(), credential);
        let request = caller.request(Method::GET, "/api/tags").body(empty());
        self.ask(relay, request.expect("a request")).await
    }
}

#[tokio::test]
async fn what_was_revoked_between_two_requests_of_a_connection_is_refused_on_it() {
    let stand = Stand::start().await;
    let (relay, ada) = (&stand.relay, stand.account("ada"));
    for mut line in Line::of_each_kind(relay).await {
        let (key, id) = ada.make(json!({})).await;
        let (token, other) = (relay.api_token("ada"), relay.api_token("ada"));
        for credential in [&key, &token] {
            for _ in 0..3 {
                assert_eq!(line.get(relay, credential).await.0, 200);
            }
            if *credential == key {
                ada.revoke(&id).await;
            } else {
                let whole = json!({ "token": token });
                let (status, _) = ada.post("/relay/v1/tokens/revoke", &whole).await;
                assert_eq!(status, 200);
            }
            for _ in 0..2 {
                let (status, why) = line.get(relay, credential).await;
                assert_eq!(status, 401, "{why}");
                assert!(why.contains("revoked"), "{why}");
            }
            assert_eq!(line.get(relay, &other).await.0, 200, "it was not this one");
        }
    }
}

#[tokio::test]
async fn what_runs_out_between_two_requests_of_a_connection_is_refused_on_it() {
    const LIFE: Duration = Duration::from_secs(3600);
    const LEFT: Duration = Duration::from_secs(5);
    let stand = Stand::start().await;
    let relay = &stand.relay;
    let short = tokens::api("ada").living(LIFE);
    let short = relay.sign(&short.issued_ago(LIFE + LEEWAY - LEFT));
    let mut lines = Line::of_each_kind(relay).await;
    for line in &mut lines {
        assert_eq!(line.get(relay, &short).await.0, 200);
    }
    let over = async {
        for line in &mut lines {
            while line.get(relay, &short).await.0 == 200 {}
            let (status, why) = line.get(relay, &short).await;
            assert_eq!(status, 401, "{why}");
            assert!(why.contains("expired"), "{why}");
        }
    };
    within(10 * LEFT, "it runs out on both", over).await;
}

#[tokio::test]
async fn what_was_good_on_a_connection_makes_nothing_else_good_there() {
    let stand = Stand::start().await;
    let relay = &stand.relay;
    let good = relay.api_token("ada");
    let unlike = tokens::mistyped(&good);
    let agents = relay.agent_token("ada");
    let asked = |path: &str, fields: &[(&str, &str)]| {
        let mut request = Caller::anonymous(relay.address()).request(Method::GET, path);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(empty()).expect("a request")
    };
    let bearer = |token: &str| format!("Bearer {token}");
    let (bearer_good, bearer_unlike) = (bearer(&good), bearer(&unlike));
    let in_path = |token: &str| format!("/k/{token}/api/tags");
    let (path_good, path_unlike) = (in_path(&good), in_path(&unlike));
    for mut line in Line::of_each_kind(relay).await {
        let cases = [
            (200, "/api/tags", &[("authorization", &*bearer_good)][..]),
            (401, "/api/tags", &[("authorization", &bearer_unlike)]),
            (401, "/api/tags", &[]),
            (200, "/api/tags", &[("x-api-key", &good)]),
            (401, "/api/tags", &[("x-api-key", &unlike)]),
            (401, "/api/tags", &[("authorization", &good)]),
            (200, &path_good, &[("authorization", "Bearer ollama")]),
            (401, &path_unlike, &[("authorization", &bearer_good)]),
            (200, "/api/tags", &[("authorization", &bearer_good)]),
            (
                400,
                "/api/tags",
                &[("authorization", &bearer_good), ("x-api-key", &unlike)],
            ),
            (401, "/api/tags", &[("x-api-key", &agents)]),
        ];
        // Twice: nothing of the first time makes another one good.
        for turn in 0..2 {
            for (number, (expected, path, fields)) in cases.iter().enumerate() {
                let (status, why) = line.ask(relay, asked(path, fields)).await;
                assert_eq!(status, *expected, "{turn}, {number}: {why}");
                if status == 400 && matches!(line, Line::Http1(_)) {
                    // A request that two programs could read differently ends its connection.
                    let [again, _] = Line::of_each_kind(relay).await;
                    line = again;
                }
            }
        }
    }
}

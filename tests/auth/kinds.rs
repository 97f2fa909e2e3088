//! Kinds of token never stand in for each other, and a scope is asked for twice: at the relay and at the agent.

use c2l_auth::Kind;
use c2l_testkit::{Caller, FakeAgent, TestAgent, TestRelay, TestUpstream, empty, tokens};
use http::Method;
use serde_json::json;

use super::{Stand, forge, refused};

/// Everything that changes what the machine holds.
const MANAGEMENT: [(Method, &str); 7] = [
    (Method::POST, "/api/pull"),
    (Method::POST, "/api/push"),
    (Method::POST, "/api/create"),
    (Method::POST, "/api/copy"),
    (Method::DELETE, "/api/delete"),
    (
        Method::POST,
        "/api/blobs/sha256:29fdb92e57cf0827ded04ae6461b5931d01fa595843f55d36f5b275a52087dd2",
    ),
    (Method::POST, "//api//pull/"),
];

#[tokio::test]
async fn jwt_08_kinds_of_token_never_stand_in_for_each_other() {
    let stand = Stand::start().await;
    let mut sent = Vec::new();
    for kind in ["agent", "web"] {
        let token = forge::token(&forge::with("c2l_kind", kind));
        let why = format!("wrong kind of token: {kind}");
        stand.assert_refused(&token, &why).await;
        for path in ["/v1/models", "/v1/messages"] {
            assert_eq!(stand.bearer(&token).get(path).await.status(), 401, "{path}");
        }
        sent.push(token);
    }
    for kind in ["api", "web"] {
        let token = forge::token(&forge::with("c2l_kind", kind));
        let why = format!("wrong kind of token: {kind}");
        stand.assert_refused_at_the_tunnel(&token, &why).await;
        sent.push(token);
    }
    for kind in ["API", "admin", "", "api agent"] {
        let token = forge::token(&forge::with("c2l_kind", kind));
        stand.assert_refused_everywhere(&token, "c2l_kind").await;
        sent.push(token);
    }
    // Those of the relay itself, too.
    for kind in [Kind::Agent, Kind::Web] {
        let token = stand.relay.sign(&tokens::api("ada").of_kind(kind));
        stand.assert_refused(&token, "wrong kind of token").await;
        sent.push(token);
    }
    stand.assert_untouched(&sent);
}

/// A relay, an agent that may or may not be managed, and its upstream.
async fn machine(allow_manage: bool) -> (TestRelay, TestAgent, TestUpstream) {
    let relay = TestRelay::start().await;
    let upstream = TestUpstream::start().await;
    let agent = TestAgent::connect_with(&relay, "ada", upstream.address(), |config| {
        config.allow_manage = allow_manage;
    });
    let agent = agent.await;
    (relay, agent, upstream)
}

/// Asks for a change, with a body that announces more than is ever sent: nobody may wait for it.
async fn ask(caller: &Caller, method: &Method, path: &str) -> c2l_testkit::Answer {
    let request = caller.request(method.clone(), path).body(empty());
    caller.send(request.expect("a request")).await
}

#[tokio::test]
async fn jwt_09_without_the_scope_nothing_is_changed() {
    let (relay, _agent, upstream) = machine(true).await;
    let ada = Caller::new(relay.address(), relay.api_token("ada"));
    for (method, path) in &MANAGEMENT {
        let body = refused(ask(&ada, method, path).await, 403).await;
        assert_eq!(body["code"], "forbidden", "{path}");
        let message = body["error"].as_str().expect("a sentence");
        assert!(message.contains("manage"), "{message}");
    }
    assert_eq!(upstream.demo.counters().requests_started, 0);
}

#[tokio::test]
async fn jwt_09_without_the_owners_leave_the_agent_refuses_what_the_relay_forwards() {
    let (relay, _agent, upstream) = machine(false).await;
    let manager = relay.sign(&tokens::managing("ada"));
    let manager = Caller::new(relay.address(), manager);
    for (method, path) in &MANAGEMENT {
        let body = refused(ask(&manager, method, path).await, 403).await;
        assert_eq!(body["code"], "forbidden", "{path}");
        assert_eq!(body["origin"], "agent", "{path}");
    }
    assert_eq!(upstream.demo.counters().requests_started, 0);
}

#[tokio::test]
async fn jwt_09_account_routes_are_forwarded_for_nobody() {
    let (relay, _agent, upstream) = machine(true).await;
    let manager = relay.sign(&tokens::managing("ada"));
    let manager = Caller::new(relay.address(), manager);
    for path in ["/api/me", "/api/signout", "/api/experimental/web_search"] {
        let body = refused(manager.post(path, &json!({})).await, 403).await;
        assert_eq!(body["code"], "forbidden", "{path}");
    }
    assert_eq!(upstream.demo.counters().requests_started, 0);
}

#[tokio::test]
async fn jwt_09_with_scope_and_leave_a_change_goes_through() {
    let (relay, _agent, upstream) = machine(true).await;
    let manager = relay.sign(&tokens::managing("ada"));
    let manager = Caller::new(relay.address(), manager);
    let body = json!({ "source": "tiny", "destination": "small" });
    let answer = manager.post("/api/copy", &body).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(upstream.demo.counters().requests_started, 1);
}

#[tokio::test]
async fn a_token_bound_to_a_device_opens_no_other() {
    let stand = Stand::start().await;
    let mut claims = forge::with("c2l_kind", "agent");
    claims["c2l_device"] = json!("desk");
    let token = forge::token(&claims);
    let agent = FakeAgent::connect(stand.relay.address(), &token, "laptop").await;
    let status = agent.expect_err("no session");
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
    let desk = FakeAgent::connect(stand.relay.address(), &token, "desk").await;
    assert!(desk.is_ok());
    stand.assert_untouched(&[token]);
}

#[tokio::test]
async fn an_agent_with_a_bad_token_gives_up_and_says_why() {
    let stand = Stand::start().await;
    let token = stand.relay.api_token("ada");
    let address = stand.upstream.address();
    let mut agent = TestAgent::start(&stand.relay.url(), token.clone(), address, |_| {});
    let error = agent.ended().await.expect_err("not an agent's token");
    let said = format!("{error} {error:?}");
    assert!(said.contains("wrong kind of token"), "{said}");
    assert!(!said.contains(&token), "{said}");
    stand.assert_untouched(&[token]);
}

//! Promise: a request or an agent without a good credential gets nothing, learns what to mend, and leaves no trace of
//! what it sent.

#[path = "auth/doors.rs"]
mod doors;
#[path = "auth/forge.rs"]
mod forge;
#[path = "auth/kinds.rs"]
mod kinds;
#[path = "auth/outages.rs"]
mod outages;
#[path = "auth/providers.rs"]
mod providers;
#[path = "auth/tokens.rs"]
mod tokens;

use std::sync::Arc;

use c2l_auth::{Issuer, Key, Verifier};
use c2l_testkit::{
    Answer, Caller, CapturedLog, FakeAgent, PATIENCE, TestAgent, TestRelay, TestUpstream, empty,
    within,
};
use http::Method;
use serde_json::{Value, json};
use tonic::Code;

use forge::{AUDIENCE, RSA, RSA_KEY, SECRET, SHARED};

/// A relay that trusts its own key and two other issuers, and the machine of the `ada` of [`SHARED`]. Everything that
/// any of them logs is kept.
struct Stand {
    relay: TestRelay,
    upstream: TestUpstream,
    _agent: TestAgent,
    log: CapturedLog,
}

impl Stand {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut c2l_relay::Config)) -> Self {
        let log = CapturedLog::start();
        let key = Arc::new(c2l_auth::SigningKey::ephemeral().expect("random numbers"));
        let issuers = vec![
            key.issuer(),
            Issuer::new(SHARED, AUDIENCE).with_key(Key::hs256(SECRET).expect("a secret")),
            Issuer::new(RSA, AUDIENCE).with_key(Key::rs256_pem(&RSA_KEY.pem).expect("a key")),
        ];
        let verifier = Verifier::new(issuers).expect("sound issuers");
        let relay = TestRelay::start_on("127.0.0.1:0", key, |config| {
            config.verifier = Arc::new(verifier);
            change(config);
        });
        let relay = relay.await;
        let upstream = TestUpstream::start().await;
        let token = forge::token(&forge::with("c2l_kind", "agent"));
        let mut agent = TestAgent::start(&relay.url(), token, upstream.address(), |_| {});
        agent.connected().await;
        Self {
            relay,
            upstream,
            _agent: agent,
            log,
        }
    }

    fn bearer(&self, token: &str) -> Caller {
        Caller::new(self.relay.address(), token)
    }

    /// Sends it in each place of a request in turn.
    async fn at_each_door(&self, token: &str) -> Vec<Answer> {
        let anonymous = Caller::anonymous(self.relay.address());
        let field = anonymous
            .request(Method::GET, "/api/tags")
            .header("x-api-key", token)
            .body(empty())
            .expect("a request");
        let mut answers = vec![
            self.bearer(token).get("/api/tags").await,
            anonymous.send(field).await,
            self.bearer(token).get("/relay/v1/whoami").await,
        ];
        // A longer path is refused for its length.
        if token.len() < 8 * 1024 {
            answers.push(anonymous.get(&format!("/k/{token}/api/tags")).await);
        }
        answers
    }

    /// Asserts that the gateway refuses it everywhere, and says this word of why.
    async fn assert_refused(&self, token: &str, why: &str) {
        for answer in self.at_each_door(token).await {
            assert_unauthenticated(answer, token, why).await;
        }
    }

    /// Asserts that the tunnel refuses it, and says this word of why.
    async fn assert_refused_at_the_tunnel(&self, token: &str, why: &str) {
        let refused = FakeAgent::dial(self.relay.address(), token).await;
        let status = refused.expect_err("no session");
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
        assert!(status.message().contains(why), "{status}");
        assert!(!format!("{status:?}").contains(token), "{status}");
    }

    /// Asserts that gateway and tunnel both refuse it, for this reason.
    async fn assert_refused_everywhere(&self, token: &str, why: &str) {
        self.assert_refused(token, why).await;
        self.assert_refused_at_the_tunnel(token, why).await;
    }

    async fn assert_accepted(&self, token: &str) {
        for answer in self.at_each_door(token).await {
            assert_eq!(answer.status(), 200);
        }
    }

    /// Asserts that the upstream has seen nothing, and that the log has nothing of these tokens.
    fn assert_untouched(&self, tokens: &[String]) {
        assert_eq!(self.upstream.demo.counters().requests_started, 0);
        self.assert_unlogged(tokens);
    }

    fn assert_unlogged(&self, tokens: &[String]) {
        let is_kept = self.log.text().contains("relay is ready");
        assert!(is_kept, "there is a log to look at");
        // The whole token, and each part that would be worth something by itself.
        let parts = tokens.iter().flat_map(|token| {
            let parts = token.split('.').skip(1).filter(|part| part.len() > 16);
            parts.chain([token.as_str()])
        });
        let parts = parts.filter(|part| part.len() > 4);
        self.log.assert_without(parts);
    }
}

/// Asserts a 401 in the shape of the API with a challenge, that says this word of why, and repeats nothing. Where no
/// credential is found the challenge tells no error (RFC 6750 §3.1).
async fn assert_unauthenticated(answer: Answer, token: &str, why: &str) {
    assert_eq!(answer.status(), 401, "{token:.80}");
    let challenge = answer.header("www-authenticate").to_owned();
    assert!(challenge.starts_with("Bearer "), "{challenge}");
    let tells_error = challenge.contains(r#"error="invalid_token""#);
    assert_eq!(tells_error, why != "no credential", "{challenge}");
    let fields = format!("{:?}", answer.headers());
    let id = answer.header("x-request-id").to_owned();
    let body = answer.json().await;
    assert_eq!(body["code"], "unauthenticated");
    assert_eq!(body["origin"], "caller");
    assert_eq!(body["request_id"], Value::String(id));
    let message = body["error"].as_str().expect("a sentence");
    assert!(message.contains(why), "{message:?} does not say {why:?}");
    if token.len() > 4 {
        assert!(!body.to_string().contains(token) && !fields.contains(token));
    }
}

/// The body of a refusal of this status.
async fn refused(answer: Answer, status: u16) -> Value {
    assert_eq!(answer.status(), status);
    answer.json().await
}

#[tokio::test]
async fn a_good_token_of_a_trusted_issuer_is_accepted() {
    let stand = Stand::start().await;
    stand.assert_accepted(&forge::token(&forge::claims())).await;
    let listed = forge::with("aud", json!(["https://other.example", AUDIENCE]));
    stand.assert_accepted(&forge::token(&listed)).await;
    stand.assert_unlogged(&[forge::token(&forge::claims()), forge::token(&listed)]);
}

#[tokio::test]
async fn without_a_credential_every_dialect_says_so() {
    let stand = Stand::start().await;
    let anonymous = Caller::anonymous(stand.relay.address());
    for path in ["/api/tags", "/relay/v1/whoami", "/relay/v1/devices"] {
        assert_unauthenticated(anonymous.get(path).await, "", "no credential").await;
    }
    let openai = refused(anonymous.get("/v1/models").await, 401).await;
    assert_eq!(openai["error"]["type"], "authentication_error");
    let anthropic = anonymous.post("/v1/messages", &json!({})).await;
    let anthropic = refused(anthropic, 401).await;
    assert_eq!(anthropic["error"]["type"], "authentication_error");
    let silent = FakeAgent::dial_with(stand.relay.address(), |_| {});
    let status = within(PATIENCE, "a refusal", silent).await;
    assert_eq!(
        status.expect_err("no session").code(),
        Code::Unauthenticated
    );
    stand.assert_untouched(&[]);
}

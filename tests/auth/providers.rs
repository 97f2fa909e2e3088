//! Tokens of identity providers that publish their keys: whose count, and whose do not.

use std::{sync::Arc, time::Duration};

use c2l_auth::{SigningKey, Verifier};
use c2l_testkit::{
    Answer, Caller, CapturedLog, FakeAgent, TestAgent, TestRelay, TestUpstream,
    provider::{AUDIENCE, ProviderKey, TestProvider},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::Instant};
use tonic::Code;

use super::{assert_unauthenticated, forge, refused};

/// A relay that trusts its own key and these providers, and that fetches again as soon as a token asks for it.
pub(crate) async fn relay_of(providers: &[&TestProvider]) -> TestRelay {
    relay_with(providers, Duration::ZERO).await
}

pub(crate) async fn relay_with(providers: &[&TestProvider], refetch: Duration) -> TestRelay {
    let key = Arc::new(SigningKey::ephemeral().expect("random numbers"));
    let issuers = providers.iter().map(|provider| provider.as_issuer());
    let verifier = Verifier::new(issuers.chain([key.issuer()]).collect()).expect("sound issuers");
    TestRelay::start_on("127.0.0.1:0", key, |config| {
        config.verifier = Arc::new(verifier);
        config.providers = providers.iter().map(|known| known.as_provider()).collect();
        for provider in &mut config.providers {
            provider.refetch_interval = refetch;
        }
    })
    .await
}

/// What the relay says of the token.
pub(crate) async fn who_am_i(relay: &TestRelay, token: &str) -> Answer {
    Caller::new(relay.address(), token)
        .get("/relay/v1/whoami")
        .await
}

pub(crate) async fn assert_is(relay: &TestRelay, token: &str, user: &str) {
    let answer = who_am_i(relay, token).await;
    assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
    assert_eq!(who_am_i(relay, token).await.json().await["user"], user);
}

async fn assert_refused(relay: &TestRelay, token: &str, why: &str) {
    assert_unauthenticated(who_am_i(relay, token).await, token, why).await;
    let refused = FakeAgent::dial(relay.address(), token).await;
    let status = refused.expect_err("no session");
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    assert!(status.message().contains(why), "{status}");
}

/// Somebody who waits to be asked for a key, and is not to be.
struct Lure(TcpListener);

impl Lure {
    async fn set() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/keys", listener.local_addr().expect("an address"));
        (Self(listener), url)
    }

    async fn assert_unvisited(self) {
        let visit = tokio::time::timeout(Duration::from_millis(100), self.0.accept()).await;
        assert!(visit.is_err(), "somebody came");
    }
}

#[tokio::test]
async fn users_of_a_provider_reach_their_own_machine() {
    let keys = [
        ProviderKey::ed25519("ed"),
        ProviderKey::es256("es"),
        ProviderKey::rs256("rs"),
    ];
    let published: Vec<_> = keys.iter().collect();
    let provider = TestProvider::start(&published).await;
    let relay = relay_of(&[&provider]).await;
    let upstream = TestUpstream::start().await;
    let token = provider.agent_token(&keys[1], "ada");
    let mut agent = TestAgent::start(&relay.url(), token, upstream.address(), |_| {});
    agent.connected().await;
    for key in &keys {
        let caller = Caller::new(relay.address(), provider.token(key, "ada"));
        assert_eq!(caller.get("/api/tags").await.status(), 200);
        let bob = Caller::new(relay.address(), provider.token(key, "bob"));
        let offline = refused(bob.get("/api/tags").await, 503).await;
        assert_eq!(offline["code"], "agent_offline");
    }
    assert_eq!(provider.fetches(), 1, "one fetch serves them all");
    assert_eq!(relay.metric("c2l_key_fetches_total").await, 1);
}

#[tokio::test]
async fn jwt_07_two_providers_with_the_same_sub_are_two_users() {
    let (one_key, two_key) = (ProviderKey::ed25519("k"), ProviderKey::ed25519("k"));
    let one = TestProvider::start(&[&one_key]).await;
    let two = TestProvider::start(&[&two_key]).await;
    let relay = relay_of(&[&one, &two]).await;
    let upstream = TestUpstream::start().await;
    let token = one.agent_token(&one_key, "1");
    let mut agent = TestAgent::start(&relay.url(), token, upstream.address(), |_| {});
    agent.connected().await;
    let tags = async |token: &str| Caller::new(relay.address(), token).get("/api/tags").await;
    assert_eq!(tags(&one.token(&one_key, "1")).await.status(), 200);
    let other = refused(tags(&two.token(&two_key, "1")).await, 503).await;
    assert_eq!(
        other["code"], "agent_offline",
        "the 1 of the other provider has no machine"
    );
    // One named in a token that the other has signed.
    let crossed = two_key.sign(&one.claims("1"));
    assert_refused(&relay, &crossed, "bad signature").await;
    let unknown = ProviderKey::ed25519("k").sign(&json!({ "iss": "https://nobody.example" }));
    assert_refused(&relay, &unknown, "unknown issuer").await;
}

#[tokio::test]
async fn jwt_02_a_published_key_is_never_a_shared_secret() {
    let key = ProviderKey::rs256("k");
    let provider = TestProvider::start(&[&key]).await;
    let relay = relay_of(&[&provider]).await;
    let text = |name: &str| key.jwk[name].as_str().expect("text").as_bytes().to_vec();
    let modulus = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, text("n"));
    let whole = json!({ "keys": [key.jwk] }).to_string();
    let secrets = [
        modulus.expect("base64url"),
        text("n"),
        key.jwk.to_string().into_bytes(),
        whole.into_bytes(),
    ];
    let payload = provider.claims("ada").to_string();
    for secret in secrets {
        let header = json!({ "alg": "HS256", "kid": "k" }).to_string();
        let forged = forge::signed_with(&secret, &header, &payload);
        assert_refused(&relay, &forged, "alg").await;
    }
    assert_is(&relay, &provider.token(&key, "ada"), "ada").await;
    assert_eq!(
        provider.fetches(),
        1,
        "no other key could have made it right"
    );
}

#[tokio::test]
async fn jwt_03_a_key_id_is_only_compared_and_causes_one_fetch_at_most() {
    let key = ProviderKey::ed25519("k");
    let provider = TestProvider::start(&[&key]).await;
    let relay = relay_with(&[&provider], Duration::from_secs(600)).await;
    assert_is(&relay, &provider.token(&key, "ada"), "ada").await;
    let (lure, url) = Lure::set().await;
    let long = "k".repeat(4096);
    for id in [
        "../../../../dev/null",
        "x' OR 1=1--",
        &url,
        "a\0b",
        &long,
        "",
    ] {
        let odd = key.sign_with(&json!({ "kid": id }), &provider.claims("ada"));
        assert_refused(&relay, &odd, "kid").await;
    }
    assert!(provider.fetches() <= 2, "{} fetches", provider.fetches());
    lure.assert_unvisited().await;
}

#[tokio::test]
async fn jwt_10_a_key_that_comes_with_the_token_is_not_used_nor_fetched() {
    let log = CapturedLog::start();
    let (key, theirs) = (ProviderKey::ed25519("k"), ProviderKey::ed25519("k"));
    let provider = TestProvider::start(&[&key]).await;
    let relay = relay_of(&[&provider]).await;
    assert_is(&relay, &provider.token(&key, "ada"), "ada").await;
    let (lure, url) = Lure::set().await;
    let mut sent = Vec::new();
    for more in [
        json!({ "jku": url }),
        json!({ "x5u": url }),
        json!({ "jwk": theirs.jwk }),
        json!({ "x5c": ["AAAA"] }),
        json!({ "jku": url, "kid": "unknown" }),
    ] {
        for signer in [&key, &theirs] {
            let token = signer.sign_with(&more, &provider.claims("ada"));
            assert_refused(&relay, &token, "carries key material").await;
            sent.push(token);
        }
    }
    // An issuer that is a URL is a name like any other.
    let mut claims = provider.claims("ada");
    claims["iss"] = url.into();
    let token = theirs.sign(&claims);
    assert_refused(&relay, &token, "unknown issuer").await;
    sent.push(token);
    lure.assert_unvisited().await;
    assert_eq!(provider.fetches(), 1);
    log.assert_without(sent.iter().map(String::as_str));
}

#[tokio::test]
async fn tokens_for_others_and_of_another_sort_are_refused() {
    let key = ProviderKey::ed25519("k");
    let provider = TestProvider::start(&[&key]).await;
    let relay = relay_of(&[&provider]).await;
    let with = |name: &str, value: Value| {
        let mut claims = provider.claims("ada");
        claims[name] = value;
        claims
    };
    for (claims, why) in [
        (with("aud", json!("another")), "audience"),
        (with("aud", json!(["a", "b"])), "audience"),
        (with("exp", json!(1)), "expired"),
        (with("nonce", json!("n")), "ID token"),
        (with("at_hash", json!("h")), "ID token"),
        (with("typ", json!("ID")), "ID token"),
    ] {
        assert_refused(&relay, &key.sign(&claims), why).await;
    }
    let listed = with("aud", json!(["another", AUDIENCE]));
    assert_is(&relay, &key.sign(&listed), "ada").await;
    let logout = json!({ "kid": "k", "typ": "logout+jwt" });
    let logout = key.sign_with(&logout, &provider.claims("ada"));
    assert_refused(&relay, &logout, "typ").await;
}

#[tokio::test]
async fn jwt_16_a_new_key_is_fetched_when_a_token_comes_with_it() {
    let [old, new] = ["old", "new"].map(ProviderKey::ed25519);
    let provider = TestProvider::start(&[&old]).await;
    let relay = relay_of(&[&provider]).await;
    let first = provider.token(&old, "ada");
    assert_is(&relay, &first, "ada").await;
    assert_eq!(provider.fetches(), 1);

    provider.publish(&[&old, &new]);
    let fresh = provider.agent_token(&new, "ada");
    let started = Instant::now();
    let agent = FakeAgent::connect(relay.address(), &fresh, "desk").await;
    assert!(agent.is_ok(), "{agent:?}");
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(provider.fetches(), 2, "one more");
    assert_is(&relay, &provider.token(&new, "ada"), "ada").await;
    assert_is(&relay, &provider.token(&old, "bob"), "bob").await;
    assert_is(&relay, &first, "ada").await;
    assert_eq!(provider.fetches(), 2, "both are known now");
}

#[tokio::test]
async fn jwt_16_a_key_that_is_withdrawn_takes_what_is_remembered_with_it() {
    let [old, new] = ["old", "new"].map(ProviderKey::ed25519);
    let provider = TestProvider::start(&[&old]).await;
    let relay = relay_of(&[&provider]).await;
    let remembered = provider.token(&old, "ada");
    assert_is(&relay, &remembered, "ada").await;
    provider.publish(&[&new]);
    assert_is(&relay, &remembered, "ada").await; // nobody has told the relay
    assert_is(&relay, &provider.token(&new, "ada"), "ada").await; // now somebody has
    assert_refused(&relay, &remembered, "does not publish").await;
}

#[tokio::test]
async fn a_provider_is_reached_over_tls_that_is_checked() {
    let key = ProviderKey::es256("k");
    let provider = TestProvider::start_tls(&[&key]).await;
    let relay = relay_of(&[&provider]).await;
    assert_is(&relay, &provider.token(&key, "ada"), "ada").await;

    let own = Arc::new(SigningKey::ephemeral().expect("random numbers"));
    let verifier = Verifier::new(vec![provider.as_issuer(), own.issuer()]).expect("sound");
    let distrusting = TestRelay::start_on("127.0.0.1:0", own, |config| {
        config.verifier = Arc::new(verifier);
        let mut fetched = provider.as_provider();
        fetched.tls = c2l_testkit::certificates::Authority::new().client();
        config.providers = vec![fetched];
    })
    .await;
    let answer = who_am_i(&distrusting, &provider.token(&key, "ada")).await;
    assert_eq!(refused(answer, 503).await["code"], "issuer_unreachable");
    assert!(distrusting.metric("c2l_key_fetches_failed_total").await >= 1);
}

#[tokio::test]
async fn a_session_is_renewed_with_a_token_of_a_new_key() {
    let [old, new] = ["old", "new"].map(ProviderKey::ed25519);
    let provider = TestProvider::start(&[&old]).await;
    let relay = relay_of(&[&provider]).await;
    let token = provider.agent_token(&old, "ada");
    let agent = FakeAgent::connect(relay.address(), &token, "desk").await;
    let mut agent = agent.expect("a session");
    provider.publish(&[&old, &new]);
    agent.renew(&provider.agent_token(&new, "ada")).await;
    let (is_accepted, message) = agent.token_state().await.expect("an answer");
    assert!(is_accepted, "{message}");
    agent.renew(&provider.agent_token(&new, "bob")).await;
    let (is_accepted, message) = agent.token_state().await.expect("an answer");
    assert!(
        !is_accepted && message.contains("another user"),
        "{message}"
    );
}

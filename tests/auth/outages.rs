//! Identity providers that are away, slow, broken, or asked too much.

use std::time::Duration;

use c2l_testkit::{
    Caller, FakeAgent, PATIENCE, TestRelay, eventually,
    provider::{Mood, ProviderKey, TestProvider},
};
use serde_json::json;
use tokio::time::Instant;
use tonic::Code;

use super::{
    assert_unauthenticated,
    providers::{assert_is, relay_of, relay_with, who_am_i},
    refused,
};

/// Asserts a 503 within the 5 s that anybody waits for keys, which says that another try may help.
async fn assert_unreachable(relay: &TestRelay, token: &str) {
    let started = Instant::now();
    let answer = who_am_i(relay, token).await;
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    assert!(!answer.header("retry-after").is_empty());
    let body = refused(answer, 503).await;
    assert_eq!(body["code"], "issuer_unreachable", "{body}");
    assert_eq!(body["retry_safe"], true);
}

#[tokio::test]
async fn jwt_17_a_thousand_unknown_keys_are_a_few_fetches() {
    let interval = Duration::from_millis(400);
    let key = ProviderKey::ed25519("k");
    let provider = TestProvider::start(&[&key]).await;
    let relay = relay_with(&[&provider], interval).await;
    let known = provider.token(&key, "ada");
    assert_is(&relay, &known, "ada").await;
    let claims = provider.claims("mallory");
    let started = Instant::now();
    let strangers = async |from: usize| {
        for number in from..from + 125 {
            let header = json!({ "kid": format!("random-{number}") });
            let token = key.sign_with(&header, &claims);
            assert_unauthenticated(who_am_i(&relay, &token).await, &token, "kid").await;
        }
    };
    let users = async {
        for _ in 0..100 {
            let started = Instant::now();
            assert_eq!(who_am_i(&relay, &known).await.status(), 200);
            let fresh = provider.token(&key, "bob");
            assert_eq!(who_am_i(&relay, &fresh).await.status(), 200);
            assert!(
                started.elapsed() < Duration::from_secs(2),
                "{:?}",
                started.elapsed()
            );
        }
    };
    tokio::join!(
        strangers(0),
        strangers(125),
        strangers(250),
        strangers(375),
        strangers(500),
        strangers(625),
        strangers(750),
        strangers(875),
        users,
    );
    let (fetches, took) = (provider.fetches(), started.elapsed());
    eprintln!("1,000 unknown keys: {fetches} fetches in {took:?}");
    let most = 2 + took.as_millis() / interval.as_millis();
    assert!(
        (2..=most).contains(&u128::from(fetches)),
        "{fetches} of {most}"
    );
}

#[tokio::test]
async fn jwt_18_known_keys_go_on_while_the_provider_is_away() {
    let [key, new] = ["k", "new"].map(ProviderKey::ed25519);
    let mut provider = TestProvider::start(&[&key]).await;
    let relay = relay_of(&[&provider]).await;
    assert_is(&relay, &provider.token(&key, "ada"), "ada").await;
    let unknown = provider.token(&new, "ada");

    provider.stop().await;
    assert_unreachable(&relay, &unknown).await;
    assert_is(&relay, &provider.token(&key, "bob"), "bob").await;
    assert_eq!(relay.metric("c2l_issuers_unreachable").await, 1);
    let agent = FakeAgent::dial(relay.address(), &provider.agent_token(&new, "ada")).await;
    let status = agent.expect_err("no session");
    assert_eq!(
        status.code(),
        Code::Unavailable,
        "an agent tries again: {status}"
    );

    provider.start_again().await;
    let redirect = Mood::Answers(302, Some("http://127.0.0.1:1/keys".to_owned()));
    let broken = ["<html>", "{}", r#"{"keys":[]}"#, &"x".repeat(300 * 1024)];
    let broken = broken.map(|text| Mood::Says(text.to_owned()));
    let moods = [Mood::Answers(500, None), redirect, Mood::Hangs];
    for mood in moods.into_iter().chain(broken) {
        provider.become_(mood.clone());
        assert_unreachable(&relay, &unknown).await;
        assert_is(&relay, &provider.token(&key, "carol"), "carol").await;
    }

    provider.become_(Mood::Serves);
    provider.publish(&[&key, &new]);
    assert_is(&relay, &unknown, "ada").await;
    assert_eq!(relay.metric("c2l_issuers_unreachable").await, 0);
}

#[tokio::test]
async fn jwt_18_a_relay_starts_without_its_provider_and_takes_tokens_once_it_is_there() {
    let key = ProviderKey::ed25519("k");
    let mut provider = TestProvider::start(&[&key]).await;
    provider.stop().await;
    let relay = relay_with(&[&provider], Duration::from_secs(600)).await;
    let own = Caller::new(relay.address(), relay.api_token("owner"));
    assert_eq!(
        own.get("/relay/v1/whoami").await.status(),
        200,
        "its own tokens are good"
    );
    let token = provider.token(&key, "ada");
    assert_unreachable(&relay, &token).await;
    provider.start_again().await;
    // Tokens may not cause another fetch for ten minutes; the relay's own next attempt does it.
    eventually(PATIENCE, "the keys are fetched", async || {
        (who_am_i(&relay, &token).await.status() == 200).then_some(())
    })
    .await;
    assert_is(&relay, &token, "ada").await;
}

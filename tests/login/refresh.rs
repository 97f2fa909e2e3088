//! How a login goes on, and how it ends.

use c2l_testkit::{FakeAgent, PATIENCE, TestRelay, within};
use serde_json::{Value, json};

use super::{Forms, logged_in, relay, tokens_of};

const ATTEMPT: &str = "twenty-two characters or more";
const ANOTHER: &str = "another one that nobody guesses";

fn is_ended((status, said): &(u16, Value)) -> bool {
    *status == 400 && said["error"] == "invalid_grant"
}

#[tokio::test]
async fn each_refresh_token_is_good_once_and_each_token_opens_a_session() {
    let relay = relay().await;
    let forms = Forms::to(relay.address());
    let (mut access, mut refresh) = logged_in(&relay, "ada", "desk").await;
    let mut seen = Vec::new();
    for turn in 0..5 {
        let agent = FakeAgent::connect(relay.address(), &access, "desk").await;
        agent.expect("a session");
        let (status, said) = forms.refresh(&refresh, &format!("{ATTEMPT}{turn}")).await;
        assert_eq!(status, 200, "{said}");
        seen.extend([access, refresh]);
        (access, refresh) = tokens_of(&said);
        assert!(!seen.contains(&access) && !seen.contains(&refresh));
    }
}

#[tokio::test]
async fn an_answer_that_was_lost_is_given_again_to_whoever_asked() {
    let relay = relay().await;
    let forms = Forms::to(relay.address());
    let (_, first) = logged_in(&relay, "ada", "desk").await;
    let (_, lost) = tokens_of(&forms.refresh(&first, ATTEMPT).await.1);
    let (status, said) = forms.refresh(&first, ATTEMPT).await;
    assert_eq!(status, 200, "{said}");
    let (access, again) = tokens_of(&said);
    assert_eq!(again, lost, "the same one: there is one login");
    FakeAgent::connect(relay.address(), &access, "desk")
        .await
        .expect("a session");
    let (status, said) = forms.refresh(&again, ANOTHER).await;
    assert_eq!(status, 200, "{said}");
    let (_, third) = tokens_of(&said);
    // The answer has arrived, as its use shows: asking again is no retry any more.
    assert!(is_ended(&forms.refresh(&first, ATTEMPT).await));
    assert!(is_ended(&forms.refresh(&third, ATTEMPT).await));
}

#[tokio::test]
async fn an_old_refresh_token_ends_the_login_and_its_session_at_once() {
    let relay = relay().await;
    let forms = Forms::to(relay.address());
    for attempt in ["", ANOTHER, "short"] {
        let (_, first) = logged_in(&relay, "ada", "desk").await;
        let (_, bystander) = logged_in(&relay, "ada", "lap").await;
        let (status, said) = forms.refresh(&first, ATTEMPT).await;
        assert_eq!(status, 200, "{said}");
        let (access, second) = tokens_of(&said);
        let agent = FakeAgent::connect(relay.address(), &access, "desk").await;
        let mut agent = agent.expect("a session");

        // Somebody has a copy of the first one.
        let copied = forms.refresh(&first, attempt).await;
        assert!(is_ended(&copied), "{copied:?}");
        let second_limit = std::time::Duration::from_secs(1);
        let ended = within(second_limit, "the session ends", agent.end()).await;
        assert_eq!(ended.code(), tonic::Code::Unauthenticated);
        assert!(is_ended(&forms.refresh(&second, ATTEMPT).await));
        let again = FakeAgent::connect(relay.address(), &access, "desk").await;
        let again = again.expect_err("its token ended as well");
        assert_eq!(again.code(), tonic::Code::Unauthenticated);
        assert_eq!(forms.refresh(&bystander, ATTEMPT).await.0, 200);
    }
}

#[tokio::test]
async fn a_login_that_was_given_up_is_ended_whichever_of_its_tokens_says_so() {
    let relay = relay().await;
    let forms = Forms::to(relay.address());
    let (_, old) = logged_in(&relay, "ada", "desk").await;
    let (access, refresh) = tokens_of(&forms.refresh(&old, ATTEMPT).await.1);
    let agent = FakeAgent::connect(relay.address(), &access, "desk").await;
    let mut agent = agent.expect("a session");
    let revoked = forms.ask("revoke", &[("token", &old)]).await;
    assert_eq!(revoked, (200, json!({})));
    let ended = within(PATIENCE, "the session ends", agent.end()).await;
    assert_eq!(ended.code(), tonic::Code::Unauthenticated);
    assert!(is_ended(&forms.refresh(&refresh, ATTEMPT).await));
    // RFC 7009 §2.2: what is unknown is as good as revoked.
    for token in [refresh.as_str(), "c2lr_x", "nothing"] {
        let revoked = forms.ask("revoke", &[("token", token)]).await;
        assert_eq!(revoked, (200, json!({})), "{token}");
    }
}

#[tokio::test]
async fn what_is_no_refresh_token_of_this_relay_brings_nothing() {
    let (relay, other) = tokio::join!(relay(), relay());
    let forms = Forms::to(relay.address());
    let (access, refresh) = logged_in(&relay, "ada", "desk").await;
    let (_, elsewhere) = logged_in(&other, "ada", "desk").await;
    let mut changed = refresh.clone();
    changed.replace_range(6..7, if changed[6..7] == *"x" { "y" } else { "x" });
    for token in [elsewhere.as_str(), &access, &changed, "c2lr_", "x"] {
        let tried = forms.refresh(token, ATTEMPT).await;
        assert!(is_ended(&tried), "{tried:?}");
    }
    for (fields, word) in [
        (&[("grant_type", "password")][..], "unsupported_grant_type"),
        (&[("grant_type", "refresh_token")], "invalid_request"),
        (&[("x", "y")], "invalid_request"),
    ] {
        let (status, said) = forms.ask("token", fields).await;
        assert_eq!((status, &said["error"]), (400, &json!(word)));
    }
    assert_eq!(forms.refresh(&refresh, ATTEMPT).await.0, 200, "unharmed");
}

#[tokio::test]
async fn a_relay_without_logins_says_so() {
    let relay = TestRelay::start().await;
    let forms = Forms::to(relay.address());
    let answer = forms
        .send("/relay/v1/login/device", &[("device_name", "desk")])
        .await;
    assert_eq!(answer.status(), 404);
    assert_eq!(forms.0.get("/login").await.status(), 404);
}

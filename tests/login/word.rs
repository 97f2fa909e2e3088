//! What somebody says, and what the device hears.

use std::time::Duration;

use c2l_testkit::{Caller, FakeAgent, PATIENCE, eventually, tokens};
use serde_json::json;

use crate::keys::rest::assert_fits;

use super::{Forms, account, logged_in, relay, relay_with, say, tokens_of};

#[tokio::test]
async fn an_approved_device_gets_a_short_token_of_its_own_and_once_only() {
    let relay = relay().await;
    let forms = Forms::to(relay.address());
    let begun = forms.start("desk").await;
    assert_eq!(begun.said["expires_in"], 600);
    let uri = begun.said["verification_uri"].as_str().expect("an address");
    assert!(
        uri.ends_with("/login") && begun.user_code.len() == 9,
        "{uri}"
    );
    assert_eq!(forms.refusal(&begun).await, "authorization_pending");

    // Typed as people type.
    let typed = begun.user_code.to_lowercase().replace('-', " ");
    let (status, who) = say(&relay, "ada", "describe", &typed).await;
    assert_eq!((status, &who["device"]), (200, &json!("desk")));
    assert_eq!(who["address"], "127.0.0.1");
    assert!(who["asked_unix_seconds"].as_u64().expect("a time") > 1_700_000_000);
    assert_eq!(forms.refusal(&begun).await, "authorization_pending");
    let (status, _) = say(&relay, "ada", "approve", &typed).await;
    assert_eq!(status, 200);

    let (status, said) = forms.poll(&begun).await;
    assert_eq!((status, &said["expires_in"]), (200, &json!(900)));
    let (access, refresh) = tokens_of(&said);
    assert!(refresh.starts_with("c2lr_"));
    assert_eq!(forms.refusal(&begun).await, "expired_token");

    // Of this user and device, for a session, and for nothing else.
    let mut agent = FakeAgent::connect(relay.address(), &access, "desk")
        .await
        .expect("a session");
    let other = FakeAgent::connect(relay.address(), &access, "lap").await;
    assert_eq!(
        other.expect_err("bound").code(),
        tonic::Code::PermissionDenied
    );
    for credential in [&access, &refresh] {
        let caller = Caller::new(relay.address(), credential.as_str());
        assert_eq!(caller.get("/api/tags").await.status(), 401);
        assert_eq!(caller.get("/relay/v1/keys").await.status(), 401);
    }
    let owner = Caller::new(relay.address(), relay.api_token("ada"));
    let devices = owner.get("/relay/v1/devices").await.json().await;
    assert_eq!(devices["devices"][0]["name"], "desk");
    drop(relay);
    agent.end().await;
}

#[tokio::test]
async fn a_denied_device_is_told_so_and_nobody_can_approve_it_any_more() {
    let relay = relay().await;
    let forms = Forms::to(relay.address());
    let begun = forms.start("desk").await;
    assert_eq!(say(&relay, "ada", "deny", &begun.user_code).await.0, 200);
    assert_eq!(say(&relay, "ada", "approve", &begun.user_code).await.0, 404);
    assert_eq!(forms.refusal(&begun).await, "access_denied");
    assert_eq!(forms.refusal(&begun).await, "expired_token");
}

#[tokio::test]
async fn a_device_that_asks_too_often_is_slowed_down_and_one_that_waits_too_long_is_out() {
    let relay = relay_with(|login| {
        login.interval = Duration::from_secs(5);
        login.patience = Duration::from_secs(4);
    })
    .await;
    let forms = Forms::to(relay.address());
    let begun = forms.start("desk").await;
    assert_eq!(
        (&begun.said["interval"], &begun.said["expires_in"]),
        (&json!(5), &json!(4))
    );
    assert_eq!(forms.refusal(&begun).await, "slow_down");
    eventually(PATIENCE, "the login runs out", async || {
        (forms.refusal(&begun).await == "expired_token").then_some(())
    })
    .await;
    assert_eq!(say(&relay, "ada", "approve", &begun.user_code).await.0, 404);
}

#[tokio::test]
async fn only_whoever_may_manage_an_account_has_a_word() {
    let relay = relay().await;
    let forms = Forms::to(relay.address());
    let begun = forms.start("desk").await;
    let body = json!({ "user_code": begun.user_code });
    let key = Caller::new(relay.address(), account(&relay, "ada"))
        .post("/relay/v1/keys", &json!({ "name": "x" }))
        .await;
    let key = key.json().await["key"].as_str().expect("a key").to_owned();
    for (credential, status) in [
        (relay.api_token("ada"), 403),
        (relay.agent_token("ada"), 401),
        (relay.sign(&tokens::expired("ada")), 401),
        (key, 403),
    ] {
        let caller = Caller::new(relay.address(), credential);
        for word in ["describe", "approve", "deny"] {
            let answer = caller
                .post(&format!("/relay/v1/logins/{word}"), &body)
                .await;
            assert_eq!(answer.status(), status, "{word}");
        }
    }
    // Those that wait are for the operator's eyes.
    let ada = Caller::new(relay.address(), account(&relay, "ada"));
    assert_eq!(ada.get("/relay/v1/logins").await.status(), 404);
    assert_eq!(forms.refusal(&begun).await, "authorization_pending");
}

#[tokio::test]
async fn after_ten_wrong_codes_a_user_has_to_wait_and_others_have_not() {
    let relay = relay().await;
    let forms = Forms::to(relay.address());
    let begun = forms.start("desk").await;
    let wrong = ["BBBB-BBBB", "not a code", "", "BCDF"];
    for guess in wrong.iter().cycle().take(10) {
        assert_eq!(say(&relay, "eve", "approve", guess).await.0, 404, "{guess}");
    }
    let (status, said) = say(&relay, "eve", "approve", &begun.user_code).await;
    assert_eq!((status, &said["code"]), (429, &json!("user_over_limit")));
    assert_eq!(say(&relay, "ada", "approve", &begun.user_code).await.0, 200);
}

#[tokio::test]
async fn a_device_that_logs_in_again_has_one_login_and_other_users_keep_theirs() {
    let relay = relay().await;
    let (_, first) = logged_in(&relay, "ada", "desk").await;
    let (_, of_bob) = logged_in(&relay, "bob", "desk").await;
    let (_, second) = logged_in(&relay, "ada", "desk").await;
    let forms = Forms::to(relay.address());
    let (status, said) = forms.refresh(&first, "").await;
    assert_eq!((status, &said["error"]), (400, &json!("invalid_grant")));
    for token in [&second, &of_bob] {
        assert_eq!(forms.refresh(token, "").await.0, 200);
    }
}

#[tokio::test]
async fn a_removed_device_and_a_sign_out_end_logins_too() {
    let relay = relay().await;
    let (access, desk) = logged_in(&relay, "ada", "desk").await;
    let (_, lap) = logged_in(&relay, "ada", "lap").await;
    let mut agent = FakeAgent::connect(relay.address(), &access, "desk")
        .await
        .expect("a session");
    let ada = Caller::new(relay.address(), account(&relay, "ada"));
    let removed = ada.request(http::Method::DELETE, "/relay/v1/devices/desk");
    let removed = ada
        .send(removed.body(c2l_testkit::empty()).expect("a request"))
        .await;
    assert_eq!(removed.json().await["logins"], 1);
    assert_eq!(agent.end().await.code(), tonic::Code::Unauthenticated);
    let forms = Forms::to(relay.address());
    assert_eq!(forms.refresh(&desk, "").await.0, 400);
    let (status, said) = forms.refresh(&lap, "").await;
    assert_eq!(status, 200);
    let (_, lap) = tokens_of(&said);
    assert_eq!(
        ada.post("/relay/v1/sign-out", &json!({})).await.status(),
        200
    );
    assert_eq!(forms.refresh(&lap, "").await.0, 400);
}

#[tokio::test]
async fn the_word_of_somebody_who_was_signed_out_since_counts_no_longer() {
    let relay = relay().await;
    let forms = Forms::to(relay.address());
    let begun = forms.start("desk").await;
    assert_eq!(say(&relay, "ada", "approve", &begun.user_code).await.0, 200);
    let ada = Caller::new(relay.address(), account(&relay, "ada"));
    assert_eq!(
        ada.post("/relay/v1/sign-out", &json!({})).await.status(),
        200
    );
    assert_eq!(forms.refusal(&begun).await, "access_denied");
}

#[tokio::test]
async fn the_document_says_what_devices_and_their_owners_are_answered() {
    let relay = relay().await;
    let forms = Forms::to(relay.address());
    let document = forms.0.get("/relay/v1/openapi.json").await.json().await;
    let fits = |path: &str, status: u16, said: &serde_json::Value| {
        let responses = &document["paths"][path]["post"]["responses"];
        let content = &responses[status.to_string()]["content"];
        let schema = &content["application/json"]["schema"];
        assert!(schema.is_object(), "{path} {status} is not in the document");
        assert_fits(&document, schema, said, path);
    };
    for word in ["deny", "approve"] {
        let begun = forms.start("desk").await;
        fits("/relay/v1/login/device", 200, &begun.said);
        for word in ["describe", word] {
            let (status, said) = say(&relay, "ada", word, &begun.user_code).await;
            fits(&format!("/relay/v1/logins/{word}"), status, &said);
        }
        let (status, said) = forms.poll(&begun).await;
        fits("/relay/v1/login/token", status, &said);
        assert_eq!(status == 200, word == "approve");
        if status == 200 {
            let (_, refresh) = tokens_of(&said);
            let (status, said) = forms.ask("revoke", &[("token", &refresh)]).await;
            fits("/relay/v1/login/revoke", status, &said);
        }
    }
}

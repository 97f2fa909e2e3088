//! Signing in, staying signed in and signing out: what the browser keeps, and when it stops counting.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use c2l_auth::{Kind, Pepper, Scope, Scopes, SigningKey};
use c2l_relay::{Accounts, Config, Rate};
use c2l_testkit::{CapturedLog, PATIENCE, TestAgent, TestRelay, TestUpstream, eventually, tokens};
use http::Method;
use serde_json::json;

use super::{Browser, COOKIE, account_token, refusal};

const HOUR: Duration = Duration::from_secs(3600);

/// What a browser keeps that signed in so long ago, and was given this so long ago.
fn kept(
    key: &SigningKey,
    user: &str,
    began_ago: Duration,
    issued_ago: Duration,
    life: Duration,
) -> String {
    let pepper = Pepper::ephemeral().expect("random numbers");
    let user = pepper.name_user("c2l", user).expect("a user");
    let id = pepper.family_id().expect("random numbers");
    let now = SystemTime::now();
    let token = key.issue_for_browser(&user, (&id, now - began_ago), life, now - issued_ago);
    token.expect("a token").expose().to_owned()
}

#[tokio::test]
async fn web_06_a_cookie_is_kept_for_this_host_alone_and_signing_out_kills_it_at_the_relay() {
    let log = CapturedLog::start();
    let relay = TestRelay::start().await;
    let browser = Browser::at(&relay);
    let token = account_token(&relay, "ada");
    let answer = browser
        .post("/web/v1/session", &json!({ "token": token }))
        .await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let set = answer.header("set-cookie").to_owned();
    let (pair, attributes) = set.split_once("; ").expect("attributes");
    assert!(pair.starts_with("__Host-c2l="), "{set}");
    assert_eq!(
        attributes,
        "Path=/; Max-Age=43200; Secure; HttpOnly; SameSite=Strict"
    );
    let said = answer.json().await;
    assert_eq!(
        (&said["signed_in"], &said["user"], &said["issuer"]),
        (&json!(true), &json!("ada"), &json!("c2l"))
    );
    assert!(
        !said.to_string().contains(&browser.session()),
        "no script sees it"
    );
    let copy = browser.session();
    assert_eq!(browser.whose().await.as_deref(), Some("ada"));
    browser.sign_out().await;
    assert_eq!(browser.cookie(COOKIE), None, "the browser forgets it");
    let thief = Browser::with(&relay, &copy);
    assert_eq!(
        thief.whose().await,
        None,
        "and the relay does not take it back"
    );
    assert_eq!(thief.look().await["signed_in"], false);
    assert_eq!(thief.cookie(COOKIE), None);
    browser.sign_out().await;
    log.assert_without([copy.as_str(), token.as_str()]);
    let text = log.text();
    for event in ["web_signed_in", "web_signed_out"] {
        assert_eq!(text.matches(event).count(), 1, "{event}");
    }
}

#[tokio::test]
async fn who_has_not_signed_in_is_told_how_and_nothing_else() {
    let relay = TestRelay::start().await;
    let browser = Browser::at(&relay);
    let said = browser.look().await;
    let ways = json!({ "link": true, "token": true, "issuers": [] });
    assert_eq!((&said["signed_in"], &said["ways"]), (&json!(false), &ways));
    assert!(said.get("user").is_none(), "{said}");
    for path in [
        "/web/v1/account/whoami",
        "/web/v1/account/keys",
        "/web/v1/devices/desk/api/tags",
    ] {
        assert_eq!(
            refusal(browser.get(path).await).await,
            (401, "unauthenticated".to_owned())
        );
    }
}

#[tokio::test]
async fn only_a_token_of_scope_account_signs_in_and_what_a_browser_keeps_never_does() {
    let relay = TestRelay::start().await;
    let browser = Browser::of(&relay, "ada").await;
    let key = browser
        .post("/web/v1/account/keys", &json!({ "name": "x" }))
        .await
        .json()
        .await;
    let key = key["key"].as_str().expect("a key").to_owned();
    for (token, expected) in [
        (String::new(), 401),
        ("nonsense".to_owned(), 401),
        (tokens::mistyped(&account_token(&relay, "ada")), 401),
        (relay.agent_token("ada"), 401),
        (relay.sign(&tokens::expired("ada")), 401),
        (browser.session(), 401),
        (relay.api_token("ada"), 403),
        (key, 403),
    ] {
        let other = Browser::at(&relay);
        let answer = other
            .post("/web/v1/session", &json!({ "token": token }))
            .await;
        assert_eq!(answer.status(), expected, "{token:.20}");
        assert_eq!(other.cookie(COOKIE), None);
    }
    for body in [
        json!({}),
        json!({ "token": "a", "link": "b" }),
        json!({ "user": "ada" }),
        json!([]),
    ] {
        let answer = Browser::at(&relay).post("/web/v1/session", &body).await;
        assert_eq!(
            refusal(answer).await,
            (400, "invalid_request".to_owned()),
            "{body}"
        );
    }
    // A token of kind web that is no browser's, as a provider's may be: to sign in with, and for nothing else.
    let web = relay.sign(&tokens::api("ada").of_kind(Kind::Web));
    assert_eq!(Browser::with(&relay, &web).whose().await, None);
    assert_eq!(Browser::at(&relay).sign_in(&web).await["user"], "ada");
    let none = relay.sign(&tokens::api("ada").of_kind(Kind::Web).allowing(Scopes::NONE));
    let answer = Browser::at(&relay)
        .post("/web/v1/session", &json!({ "token": none }))
        .await;
    assert_eq!(answer.status(), 403, "its issuer allows no models");
    let scopes = Scopes::NONE.with(Scope::Account);
    let account = relay.sign(&tokens::api("ada").allowing(scopes));
    assert_eq!(Browser::at(&relay).sign_in(&account).await["user"], "ada");
}

#[tokio::test]
async fn a_browser_that_comes_is_renewed_and_signing_out_ends_what_it_kept_before() {
    let relay = TestRelay::start().await;
    let fresh = Browser::with(&relay, &kept(&relay.key(), "ada", HOUR, HOUR, 12 * HOUR));
    let before = fresh.session();
    assert_eq!(fresh.look().await["signed_in"], true);
    assert_eq!(fresh.session(), before, "more than half is left");
    let old = kept(&relay.key(), "ada", 20 * HOUR, 7 * HOUR, 12 * HOUR);
    let browser = Browser::with(&relay, &old);
    let said = browser.look().await;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970");
    let left = said["expires_unix_seconds"].as_u64().expect("a time") - now.as_secs();
    assert!((43_000..=43_200).contains(&left), "{left}");
    assert_ne!(browser.session(), old);
    let copies = [old, browser.session()];
    for copy in &copies {
        assert_eq!(
            Browser::with(&relay, copy).whose().await.as_deref(),
            Some("ada"),
            "both count"
        );
    }
    browser.sign_out().await;
    for copy in &copies {
        assert_eq!(
            Browser::with(&relay, copy).whose().await,
            None,
            "neither counts"
        );
    }
    assert_eq!(
        fresh.whose().await.as_deref(),
        Some("ada"),
        "another browser does"
    );
}

#[tokio::test]
async fn nobody_stays_signed_in_longer_than_the_longest() {
    let relay = TestRelay::start().await;
    let day = 24 * HOUR;
    let nearly = Browser::with(
        &relay,
        &kept(
            &relay.key(),
            "ada",
            30 * day - HOUR,
            11 * HOUR + HOUR / 2,
            12 * HOUR,
        ),
    );
    let said = nearly.look().await;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970");
    let left = said["expires_unix_seconds"].as_u64().expect("a time") - now.as_secs();
    assert!((3500..=3601).contains(&left), "{left}");
    let over = Browser::with(
        &relay,
        &kept(&relay.key(), "ada", 30 * day, 11 * HOUR, 12 * HOUR),
    );
    let before = over.session();
    assert_eq!(
        over.look().await["signed_in"],
        true,
        "what it has runs out by itself"
    );
    assert_eq!(over.session(), before);
    let out = Browser::with(
        &relay,
        &kept(&relay.key(), "ada", 13 * HOUR, 13 * HOUR, 12 * HOUR),
    );
    assert_eq!(out.whose().await, None);
    assert_eq!(out.look().await["signed_in"], false);
}

#[tokio::test]
async fn signing_out_everywhere_ends_every_browser_and_a_restart_ends_none() {
    let key = Arc::new(SigningKey::ephemeral().expect("random numbers"));
    let accounts = Accounts::in_memory().expect("a database");
    let same = |config: &mut Config| config.accounts = Some(accounts.clone());
    let relay = TestRelay::start_on("127.0.0.1:0", Arc::clone(&key), same).await;
    let (one, two) = (
        Browser::of(&relay, "ada").await,
        Browser::of(&relay, "ada").await,
    );
    let other = Browser::of(&relay, "bob").await;
    let gone = Browser::of(&relay, "ada").await;
    let gone_cookie = gone.session();
    gone.sign_out().await;
    relay.shut_down().await;

    let relay = TestRelay::start_on("127.0.0.1:0", Arc::clone(&key), same).await;
    let here = |browser: &Browser| Browser::with(&relay, &browser.session());
    let (one, two, other) = (here(&one), here(&two), here(&other));
    for (browser, user) in [(&one, "ada"), (&two, "ada"), (&other, "bob")] {
        assert_eq!(browser.whose().await.as_deref(), Some(user));
    }
    assert_eq!(
        Browser::with(&relay, &gone_cookie).whose().await,
        None,
        "out stays out"
    );
    let answer = one.post("/web/v1/account/sign-out", &json!({})).await;
    assert_eq!(answer.status(), 200);
    assert_eq!((one.whose().await, two.whose().await), (None, None));
    assert_eq!(other.whose().await.as_deref(), Some("bob"));
    assert_eq!(
        Browser::of(&relay, "ada").await.whose().await.as_deref(),
        Some("ada"),
        "anew"
    );
}

#[tokio::test]
async fn an_answer_ends_when_its_browser_signs_out_and_when_it_leaves() {
    let upstream = TestUpstream::start().await;
    let relay = TestRelay::start().await;
    let agent = TestAgent::connect(&relay, "ada", upstream.address());
    let _agent = agent.await;
    let browser = Browser::of(&relay, "ada").await;
    let device = browser.get("/web/v1/account/devices").await.json().await;
    let device = device["devices"][0]["name"]
        .as_str()
        .expect("a device")
        .to_owned();
    let path = format!("/web/v1/devices/{device}/api/chat");
    let body = json!({ "model": "tiny+lines=1200+gap=50ms", "messages": [{ "role": "user", "content": "go on" }] });
    let mut left = browser.post(&path, &body).await;
    assert_eq!(left.status(), 200);
    assert!(
        left.piece().await.expect("whole so far").is_some(),
        "as it comes"
    );
    drop(left);
    upstream
        .wait_for("the generation is stopped", |seen| seen.callers_left == 1)
        .await;
    let mut cut = browser.post(&path, &body).await;
    assert!(cut.piece().await.expect("whole so far").is_some());
    browser.sign_out().await;
    let (rest, is_whole) = cut.rest().await;
    assert!(!is_whole);
    assert!(
        String::from_utf8_lossy(&rest).contains("revoked"),
        "it says why"
    );
    upstream
        .wait_for("the generation is stopped", |seen| seen.callers_left == 2)
        .await;
    eventually(PATIENCE, "nothing is under way", async || {
        (relay.metric("c2l_requests_active").await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn another_method_is_refused() {
    let relay = TestRelay::start().await;
    let browser = Browser::of(&relay, "ada").await;
    for (method, path) in [
        (Method::PUT, "/web/v1/session"),
        (Method::POST, "/web/v1/devices/desk/api/tags"),
        (Method::GET, "/web/v1/devices/desk/api/chat"),
        (Method::POST, "/web/v1/callback"),
    ] {
        let answer = browser.ask(method.clone(), path, None).await;
        let said = refusal(answer).await;
        assert_eq!(
            said,
            (405, "method_not_allowed".to_owned()),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn sign_ins_and_renewals_count_as_requests_of_their_user() {
    let relay = TestRelay::start_with(|config| {
        config.rates.user_requests = Rate::new(3, HOUR);
    })
    .await;
    let token = account_token(&relay, "ada");
    let sign_in = async || {
        let shown = json!({ "token": token });
        Browser::at(&relay).post("/web/v1/session", &shown).await
    };
    for _ in 0..3 {
        assert_eq!(sign_in().await.status(), 200);
    }
    let over = sign_in().await;
    assert_eq!(over.status(), 429);
    let wait: u64 = over.header("retry-after").parse().expect("seconds");
    assert!((1..=1200).contains(&wait), "{wait}");
    assert!(!over.headers().contains_key("set-cookie"));
    assert_eq!(
        refusal(over).await,
        (429, "user_over_limit".to_owned()),
        "and nobody is signed in"
    );
    assert_eq!(Browser::of(&relay, "bob").await.look().await["user"], "bob");

    // Over the limit nothing is renewed, and nobody is signed out by that.
    let old = kept(&relay.key(), "eve", 20 * HOUR, 7 * HOUR, 12 * HOUR);
    let mut renewed = 0;
    for _ in 0..5 {
        let browser = Browser::with(&relay, &old);
        assert_eq!(browser.look().await["user"], "eve");
        renewed += u32::from(browser.session() != old);
    }
    assert_eq!(renewed, 3);
}

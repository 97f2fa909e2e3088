//! What a key is good for, at every door; and what its use costs.

use std::{sync::Arc, time::Duration};

use c2l_auth::Pepper;
use c2l_relay::Accounts;
use c2l_testkit::{Caller, FakeAgent, PATIENCE, TestAgent, TestRelay, empty, eventually};
use http::Method;
use serde_json::json;

use super::{Account, Stand, refusal, storage::Watched};

#[tokio::test]
async fn a_key_is_good_at_every_door_of_a_caller() {
    let stand = Stand::start().await;
    let (key, _) = stand.account("ada").make(json!({})).await;
    let anonymous = Caller::anonymous(stand.relay.address());
    assert_eq!(stand.bearer(&key).get("/api/tags").await.status(), 200);
    let path = format!("/k/{key}/api/tags");
    assert_eq!(anonymous.get(&path).await.status(), 200);
    let basic = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        format!("anything:{key}"),
    );
    for (name, value) in [
        ("x-api-key", key.clone()),
        ("authorization", format!("Basic {basic}")),
    ] {
        let request = anonymous
            .request(Method::GET, "/api/tags")
            .header(name, value);
        let answer = anonymous
            .send(request.body(empty()).expect("a request"))
            .await;
        assert_eq!(answer.status(), 200, "{name}");
    }
    let who = stand
        .bearer(&key)
        .get("/relay/v1/whoami")
        .await
        .json()
        .await;
    assert_eq!((&who["user"], &who["kind"]), (&json!("ada"), &json!("api")));
    // It manages no models, no account, and opens no session.
    let (status, code, _) = refusal(
        stand
            .bearer(&key)
            .post("/api/pull", &json!({"model": "x"}))
            .await,
    )
    .await;
    assert_eq!((status, code.as_str()), (403, "forbidden"));
    let (status, code, why) = refusal(stand.bearer(&key).get("/relay/v1/keys").await).await;
    assert_eq!((status, code.as_str()), (403, "forbidden"));
    assert!(why.contains("account"), "{why}");
    let refused = FakeAgent::dial(stand.relay.address(), &key).await;
    assert!(
        refused
            .expect_err("no session")
            .message()
            .contains("wrong kind")
    );
}

#[tokio::test]
async fn an_agents_key_opens_a_session_and_nothing_else() {
    let stand = Stand::start().await;
    let ada = stand.account("ada");
    let (key, id) = ada.make(json!({ "kind": "agent", "device": "desk" })).await;
    let mut agent = TestAgent::start(
        &stand.relay.url(),
        key.clone(),
        stand.upstream.address(),
        |config| {
            config.device_name = "desk".to_owned();
        },
    );
    agent.connected().await;
    let answer = stand
        .bearer(&stand.relay.api_token("ada"))
        .get("/d/desk/api/tags")
        .await;
    assert_eq!(answer.status(), 200);
    let (status, _, why) = refusal(stand.bearer(&key).get("/api/tags").await).await;
    assert_eq!(status, 401, "{why}");
    let mut other = FakeAgent::dial(stand.relay.address(), &key)
        .await
        .expect("a good key");
    other.hello("castle").await;
    let refused = other.welcome().await.expect_err("another device");
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    ada.revoke(&id).await;
    let ended = agent.ended().await.expect_err("refused").to_string();
    assert!(ended.contains("revoked"), "{ended}");
}

#[tokio::test]
async fn an_agents_session_ends_with_its_key_that_was_rotated() {
    let stand = Stand::start().await;
    let ada = stand.account("ada");
    for overlap in [0, 1] {
        let (key, id) = ada.make(json!({ "kind": "agent", "device": "desk" })).await;
        let (url, upstream) = (stand.relay.url(), stand.upstream.address());
        let mut agent = TestAgent::start(&url, key, upstream, |config| {
            config.device_name = "desk".to_owned();
        });
        agent.connected().await;
        let path = format!("/relay/v1/keys/{id}/rotate");
        let (status, made) = ada
            .post(&path, &json!({ "overlap_seconds": overlap }))
            .await;
        assert_eq!(status, 201, "{made}");
        agent.ended().await.expect_err("refused");
        // It is still there to be revoked.
        ada.revoke(&id).await;
    }
}

#[tokio::test]
async fn a_key_for_one_device_reaches_that_one_alone() {
    let stand = Stand::start().await;
    let (key, _) = stand
        .account("ada")
        .make(json!({ "device": "castle" }))
        .await;
    let (status, code, _) = refusal(stand.bearer(&key).get("/api/tags").await).await;
    assert_eq!((status, code.as_str()), (404, "route_unknown"));
    let (status, _, _) = refusal(stand.bearer(&key).get("/d/laptop/api/tags").await).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_key_for_some_models_is_kept_to_them_or_not_let_through() {
    let stand = Stand::start().await;
    let (key, _) = stand
        .account("ada")
        .make(json!({ "models": ["tiny"] }))
        .await;
    let caller = stand.bearer(&key);
    let chat = async |model: &str| refusal_or_ok(&caller, model).await;
    assert_eq!(chat("tiny").await, 200);
    assert_eq!(chat("tiny+lines=2").await, 403, "another model");
    // An agent from before this could not keep to it.
    let old = FakeAgent::connect(
        stand.relay.address(),
        &stand.relay.agent_token("ada"),
        "old",
    )
    .await;
    let _old = old.expect("a session");
    let (status, code, why) = refusal(caller.get("/d/old/api/tags").await).await;
    assert_eq!((status, code.as_str()), (403, "forbidden"));
    assert!(why.contains("too old"), "{why}");
}

async fn refusal_or_ok(caller: &Caller, model: &str) -> u16 {
    caller.chat(model, "hello").await.status().as_u16()
}

#[tokio::test]
async fn a_rotated_key_goes_on_for_its_overlap() {
    let stand = Stand::start().await;
    let ada = stand.account("ada");
    let about = json!({ "name": "a job", "device": "laptop", "requests_per_minute": 90, "expires_in_seconds": 3600 });
    let (old, id) = ada.make(about).await;
    let rotate = async |id: &str, body| {
        ada.post(&format!("/relay/v1/keys/{id}/rotate"), &body)
            .await
    };
    let (status, made) = rotate(&id, json!({ "overlap_seconds": 3600 })).await;
    assert_eq!((status, &made["replaces"]), (201, &json!(id)));
    for (name, value) in [
        ("name", json!("a job")),
        ("device", json!("laptop")),
        ("requests_per_minute", json!(90)),
        ("scopes", json!(["infer"])),
    ] {
        assert_eq!(made[name], value, "{name}");
    }
    let middle = made["key"].as_str().expect("a key").to_owned();
    for key in [&old, &middle] {
        assert_eq!(stand.bearer(key).get("/api/tags").await.status(), 200);
    }
    let (status, made) = rotate(made["id"].as_str().expect("an id"), json!({})).await;
    assert_eq!(status, 201);
    let (status, _, why) = refusal(stand.bearer(&middle).get("/api/tags").await).await;
    assert_eq!(status, 401, "no overlap was asked for");
    assert!(why.contains("expired"), "{why}");
    for key in [&old, made["key"].as_str().expect("a key")] {
        assert_eq!(stand.bearer(key).get("/api/tags").await.status(), 200);
    }
    assert_eq!(
        rotate(&id, json!({ "overlap": 1 })).await.0,
        400,
        "no such field"
    );
}

#[tokio::test]
async fn the_last_use_is_known_at_once_and_written_once() {
    let store = Arc::new(Watched::new());
    let accounts = Accounts {
        pepper: Arc::new(Pepper::ephemeral().expect("random numbers")),
        store: store.clone(),
    };
    let stand = Stand::start_with(|config| config.accounts = Some(accounts)).await;
    let ada = stand.account("ada");
    let (key, _) = ada.make(json!({})).await;
    let (_unused, _) = ada.make(json!({ "name": "unused" })).await;
    let listed = ada.keys().await;
    assert!(
        listed
            .iter()
            .all(|key| key["last_used_unix_seconds"].is_null())
    );
    let caller = stand.bearer(&key);
    for _ in 0..200 {
        assert_eq!(caller.get("/relay/v1/whoami").await.status(), 200);
    }
    let listed = ada.keys().await;
    let used = listed[0]["last_used_unix_seconds"]
        .as_i64()
        .expect("a time");
    assert!(used >= listed[0]["created_unix_seconds"].as_i64().expect("a time"));
    assert!(listed[1]["last_used_unix_seconds"].is_null());
    let written = store.uses_written();
    assert!(
        written <= 1,
        "{written} writes for 200 requests, and the minute may have been over"
    );
    stand.relay.shut_down().await;
    let after = store.uses_written();
    assert!(
        (1..=2).contains(&after),
        "the rest is written at the end: {after}"
    );
}

#[tokio::test]
async fn keys_and_revocations_outlive_a_restart() {
    let folder = tempfile::tempdir().expect("a directory");
    let signing = Arc::new(c2l_auth::SigningKey::ephemeral().expect("random numbers"));
    let start = async || {
        let accounts = Accounts {
            pepper: Arc::new(Pepper::load_or_create(folder.path()).expect("a secret")),
            store: Arc::new(c2l_store::Database::open(folder.path()).expect("a database")),
        };
        let change = |config: &mut c2l_relay::Config| config.accounts = Some(accounts);
        TestRelay::start_on("127.0.0.1:0", Arc::clone(&signing), change).await
    };
    let relay = start().await;
    let ada = Account::of(&relay, "ada");
    let (kept, _) = ada.make(json!({})).await;
    let (revoked, id) = ada.make(json!({})).await;
    ada.revoke(&id).await;
    let token = relay.api_token("ada");
    let asked = json!({ "token": token });
    assert_eq!(ada.post("/relay/v1/tokens/revoke", &asked).await.0, 200);
    let signed_out = relay.api_token("bob");
    let (status, _) = Account::of(&relay, "bob")
        .post("/relay/v1/sign-out", &json!({}))
        .await;
    assert_eq!(status, 200);
    relay.kill().await;

    let relay = start().await;
    let status = async |credential: &str| {
        let caller = Caller::new(relay.address(), credential);
        caller.get("/relay/v1/whoami").await.status().as_u16()
    };
    assert_eq!(status(&kept).await, 200);
    for gone in [&revoked, &token, &signed_out] {
        assert_eq!(status(gone).await, 401);
    }
}

#[tokio::test]
async fn what_another_program_writes_counts_within_a_second() {
    let folder = tempfile::tempdir().expect("a directory");
    let pepper = Arc::new(Pepper::load_or_create(folder.path()).expect("a secret"));
    let accounts = || Accounts {
        pepper: Arc::clone(&pepper),
        store: Arc::new(c2l_store::Database::open(folder.path()).expect("a database")),
    };
    let here = accounts();
    let stand = Stand::start_with(|config| config.accounts = Some(here)).await;
    let (key, id) = stand.account("ada").make(json!({})).await;
    let mut stream = stand
        .bearer(&key)
        .chat("tiny+lines=1200+gap=50ms", "go on")
        .await;
    stream.piece().await.expect("a piece").expect("a first one");
    let signing = stand.relay.key();
    let verifier = c2l_auth::Verifier::new(vec![signing.issuer()]).expect("an issuer");
    let offline = c2l_relay::control::Offline::open(Arc::new(verifier), accounts()).await;
    let offline = offline.expect("the accounts");
    let target = format!("/relay/v1/keys/{id}?user=ada");
    let (status, said) = offline.answer(&Method::DELETE, &target, b"").await;
    assert_eq!(status, 200, "{said}");
    let (_, is_whole) = c2l_testkit::within(
        Duration::from_millis(1500),
        "the stream ends",
        stream.rest(),
    )
    .await;
    assert!(!is_whole);
    assert_eq!(stand.bearer(&key).get("/api/tags").await.status(), 401);
    let target = "/relay/v1/keys?user=ada";
    let (status, made) = offline
        .answer(&Method::POST, target, br#"{"name":"x"}"#)
        .await;
    assert_eq!(status, 201);
    let made: serde_json::Value = serde_json::from_str(&made).expect("JSON");
    let new = stand.bearer(made["key"].as_str().expect("a key"));
    eventually(PATIENCE, "the new key is good", async || {
        (new.get("/api/tags").await.status() == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_revocation_that_cannot_be_stored_holds_all_the_same_and_says_so() {
    let store = Arc::new(Watched::new());
    let accounts = Accounts {
        pepper: Arc::new(Pepper::ephemeral().expect("random numbers")),
        store: store.clone(),
    };
    let stand = Stand::start_with(|config| config.accounts = Some(accounts)).await;
    let ada = stand.account("ada");
    let (key, id) = ada.make(json!({})).await;
    store.break_down();
    let (status, said) = ada.delete(&format!("/relay/v1/keys/{id}")).await;
    assert_eq!((status, &said["code"]), (500, &json!("internal")), "{said}");
    assert!(
        said["error"]
            .as_str()
            .expect("a text")
            .contains("not stored"),
        "{said}"
    );
    assert_eq!(stand.bearer(&key).get("/api/tags").await.status(), 401);
    let (status, said) = ada.post("/relay/v1/keys", &json!({ "name": "x" })).await;
    assert_eq!(status, 500, "{said}");
    let token = stand.relay.api_token("ada");
    let (status, said) = ada
        .post("/relay/v1/sign-out", &json!({ "keys": true }))
        .await;
    assert_eq!(status, 500, "{said}");
    assert_eq!(stand.bearer(&token).get("/api/tags").await.status(), 401);
    let ada = stand.account("ada");
    assert_eq!(ada.keys().await.len(), 0, "half a key is none");
}

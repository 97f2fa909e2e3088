//! What happens to what is under way, and to what comes next, when a credential is taken back.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use c2l_agent::{Error, Refusal};
use c2l_testkit::{Answer, FakeAgent, TestAgent, empty, tokens, within};
use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;
use tonic::Code;

use super::{Account, Stand, account_token, refusal};

/// How long what is under way may go on.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A stream that would go on for a minute.
const ENDLESS: &str = "tiny+lines=1200+gap=50ms";

/// The `jti` in a token.
fn token_id(token: &str) -> String {
    let payload = token.split('.').nth(1).expect("three parts");
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let payload = engine.decode(payload).expect("base64url");
    let claims: Value = serde_json::from_slice(&payload).expect("claims");
    claims["jti"].as_str().expect("an id").to_owned()
}

/// Asserts that a torn answer ends at once, and says why.
async fn assert_ends(mut answer: Answer, is_sse: bool) {
    let (rest, is_whole) = within(AT_ONCE, "the stream ends", answer.rest()).await;
    assert!(!is_whole, "a torn answer never ends cleanly");
    let text = String::from_utf8_lossy(&rest);
    let last = text.trim_end().lines().next_back().expect("a record");
    let record = if is_sse {
        last.strip_prefix("data: ").expect("an event")
    } else {
        last
    };
    let record: Value = serde_json::from_str(record).expect("an error record");
    assert_eq!(record["code"], "unauthenticated", "{text}");
    assert!(record.to_string().contains("revoked"), "{record}");
    assert_eq!(record["retry_safe"], false);
}

/// The ways to take a credential of ada's back, each with the credential that it takes.
async fn revocations(stand: &Stand) -> Vec<(&'static str, String, (Method, String, Value))> {
    let ada = stand.account("ada");
    let (key, id) = ada.make(json!({})).await;
    let by_id = stand.relay.api_token("ada");
    let by_itself = stand.relay.api_token("ada");
    let bound = stand.relay.sign(&tokens::api("ada").bound_to("laptop"));
    let (bound_key, _) = ada.make(json!({ "device": "laptop" })).await;
    let post = |path: &str, body| (Method::POST, path.to_owned(), body);
    let delete = |path: String| (Method::DELETE, path, Value::Null);
    let device = || delete("/relay/v1/devices/laptop".to_owned());
    let jti = json!({ "token_id": token_id(&by_id) });
    let whole = json!({ "token": by_itself });
    vec![
        ("a key", key, delete(format!("/relay/v1/keys/{id}"))),
        ("a token's id", by_id, post("/relay/v1/tokens/revoke", jti)),
        ("a token", by_itself, post("/relay/v1/tokens/revoke", whole)),
        ("a device, its token", bound, device()),
        ("a device, its key", bound_key, device()),
        (
            "a user",
            stand.relay.api_token("ada"),
            post("/relay/v1/sign-out", json!({})),
        ),
    ]
}

#[tokio::test]
async fn jwt_15_what_was_revoked_ends_what_it_began_and_opens_nothing_more() {
    for turn in 0..6 {
        let stand = Stand::start().await;
        let ada = stand.account("ada");
        let (what, credential, (method, path, body)) = revocations(&stand).await.swap_remove(turn);
        let caller = stand.bearer(&credential);
        let mut ndjson = caller.chat(ENDLESS, "go on").await;
        ndjson.piece().await.expect("a piece").expect("a first one");
        let asked = json!({
            "model": ENDLESS, "stream": true, "messages": [{ "role": "user", "content": "go on" }],
        });
        let mut events = caller.post("/v1/chat/completions", &asked).await;
        events.piece().await.expect("a piece").expect("a first one");
        let waiting = {
            let caller = caller.clone();
            tokio::spawn(async move { refusal(caller.chat("tiny+first=20s", "later").await).await })
        };
        let begun = |counters: &c2l_demo::Counters| counters.requests_started == 3;
        stand
            .upstream
            .wait_for("all three are under way", begun)
            .await;

        let answer = ada.ask(method, &path, Some(&body)).await;
        assert_eq!(answer.status(), 200, "{what}");
        let since = Instant::now();
        let is_device = path.contains("/devices/");
        if !is_device {
            // With a device its session went, and whoever asks is told that first.
            let (status, code, why) = refusal(caller.get("/api/tags").await).await;
            assert_eq!(
                (status, code.as_str()),
                (401, "unauthenticated"),
                "{what}: {why}"
            );
            assert!(why.contains("revoked"), "{what}: {why}");
            assert_ends(ndjson, false).await;
            assert_ends(events, true).await;
            let (status, code, _) = within(AT_ONCE, "the waiting one ends", waiting)
                .await
                .expect("no panic");
            assert_eq!((status, code.as_str()), (401, "unauthenticated"), "{what}");
        } else {
            let (status, code, _) = refusal(caller.get("/api/tags").await).await;
            assert_eq!((status, code.as_str()), (401, "unauthenticated"), "{what}");
            for mut answer in [ndjson, events] {
                let (_, is_whole) = within(AT_ONCE, "the stream ends", answer.rest()).await;
                assert!(!is_whole, "{what}");
            }
            let waited = within(AT_ONCE, "the waiting one ends", waiting).await;
            assert!(waited.expect("no panic").0 >= 401, "{what}");
        }
        assert!(since.elapsed() < AT_ONCE, "{what}: {:?}", since.elapsed());
        println!("{what}: all ended within {:?}", since.elapsed());
        let ended = |counters: &c2l_demo::Counters| counters.requests_active == 0;
        stand
            .upstream
            .wait_for("the upstream is left alone", ended)
            .await;
    }
}

#[tokio::test]
async fn jwt_15_a_session_ends_with_its_token_and_the_agent_says_why() {
    for (what, path, body) in [
        ("sign-out", "/relay/v1/sign-out", Some(json!({}))),
        ("device", "/relay/v1/devices/laptop", None),
    ] {
        let mut stand = Stand::start().await;
        let ada = stand.account("ada");
        let caller = stand.bearer(&stand.account("ada").make(json!({})).await.0);
        assert_eq!(caller.get("/api/tags").await.status(), 200);
        let method = if body.is_some() {
            Method::POST
        } else {
            Method::DELETE
        };
        let answer = ada.ask(method, path, body.as_ref()).await;
        let (status, said) = (answer.status(), answer.json().await);
        assert_eq!(status, 200, "{said}");
        if what == "device" {
            assert_eq!(said["sessions"], 1);
        }
        // Not even in the moment before the session has ended.
        assert_eq!(caller.get("/api/tags").await.status(), 503, "{what}");
        let ended = within(AT_ONCE, "the agent ends", stand.agent.ended()).await;
        let Err(Error::Refused { refusal, message }) = ended else {
            panic!("{what}: {ended:?}");
        };
        assert_eq!(refusal, Refusal::Unauthenticated, "{what}");
        assert!(message.contains("revoked"), "{what}: {message}");
        // A token that is issued from now on counts.
        let upstream = stand.upstream.address();
        let _again = TestAgent::connect(&stand.relay, "ada", upstream).await;
        assert_eq!(caller.get("/api/tags").await.status(), 200, "{what}");
    }
}

#[tokio::test]
async fn jwt_15_a_revoked_token_opens_no_session_and_renews_none() {
    let stand = Stand::start().await;
    let ada = stand.account("ada");
    let token = stand.relay.agent_token("ada");
    let mut agent = FakeAgent::connect(stand.relay.address(), &token, "desk")
        .await
        .expect("a session");
    let (status, _) = ada
        .post("/relay/v1/tokens/revoke", &json!({ "token": token }))
        .await;
    assert_eq!(status, 200);
    let ended = within(AT_ONCE, "the session ends", agent.end()).await;
    assert_eq!(ended.code(), Code::Unauthenticated);
    assert!(ended.message().contains("revoked"), "{ended}");
    let refused = FakeAgent::dial(stand.relay.address(), &token).await;
    let status = refused.expect_err("no session");
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("revoked"), "{status}");
}

#[tokio::test]
async fn jwt_15_a_removed_device_stays_out_until_a_newer_token() {
    let stand = Stand::start().await;
    let ada = stand.account("ada");
    let unbound = stand.relay.agent_token("ada");
    let (status, said) = ada.delete("/relay/v1/devices/desk").await;
    assert_eq!(status, 200);
    assert_eq!(
        said,
        json!({ "removed": "desk", "sessions": 0, "keys": 0, "logins": 0 }),
        "it need not be connected"
    );
    let address = stand.relay.address();
    let mut refused = FakeAgent::dial(address, &unbound)
        .await
        .expect("a good token");
    refused.hello("desk").await;
    let status = refused.welcome().await.expect_err("not this device");
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    // The token itself is as good as before, for other devices; a newer one is for this one as well.
    let _other = FakeAgent::connect(address, &unbound, "other")
        .await
        .expect("a session");
    let newer = stand.relay.agent_token("ada");
    let _back = FakeAgent::connect(address, &newer, "desk")
        .await
        .expect("a session");
}

#[tokio::test]
async fn jwt_15_signing_out_ends_tokens_from_before_and_none_from_after() {
    let stand = Stand::start().await;
    let old = account_token("ada").issued_ago(Duration::from_secs(600));
    let old = stand.bearer(&stand.relay.sign(&old));
    let bob = stand.bearer(&stand.relay.api_token("bob"));
    let (key, _) = stand.account("ada").make(json!({})).await;
    for _ in 0..20 {
        let just = stand.account("ada");
        let before = stand.bearer(&stand.relay.api_token("ada"));
        let (status, said) = just.post("/relay/v1/sign-out", &json!({})).await;
        assert_eq!(status, 200, "{said}");
        let after = stand.bearer(&stand.relay.api_token("ada"));
        for caller in [&before, &old, &just.0] {
            assert_eq!(caller.get("/relay/v1/whoami").await.status(), 401);
        }
        assert_eq!(after.get("/relay/v1/whoami").await.status(), 200);
    }
    assert_eq!(bob.get("/relay/v1/whoami").await.status(), 200);
    let key = stand.bearer(&key);
    assert_eq!(key.get("/relay/v1/whoami").await.status(), 200, "keys stay");
    let asked = json!({ "keys": true });
    let (status, _) = stand
        .account("ada")
        .post("/relay/v1/sign-out", &asked)
        .await;
    assert_eq!(status, 200);
    assert_eq!(
        key.get("/relay/v1/whoami").await.status(),
        401,
        "unless asked"
    );
    assert_eq!(stand.account("ada").keys().await.len(), 0);
}

#[tokio::test]
async fn a_key_that_runs_out_ends_nothing_that_it_began() {
    let stand = Stand::start().await;
    let ada = stand.account("ada");
    let (key, _) = ada.make(json!({ "expires_in_seconds": 3 })).await;
    let caller = stand.bearer(&key);
    let started = SystemTime::now();
    let mut answer = caller.chat("tiny+lines=80+gap=50ms", "go on").await;
    let (_, is_whole) = answer.rest().await;
    assert!(is_whole && started.elapsed().expect("a clock") > Duration::from_secs(3));
    let (status, _, why) = refusal(caller.get("/api/tags").await).await;
    assert_eq!(status, 401);
    assert!(why.contains("expired"), "{why}");
}

#[tokio::test]
async fn a_watch_of_devices_ends_with_its_token() {
    use c2l_proto::relay::{WatchDevicesRequest, status_service_client::StatusServiceClient};
    let stand = Stand::start().await;
    let token = stand.relay.api_token("ada");
    let endpoint = format!("http://{}", stand.relay.address());
    let endpoint = tonic::transport::Endpoint::from_shared(endpoint).expect("a URL");
    let mut client = StatusServiceClient::new(endpoint.connect().await.expect("a connection"));
    let mut request = tonic::Request::new(WatchDevicesRequest {});
    let bearer = format!("Bearer {token}").parse().expect("a field");
    request.metadata_mut().insert("authorization", bearer);
    let mut watch = client
        .watch_devices(request)
        .await
        .expect("a watch")
        .into_inner();
    assert!(watch.message().await.expect("a list").is_some());
    let ada: Account = stand.account("ada");
    let revoked = ada
        .post("/relay/v1/tokens/revoke", &json!({ "token": token }))
        .await;
    assert_eq!(revoked.0, 200);
    let ended = within(AT_ONCE, "the watch ends", watch.message()).await;
    assert_eq!(ended.expect_err("an end").code(), Code::Unauthenticated);
}

#[tokio::test]
async fn jwt_15_an_upload_that_goes_on_ends_as_well() {
    let stand = Stand::start().await;
    let ada = stand.account("ada");
    let (key, id) = ada.make(json!({})).await;
    let caller = stand.bearer(&key);
    let (pieces, body) = c2l_testkit::upload();
    let request = caller
        .request(Method::POST, "/api/chat")
        .header("content-type", "application/json")
        .body(body)
        .expect("a request");
    let uploading = {
        let caller = caller.clone();
        tokio::spawn(async move { caller.send(request).await })
    };
    pieces
        .send("{\"model\":".into())
        .await
        .expect("a piece is taken");
    let begun = |counters: &c2l_demo::Counters| counters.requests_started == 1;
    stand.upstream.wait_for("the upload began", begun).await;
    ada.revoke(&id).await;
    let answer = within(AT_ONCE, "the upload ends", uploading).await;
    let (status, code, _) = refusal(answer.expect("no panic")).await;
    assert_eq!((status, code.as_str()), (401, "unauthenticated"));
    let request = caller.request(Method::GET, "/api/tags").body(empty());
    let answer = caller.send(request.expect("a request")).await;
    assert_eq!(answer.status(), 401);
}

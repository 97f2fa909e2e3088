//! `StatusService` and the door of `TunnelService`: who is asking decides, and what is shown is theirs.

use std::{future::Future, time::Duration};

use c2l_auth::Kind;
use c2l_proto::relay::{
    Device, ListDevicesRequest, WatchDevicesRequest, WatchDevicesResponse, WhoAmIRequest,
    status_service_client::StatusServiceClient,
};
use c2l_testkit::{
    Caller, FakeAgent, PATIENCE, TestAgent, TestRelay, TestUpstream, tokens, within,
};
use tonic::{Code, Request, Status, Streaming, transport::Channel};

use super::channel;

async fn client(relay: &TestRelay) -> StatusServiceClient<Channel> {
    StatusServiceClient::new(channel(relay).await)
}

/// A call with this token.
fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {token}").parse().expect("a value");
    request.metadata_mut().insert("authorization", bearer);
    request
}

async fn list(relay: &TestRelay, token: &str) -> Result<Vec<Device>, Status> {
    let request = with_token(ListDevicesRequest {}, token);
    let answer = client(relay).await.list_devices(request).await?;
    Ok(answer.into_inner().devices)
}

async fn watch(relay: &TestRelay, token: &str) -> Result<Streaming<WatchDevicesResponse>, Status> {
    let request = with_token(WatchDevicesRequest {}, token);
    Ok(client(relay)
        .await
        .watch_devices(request)
        .await?
        .into_inner())
}

/// The next list of a watch, by name.
async fn next(watch: &mut Streaming<WatchDevicesResponse>) -> Vec<String> {
    let message = within(PATIENCE, "the next list", watch.message()).await;
    let message = message.expect("a list").expect("one more");
    message
        .devices
        .into_iter()
        .map(|device| device.name)
        .collect()
}

#[tokio::test]
async fn who_am_i_tells_the_caller_what_the_token_says() {
    let relay = TestRelay::start().await;
    for (token, scopes) in [
        (tokens::api("ada"), &["infer"][..]),
        (tokens::managing("ada"), &["infer", "manage"]),
    ] {
        let request = with_token(WhoAmIRequest {}, &relay.sign(&token));
        let who = client(&relay).await.who_am_i(request).await;
        let who = who.expect("an answer").into_inner();
        assert_eq!((who.user.as_str(), who.issuer.as_str()), ("ada", "c2l"));
        assert_eq!(who.kind, "api");
        assert_eq!(who.scopes, scopes);
        assert!(who.expires_unix_seconds > 1_700_000_000);
    }
}

/// Asserts that every call with this token ends as unauthenticated, and says this word of why.
async fn assert_refused(relay: &TestRelay, token: &str, why: &str) {
    let mut client = client(relay).await;
    let who = client.who_am_i(with_token(WhoAmIRequest {}, token)).await;
    let refusals = [
        who.expect_err("no answer"),
        list(relay, token).await.expect_err("no list"),
        watch(relay, token).await.expect_err("no watch"),
    ];
    for status in refusals {
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
        assert!(status.message().contains(why), "{status}");
        assert!(!format!("{status:?}").contains(token), "{status:?}");
    }
}

#[tokio::test]
async fn jwt_08_only_a_callers_token_opens_the_status_service() {
    let relay = TestRelay::start().await;
    for kind in [Kind::Agent, Kind::Web] {
        let token = relay.sign(&tokens::api("ada").of_kind(kind));
        assert_refused(&relay, &token, "wrong kind of token").await;
    }
    assert_refused(&relay, &relay.sign(&tokens::expired("ada")), "expired").await;
    assert_refused(&relay, "no-token-at-all", "three parts").await;
    let stranger = TestRelay::start().await;
    assert_refused(&relay, &stranger.api_token("ada"), "kid").await;
}

#[tokio::test]
async fn ops_04_without_a_credential_nothing_but_health_and_reflection_answers() {
    let relay = TestRelay::start().await;
    let who = client(&relay).await.who_am_i(WhoAmIRequest {}).await;
    let devices = client(&relay)
        .await
        .list_devices(ListDevicesRequest {})
        .await;
    let watch = client(&relay)
        .await
        .watch_devices(WatchDevicesRequest {})
        .await;
    let connect = FakeAgent::dial_with(relay.address(), |_| {}).await;
    let codes = [
        who.expect_err("refused").code(),
        devices.expect_err("refused").code(),
        watch.expect_err("refused").code(),
        connect.expect_err("refused").code(),
    ];
    assert_eq!(codes, [Code::Unauthenticated; 4]);
    // No other scheme, and no credential that is not where it belongs.
    for (name, value) in [
        ("authorization", "Basic YTpi"),
        ("authorization", "Bearer"),
        ("x-api-key", "x"),
    ] {
        let connect = FakeAgent::dial_with(relay.address(), |metadata| {
            metadata.insert(name, value.parse().expect("a value"));
        });
        let status = connect.await.expect_err("refused");
        assert_eq!(status.code(), Code::Unauthenticated, "{name}: {value}");
    }
}

#[tokio::test]
async fn iso_11_list_devices_shows_the_callers_own_in_the_order_of_answering() {
    let relay = TestRelay::start().await;
    let mut held = Vec::new();
    for (user, device) in [
        ("ada", "laptop"),
        ("bob", "laptop"),
        ("ada", "desk"),
        ("bob", "tower"),
    ] {
        let agent = FakeAgent::connect(relay.address(), &relay.agent_token(user), device).await;
        held.push(agent.expect("a session"));
    }
    for (user, expected) in [
        ("ada", &["desk", "laptop"][..]),
        ("bob", &["tower", "laptop"]),
        ("eve", &[]),
    ] {
        let devices = list(&relay, &relay.api_token(user)).await.expect("a list");
        let names: Vec<_> = devices.iter().map(|device| device.name.as_str()).collect();
        assert_eq!(names, expected, "{user}");
        for device in &devices {
            assert_eq!(device.build, "fake");
            assert!(!device.session_id.is_empty() && !device.is_draining);
            assert_eq!((device.active_streams, device.total_streams), (0, 0));
        }
    }
}

#[tokio::test]
async fn list_devices_counts_the_requests_of_a_session() {
    let relay = TestRelay::start().await;
    let upstream = TestUpstream::start().await;
    let _agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let token = relay.api_token("ada");
    let caller = Caller::new(relay.address(), &token);
    assert_eq!(caller.get("/api/tags").await.status(), 200);
    let mut running = caller.chat("tiny+silent=1", "go on").await;
    assert!(running.piece().await.expect("not torn").is_some());
    let devices = list(&relay, &token).await.expect("a list");
    assert_eq!(devices[0].active_streams, 1);
    assert_eq!(devices[0].total_streams, 2);
}

#[tokio::test]
async fn watch_devices_tells_of_each_coming_and_going_of_the_callers_own_alone() {
    let relay = TestRelay::start().await;
    let mut adas = watch(&relay, &relay.api_token("ada"))
        .await
        .expect("a watch");
    let mut bobs = watch(&relay, &relay.api_token("bob"))
        .await
        .expect("a watch");
    let nothing: [&str; 0] = [];
    assert_eq!(
        next(&mut adas).await,
        nothing,
        "the list as it is comes at once"
    );
    assert_eq!(next(&mut bobs).await, nothing);
    for _ in 0..3 {
        let castle = FakeAgent::connect(relay.address(), &relay.agent_token("bob"), "castle").await;
        let castle = castle.expect("a session");
        assert_eq!(next(&mut bobs).await, ["castle"]);
        let token = relay.agent_token("ada");
        let laptop = FakeAgent::connect(relay.address(), &token, "laptop").await;
        let laptop = laptop.expect("a session");
        // The first that ada hears since: were bob's told to her, it would have come before.
        assert_eq!(next(&mut adas).await, ["laptop"]);
        drop(castle);
        assert_eq!(next(&mut bobs).await, nothing);
        let desk = FakeAgent::connect(relay.address(), &token, "desk").await;
        let desk = desk.expect("a session");
        assert_eq!(next(&mut adas).await, ["desk", "laptop"]);
        drop(laptop);
        assert_eq!(next(&mut adas).await, ["desk"]);
        drop(desk);
        assert_eq!(next(&mut adas).await, nothing);
    }
}

#[tokio::test]
async fn watch_devices_tells_of_a_takeover_and_of_a_device_that_leaves() {
    let relay = TestRelay::start().await;
    let upstream = TestUpstream::start().await;
    let token = relay.api_token("ada");
    let first = FakeAgent::connect(relay.address(), &relay.agent_token("ada"), "laptop").await;
    let _first = first.expect("a session");
    let mut watch = watch(&relay, &token).await.expect("a watch");
    let mut devices = async || {
        let message = within(PATIENCE, "the next list", watch.message()).await;
        message.expect("a list").expect("one more").devices
    };
    let before = devices().await;
    let agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let after = devices().await;
    assert_eq!((before.len(), after.len()), (1, 1));
    assert_ne!(before[0].session_id, after[0].session_id, "a new session");
    let caller = Caller::new(relay.address(), &token);
    let mut running = caller.chat("tiny+lines=300+gap=10ms", "go on").await;
    assert!(running.piece().await.expect("not torn").is_some());
    agent.begin_shutdown();
    let leaving = devices().await;
    assert!(leaving[0].is_draining, "{leaving:?}");
    assert!(running.rest().await.1, "what ran is whole");
    assert!(devices().await.is_empty());
}

#[tokio::test]
async fn watch_devices_ends_with_the_credential_and_its_leeway() {
    let relay = TestRelay::start().await;
    // Over by its own account, and within the leeway for four to five seconds more.
    let past = c2l_auth::LEEWAY - Duration::from_secs(5);
    let ttl = Duration::from_secs(60);
    let token = tokens::api("ada").living(ttl).issued_ago(ttl + past);
    let mut ending = watch(&relay, &relay.sign(&token)).await.expect("a watch");
    assert!(next(&mut ending).await.is_empty());
    let laptop = FakeAgent::connect(relay.address(), &relay.agent_token("ada"), "laptop").await;
    let _laptop = laptop.expect("a session");
    assert_eq!(next(&mut ending).await, ["laptop"], "it is still in force");
    let status = ended(ending.message())
        .await
        .expect_err("an end that says why");
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
}

async fn ended<T>(message: impl Future<Output = T>) -> T {
    within(PATIENCE, "the end of the watch", message).await
}

#[tokio::test]
async fn watch_devices_ends_when_the_relay_leaves() {
    let mut relay = TestRelay::start().await;
    let mut open = watch(&relay, &relay.api_token("ada"))
        .await
        .expect("a watch");
    assert!(next(&mut open).await.is_empty());
    relay.begin_shutdown();
    let last = ended(open.message()).await;
    assert!(!matches!(last, Ok(Some(_))), "{last:?}");
    within(PATIENCE, "the relay is gone", relay.stopped()).await;
}

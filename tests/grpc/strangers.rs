//! What calls may cost that nobody, or only one user, has vouched for.

use std::time::Duration;

use c2l_proto::relay::{WatchDevicesRequest, status_service_client::StatusServiceClient};
use c2l_testkit::{
    PATIENCE, TestRelay, eventually,
    http2::{END_HEADERS, Http2Connection, fields, frame, kind},
    within,
};
use tonic::{Code, Request};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::channel;

#[tokio::test]
async fn res_01_a_call_whose_message_never_comes_is_ended() {
    const LIMIT: Duration = Duration::from_millis(300);
    let relay = TestRelay::start_with(|config| config.head_timeout = LIMIT).await;
    for path in [
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/c2l.relay.v1.StatusService/WhoAmI",
        "/c2l.relay.v1.StatusService/WatchDevices",
    ] {
        let mut raw = Http2Connection::open(relay.address(), &[]).await;
        let mut block = raw.request("POST", path, "no-token-at-all");
        block.extend(fields([
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]));
        raw.send(frame(kind::HEADERS, END_HEADERS, 1, &block)).await;
        // Unanswered it would stay for ever: neither idle, nor asked for its credential.
        let answer = within(10 * LIMIT, path, raw.next_of(kind::HEADERS)).await;
        assert_eq!(answer.expect("an answer").stream, 1, "{path}");
    }
}

#[tokio::test]
async fn res_01_strangers_hold_few_calls_open_and_health_is_told_all_the_same() {
    const MOST: usize = 256;
    let relay = TestRelay::start().await;
    // One connection carries fewer streams than that beside its others.
    let mut held = Vec::new();
    let mut connections = [
        HealthClient::new(channel(&relay).await),
        HealthClient::new(channel(&relay).await),
    ];
    for number in 0..MOST {
        let client = &mut connections[number % 2];
        let watch = client.watch(HealthCheckRequest::default()).await;
        held.push(watch.expect("a watch"));
    }
    let client = &mut connections[0];
    let refused = client.watch(HealthCheckRequest::default()).await;
    let refused = refused.expect_err("one too many");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let health = client.check(HealthCheckRequest::default()).await;
    let health = health.expect("an answer").into_inner();
    assert_eq!(health.status(), ServingStatus::Serving);
    drop(held);
    eventually(PATIENCE, "a free place", || async {
        let mut client = connections[1].clone();
        client.watch(HealthCheckRequest::default()).await.ok()
    })
    .await;
}

#[tokio::test]
async fn res_10_one_users_watches_are_counted_and_are_no_other_users_affair() {
    const MOST: usize = 16;
    let relay = TestRelay::start().await;
    let client = StatusServiceClient::new(channel(&relay).await);
    let watch = async |user: &str| {
        let mut request = Request::new(WatchDevicesRequest {});
        let bearer = format!("Bearer {}", relay.api_token(user));
        let bearer = bearer.parse().expect("a value");
        request.metadata_mut().insert("authorization", bearer);
        client.clone().watch_devices(request).await
    };
    let mut held = Vec::new();
    for _ in 0..MOST {
        held.push(watch("ada").await.expect("a watch"));
    }
    let refused = watch("ada").await.expect_err("one too many");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    watch("bob").await.expect("another user's watch");
    held.pop();
    eventually(PATIENCE, "a free place", async || watch("ada").await.ok()).await;
}

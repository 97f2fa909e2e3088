//! `grpc.health.v1`: serving while sessions and calls are accepted, and not when the relay leaves.

use c2l_testkit::{Caller, PATIENCE, TestAgent, TestRelay, TestUpstream, within};
use tonic::{Code, Streaming, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_client::HealthClient,
};

use super::{PUBLIC, channel};

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

async fn status(client: &mut HealthClient<Channel>, service: &str) -> ServingStatus {
    let answer = client.check(of(service)).await;
    answer.expect("an answer").into_inner().status()
}

async fn next(watch: &mut Streaming<HealthCheckResponse>) -> ServingStatus {
    let message = within(PATIENCE, "a change of health", watch.message()).await;
    message.expect("a status").expect("one more").status()
}

#[tokio::test]
async fn ops_04_health_is_told_for_each_service_and_to_anybody() {
    let relay = TestRelay::start().await;
    let mut client = HealthClient::new(channel(&relay).await);
    for service in ["", PUBLIC[0], PUBLIC[1]] {
        assert_eq!(status(&mut client, service).await, ServingStatus::Serving);
    }
    let unknown = client.check(of("c2l.secret.v1.Service")).await;
    assert_eq!(unknown.expect_err("no such service").code(), Code::NotFound);
}

#[tokio::test]
async fn ops_09_each_service_stops_serving_when_the_relay_leaves() {
    let mut relay = TestRelay::start().await;
    let upstream = TestUpstream::start().await;
    let _agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    // Something to finish, so that the relay is still there to be asked.
    let mut running = caller.chat("tiny+lines=400+gap=10ms", "go on").await;
    assert!(running.piece().await.expect("not torn").is_some());
    let mut client = HealthClient::new(channel(&relay).await);
    let mut watches = Vec::new();
    for service in ["", PUBLIC[0], PUBLIC[1]] {
        let watch = client.watch(of(service)).await.expect("a watch");
        let mut watch = watch.into_inner();
        assert_eq!(next(&mut watch).await, ServingStatus::Serving);
        watches.push(watch);
    }
    relay.begin_shutdown();
    for watch in &mut watches {
        assert_eq!(next(watch).await, ServingStatus::NotServing);
    }
    for service in ["", PUBLIC[0], PUBLIC[1]] {
        let told = status(&mut client, service).await;
        assert_eq!(told, ServingStatus::NotServing, "{service}");
    }
    assert!(running.rest().await.1, "what ran is whole");
    drop(watches);
    relay.stopped().await;
}

//! One user, and one credential of theirs.

use c2l_testkit::{Caller, PATIENCE, eventually, tokens};
use serde_json::json;

use super::{hits, rate, stand, told, told_by, wait_as_told};

#[tokio::test]
async fn a_user_over_the_rate_is_told_when_to_come_back_and_can() {
    let (relay, _agent, _upstream) = stand(|limits| limits.user_requests = rate(4, 20)).await;
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    // All of a user's credentials count together, and what the relay answers itself counts as well.
    let other = Caller::new(relay.address(), relay.api_token("ada"));
    for caller in [&caller, &other] {
        assert_eq!(caller.get("/api/version").await.status(), 200);
        assert_eq!(caller.get("/relay/v1/whoami").await.status(), 200);
    }
    let body = json!({ "model": "tiny", "messages": [] });
    let refused = caller.post("/v1/chat/completions", &body).await;
    told(&refused);
    let said = refused.json().await;
    assert_eq!(said["error"]["type"], "rate_limit_error");
    assert_eq!(said["code"], "user_over_limit");
    assert_eq!(
        (&said["origin"], &said["retry_safe"]),
        (&json!("caller"), &json!(true))
    );
    let said = caller.post("/v1/messages", &body).await.json().await;
    assert_eq!(said["error"]["type"], "rate_limit_error");
    let refused = other.get("/api/version").await;
    let seconds = told(&refused);
    assert!(refused.json().await["error"].is_string());
    // Bob notices nothing.
    let bob = Caller::new(relay.address(), relay.api_token("bob"));
    assert_eq!(bob.get("/relay/v1/whoami").await.status(), 200);
    assert_eq!(hits(&relay, "user_requests").await, 3);
    assert!((1..=5).contains(&seconds), "{seconds} s");
    wait_as_told(seconds).await;
    assert_eq!(caller.get("/api/version").await.status(), 200);
}

#[tokio::test]
async fn the_rate_holds_over_grpc_as_well() {
    use c2l_proto::relay::{WhoAmIRequest, status_service_client::StatusServiceClient};
    let (relay, _agent, _upstream) = stand(|limits| limits.user_requests = rate(2, 60)).await;
    let token = relay.api_token("ada");
    let channel = tonic::transport::Channel::from_shared(format!("http://{}", relay.address()));
    let channel = channel.expect("a URL").connect().await;
    let mut service = StatusServiceClient::new(channel.expect("a connection"));
    let mut ask = async || {
        let mut request = tonic::Request::new(WhoAmIRequest::default());
        let bearer = format!("Bearer {token}").parse().expect("a value");
        request.metadata_mut().insert("authorization", bearer);
        service.who_am_i(request).await
    };
    for _ in 0..2 {
        ask().await.expect("within the rate");
    }
    let status = ask().await.expect_err("over it");
    let seconds = told_by(&status);
    assert!((20..=30).contains(&seconds), "{seconds} s");
}

#[tokio::test]
async fn one_credential_over_its_rate_leaves_the_users_others_alone() {
    let (relay, _agent, _upstream) = stand(|limits| limits.credential_requests = rate(2, 60)).await;
    let one = Caller::new(relay.address(), relay.api_token("ada"));
    let other = Caller::new(relay.address(), relay.api_token("ada"));
    for _ in 0..2 {
        assert_eq!(one.get("/api/version").await.status(), 200);
    }
    let seconds = told(&one.get("/api/version").await);
    assert!((20..=30).contains(&seconds), "{seconds} s");
    assert_eq!(other.get("/api/version").await.status(), 200);
    assert_eq!(hits(&relay, "credential_requests").await, 1);
}

#[tokio::test]
async fn one_credential_has_so_many_requests_under_way_and_no_more() {
    let relay = c2l_testkit::TestRelay::start_with(|config| {
        config.max_requests_per_credential = Some(2);
        config.max_requests_per_user = 3;
    })
    .await;
    let upstream = c2l_testkit::TestUpstream::start().await;
    let _agent = c2l_testkit::TestAgent::connect(&relay, "ada", upstream.address()).await;
    let one = Caller::new(relay.address(), relay.api_token("ada"));
    let other = Caller::new(relay.address(), relay.api_token("ada"));
    let slow = "tiny+lines=2000+gap=5ms";
    let running = [one.chat(slow, "x").await, one.chat(slow, "x").await];
    told(&one.chat("tiny", "x").await);
    let third = other.chat(slow, "x").await;
    assert_eq!(third.status(), 200);
    told(&other.chat("tiny", "x").await); // the user's three are under way
    assert_eq!(hits(&relay, "credential_streams").await, 1);
    assert_eq!(hits(&relay, "user_streams").await, 1);
    drop((running, third));
    let free = async || (one.get("/api/version").await.status() == 200).then_some(());
    eventually(PATIENCE, "the places are free again", free).await;
}

#[tokio::test]
async fn a_stream_over_the_bytes_is_let_end_and_what_comes_next_waits() {
    let (relay, _agent, _upstream) = stand(|limits| limits.user_bytes = rate(20_000, 5)).await;
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    let mut answer = caller.chat("tiny+lines=400", "go on").await;
    assert_eq!(answer.status(), 200);
    let (body, is_whole) = answer.rest().await;
    assert!(is_whole && body.len() > 30_000, "{} bytes", body.len());
    // What was left uncounted is counted when the exchange is over, which is announced to nobody.
    let refused = async || {
        let answer = caller.get("/api/version").await;
        (answer.status() == 429).then(|| told(&answer))
    };
    let seconds = eventually(PATIENCE, "the debt is counted", refused).await;
    assert!(seconds <= 1 + body.len() as u64 / 4_000, "{seconds} s");
    wait_as_told(seconds).await;
    assert_eq!(caller.get("/api/version").await.status(), 200);
}

#[tokio::test]
async fn an_upload_counts_as_well_and_for_its_credential() {
    let (relay, _agent, _upstream) =
        stand(|limits| limits.credential_bytes = rate(100_000, 60)).await;
    let one = Caller::new(relay.address(), relay.sign(&tokens::api("ada")));
    let other = Caller::new(relay.address(), relay.api_token("ada"));
    let long = "long ".repeat(50_000);
    let answer = one.chat("tiny+lines=1", &long).await;
    assert_eq!(answer.status(), 200);
    answer.text().await;
    let refused = async || {
        let answer = one.get("/api/version").await;
        (answer.status() == 429).then(|| told(&answer))
    };
    let seconds = eventually(PATIENCE, "the debt is counted", refused).await;
    assert!((80..=100).contains(&seconds), "{seconds} s");
    assert_eq!(other.get("/api/version").await.status(), 200);
}

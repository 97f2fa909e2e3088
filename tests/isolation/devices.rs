//! Which session answers: the newest of a device, of this very user, and of nobody else.

use c2l_proto::tunnel::{
    End, ResponseHead, tunnel_request::Frame as Request, tunnel_response::Frame as Response,
};
use c2l_testkit::{
    Caller, FakeAgent, PATIENCE, TestAgent, TestRelay, TestUpstream, eventually, tokens, within,
};
use http::Method;
use serde_json::Value;
use tokio::{task::JoinSet, time::Instant};
use tonic::{Code, Status};

use super::{Household, caller, owner_of};

/// Answers the first request with this text, or says how the session ended.
async fn answer_one(agent: &mut FakeAgent, text: &str) -> Result<(), Status> {
    loop {
        let frame = agent.request().await?;
        if let Some(Request::Head(_)) = frame.frame {
            let head = ResponseHead {
                status: 200,
                headers: Vec::new(),
                is_whole: false,
                model: String::new(),
            };
            agent.respond(frame.stream_id, Response::Head(head)).await;
            let body = Response::Body(text.to_owned().into());
            agent.respond(frame.stream_id, body).await;
            let end = Response::End(End::default());
            agent.respond(frame.stream_id, end).await;
            return Ok(());
        }
    }
}

async fn devices(relay: &TestRelay, user: &str) -> Vec<Value> {
    let listed = caller(relay, user).get("/relay/v1/devices").await;
    let listed = listed.json().await;
    listed["devices"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn iso_06_the_newest_session_of_a_device_answers_and_the_one_before_is_told() {
    let relay = TestRelay::start().await;
    let token = relay.agent_token("ada");
    let mut before = FakeAgent::connect(relay.address(), &token, "laptop")
        .await
        .expect("a session");
    for turn in 0..5 {
        let name = format!("session {turn}");
        let newest = FakeAgent::connect(relay.address(), &token, "laptop").await;
        let mut newest = newest.expect("a session");
        let status = before.end().await;
        assert_eq!(status.code(), Code::Aborted);
        assert!(!status.message().is_empty(), "it is told why");
        assert_eq!(devices(&relay, "ada").await.len(), 1);
        let ada = caller(&relay, "ada");
        let asking = tokio::spawn(async move { ada.get("/api/tags").await.text().await });
        answer_one(&mut newest, &name)
            .await
            .expect("the newest is asked");
        assert_eq!(asking.await.expect("an answer"), name);
        before = newest;
    }
}

#[tokio::test]
async fn iso_06_of_a_hundred_racing_sessions_exactly_one_is_left() {
    let relay = TestRelay::start().await;
    let token = relay.agent_token("ada");
    let address = relay.address();
    let mut racers = JoinSet::new();
    for number in 0..100 {
        let token = token.clone();
        racers.spawn(async move {
            let mut agent = FakeAgent::dial(address, &token)
                .await
                .expect("a good token");
            agent.hello("laptop").await;
            let outcome = answer_one(&mut agent, &number.to_string()).await;
            (outcome, agent)
        });
    }
    for _ in 0..99 {
        let ended = within(4 * PATIENCE, "a session that lost", racers.join_next()).await;
        let (outcome, _) = ended.expect("one more").expect("no panic");
        let status = outcome.expect_err("no request was sent yet");
        assert_eq!(status.code(), Code::Aborted, "{status}");
    }
    assert_eq!(devices(&relay, "ada").await.len(), 1);
    let answer = caller(&relay, "ada").get("/api/tags").await;
    assert_eq!(answer.status(), 200);
    let (outcome, _agent) = racers
        .join_next()
        .await
        .expect("one left")
        .expect("no panic");
    assert!(outcome.is_ok(), "the one that is registered answers");
}

#[tokio::test]
async fn iso_07_two_users_with_a_laptop_each_reach_their_own() {
    let relay = TestRelay::start().await;
    let mut households = Vec::new();
    // Twins by case, by a letter that looks the same, by blanks, and one who is called like a device.
    let users = [
        "ada",
        "Ada",
        "ADA",
        "\u{430}da",
        "ada ",
        " ada",
        "laptop",
        "ada/laptop",
    ];
    for user in users {
        households.push((user, Household::of(&relay, user).await));
    }
    for (user, household) in &households {
        assert_eq!(owner_of(&household.caller).await, *user);
        let named = household.caller.get("/d/laptop/api/tags").await;
        assert_eq!(named.status(), 200);
        assert_eq!(household.requests(), 2, "{user}");
    }
}

#[tokio::test]
async fn iso_09_a_stale_end_never_removes_the_live_session() {
    let relay = TestRelay::start().await;
    let token = relay.agent_token("ada");
    let first = FakeAgent::connect(relay.address(), &token, "laptop").await;
    let first = first.expect("a session");
    let second = FakeAgent::connect(relay.address(), &token, "laptop").await;
    let mut second = second.expect("a session");
    let connections = open_connections(&relay).await;
    // Its connection, with the end of the call unread, goes only now.
    drop(first);
    let is_gone = || async { (open_connections(&relay).await < connections).then_some(()) };
    eventually(PATIENCE, "the first connection is gone", is_gone).await;
    for _ in 0..3 {
        let ada = caller(&relay, "ada");
        let asking = tokio::spawn(async move { ada.get("/api/tags").await.text().await });
        answer_one(&mut second, "second")
            .await
            .expect("it is asked");
        assert_eq!(asking.await.expect("an answer"), "second");
    }
    assert_eq!(devices(&relay, "ada").await.len(), 1);
}

async fn open_connections(relay: &TestRelay) -> u64 {
    let page = c2l_testkit::Caller::anonymous(relay.ops_address())
        .get("/metrics")
        .await
        .text()
        .await;
    let line = page
        .lines()
        .find(|line| line.starts_with("c2l_connections "));
    let (_, value) = line.expect("a gauge").split_once(' ').expect("a value");
    value.parse().expect("a number")
}

#[tokio::test]
async fn iso_09_a_real_agent_taken_over_from_leaves_the_new_one_alone() {
    let relay = TestRelay::start().await;
    let mut household = Household::of(&relay, "ada").await;
    for _ in 0..5 {
        let next = TestAgent::connect(&relay, "ada", household.upstream.address()).await;
        let mut before = std::mem::replace(&mut household._agent, next);
        let outcome = before.ended().await;
        assert!(
            matches!(outcome, Err(c2l_agent::Error::Replaced)),
            "{outcome:?}"
        );
        assert_eq!(owner_of(&household.caller).await, "ada");
    }
}

#[tokio::test]
async fn iso_10_a_user_whose_device_is_away_is_told_at_once_and_nobody_elses_answers() {
    let relay = TestRelay::start().await;
    let ada = Household::of(&relay, "ada").await;
    let bob = caller(&relay, "bob");
    for _ in 0..20 {
        let since = Instant::now();
        let answer = bob.chat("tiny+echo", "who are you").await;
        let took = since.elapsed();
        assert_eq!(answer.status(), 503);
        assert!(!answer.header("retry-after").is_empty());
        assert_eq!(answer.json().await["code"], "agent_offline");
        assert!(took < std::time::Duration::from_secs(1), "{took:?}");
    }
    assert_eq!(ada.requests(), 0);
}

#[tokio::test]
async fn iso_11_whoami_and_devices_are_about_the_caller_alone() {
    let relay = TestRelay::start().await;
    let _ada = Household::of(&relay, "ada").await;
    let _bobs = FakeAgent::connect(relay.address(), &relay.agent_token("bob"), "castle")
        .await
        .expect("a session");
    for (user, other, device, foreign) in [
        ("ada", "bob", "laptop", "castle"),
        ("bob", "ada", "castle", "laptop"),
    ] {
        let caller = caller(&relay, user);
        let who = caller.get("/relay/v1/whoami?user=x").await.json().await;
        assert_eq!(who["user"], user);
        assert_eq!(who["kind"], "api");
        let mut request = caller.request(Method::GET, &format!("/relay/v1/devices?user={other}"));
        request = request.header("x-user-id", other);
        request = request.header("x-c2l-device", foreign);
        let request = request.body(c2l_testkit::empty()).expect("a request");
        let listed = caller.send(request).await.text().await;
        assert!(
            listed.contains(device) && !listed.contains(foreign),
            "{listed}"
        );
        // One's own are not read there either.
        for name in [device, foreign] {
            let path = format!("/relay/v1/devices/{name}");
            assert_eq!(caller.get(&path).await.status(), 405, "{path}");
        }
        for path in [
            format!("/relay/v1/users/{other}/devices"),
            "/relay/v1/users".to_owned(),
            "/relay/v1/sessions".to_owned(),
        ] {
            assert_eq!(caller.get(&path).await.status(), 404, "{path}");
        }
    }
    let nobody = c2l_testkit::Caller::anonymous(relay.address());
    for path in ["/relay/v1/whoami", "/relay/v1/devices"] {
        assert_eq!(nobody.get(path).await.status(), 401, "{path}");
    }
}

#[tokio::test]
async fn a_token_bound_to_one_device_reaches_no_other() {
    let relay = TestRelay::start().await;
    let upstream = TestUpstream::start().await;
    let _laptop = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let with = |device| {
        let token = relay.sign(&tokens::api("ada").bound_to(device));
        Caller::new(relay.address(), token)
    };
    assert_eq!(with("laptop").get("/api/version").await.status(), 200);
    assert_eq!(
        with("laptop").get("/d/laptop/api/version").await.status(),
        200
    );
    let tower = with("tower");
    for path in [
        "/api/version",
        "/d/laptop/api/version",
        "/d/tower/api/version",
    ] {
        assert_eq!(tower.get(path).await.status(), 404, "{path}");
    }
    assert_eq!(upstream.demo.recorded().len(), 2);
}

//! What someone with a good token of their own may try against another user.

use std::time::Duration;

use c2l_proto::tunnel::{
    AgentControl, AgentMessage, End, Hello, ResponseHead, agent_control,
    tunnel_request::Frame as Request, tunnel_response::Frame as Response,
};
use c2l_testkit::{FakeAgent, TestRelay, within};
use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;
use tonic::Code;

use super::{Household, caller, echo, owner, owner_of};

/// A head that a fake agent answers with.
fn ok() -> Response {
    Response::Head(ResponseHead {
        status: 200,
        headers: Vec::new(),
        is_whole: false,
        model: String::new(),
    })
}

fn body(text: &'static str) -> Response {
    Response::Body(bytes::Bytes::from_static(text.as_bytes()))
}

fn end() -> Response {
    Response::End(End::default())
}

/// The id of the next request that reaches this agent.
async fn opened(agent: &mut FakeAgent) -> u64 {
    loop {
        let frame = agent.request().await.expect("a session that goes on");
        if let Some(Request::Head(_)) = frame.frame {
            return frame.stream_id;
        }
    }
}

#[tokio::test]
async fn iso_02_only_the_credential_says_who_asks() {
    let relay = TestRelay::start().await;
    let ada = Household::of(&relay, "ada").await;
    let bob = Household::of(&relay, "bob").await;
    let mut asked = echo("who are you");
    asked["user"] = json!("bob");
    for path in [
        "/api/chat",
        "/api/chat?user=bob&sub=bob",
        "/d/laptop/api/chat",
    ] {
        let mut request = ada.caller.json(path, &asked);
        for name in [
            "x-user-id",
            "x-user",
            "x-forwarded-user",
            "x-remote-user",
            "remote-user",
            "from",
            "x-c2l-user",
            "cookie",
        ] {
            let value = if name == "cookie" { "user=bob" } else { "bob" };
            request
                .headers_mut()
                .insert(name, value.parse().expect("a value"));
        }
        let answer = ada.caller.send(request).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(owner(&answer.json().await), "ada", "{path}");
    }
    assert_eq!(bob.requests(), 0);
}

#[tokio::test]
async fn iso_02_a_tunnel_that_names_another_user_is_its_tokens_own() {
    let relay = TestRelay::start().await;
    let bob = Household::of(&relay, "bob").await;
    let token = relay.agent_token("ada");
    let mut agent = FakeAgent::dial_with(relay.address(), |metadata| {
        let bearer = format!("Bearer {token}").parse().expect("a value");
        metadata.insert("authorization", bearer);
        for name in ["x-user-id", "user", "sub", "x-forwarded-user", "x-c2l-user"] {
            metadata.insert(name, "bob".parse().expect("a value"));
        }
    })
    .await
    .expect("a good token");
    agent.hello("laptop").await;
    agent.welcome().await.expect("a session of ada's");
    assert_eq!(owner_of(&bob.caller).await, "bob");
    assert_eq!(names(&relay, "ada").await, ["laptop"]);
}

/// The connected devices of a user.
async fn names(relay: &TestRelay, user: &str) -> Vec<String> {
    let devices = caller(relay, user)
        .get("/relay/v1/devices")
        .await
        .json()
        .await;
    let devices = devices["devices"].as_array().expect("a list").clone();
    let name = |device: Value| device["name"].as_str().expect("a name").to_owned();
    devices.into_iter().map(name).collect()
}

#[tokio::test]
async fn iso_03_a_foreign_device_looks_like_one_that_exists_nowhere() {
    let relay = TestRelay::start().await;
    let ada = Household::of(&relay, "ada").await;
    let bob = FakeAgent::connect(relay.address(), &relay.agent_token("bob"), "castle").await;
    let bob = bob.expect("a session");
    for is_in_path in [true, false] {
        let foreign = refusal(&ada, "castle", is_in_path).await;
        let nowhere = refusal(&ada, "nowhere", is_in_path).await;
        assert_eq!(foreign, nowhere);
        assert_eq!(foreign.0, 404);
        let body: Value = serde_json::from_str(&foreign.2).expect("JSON");
        assert_eq!(body["code"], "route_unknown");
    }
    // Nor does the time tell: the fastest of interleaved tries, less what else the machine does meanwhile.
    let (mut foreign, mut nowhere) = (Vec::new(), Vec::new());
    for _ in 0..101 {
        for (device, times) in [("castle", &mut foreign), ("nowhere", &mut nowhere)] {
            let since = Instant::now();
            refusal(&ada, device, true).await;
            times.push(since.elapsed());
        }
    }
    let (foreign, nowhere) = (fastest(foreign), fastest(nowhere));
    let ratio = foreign.as_secs_f64() / nowhere.as_secs_f64();
    assert!(
        (0.5..2.0).contains(&ratio),
        "{foreign:?} against {nowhere:?}"
    );
    drop(bob);
}

fn fastest(times: Vec<Duration>) -> Duration {
    times.into_iter().min().expect("some")
}

/// Status, fields but for the date, and body.
async fn refusal(ada: &Household, device: &str, is_in_path: bool) -> (u16, String, String) {
    let path = if is_in_path {
        format!("/d/{device}/api/tags")
    } else {
        "/api/tags".to_owned()
    };
    let mut request = ada.caller.request(Method::GET, &path);
    request = request.header("x-request-id", "same");
    if !is_in_path {
        request = request.header("x-c2l-device", device);
    }
    let request = request.body(c2l_testkit::empty()).expect("a request");
    let answer = ada.caller.send(request).await;
    let status = answer.status().as_u16();
    let mut fields = answer.headers().clone();
    fields.remove("date");
    (status, format!("{fields:?}"), answer.text().await)
}

#[tokio::test]
async fn iso_04_an_answer_to_a_stream_never_minted_ends_that_session_alone() {
    let relay = TestRelay::start().await;
    let bob = Household::of(&relay, "bob").await;
    let mut bobs = bob.caller.chat("tiny+lines=20+gap=5ms+echo", "go on").await;
    let token = relay.agent_token("ada");
    for frame in [ok(), body("forged"), end()] {
        let agent = FakeAgent::connect(relay.address(), &token, "laptop").await;
        let mut agent = agent.expect("a session");
        let ada = caller(&relay, "ada");
        let waiting = tokio::spawn(async move { ada.get("/api/tags").await });
        let id = opened(&mut agent).await;
        agent.respond(id + 1000, frame).await;
        assert_eq!(agent.end().await.code(), Code::Internal);
        let answer = within(c2l_testkit::PATIENCE, "ada's answer", waiting).await;
        let answer = answer.expect("no panic");
        assert_eq!(answer.status(), 502);
        let refused = answer.json().await;
        assert_eq!(refused["code"], "agent_protocol");
        assert_eq!(refused["origin"], "agent");
    }
    let (_, is_whole) = bobs.rest().await;
    assert!(is_whole, "bob's answer, begun before, is whole");
    assert_eq!(owner_of(&bob.caller).await, "bob");
}

#[tokio::test]
async fn iso_05_late_frames_of_a_caller_who_left_reach_nobody() {
    let relay = TestRelay::start().await;
    let token = relay.agent_token("ada");
    let agent = FakeAgent::connect(relay.address(), &token, "laptop").await;
    let mut agent = agent.expect("a session");
    let mut ids = Vec::new();
    for is_begun in [false, true] {
        let ada = caller(&relay, "ada");
        let asking = tokio::spawn(async move { ada.get("/api/tags").await });
        let id = opened(&mut agent).await;
        if is_begun {
            agent.respond(id, ok()).await;
            agent.respond(id, body("begun")).await;
            let mut answer = asking.await.expect("an answer");
            let piece = answer.piece().await.expect("not torn");
            assert_eq!(piece.expect("a piece"), "begun");
            drop(answer);
        } else {
            asking.abort();
        }
        loop {
            let frame = agent.request().await.expect("the session goes on");
            if let (true, Some(Request::Reset(_))) = (frame.stream_id == id, &frame.frame) {
                break;
            }
        }
        ids.push(id);

        // The next exchange is open while the frames of the one before come in late.
        let ada = caller(&relay, "ada");
        let asking = tokio::spawn(async move { ada.get("/api/tags").await });
        let next = opened(&mut agent).await;
        for late in &ids {
            if !is_begun {
                agent.respond(*late, ok()).await;
            }
            agent.respond(*late, body("late")).await;
            agent.respond(*late, end()).await;
        }
        agent.respond(next, ok()).await;
        agent.respond(next, body("in time")).await;
        agent.respond(next, end()).await;
        let answer = asking.await.expect("an answer");
        assert_eq!(answer.text().await, "in time");
        ids.push(next);
    }
    assert!(ids.is_sorted_by(|a, b| a < b), "never reused: {ids:?}");
}

#[tokio::test]
async fn iso_08_a_hello_that_claims_anothers_identity_claims_nothing() {
    let relay = TestRelay::start().await;
    let bob = Household::of(&relay, "bob").await;
    let listed = bob.caller.get("/relay/v1/devices").await.json().await;
    let session = listed["devices"][0]["session_id"].as_str().expect("an id");
    // The same device id as bob's, and his session's id, his name and his device's as the name.
    for name in [session, "bob", "laptop"] {
        let agent = FakeAgent::dial(relay.address(), &relay.agent_token("ada")).await;
        let mut agent = agent.expect("a good token");
        let hello = Hello {
            protocol_version: 1,
            build: "bob".to_owned(),
            device_name: name.to_owned(),
            device_id: vec![7; 16].into(),
            capabilities: vec!["user=bob".to_owned(), format!("session={session}")],
            attempt: u64::MAX,
        };
        let control = Some(agent_control::Control::Hello(hello));
        agent
            .send(AgentMessage {
                control: vec![AgentControl { control }],
                responses: Vec::new(),
            })
            .await;
        agent.welcome().await.expect("a session of ada's");
        assert_eq!(names(&relay, "ada").await, [name]);
        assert_eq!(owner_of(&bob.caller).await, "bob");
        let still = bob.caller.get("/relay/v1/devices").await.json().await;
        assert_eq!(still["devices"][0]["session_id"], session);
        assert_eq!(still["devices"].as_array().map(Vec::len), Some(1));
        drop(agent);
        let gone = || async { names(&relay, "ada").await.is_empty().then_some(()) };
        c2l_testkit::eventually(c2l_testkit::PATIENCE, "ada's session ends", gone).await;
    }
}

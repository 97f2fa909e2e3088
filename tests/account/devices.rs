//! A user's devices: what the list tells, labels, and the end of a connection.

use c2l_proto::tunnel::tunnel_request::Frame as Request;
use c2l_relay::Accounts;
use c2l_testkit::{
    Caller, FakeAgent, PATIENCE, TestAgent, TestRelay, TestTransport, TestUpstream, eventually,
};
use http::Method;
use serde_json::{Value, json};
use tonic::Code;

use super::{ask, get, owner};

const DEVICES: &str = "/relay/v1/devices";

async fn label(caller: &Caller, device: &str, label: Value) -> (u16, Value) {
    let path = format!("{DEVICES}/{device}/label");
    let answer = ask(caller, Method::PUT, &path, Some(&json!({ "label": label }))).await;
    (answer.status().as_u16(), answer.json().await)
}

async fn disconnect(caller: &Caller, device: &str) -> (u16, Value) {
    let path = format!("{DEVICES}/{device}/disconnect");
    let answer = ask(caller, Method::POST, &path, None).await;
    (answer.status().as_u16(), answer.json().await)
}

#[tokio::test]
async fn the_list_says_how_and_from_where_a_device_is_connected() {
    let relay = TestRelay::start().await;
    let upstream = TestUpstream::start().await;
    let _agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let ada = owner(&relay, "ada");
    let listed = get(&ada, DEVICES).await;
    let device = &listed["devices"][0];
    let wanted = match TestTransport::of_this_run() {
        TestTransport::Grpc | TestTransport::Tls => "grpc",
        TestTransport::WebSocket | TestTransport::TlsWebSocket => "websocket",
    };
    assert_eq!(
        (&device["transport"], &device["address"]),
        (&json!(wanted), &json!("127.0.0.1"))
    );
    assert_eq!(
        (&device["label"], &listed["offline"]),
        (&Value::Null, &json!([]))
    );
    // A key lies in places that the address of its owner's home does not.
    let plain = Caller::new(relay.address(), relay.api_token("ada"));
    let plain = get(&plain, DEVICES).await;
    assert_eq!(
        (
            &plain["devices"][0]["address"],
            &plain["devices"][0]["name"]
        ),
        (&Value::Null, &json!("laptop"))
    );
    assert_eq!(
        get(&owner(&relay, "bob"), DEVICES).await,
        json!({ "devices": [], "offline": [] })
    );
}

#[tokio::test]
async fn a_label_and_the_last_time_outlive_the_connection_and_the_relay() {
    let accounts = Accounts::in_memory().expect("memory");
    let kept = accounts.clone();
    let relay = TestRelay::start_with(|config| config.accounts = Some(kept)).await;
    let upstream = TestUpstream::start().await;
    let agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let (ada, bob) = (owner(&relay, "ada"), owner(&relay, "bob"));
    let said = json!({ "device": "laptop", "label": "Desk upstairs ☂" });
    assert_eq!(
        label(&ada, "laptop", json!("Desk upstairs ☂")).await,
        (200, said)
    );
    for (who, device) in [(&bob, "laptop"), (&ada, "castle")] {
        let (status, why) = label(who, device, json!("x")).await;
        assert_eq!(
            (status, &why["code"]),
            (404, &json!("route_unknown")),
            "{device}"
        );
        assert_eq!(why["error"], "no such device of this user");
    }
    for bad in [
        json!(""),
        json!(" x"),
        json!("x "),
        json!("a\u{7}b"),
        json!("x".repeat(65)),
        json!(7),
        json!({}),
    ] {
        assert_eq!(label(&ada, "laptop", bad.clone()).await.0, 400, "{bad}");
    }
    for bad in ["", "{}", "{\"label\":null,\"x\":1}"] {
        let request = ada.request(Method::PUT, "/relay/v1/devices/laptop/label");
        let request = request.header("content-type", "application/json");
        let answer = ada
            .send(request.body(c2l_testkit::full(bad)).expect("a request"))
            .await;
        assert_eq!(answer.status(), 400, "{bad}");
    }
    let listed = get(&ada, DEVICES).await;
    assert_eq!(listed["devices"][0]["label"], "Desk upstairs ☂");
    agent.shut_down().await;
    let offline = eventually(PATIENCE, "it is away", async || {
        let listed = get(&ada, DEVICES).await;
        listed["offline"][0].is_object().then_some(listed)
    })
    .await;
    let seen = |listed: &Value| {
        listed["offline"][0]["last_seen_unix_seconds"]
            .as_u64()
            .expect("a time")
    };
    assert_eq!(offline["devices"], json!([]));
    let before = seen(&offline);
    relay.shut_down().await;
    let relay = TestRelay::start_with(|config| config.accounts = Some(accounts)).await;
    let ada = owner(&relay, "ada");
    let listed = get(&ada, DEVICES).await;
    let device = &listed["offline"][0];
    assert_eq!(
        (&device["name"], &device["label"]),
        (&json!("laptop"), &json!("Desk upstairs ☂"))
    );
    assert_eq!(seen(&listed), before);
    assert_eq!(
        label(&ada, "laptop", Value::Null).await.0,
        200,
        "also while it is away"
    );
    assert_eq!(get(&ada, DEVICES).await["offline"][0]["label"], Value::Null);
    // What is taken out is in no list.
    let removed = ask(&ada, Method::DELETE, "/relay/v1/devices/laptop", None).await;
    assert_eq!(removed.status(), 200);
    assert_eq!(get(&ada, DEVICES).await["offline"], json!([]));
}

#[tokio::test]
async fn a_device_that_is_removed_while_it_is_connected_is_in_no_list() {
    let relay = TestRelay::start().await;
    let token = relay.agent_token("ada");
    let agent = FakeAgent::connect(relay.address(), &token, "desk").await;
    let mut agent = agent.expect("a session");
    let ada = owner(&relay, "ada");
    assert_eq!(label(&ada, "desk", json!("x")).await.0, 200);
    let removed = ask(&ada, Method::DELETE, "/relay/v1/devices/desk", None).await;
    assert_eq!(removed.status(), 200);
    assert_eq!(agent.end().await.code(), Code::Unauthenticated);
    relay.metric_becomes("c2l_sessions", 0).await;
    assert_eq!(
        get(&ada, DEVICES).await,
        json!({ "devices": [], "offline": [] })
    );
}

#[tokio::test]
async fn a_disconnected_device_loses_what_it_runs_and_comes_back_by_itself() {
    let relay = TestRelay::start().await;
    let token = relay.agent_token("ada");
    let agent = FakeAgent::connect(relay.address(), &token, "desk").await;
    let mut agent = agent.expect("a session");
    let upstream = TestUpstream::start().await;
    let _laptop = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let _other = TestAgent::connect(&relay, "bob", upstream.address()).await;
    let (ada, bob) = (owner(&relay, "ada"), owner(&relay, "bob"));
    let asking = owner(&relay, "ada");
    let asking = tokio::spawn(async move { asking.get("/d/desk/api/tags").await });
    loop {
        if let Some(Request::Head(_)) = agent.request().await.expect("a request").frame {
            break;
        }
    }
    let plain = Caller::new(relay.address(), relay.api_token("ada"));
    assert_eq!(disconnect(&plain, "desk").await.0, 403);
    assert_eq!(disconnect(&bob, "desk").await.0, 404);
    assert_eq!(disconnect(&ada, "castle").await.0, 404);
    let said = json!({ "device": "desk", "sessions": 1 });
    assert_eq!(disconnect(&ada, "desk").await, (200, said));
    let status = agent.end().await;
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "disconnected by its user")
    );
    let answer = asking.await.expect("a task");
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.json().await["code"], "agent_lost");
    assert_eq!(
        disconnect(&ada, "desk").await.0,
        404,
        "it is not there any more"
    );

    let session = async |caller: &Caller| {
        let listed = get(caller, DEVICES).await;
        listed["devices"][0]["session_id"]
            .as_str()
            .map(str::to_owned)
    };
    let (before, of_bob) = (session(&ada).await.expect("a session"), session(&bob).await);
    assert_eq!(disconnect(&ada, "laptop").await.0, 200);
    eventually(PATIENCE, "the agent is back", async || {
        session(&ada).await.filter(|now| *now != before)
    })
    .await;
    assert_eq!(ada.get("/api/tags").await.status(), 200);
    assert_eq!(session(&bob).await, of_bob, "nobody else's");
}

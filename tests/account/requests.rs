//! The list of recent requests: whose, how many, and what it tells while they run.

use c2l_proto::tunnel::{
    End, ResponseHead, tunnel_request::Frame as Request, tunnel_response::Frame as Response,
};
use c2l_testkit::{
    Caller, FakeAgent, PATIENCE, TestAgent, TestRelay, TestUpstream, eventually, full, within,
};
use http::Method;
use serde_json::{Value, json};

use super::{get, owner};

const REQUESTS: &str = "/relay/v1/requests";

async fn requests(caller: &Caller) -> Vec<Value> {
    let listed = get(caller, REQUESTS).await;
    listed["requests"].as_array().expect("a list").clone()
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("no number: {value}"))
}

/// The stream of the next request, once its body is whole.
async fn next_stream(agent: &mut FakeAgent) -> u64 {
    let mut stream = None;
    loop {
        let frame = agent.request().await.expect("a request");
        match frame.frame {
            Some(Request::Head(head)) if head.is_whole => return frame.stream_id,
            Some(Request::Head(_)) => stream = Some(frame.stream_id),
            Some(Request::End(_)) if stream == Some(frame.stream_id) => return frame.stream_id,
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_request_is_listed_while_it_runs_and_its_numbers_grow() {
    let relay = TestRelay::start().await;
    let token = relay.agent_token("ada");
    let agent = FakeAgent::connect(relay.address(), &token, "desk").await;
    let mut agent = agent.expect("a session");
    let ada = owner(&relay, "ada");
    let asking = owner(&relay, "ada");
    let body = json!({ "model": "tiny", "secret": "of the prompt" });
    let sent = body.to_string().len() as u64;
    let asking = tokio::spawn(async move { asking.post("/api/chat?x=y", &body).await });
    let stream = next_stream(&mut agent).await;

    let first = get(&ada, REQUESTS).await;
    let running = &first["requests"][0];
    assert_eq!(
        (&running["route"], &running["method"], &running["device"]),
        (&json!("/api/chat"), &json!("POST"), &json!("desk"))
    );
    for unknown in [
        "model",
        "status",
        "error",
        "origin",
        "first_byte_ms",
        "duration_ms",
        "chunks",
    ] {
        assert_eq!(running[unknown], Value::Null, "{unknown}");
    }
    assert_eq!(number(&running["bytes_up"]), sent);
    let now = number(&first["now_unix_ms"]);
    assert!(now.abs_diff(number(&running["started_unix_ms"])) < 60_000);
    assert!(
        running["credential"]
            .as_str()
            .expect("a name")
            .starts_with("token:")
    );

    let head = ResponseHead {
        status: 200,
        headers: Vec::new(),
        is_whole: false,
        model: "Tiny".to_owned(), // as the agent says it; the relay reads no body
    };
    agent.respond(stream, Response::Head(head)).await;
    let mut answer = within(PATIENCE, "the answer", asking)
        .await
        .expect("a task");
    assert_eq!(
        answer.header("x-request-id"),
        running["id"].as_str().expect("an id")
    );
    for piece in ["one", "three"] {
        agent
            .respond(stream, Response::Body(piece.to_owned().into()))
            .await;
        assert_eq!(
            answer.piece().await.expect("a piece").as_deref(),
            Some(piece.as_bytes())
        );
    }
    // What runs comes with any cursor.
    let after = format!("{REQUESTS}?after={}", first["next"]);
    let second = get(&ada, &after).await;
    let running = &second["requests"][0];
    assert_eq!(
        (&running["status"], &running["duration_ms"]),
        (&json!(200), &Value::Null)
    );
    assert_eq!(
        (number(&running["bytes_down"]), number(&running["chunks"])),
        (8, 2)
    );
    assert!(number(&running["first_byte_ms"]) < 60_000);
    assert_eq!(running["seq"], first["requests"][0]["seq"]);
    assert_eq!(running["model"], "Tiny");

    agent.respond(stream, Response::End(End::default())).await;
    assert_eq!(answer.piece().await.expect("a clean end"), None);
    let third = eventually(PATIENCE, "it has ended", async || {
        let listed = get(&ada, &after).await;
        let is_over = listed["requests"][0]["duration_ms"].is_u64();
        is_over.then_some(listed)
    })
    .await;
    let ended = &third["requests"][0];
    assert_eq!(
        (&ended["error"], number(&ended["bytes_down"])),
        (&Value::Null, 8)
    );
    assert!(number(&ended["duration_ms"]) >= number(&ended["first_byte_ms"]));
    let quiet = get(&ada, &format!("{REQUESTS}?after={}", third["next"])).await;
    assert_eq!(
        (&quiet["requests"], &quiet["next"]),
        (&json!([]), &third["next"])
    );
    let whole = first.to_string() + &second.to_string() + &third.to_string();
    assert!(
        !whole.contains("secret") && !whole.contains("x=y"),
        "{whole}"
    );
}

#[tokio::test]
async fn the_model_of_a_request_is_listed_also_of_one_that_was_refused() {
    let relay = TestRelay::start().await;
    let upstream = TestUpstream::start().await;
    let _agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let ada = owner(&relay, "ada");
    let messages = json!([{ "role": "user", "content": "hello" }]);
    for (path, model, status) in [
        ("/api/chat", "tiny", 200),
        ("/v1/chat/completions", "TINY:latest", 404),
        ("/api/chat", "gpt-oss:120b-cloud", 403),
    ] {
        let body = json!({ "model": model, "messages": messages });
        assert_eq!(ada.post(path, &body).await.status(), status, "{model}");
    }
    assert_eq!(ada.get("/api/tags").await.status(), 200);
    let listed = requests(&ada).await;
    let models: Vec<_> = listed.iter().map(|entry| entry["model"].clone()).collect();
    let wanted = json!(["tiny", "TINY:latest", "gpt-oss:120b-cloud", null]);
    assert_eq!(json!(models), wanted);
}

#[tokio::test]
async fn a_name_of_a_model_that_is_none_is_not_listed() {
    let relay = TestRelay::start().await;
    let token = relay.agent_token("ada");
    let agent = FakeAgent::connect(relay.address(), &token, "desk").await;
    let mut agent = agent.expect("a session");
    for said in ["m".repeat(257), "\u{1b}[2J".to_owned()] {
        let asking = owner(&relay, "ada");
        let asked = tokio::spawn(async move { asking.get("/api/tags").await });
        let stream = next_stream(&mut agent).await;
        let head = ResponseHead {
            status: 200,
            headers: Vec::new(),
            is_whole: true,
            model: said,
        };
        agent.respond(stream, Response::Head(head)).await;
        let answer = within(PATIENCE, "the answer", asked).await;
        assert_eq!(answer.expect("a task").status(), 200);
    }
    let listed = requests(&owner(&relay, "ada")).await;
    let models: Vec<_> = listed.iter().map(|entry| entry["model"].clone()).collect();
    assert_eq!(json!(models), json!([null, null]));
}

#[tokio::test]
async fn a_user_sees_their_own_requests_alone() {
    let relay = TestRelay::start().await;
    let (upstream, other) = (TestUpstream::start().await, TestUpstream::start().await);
    let _agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let _other = TestAgent::connect(&relay, "bob", other.address()).await;
    let (ada, bob) = (owner(&relay, "ada"), owner(&relay, "bob"));
    for _ in 0..3 {
        assert_eq!(ada.get("/api/tags").await.status(), 200);
    }
    let of_bob = get(&bob, REQUESTS).await;
    assert_eq!(
        (&of_bob["requests"], &of_bob["next"]),
        (&json!([]), &json!(0))
    );
    assert_eq!(bob.get("/api/version").await.status(), 200);
    let (of_ada, of_bob) = (requests(&ada).await, requests(&bob).await);
    let routes = |list: &[Value]| -> Vec<String> {
        let routes = list.iter().map(|entry| entry["route"].to_string());
        routes.collect()
    };
    assert_eq!(routes(&of_ada), ["\"/api/tags\""; 3]);
    assert_eq!(routes(&of_bob), ["\"/api/version\""]);
    // Not even how busy others are: the numbers of a user are that user's.
    for _ in 0..20 {
        assert_eq!(ada.get("/api/tags").await.status(), 200);
    }
    let before = number(&of_bob[0]["seq"]);
    assert_eq!(bob.get("/api/version").await.status(), 200);
    let newest = requests(&bob).await;
    assert_eq!(
        number(&newest[1]["seq"]) - before,
        2,
        "an end and a beginning"
    );
}

#[tokio::test]
async fn what_others_do_with_the_account_is_for_no_key_to_see() {
    let relay = TestRelay::start().await;
    let upstream = TestUpstream::start().await;
    let _agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let ada = owner(&relay, "ada");
    let made = ada.post("/relay/v1/keys", &json!({ "name": "x" })).await;
    let made = made.json().await;
    let key = made["key"].as_str().expect("a key");
    let with_key = Caller::anonymous(relay.address());
    assert_eq!(
        with_key.get(&format!("/k/{key}/api/tags")).await.status(),
        200
    );
    assert_eq!(
        with_key
            .get(&format!("/k/{key}/d/laptop/api/ps"))
            .await
            .status(),
        200
    );
    for refused in [
        Caller::new(relay.address(), key),
        Caller::new(relay.address(), relay.api_token("ada")),
    ] {
        assert_eq!(refused.get(REQUESTS).await.status(), 403);
    }
    assert_eq!(with_key.get(REQUESTS).await.status(), 401);
    assert_eq!(
        with_key
            .get(&format!("/k/{key}/relay/v1/requests"))
            .await
            .status(),
        404
    );
    let listed = requests(&ada).await;
    let id = made["id"].as_str().expect("an id");
    for (entry, route) in listed.iter().zip(["/api/tags", "/api/ps"]) {
        assert_eq!(
            (entry["route"].as_str(), &entry["credential"]),
            (Some(route), &json!(format!("key:{id}")))
        );
    }
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert!(!json!(listed).to_string().contains(&key[15..]));
}

#[tokio::test]
async fn what_failed_says_how_and_whose_fault_it_was() {
    let relay = TestRelay::start().await;
    let ada = owner(&relay, "ada");
    assert_eq!(ada.get("/api/tags").await.status(), 503);
    let upstream = TestUpstream::start().await;
    let _agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    assert_eq!(
        ada.post("/api/pull", &json!({ "model": "tiny" }))
            .await
            .status(),
        403
    );
    assert_eq!(ada.get("/d/castle/api/tags").await.status(), 404);
    // One who leaves before the answer, and one in the middle of it.
    let silent =
        json!({ "model": "tiny+first=30s", "messages": [{ "role": "user", "content": "x" }] });
    let (leaving, path) = (owner(&relay, "ada"), "/api/chat");
    let gone = tokio::spawn(async move { leaving.post(path, &silent).await });
    eventually(PATIENCE, "it runs", async || {
        (requests(&ada).await.len() == 4).then_some(())
    })
    .await;
    gone.abort();
    let failed = eventually(PATIENCE, "it has ended", async || {
        let listed = requests(&ada).await;
        let is_over = listed
            .last()
            .is_some_and(|entry| entry["duration_ms"].is_u64());
        is_over.then_some(listed)
    })
    .await;
    let said: Vec<_> = failed
        .iter()
        .map(|entry| {
            let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            (entry["status"].as_u64(), text("error"), text("origin"))
        })
        .collect();
    let wanted = [
        (Some(503), "agent_offline", "agent"),
        (Some(403), "forbidden", "caller"),
        (Some(404), "route_unknown", "caller"),
    ];
    let wanted =
        wanted.map(|(status, error, origin)| (status, error.to_owned(), origin.to_owned()));
    assert_eq!(said[..3], wanted);
    assert_eq!(
        (said[3].1.as_str(), said[3].2.as_str()),
        ("caller_gone", "caller")
    );
}

#[tokio::test]
async fn of_many_requests_the_last_are_kept() {
    let relay = TestRelay::start().await;
    let upstream = TestUpstream::start().await;
    let _agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let ada = owner(&relay, "ada");
    for number in 0..215 {
        let request = ada.request(Method::GET, "/api/version");
        let request = request.header("x-request-id", format!("r-{number}"));
        let answer = ada.send(request.body(full("")).expect("a request")).await;
        assert_eq!(answer.status(), 200);
    }
    let listed = requests(&ada).await;
    let ids: Vec<_> = listed
        .iter()
        .map(|entry| entry["id"].as_str().expect("an id"))
        .collect();
    let wanted: Vec<_> = (15..215).map(|number| format!("r-{number}")).collect();
    assert_eq!(ids, wanted);
    let few = get(&ada, &format!("{REQUESTS}?limit=2")).await;
    assert_eq!(
        few["requests"].as_array().expect("a list")[..],
        listed[198..]
    );
}

#[tokio::test]
async fn hostile_numbers_are_mistakes_and_harm_nobody() {
    let relay = TestRelay::start().await;
    let ada = owner(&relay, "ada");
    assert_eq!(ada.get("/api/tags").await.status(), 503);
    for query in [
        "after=-1",
        "after=1e9",
        "after=18446744073709551616",
        "after=%30",
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=99999999999999999999",
        "after=1&after=2",
        "user=bob",
        "after",
        "limit=2;after=1",
    ] {
        let answer = ada.get(&format!("{REQUESTS}?{query}")).await;
        assert_eq!(answer.status(), 400, "{query}");
    }
    // One from nowhere is none.
    let listed = get(
        &ada,
        &format!("{REQUESTS}?after=18446744073709551615&limit=200"),
    )
    .await;
    assert_eq!(listed["requests"].as_array().expect("a list").len(), 1);
    assert!(number(&listed["next"]) < 1 << 53, "a script can count it");
}

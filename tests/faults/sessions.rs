//! Sessions that come and go: the newest of a device wins, a relay that returns is found again, a refusal is final.

use std::time::Duration;

use c2l_agent::{Error, Refusal, Status};
use c2l_auth::SigningKey;
use c2l_testkit::{
    Caller, FakeAgent, PATIENCE, TestAgent, TestProxy, TestRelay, TestUpstream, eventually, tokens,
    within,
};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};
use tonic::Code;

/// How a request of the storm ended.
#[derive(Debug, PartialEq, Eq, Hash, Clone, Copy)]
enum Outcome {
    Right,
    Lost { is_retry_safe: bool },
    Torn,
    Offline,
}

async fn ask(caller: &Caller, number: usize) -> (String, Outcome) {
    let prompt = format!("storm {number}");
    let body = json!({ "model": "tiny+echo", "prompt": prompt });
    let mut answer = caller.post("/api/generate", &body).await;
    let status = answer.status().as_u16();
    let (body, is_whole) = answer.rest().await;
    let text = String::from_utf8(body.to_vec()).expect("text");
    let outcome = match status {
        200 if is_whole => {
            let said: String = text
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).expect("a line"))
                .filter_map(|line| line["response"].as_str().map(str::to_owned))
                .collect();
            assert!(said.contains(&prompt), "{said}");
            assert!(text.contains("\"done\":true"), "{text}");
            Outcome::Right
        }
        200 => {
            assert!(
                text.contains("\"agent_lost\""),
                "torn without a word: {text}"
            );
            Outcome::Torn
        }
        502 => {
            let body: Value = serde_json::from_str(&text).expect("a record");
            assert_eq!(body["code"], "agent_lost", "{body}");
            let is_retry_safe = body["retry_safe"] == true;
            Outcome::Lost { is_retry_safe }
        }
        503 => {
            let body: Value = serde_json::from_str(&text).expect("a record");
            assert_eq!(body["code"], "agent_offline", "{body}");
            assert_eq!(body["retry_safe"], true, "nothing was done: {body}");
            Outcome::Offline
        }
        other => panic!("{other}: {text}"),
    };
    (prompt, outcome)
}

#[tokio::test]
async fn an_attempt_that_was_given_up_and_comes_late_takes_nobodys_place() {
    let relay = TestRelay::start().await;
    let token = relay.agent_token("ada");
    let connect = async |attempt| {
        let mut agent = FakeAgent::dial(relay.address(), &token)
            .await
            .expect("a call");
        agent.hello_of_attempt("desk", [1; 16], attempt).await;
        let welcomed = agent.welcome().await;
        (agent, welcomed)
    };
    let (mut second, welcomed) = connect(2).await;
    welcomed.expect("a session");
    let (_first, refused) = connect(1).await;
    let refused = refused.expect_err("it was given up");
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    // The second one is where it was, until the agent makes a third.
    let devices = Caller::new(relay.address(), relay.api_token("ada"));
    let said = devices.get("/relay/v1/devices").await.text().await;
    assert_eq!(said.matches("\"desk\"").count(), 1, "{said}");
    let (_third, welcomed) = connect(3).await;
    welcomed.expect("a session");
    let replaced = within(PATIENCE, "the second one ends", async {
        loop {
            if let Err(status) = second.message().await {
                break status;
            }
        }
    })
    .await;
    assert_eq!(replaced.code(), Code::Aborted, "{replaced}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tun_11_fifty_sessions_of_one_device_at_once_leave_one_and_no_request_goes_wrong() {
    const AGENTS: usize = 50;
    let upstream = TestUpstream::start().await;
    let relay = TestRelay::start().await;
    let mut agents = vec![TestAgent::connect(&relay, "ada", upstream.address()).await];
    let caller = Caller::new(relay.address(), relay.api_token("ada"));

    let mut asking = JoinSet::new();
    for lane in 0..8 {
        let caller = caller.clone();
        asking.spawn(async move {
            let mut outcomes = Vec::new();
            for number in 0..50 {
                outcomes.push(ask(&caller, lane * 1_000 + number).await);
            }
            outcomes
        });
    }
    for _ in 1..AGENTS {
        let token = relay.agent_token("ada");
        agents.push(TestAgent::start(
            &relay.url(),
            token,
            upstream.address(),
            |_| {},
        ));
    }
    let mut outcomes = Vec::new();
    while let Some(lane) = within(3 * PATIENCE, "every request ends", asking.join_next()).await {
        outcomes.extend(lane.expect("no panic"));
    }

    // One lives; the others know that they were replaced, and do not fight over it.
    let alive = |agents: &[TestAgent]| {
        let open = agents
            .iter()
            .filter(|agent| matches!(&*agent.status().borrow(), Status::Open { .. }));
        let over = agents
            .iter()
            .filter(|agent| matches!(&*agent.status().borrow(), Status::Closed));
        (open.count(), over.count())
    };
    eventually(PATIENCE, "one agent left", || async {
        (alive(&agents) == (1, AGENTS - 1)).then_some(())
    })
    .await;
    for agent in &mut agents {
        if matches!(&*agent.status().borrow(), Status::Closed) {
            let ended = agent.ended().await;
            assert!(matches!(ended, Err(Error::Replaced)), "{ended:?}");
        }
    }
    let whoami = caller.get("/relay/v1/devices").await.text().await;
    assert_eq!(whoami.matches("laptop").count(), 1, "{whoami}");
    let (_, last) = ask(&caller, 999_999).await;
    assert_eq!(last, Outcome::Right);

    // Whoever was told that a retry is safe was told the truth: the upstream had not seen the request.
    let seen: Vec<String> = upstream
        .demo
        .recorded()
        .iter()
        .filter_map(|request| String::from_utf8(request.body.clone()?).ok())
        .collect();
    let count = |wanted: Outcome| {
        outcomes
            .iter()
            .filter(|(_, outcome)| *outcome == wanted)
            .count()
    };
    for (prompt, outcome) in &outcomes {
        let reached = seen
            .iter()
            .filter(|body| body.contains(&format!("\"{prompt}\"")))
            .count();
        assert!(reached <= 1, "{prompt} was done {reached} times");
        if matches!(
            outcome,
            Outcome::Lost {
                is_retry_safe: true
            } | Outcome::Offline
        ) {
            assert_eq!(reached, 0, "{prompt}: {outcome:?}, and yet it was done");
        }
    }
    println!(
        "{} requests in the storm: {} right, {} lost (safe to retry: {}), {} torn, {} offline",
        outcomes.len(),
        count(Outcome::Right),
        count(Outcome::Lost {
            is_retry_safe: true
        }) + count(Outcome::Lost {
            is_retry_safe: false
        }),
        count(Outcome::Lost {
            is_retry_safe: true
        }),
        count(Outcome::Torn),
        count(Outcome::Offline),
    );
}

#[tokio::test]
async fn tun_13_a_relay_that_was_down_is_found_again_without_a_tight_loop() {
    let upstream = TestUpstream::start().await;
    let relay = TestRelay::start().await;
    let (address, key) = (relay.address(), relay.key());
    let mut agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let caller = Caller::new(address, relay.api_token("ada"));
    relay.kill().await;
    let mut status = agent.status();
    // Several tries fail; between two of them it waits.
    let began = Instant::now();
    let fails = |status: &Status| matches!(status, Status::Connecting { attempt } if *attempt >= 5);
    let failed = within(PATIENCE, "five tries", status.wait_for(fails)).await;
    assert!(failed.is_ok(), "the agent gave up");
    drop(failed);
    println!("five tries took {:?}", began.elapsed());

    let _relay = TestRelay::start_on(&address.to_string(), key, |_| {}).await;
    let began = Instant::now();
    agent.connected().await;
    println!("connected {:?} after the relay was back", began.elapsed());
    let (_, outcome) = ask(&caller, 1).await;
    assert_eq!(outcome, Outcome::Right);
}

#[tokio::test]
async fn tun_13_a_token_that_the_relay_refuses_is_not_tried_again() {
    let upstream = TestUpstream::start().await;
    let relay = TestRelay::start().await;
    let proxy = TestProxy::start(relay.address()).await;
    let stranger = SigningKey::ephemeral().expect("random numbers");
    for token in [
        tokens::agent("ada").signed_by(&stranger),
        relay.sign(&tokens::expired("ada").of_kind(c2l_auth::Kind::Agent)),
        relay.api_token("ada"),
    ] {
        let before = proxy.accepted();
        let mut agent = TestAgent::start(
            &relay.url_through(proxy.address()),
            token,
            upstream.address(),
            |_| {},
        );
        let ended = within(Duration::from_secs(5), "a refusal", agent.ended()).await;
        let is_refusal = matches!(
            ended,
            Err(Error::Refused {
                refusal: Refusal::Unauthenticated,
                ..
            })
        );
        assert!(is_refusal, "{ended:?}");
        assert_eq!(proxy.accepted() - before, 1, "one try");
    }
}

//! An agent that lives, beats, and takes nothing in: its session is given up, although it is not silent.

use std::time::Duration;

use c2l_proto::tunnel::{AgentControl, AgentMessage, Heartbeat, agent_control};
use c2l_testkit::{Caller, FakeAgent, TestRelay, within};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::Code;

use super::simple_chat;

const HEARTBEAT: Duration = Duration::from_millis(300);

/// Beats until the relay ends the call; says with which status. Each heartbeat tells what `received` says of its number.
async fn beat(agent: &mut FakeAgent, received: impl Fn(u64) -> u64) -> tonic::Status {
    let mut beats = interval(HEARTBEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sequence = 0;
    loop {
        // Both may be dropped: a message that was not taken stays in the call.
        tokio::select! {
            _ = beats.tick() => {
                sequence += 1;
                agent.send(heartbeat(sequence, received(sequence))).await;
            }
            message = agent.message() => if let Err(status) = message {
                return status;
            },
        }
    }
}

fn heartbeat(sequence: u64, received: u64) -> AgentMessage {
    let beat = Heartbeat {
        sequence,
        acknowledged: sequence, // it hears, or so it says
        received,
    };
    let control = AgentControl {
        control: Some(agent_control::Control::Heartbeat(beat)),
    };
    AgentMessage {
        control: vec![control],
        responses: Vec::new(),
    }
}

async fn connect() -> (TestRelay, FakeAgent, Caller) {
    let relay = TestRelay::start_with(|config| config.heartbeat_interval = HEARTBEAT).await;
    let token = relay.agent_token("ada");
    let agent = FakeAgent::connect(relay.address(), &token, "laptop").await;
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    (relay, agent.expect("a session"), caller)
}

#[tokio::test]
async fn an_agent_that_beats_and_takes_nothing_in_loses_its_session_and_callers_are_told() {
    let (relay, mut agent, caller) = connect().await;
    let began = Instant::now();
    let asking = async {
        let answer = simple_chat(&caller).await;
        (answer.status(), answer.json().await)
    };
    let both = async { tokio::join!(beat(&mut agent, |_| 2), asking) };
    let (status, (code, body)) = within(6 * HEARTBEAT, "the session ends", both).await;
    let after = began.elapsed();
    assert!(
        after >= 2 * HEARTBEAT,
        "{after:?}: two intervals may be jitter"
    );
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(
        status.message().contains("taken in nothing"),
        "{}",
        status.message()
    );
    assert_eq!(code, 502);
    assert_eq!(body["code"], "agent_lost", "{body}");
    assert_eq!(body["retry_safe"], false, "it may have been done");
    relay.metric_becomes("c2l_sessions", 0).await;
    println!("a stuck agent was left after {after:?}");
}

#[tokio::test]
async fn an_agent_that_counts_or_says_nothing_of_it_keeps_its_session() {
    for (what, received) in [
        ("counts", (|sequence| sequence) as fn(u64) -> u64),
        ("is older than the count", |_| 0),
    ] {
        let (relay, mut agent, _caller) = connect().await;
        let beating = beat(&mut agent, received);
        let ended = tokio::time::timeout(8 * HEARTBEAT, beating).await;
        assert!(ended.is_err(), "{what}: {ended:?}");
        assert_eq!(relay.metric("c2l_sessions").await, 1, "{what}");
    }
}

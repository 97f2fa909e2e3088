//! A path that loses everything without a word, both ways or one way: heartbeats notice, within two intervals.

use std::time::Duration;

use c2l_agent::Status;
use c2l_testkit::{
    Caller, Loss, PATIENCE, PlayedUpstream, TestAgent, TestProxy, TestRelay, within,
};
use tokio::time::Instant;

use super::{begun_chat, simple_chat, torn, whole_chat};

const HEARTBEAT: Duration = Duration::from_millis(400);
/// Two intervals, and a second for the machine.
const NOTICED: Duration = Duration::from_millis(1_800);

/// A relay with short heartbeats, and an agent that reaches it through the proxy.
struct Path {
    relay: TestRelay,
    proxy: TestProxy,
    agent: TestAgent,
    upstream: PlayedUpstream,
    caller: Caller,
}

impl Path {
    async fn start() -> Self {
        let relay = TestRelay::start_with(|config| config.heartbeat_interval = HEARTBEAT).await;
        let proxy = TestProxy::start(relay.address()).await;
        let upstream = PlayedUpstream::start().await;
        let token = relay.agent_token("ada");
        let mut agent = TestAgent::start(
            &relay.url_through(proxy.address()),
            token,
            upstream.address(),
            |config| {
                // A dial into the void is given up as fast as everything else here.
                config.dial_timeout = Duration::from_secs(1);
            },
        );
        agent.connected().await;
        let caller = Caller::new(relay.address(), relay.api_token("ada"));
        Self {
            relay,
            proxy,
            agent,
            upstream,
            caller,
        }
    }
}

fn session(status: &Status) -> Option<&str> {
    match status {
        Status::Open { session_id, .. } => Some(session_id),
        _ => None,
    }
}

/// Loses what `loss` says on the present connection while an answer streams, and checks that both sides notice, that a
/// new session opens by itself, and that the late end of the old one does not hurt it. Says what was measured.
async fn both_sides_notice(loss: Loss) -> String {
    let mut path = Path::start().await;
    let status = path.agent.status();
    let first = session(&status.borrow())
        .expect("an open session")
        .to_owned();
    let (connection, mut answer) = begun_chat(&path.caller, &path.upstream, 5).await;

    let began = Instant::now();
    path.proxy.lose_present(loss);
    let relay_notices = async {
        let record = within(NOTICED, "the relay notices", torn(&mut answer)).await;
        (began.elapsed(), record)
    };
    let agent_notices = async {
        connection.closed(NOTICED).await;
        began.elapsed()
    };
    let ((relay_after, record), agent_after) = tokio::join!(relay_notices, agent_notices);
    assert_eq!(record["code"], "agent_lost", "{record}");
    assert_eq!(record["origin"], "agent", "{record}");

    let mut status = status;
    let is_new = |status: &Status| session(status).is_some_and(|id| id != first);
    let reconnected = within(PATIENCE, "a new session", status.wait_for(is_new)).await;
    let second = session(&reconnected.expect("an agent that runs"))
        .expect("an open session")
        .to_owned();
    let back_after = began.elapsed();
    whole_chat(&path.caller, &path.upstream).await;

    // What was held back arrives late; the old session's last words change nothing.
    path.proxy.heal();
    for _ in 0..3 {
        whole_chat(&path.caller, &path.upstream).await;
    }
    assert_eq!(
        session(&path.agent.status().borrow()),
        Some(second.as_str())
    );
    drop(path.relay);
    format!(
        "{loss:?} lost: relay noticed after {relay_after:?}, agent after {agent_after:?}, new session after {back_after:?}"
    )
}

#[tokio::test]
async fn tun_05_a_path_that_loses_everything_is_noticed_by_both_sides_within_two_heartbeats() {
    println!("{}", both_sides_notice(Loss::Everything).await);
}

#[tokio::test]
async fn tun_15_loss_toward_the_relay_alone_is_noticed_within_two_heartbeats() {
    println!("{}", both_sides_notice(Loss::TowardRelay).await);
}

#[tokio::test]
async fn tun_15_loss_toward_the_agent_alone_is_noticed_within_two_heartbeats() {
    println!("{}", both_sides_notice(Loss::TowardAgent).await);
}

#[tokio::test]
async fn tun_05_while_the_path_is_dead_requests_end_in_time_and_afterwards_the_agent_is_back() {
    let path = Path::start().await;
    let mut status = path.agent.status();
    let first = session(&status.borrow())
        .expect("an open session")
        .to_owned();
    path.proxy.lose(Loss::Everything);
    // Nobody has noticed yet: the request goes into the void, and is told within the same two intervals.
    let began = Instant::now();
    let asking = simple_chat(&path.caller);
    let answer = within(NOTICED, "an answer to a request into the void", asking).await;
    let in_flight_after = began.elapsed();
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.json().await["code"], "agent_lost");
    let began = Instant::now();
    let answer = simple_chat(&path.caller).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.json().await["code"], "agent_offline");
    println!(
        "request into the void told after {in_flight_after:?}, the next one after {:?}",
        began.elapsed()
    );

    path.proxy.heal();
    let began = Instant::now();
    let is_open = |status: &Status| session(status).is_some_and(|id| id != first);
    let open = within(
        PATIENCE,
        "a session after the loss",
        status.wait_for(is_open),
    )
    .await;
    assert!(open.is_ok());
    drop(open);
    println!("back {:?} after the path was", began.elapsed());
    whole_chat(&path.caller, &path.upstream).await;
}

//! Promise: the agent stays connected: through a token that runs out, and through a relay that is replaced.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use c2l_agent::Status;
use c2l_proto::tunnel::{AgentControl, AgentMessage, TokenRenewal, agent_control, relay_control};
use c2l_testkit::{
    Caller, CapturedLog, FakeAgent, PATIENCE, TestAgent, TestProxy, TestRelay, TestUpstream,
    eventually, tokens,
};

/// How long a token is good for after its end.
const LEEWAY: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3600);

/// A token whose leeway is over in four to five seconds: its times are whole ones.
fn nearly_over(relay: &TestRelay) -> String {
    let ago = HOUR + LEEWAY - Duration::from_secs(5);
    relay.sign(&tokens::agent("ada").living(HOUR).issued_ago(ago))
}

#[tokio::test]
async fn a_token_that_runs_out_in_mid_stream_cuts_nothing_when_a_fresh_one_came_in_time() {
    let relay = TestRelay::start().await;
    let upstream = TestUpstream::start().await;
    let tokens = Arc::new(Mutex::new(vec![
        relay.agent_token("ada"),
        nearly_over(&relay),
    ]));
    let asked = Arc::new(AtomicUsize::new(0));
    let source = {
        let (tokens, asked) = (Arc::clone(&tokens), Arc::clone(&asked));
        move || {
            asked.fetch_add(1, Ordering::Relaxed);
            let mut tokens = tokens.lock().expect("no panic");
            let token = if tokens.len() > 1 {
                tokens.pop()
            } else {
                tokens.first().cloned()
            };
            let token = token.expect("one is left");
            Box::pin(async move { Ok(token) }) as _
        }
    };
    let mut agent = TestAgent::start(&relay.url(), String::new(), upstream.address(), |config| {
        config.token = Arc::new(source);
    });
    agent.connected().await;
    let session = agent.status().borrow().clone();
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    // Three seconds and more of answer, across the end of the first token.
    let mut answer = caller.chat("tiny+lines=130+gap=50ms", "hello").await;
    let (body, is_whole) = answer.rest().await;
    assert!(is_whole, "{}", String::from_utf8_lossy(&body));
    assert_eq!(
        *agent.status().borrow(),
        session,
        "the same session goes on"
    );
    assert!(asked.load(Ordering::Relaxed) >= 2);
}

#[tokio::test]
async fn a_token_that_runs_out_without_a_fresh_one_ends_the_session_with_a_clear_error() {
    let relay = TestRelay::start().await;
    let upstream = TestUpstream::start().await;
    let mut agent = TestAgent::start(
        &relay.url(),
        nearly_over(&relay),
        upstream.address(),
        |_| {},
    );
    agent.connected().await;
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    let mut answer = caller.chat("tiny+lines=200+gap=50ms", "hello").await;
    let (body, is_whole) = answer.rest().await;
    let text = String::from_utf8_lossy(&body);
    assert!(
        !is_whole && text.contains("\"agent_lost\"") && text.contains("run out"),
        "{text}"
    );
    let error = agent.ended().await.expect_err("a refusal");
    assert!(matches!(error, c2l_agent::Error::Refused { .. }), "{error}");
}

/// Token renewals, as a hasty agent sends them: how often one comes is nobody's to say but the agent's.
#[tokio::test]
async fn an_agent_that_renews_again_and_again_does_not_fill_the_log() {
    let log = CapturedLog::start();
    let relay = TestRelay::start().await;
    let token = relay.agent_token("ada");
    let agent = FakeAgent::connect(relay.address(), &token, "laptop").await;
    let mut agent = agent.expect("a session");
    for (token, line, is_good) in [
        (token.as_str(), "token renewed", true),
        ("x.y.z", "a renewal was refused", false),
    ] {
        for _ in 0..20 {
            let renewal = TokenRenewal {
                token: token.to_owned(),
            };
            let control = AgentControl {
                control: Some(agent_control::Control::TokenRenewal(renewal)),
            };
            agent
                .send(AgentMessage {
                    control: vec![control],
                    responses: Vec::new(),
                })
                .await;
            let answer = loop {
                let message = agent.message().await.expect("a session that goes on");
                let found = message.control.into_iter().find_map(|said| said.control);
                if let Some(relay_control::Control::TokenState(state)) = found {
                    break state.is_accepted;
                }
            };
            assert_eq!(answer, is_good);
        }
        let lines = log.text().matches(line).count();
        assert_eq!(
            lines,
            usize::from(is_good),
            "{line}: once in a while, for both"
        );
    }
    log.assert_without([token.as_str()]);
}

#[tokio::test]
async fn when_a_relay_leaves_the_next_session_is_open_before_the_old_one_ends() {
    let first = TestRelay::start().await;
    let second = TestRelay::start_on("127.0.0.1:0", first.key(), |_| {}).await;
    let upstream = TestUpstream::start().await;
    let way = TestProxy::start(first.address()).await;
    let mut agent = TestAgent::start(
        &first.url_through(way.address()),
        first.agent_token("ada"),
        upstream.address(),
        |_| {},
    );
    agent.connected().await;
    let at_first = Caller::new(first.address(), first.api_token("ada"));
    let at_second = Caller::new(second.address(), second.api_token("ada"));
    let mut running = at_first.chat("tiny+lines=40+gap=50ms", "hello").await;
    assert_eq!(running.status(), 200);
    running.piece().await.expect("not torn").expect("a line");

    way.point_to(second.address());
    first.begin_shutdown();
    eventually(PATIENCE, "the agent at the second relay", || async {
        let answer = at_second.get("/api/version").await;
        (answer.status() == 200).then_some(())
    })
    .await;
    let (_, is_whole) = running.rest().await;
    assert!(is_whole, "the answer at the first relay was torn");
    let is_open = matches!(*agent.status().borrow(), Status::Open { .. });
    assert!(is_open, "the next session is the one that counts");
    first.shut_down().await;
    assert_eq!(at_second.get("/api/version").await.status(), 200);
    agent.shut_down().await;
}

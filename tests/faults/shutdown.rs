//! Programs that are asked to leave (SIGTERM): running answers end whole, new requests are told to come back.

use std::time::Duration;

use c2l_testkit::{Answer, Caller, PATIENCE, PlayedConnection, eventually, within};
use http::StatusCode;

use super::{LINE, Programs, begun_chat, refused, simple_chat};

/// Lets each answer go on for a few lines and end, one after the other, and checks every byte.
async fn finish_all(running: Vec<(PlayedConnection, Answer)>) {
    for (mut connection, mut answer) in running {
        for _ in 0..5 {
            connection.send_chunk(LINE).await;
        }
        connection.finish().await;
        let (rest, is_whole) = answer.rest().await;
        assert!(is_whole, "an answer was torn by the shutdown");
        assert_eq!(rest, LINE.repeat(5));
    }
}

async fn running_chats(programs: &Programs, count: usize) -> Vec<(PlayedConnection, Answer)> {
    let mut running = Vec::new();
    for _ in 0..count {
        running.push(begun_chat(&programs.caller, &programs.upstream, 2).await);
    }
    running
}

/// Waits until a new request is refused, and returns the refusal.
async fn refusal(caller: &Caller) -> Answer {
    eventually(PATIENCE, "a refusal", || async {
        // Until the go-away has arrived a request may still get through: then nobody answers it.
        let asking = tokio::time::timeout(Duration::from_millis(200), simple_chat(caller));
        let answer = asking.await.ok()?;
        (answer.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(answer)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tun_03_a_relay_asked_to_leave_finishes_twenty_answers_and_refuses_new_requests() {
    let mut programs = Programs::start().await;
    let running = running_chats(&programs, 20).await;

    programs.relay.signal("TERM").await;
    programs.relay.line("draining").await;
    let refused_now = simple_chat(&programs.caller).await;
    assert!(refused_now.header("retry-after").parse::<u32>().is_ok());
    let body = refused(refused_now, 503).await;
    assert_eq!(body["code"], "draining", "{body}");
    assert_eq!(body["retry_safe"], true, "{body}");
    let ops = Caller::anonymous(programs.ops_address);
    assert_eq!(ops.get("/readyz").await.status(), 503);
    assert_eq!(ops.get("/livez").await.status(), 200);

    finish_all(running).await;
    let status = programs.relay.ended().await;
    assert_eq!(status.code(), Some(0), "{:#?}", programs.relay.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tun_03_a_second_signal_ends_a_relay_at_once() {
    let mut programs = Programs::start().await;
    let mut running = running_chats(&programs, 1).await;
    programs.relay.signal("TERM").await;
    programs.relay.line("draining").await;
    programs.relay.signal("TERM").await;
    let ending = within(
        Duration::from_secs(1),
        "an end at once",
        programs.relay.ended(),
    );
    assert_eq!(ending.await.code(), Some(130));
    let (connection, mut answer) = running.remove(0);
    let (_, is_whole) = answer.rest().await;
    assert!(!is_whole, "a torn answer ended cleanly");
    connection.closed(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tun_04_an_agent_asked_to_leave_finishes_five_answers_and_takes_no_new_requests() {
    let mut programs = Programs::start().await;
    let running = running_chats(&programs, 5).await;

    programs.agent.signal("TERM").await;
    programs.agent.line("leaving, running requests").await;
    let answer = refusal(&programs.caller).await;
    assert!(answer.header("retry-after").parse::<u32>().is_ok());
    let body = answer.json().await;
    assert_eq!(body["retry_safe"], true, "{body}");

    finish_all(running).await;
    let status = programs.agent.ended().await;
    assert_eq!(status.code(), Some(0), "{:#?}", programs.agent.log());
    let body = refused(simple_chat(&programs.caller).await, 503).await;
    assert_eq!(body["code"], "agent_offline", "{body}");
}

//! Programs that are killed (SIGKILL): nothing of them can say goodbye.

use std::time::Duration;

use c2l_testkit::{PATIENCE, within};
use serde_json::Value;
use tokio::time::Instant;

use super::{Programs, begun_chat, refused, simple_chat, start_agent, start_relay, whole_chat};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tun_01_a_killed_agent_tears_its_answers_at_once_and_the_next_request_is_refused_at_once() {
    let Programs {
        folder,
        relay: _relay,
        agent,
        address,
        upstream,
        agent_token,
        caller,
        ..
    } = Programs::start().await;
    let (connection, mut answer) = begun_chat(&caller, &upstream, 10).await;
    // A second one is under way without an answer yet.
    let asking = tokio::spawn({
        let caller = caller.clone();
        async move { simple_chat(&caller).await }
    });
    let (_head, waiting) = upstream.request().await;

    let began = Instant::now();
    let killing = tokio::spawn(agent.kill());
    let piece = within(Duration::from_secs(1), "the error record", answer.piece()).await;
    let told_after = began.elapsed();
    let record = piece.expect("a record first").expect("no clean end");
    let record: Value = serde_json::from_slice(&record).expect("a record");
    let (rest, is_whole) = within(Duration::from_secs(1), "the cut", answer.rest()).await;
    assert!(rest.is_empty() && !is_whole, "a torn answer ended cleanly");
    let torn_after = began.elapsed();
    assert_eq!(record["code"], "agent_lost", "{record}");
    assert_eq!(record["origin"], "agent", "{record}");
    let failed = within(Duration::from_secs(1), "an end of the other", asking).await;
    let failed = refused(failed.expect("an answer"), 502).await;
    let both_after = began.elapsed();
    assert_eq!(failed["code"], "agent_lost", "{failed}");
    assert_eq!(
        failed["retry_safe"], false,
        "it reached the upstream: {failed}"
    );
    killing.await.expect("a killed agent");

    let began = Instant::now();
    let offline = simple_chat(&caller).await;
    let refused_after = began.elapsed();
    assert!(offline.header("retry-after").parse::<u32>().is_ok());
    let offline = refused(offline, 503).await;
    assert_eq!(offline["code"], "agent_offline", "{offline}");
    assert_eq!(offline["retry_safe"], true, "{offline}");
    assert!(refused_after < Duration::from_secs(1), "{refused_after:?}");
    println!(
        "agent killed: told after {told_after:?} and cut after {torn_after:?}, the other told after {both_after:?}, next refused within {refused_after:?}"
    );

    // Both of the upstream's connections died with the agent.
    connection.closed(PATIENCE).await;
    waiting.closed(PATIENCE).await;
    let _agent = start_agent(folder.path(), address, &agent_token, upstream.address()).await;
    whole_chat(&caller, &upstream).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tun_02_after_a_relay_was_killed_the_agent_drops_its_requests_and_connects_again_by_itself()
{
    let Programs {
        folder,
        relay,
        mut agent,
        address,
        upstream,
        caller,
        ..
    } = Programs::start().await;
    let (connection, mut answer) = begun_chat(&caller, &upstream, 10).await;

    let began = Instant::now();
    relay.kill().await;
    connection.closed(Duration::from_secs(1)).await;
    let dropped_after = began.elapsed();
    let (_, is_whole) = answer.rest().await;
    assert!(!is_whole, "a torn answer ended cleanly");

    // The same address and the same key: nobody touches the agent.
    let (_relay, _, _) = start_relay(folder.path(), &address.to_string()).await;
    let began = Instant::now();
    agent.nth_line("session opened", 2).await;
    println!(
        "relay killed: upstream dropped after {dropped_after:?}; restarted: session after {:?}",
        began.elapsed()
    );
    whole_chat(&caller, &upstream).await;
}

//! Promise: whatever of the chain dies, falls silent or leaves, everybody else is told at once and goes on by
//! themselves. Ids as in the list of cases, `TUN-01` to `TUN-15`.

#[path = "faults/callers.rs"]
mod callers;
#[path = "faults/lines.rs"]
mod lines;
#[path = "faults/network.rs"]
mod network;
#[path = "faults/processes.rs"]
mod processes;
#[path = "faults/sessions.rs"]
mod sessions;
#[path = "faults/shutdown.rs"]
mod shutdown;
#[path = "faults/stuck.rs"]
mod stuck;
#[path = "faults/upstreams.rs"]
mod upstreams;

use std::{net::SocketAddr, path::Path};

use c2l_testkit::{Answer, Caller, PlayedConnection, PlayedUpstream, Program};
use serde_json::{Value, json};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_c2l");
/// A line of an answer.
const LINE: &[u8] = b"{\"done\":false}\n";

/// A relay and an agent of `ada` as processes, in front of an upstream that the test plays.
struct Programs {
    folder: TempDir,
    relay: Program,
    agent: Program,
    address: SocketAddr,
    ops_address: SocketAddr,
    upstream: PlayedUpstream,
    agent_token: String,
    caller: Caller,
}

impl Programs {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let upstream = PlayedUpstream::start().await;
        let (relay, address, ops_address) = start_relay(folder.path(), "127.0.0.1:0").await;
        let kind = ["--kind", "agent"];
        let agent_token = Program::issue_token(BINARY, folder.path(), "ada", &kind).await;
        let kind = ["--kind", "api"];
        let token = Program::issue_token(BINARY, folder.path(), "ada", &kind).await;
        let agent = start_agent(folder.path(), address, &agent_token, upstream.address()).await;
        Self {
            folder,
            relay,
            agent,
            address,
            ops_address,
            upstream,
            agent_token,
            caller: Caller::new(address, token),
        }
    }
}

async fn start_relay(folder: &Path, listen: &str) -> (Program, SocketAddr, SocketAddr) {
    Program::relay(BINARY, folder, listen, &["--heartbeat-interval", "500ms"]).await
}

async fn start_agent(
    folder: &Path,
    relay: SocketAddr,
    token: &str,
    upstream: SocketAddr,
) -> Program {
    Program::agent(BINARY, folder, relay, token, upstream, &[]).await
}

/// A chat that has begun: so many lines of its answer have reached the caller.
async fn begun_chat(
    caller: &Caller,
    upstream: &PlayedUpstream,
    lines: usize,
) -> (PlayedConnection, Answer) {
    let playing = async {
        let (_head, mut connection) = upstream.request().await;
        connection.answer("application/x-ndjson").await;
        connection
    };
    let (mut connection, mut answer) = tokio::join!(playing, caller.chat("tiny", "hello"));
    assert_eq!(answer.status(), 200);
    for _ in 0..lines {
        connection.send_chunk(LINE).await;
        let piece = answer.piece().await.expect("no tear").expect("no end");
        assert_eq!(piece, LINE);
    }
    (connection, answer)
}

/// A chat from its question to its end: what a healthy chain does.
async fn whole_chat(caller: &Caller, upstream: &PlayedUpstream) {
    let (mut connection, mut answer) = begun_chat(caller, upstream, 3).await;
    connection.finish().await;
    assert_eq!(answer.piece().await.expect("no tear"), None);
}

/// The error record of an answer that was torn, and that it did not end cleanly.
async fn torn(answer: &mut Answer) -> Value {
    let (rest, is_whole) = answer.rest().await;
    let text = String::from_utf8(rest.to_vec()).expect("text");
    assert!(!is_whole, "a torn answer ended cleanly: {text}");
    let last = text.lines().last().expect("an error record");
    serde_json::from_str(last).expect("an error record")
}

/// The body of a refusal with this status.
async fn refused(answer: Answer, status: u16) -> Value {
    assert_eq!(answer.status(), status, "{:?}", answer.headers());
    answer.json().await
}

/// Asks and waits for the head of the answer.
async fn simple_chat(caller: &Caller) -> Answer {
    let message = json!({ "role": "user", "content": "hello" });
    let question = json!({ "model": "tiny", "messages": [message] });
    caller.post("/api/chat", &question).await
}

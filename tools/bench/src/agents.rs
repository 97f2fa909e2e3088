//! Agents by the thousand in few processes: what a relay pays for each, and how they come back after its restart.
//!
//! Invariant: they are the product's own agents with the product's own settings; only the process is shared. Each is a user
//! of its own, since a relay bounds the devices of one user.

use std::{cell::Cell, path::PathBuf, rc::Rc, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use c2l_agent::{Agent, Config, Status, Transport};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, stdin},
    sync::watch,
};

use crate::{answer, tokens::Tokens, wall_nanos};

/// Started in one go; the listen queue of any system holds as many.
const TOGETHER: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, Deserialize)]
pub(crate) struct Job {
    relay: String,
    /// The relay's, with the key that signs the agents' tokens.
    data_dir: PathBuf,
    /// The number of the first one's user.
    first: usize,
    /// Agents.
    count: usize,
    /// All of them forward to this one.
    upstream: String,
    #[serde(default)]
    websocket: bool,
    ca_file: Option<PathBuf>,
}

/// What the agents have done so far.
#[derive(Debug, Default)]
struct Tally {
    open: Cell<usize>,
    /// Sessions ever opened.
    opened: Cell<u64>,
    /// When the newest of them was, in nanoseconds of the wall clock.
    newest: Cell<u64>,
}

/// Starts the agents and then answers each line on stdin with how they are, until it ends.
pub(crate) async fn run(job: Job) -> anyhow::Result<()> {
    let tokens = Tokens::of_relay(&job.data_dir)?;
    let tally = Rc::new(Tally::default());
    for number in job.first..job.first + job.count {
        let config = config(&job, &tokens, number)?;
        let (agent, status) = Agent::new(config)?;
        tokio::task::spawn_local(watch_over(status, Rc::clone(&tally)));
        tokio::task::spawn_local(async move {
            // An agent that gave up is missed in the counts.
            if let Err(error) = agent.run(std::future::pending()).await {
                answer(&json!({"error": error.to_string()})).unwrap_or_default();
            }
        });
        if number % TOGETHER == TOGETHER - 1 {
            tokio::time::sleep(PAUSE).await;
        }
    }
    let mut questions = BufReader::new(stdin()).lines();
    while questions.next_line().await?.is_some() {
        answer(&json!({
            "open": tally.open.get(),
            "opened": tally.opened.get(),
            "newest": tally.newest.get(),
        }))?;
    }
    Ok(())
}

fn config(job: &Job, tokens: &Tokens, number: usize) -> anyhow::Result<Config> {
    let token = tokens.of_agent(number)?;
    let token = Arc::new(move || {
        let token = token.clone();
        Box::pin(std::future::ready(Ok(token))) as _
    });
    let relay = job.relay.parse().context("relay")?;
    let mut id = [0; 16];
    let digits = number.to_be_bytes();
    ensure!(digits.len() <= id.len());
    id[..digits.len()].copy_from_slice(&digits);
    let mut config = Config::new(relay, token, "bench".to_owned(), id);
    config.upstream = job.upstream.parse().context("upstream")?;
    config.allow_manage = true; // uploads are part of what an agent has moved
    config.ca_file.clone_from(&job.ca_file);
    config.transport = if job.websocket {
        Transport::WebSocket
    } else {
        Transport::Grpc
    };
    Ok(config)
}

async fn watch_over(mut status: watch::Receiver<Status>, tally: Rc<Tally>) {
    let mut was_open = false;
    while status.changed().await.is_ok() {
        let is_open = matches!(*status.borrow_and_update(), Status::Open { .. });
        match (was_open, is_open) {
            (false, true) => {
                tally.open.set(tally.open.get() + 1);
                tally.opened.set(tally.opened.get() + 1);
                tally.newest.set(wall_nanos());
            }
            (true, false) => tally.open.set(tally.open.get() - 1),
            _ => {}
        }
        was_open = is_open;
    }
}

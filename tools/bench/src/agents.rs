//! Agents by the thousand, in one process: what a relay pays for each, and how they come back after its restart.
//!
//! Invariant: they are the product's own agents with the product's own settings; only the process is shared. Each is a user
//! of its own, since a relay bounds the devices of one user.

use std::{cell::Cell, path::PathBuf, rc::Rc, sync::Arc, time::Duration, time::SystemTime};

use anyhow::{Context as _, ensure};
use c2l_agent::{Agent, Config, Status, Transport};
use c2l_auth::{Kind, Scopes, SigningKey, TokenRequest};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, stdin},
    sync::watch,
    time::Instant,
};

use crate::answer;

/// Started in one go; the listen queue of any system holds as many.
const TOGETHER: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);
const TOKEN_TTL: Duration = Duration::from_secs(6 * 60 * 60);

#[derive(Debug, Deserialize)]
pub(crate) struct Job {
    relay: String,
    /// The relay's, with the key that signs the agents' tokens.
    data_dir: PathBuf,
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
    /// When the newest of them was.
    newest: Cell<Option<Instant>>,
}

/// Starts the agents and then answers each line on stdin with how they are, until it ends.
pub(crate) async fn run(job: Job) -> anyhow::Result<()> {
    let key = SigningKey::load(&job.data_dir)?;
    let tally = Rc::new(Tally::default());
    let began = Instant::now();
    for number in 0..job.count {
        let config = config(&job, &key, number)?;
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
        let newest = tally
            .newest
            .get()
            .map(|at| at.duration_since(began).as_secs_f64());
        answer(&json!({
            "open": tally.open.get(),
            "opened": tally.opened.get(),
            "newest_seconds": newest,
            "now_seconds": began.elapsed().as_secs_f64(),
        }))?;
    }
    Ok(())
}

fn config(job: &Job, key: &SigningKey, number: usize) -> anyhow::Result<Config> {
    let request = TokenRequest {
        user: format!("bench-{number}"),
        kind: Kind::Agent,
        scopes: Scopes::NONE,
        ttl: TOKEN_TTL,
        device: None,
    };
    let token = key.issue(&request, SystemTime::now())?.expose().to_owned();
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
                tally.newest.set(Some(Instant::now()));
            }
            (true, false) => tally.open.set(tally.open.get() - 1),
            _ => {}
        }
        was_open = is_open;
    }
}

//! Many users, each with an agent of its own: once through all of them, or some of them all the time.
//!
//! Invariant: every answer is the right one or, only while agents come back, a 503; anything else fails the job.

use std::{
    cell::Cell,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, stdin},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    bulk,
    requests::{ask, ask_for_agent, nanos_since},
};
use crate::{
    http1::{Connection, Target},
    report::Samples,
    tokens::Tokens,
};

#[derive(Debug, Deserialize)]
pub(crate) struct Sweep {
    /// The relay's, with the key that signs tokens.
    data_dir: PathBuf,
    users: usize,
    at_once: usize,
    /// Of one download and one upload of each user; 0: a small request.
    bytes: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Returning {
    data_dir: PathBuf,
    users: usize,
    /// Connections that take turns.
    at_once: u32,
    /// Between two requests of them all.
    gap_us: u64,
}

/// A far step through all users, so that neighbours in time are none in number.
const STRIDE: usize = 7919;

/// What each user's callers send to.
fn targets(target: &Target, data_dir: &Path, users: usize) -> anyhow::Result<Vec<Target>> {
    let tokens = Tokens::of_relay(data_dir)?;
    let of_user = |number| {
        let mut own = target.clone();
        own.fields = vec![format!(
            "authorization: Bearer {}",
            tokens.of_caller(number)?
        )];
        Ok(own)
    };
    (0..users).map(of_user).collect()
}

/// Each user once. Every agent must be there and carry its bytes.
pub(super) async fn sweep(target: &Target, load: &Sweep) -> anyhow::Result<Value> {
    let targets = Rc::new(targets(target, &load.data_dir, load.users)?);
    let next = Rc::new(Cell::new(0));
    let began = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..load.at_once {
        let (targets, next, bytes) = (Rc::clone(&targets), Rc::clone(&next), load.bytes);
        callers.spawn_local(async move {
            let mut samples = Samples::default();
            while let Some(own) = targets.get(next.replace(next.get() + 1)) {
                let asked = Instant::now();
                visit(own, bytes).await?;
                samples.push(nanos_since(asked));
            }
            anyhow::Ok(samples)
        });
    }
    let mut all = Samples::default();
    while let Some(samples) = callers.join_next().await {
        all.append(&mut samples??);
    }
    anyhow::ensure!(all.len() == load.users, "{} users asked", all.len());
    Ok(json!({
        "count": all.len(),
        "seconds": began.elapsed().as_secs_f64(),
        "latency_us": all.summary(),
    }))
}

async fn visit(own: &Target, bytes: u64) -> anyhow::Result<()> {
    let mut connection = Connection::open(own).await?;
    if bytes == 0 {
        return ask(&mut connection, &own.head("GET", "/api/version", None)).await;
    }
    bulk::download(&mut connection, own, bytes).await?;
    bulk::upload(&mut connection, own, bytes).await
}

/// What one connection of [`returning`] saw.
#[derive(Debug, Default)]
struct Seen {
    here: Samples,
    /// Asked before the user's agent was back.
    early: u64,
}

/// Asks user after user at a steady pace until a line comes on stdin. A time counts from when the request was due.
pub(super) async fn returning(target: &Target, load: &Returning) -> anyhow::Result<Value> {
    let targets = Rc::new(targets(target, &load.data_dir, load.users)?);
    let (over, is_over) = watch::channel(false);
    let gap = Duration::from_micros(load.gap_us);
    let mut callers = JoinSet::new();
    for number in 0..load.at_once {
        let first = Instant::now() + gap * number;
        let (targets, is_over) = (Rc::clone(&targets), is_over.clone());
        let every = gap * load.at_once;
        callers.spawn_local(keep_asking(targets, number as usize, first, every, is_over));
    }
    let mut lines = BufReader::new(stdin()).lines();
    lines.next_line().await?;
    over.send_replace(true);
    let mut all = Seen::default();
    while let Some(seen) = callers.join_next().await {
        let mut seen = seen??;
        all.here.append(&mut seen.here);
        all.early += seen.early;
    }
    Ok(json!({"count": all.here.len(), "early": all.early, "latency_us": all.here.summary()}))
}

async fn keep_asking(
    targets: Rc<Vec<Target>>,
    mut turn: usize,
    mut due: Instant,
    every: Duration,
    is_over: watch::Receiver<bool>,
) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    let anyone = targets.first().context("no users")?;
    let mut connection = Connection::open(anyone).await?;
    while !*is_over.borrow() {
        sleep_until(due).await;
        turn = (turn + STRIDE) % targets.len();
        let request = targets[turn].head("GET", "/api/version", None);
        if ask_for_agent(&mut connection, &request).await? {
            seen.here.push(nanos_since(due));
        } else {
            seen.early += 1;
        }
        due += every;
    }
    Ok(seen)
}

//! An agent that dies or freezes: when each caller that waits for it is told, and how.
//!
//! Invariant: whoever started this is told when all callers wait, and does the deed then. An answer that was torn and
//! yet ended like a whole one fails the job.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::timeout};

use super::{
    cancel::{Phase, reach},
    witness::Witness,
};
use crate::{
    answer,
    http1::{Connection, Target},
    wall_nanos,
};

/// In no token of the benchmark's.
const ERROR: &[u8] = b"\"error\"";

#[derive(Debug, Deserialize)]
pub(crate) struct Load {
    /// Callers in each of the phases.
    callers: u32,
    /// The upstream's own address: what it saw is asked past the system measured.
    upstream: String,
    /// How long to wait for a word.
    seconds: f64,
}

pub(super) async fn run(target: &Target, load: &Load) -> anyhow::Result<Value> {
    let witness = Witness::at(&load.upstream)?;
    let patience = Duration::from_secs_f64(load.seconds);
    let mut callers = JoinSet::new();
    for phase in [Phase::BeforeHead, Phase::InAnswer] {
        for _ in 0..load.callers {
            let id = format!("{}-lost", wall_nanos());
            let connection = reach(target, phase, &id, &witness).await?;
            callers.spawn_local(async move {
                match timeout(patience, word(connection, phase)).await {
                    Ok(told) => told.map(Some),
                    Err(_) => Ok(None),
                }
            });
        }
    }
    answer(&json!({"waiting": callers.len()}))?;
    let mut told_at = Vec::new();
    while let Some(told) = callers.join_next().await {
        told_at.push(told??);
    }
    Ok(json!({ "told_at": told_at }))
}

/// When the caller hears that its exchange is over: by an error in the answer, or by its cut.
async fn word(mut connection: Connection, phase: Phase) -> anyhow::Result<u64> {
    if phase == Phase::BeforeHead {
        let status = connection.head().await.unwrap_or(0); // a closed connection is a word as well
        ensure!(
            status == 0 || status >= 500,
            "an answer {status} that nobody gave"
        );
        return Ok(wall_nanos());
    }
    let mut told = None;
    while let Ok(piece) = connection.piece().await {
        let piece = piece.context("a torn answer ended like a whole one")?;
        if piece.windows(ERROR.len()).any(|window| window == ERROR) {
            told = told.or_else(|| Some(wall_nanos()));
        }
    }
    Ok(told.unwrap_or_else(wall_nanos))
}

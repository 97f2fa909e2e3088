//! A caller that leaves: how long until the upstream's request is dropped, in each phase of an exchange.

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{bulk::BLOB, witness::Witness};
use crate::{
    http1::{Connection, Target},
    report::Samples,
    wall_nanos,
};

/// More than will be sent, so that the upload is under way when its caller leaves.
const UPLOAD_BYTES: u64 = 1 << 30;

#[derive(Debug, Deserialize)]
pub(crate) struct Load {
    phase: Phase,
    times: u32,
    /// The upstream's own address: what it saw is asked past the system measured.
    upstream: String,
}

/// How far an exchange has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Phase {
    BeforeHead,
    InAnswer,
    InUpload,
}

pub(super) async fn run(target: &Target, load: &Load) -> anyhow::Result<Value> {
    let witness = Witness::at(&load.upstream)?;
    let mut samples = Samples::default();
    for time in 0..load.times {
        let id = format!("{}-{time}", wall_nanos());
        let connection = reach(target, load.phase, &id, &witness).await?;
        let left = wall_nanos();
        drop(connection);
        let seen = witness.when("left", &id).await?;
        ensure!(seen > 0, "the upstream never saw its caller leave");
        samples.push(seen.saturating_sub(left));
    }
    Ok(json!({ "count": load.times, "delay_us": samples.summary() }))
}

/// Brings an exchange into the phase.
pub(super) async fn reach(
    target: &Target,
    phase: Phase,
    id: &str,
    witness: &Witness,
) -> anyhow::Result<Connection> {
    let mut connection = Connection::open(target).await?;
    match phase {
        Phase::BeforeHead => {
            let path = format!("/api/embed?id={id}");
            connection
                .send(&target.post(&path, &json!({"model": "bench", "input": "x"})))
                .await?;
            ensure!(
                witness.when("seen", id).await? > 0,
                "never reached the upstream"
            );
        }
        Phase::InAnswer => {
            let path = format!("/api/chat?id={id}");
            let asked = json!({"model": "bench", "tokens": 1_000_000, "gap_us": 20_000});
            connection.send(&target.post(&path, &asked)).await?;
            ensure!(connection.head().await? == 200);
            connection.piece().await?.context("no token")?;
        }
        Phase::InUpload => {
            let path = format!("{BLOB}?id={id}");
            connection
                .send(&target.head("POST", &path, Some(UPLOAD_BYTES)))
                .await?;
            connection.send(&[b'x'; 64 * 1024]).await?;
            ensure!(
                witness.when("seen", id).await? > 0,
                "never reached the upstream"
            );
        }
    }
    Ok(connection)
}

//! The callers: one job is one scenario against one system.
//!
//! Invariant: every answer is checked while it is timed; a wrong one fails the job and gives no figure at all.

mod bulk;
mod cancel;
mod chats;
mod lost;
mod mixed;
mod requests;
mod users;
mod witness;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;

use crate::http1::Target;

#[derive(Debug, Deserialize)]
pub(crate) struct Job {
    target: Target,
    #[serde(flatten)]
    scenario: Scenario,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "scenario", rename_all = "kebab-case")]
enum Scenario {
    /// One small request after the other on each kept connection.
    Small(requests::Load),
    /// The same with a connection for each request.
    Newconn(requests::Load),
    /// Tokens at their pace, or as fast as they go.
    Stream(chats::Load),
    /// Answers of known length.
    BulkDown(bulk::Load),
    /// Uploads of known length.
    BulkUp(bulk::Load),
    /// Chats beside something else that moves, or that stopped.
    Mixed(mixed::Load),
    /// How soon the upstream sees that its caller left.
    Cancel(cancel::Load),
    /// When callers hear that the agent is gone.
    Lost(lost::Load),
    /// Each of many users asks once.
    Sweep(users::Sweep),
    /// Many users ask while their agents come back.
    Returning(users::Returning),
}

/// Performs the job.
///
/// # Errors
/// When an answer was not what it must be.
pub(crate) async fn run(mut job: Job) -> anyhow::Result<Value> {
    job.target.prepare()?;
    let target = &job.target;
    match job.scenario {
        Scenario::Small(load) => requests::small(target, &load).await.context("small"),
        Scenario::Newconn(load) => requests::newconn(target, &load).await.context("newconn"),
        Scenario::Stream(load) => chats::stream(target, &load).await.context("stream"),
        Scenario::BulkDown(load) => bulk::down(target, &load).await.context("bulk-down"),
        Scenario::BulkUp(load) => bulk::up(target, &load).await.context("bulk-up"),
        Scenario::Mixed(load) => mixed::run(target, &load).await.context("mixed"),
        Scenario::Cancel(load) => cancel::run(target, &load).await.context("cancel"),
        Scenario::Lost(load) => lost::run(target, &load).await.context("lost"),
        Scenario::Sweep(load) => users::sweep(target, &load).await.context("sweep"),
        Scenario::Returning(load) => users::returning(target, &load).await.context("returning"),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts here stay far below 2^52"
)]
fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

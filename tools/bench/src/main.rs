//! The parts of the benchmark that have to be fast: the upstream, the callers, the slow link, and agents by the thousand.
//!
//! Invariant: one job as a line of JSON on stdin, one result as JSON on stdout. What is counted (pieces in order, bytes, failures) is
//! checked here and a wrong count fails the job; what is timed is only reported. `tools/bench/run` starts the systems,
//! interleaves the rounds and judges the figures.

mod agents;
mod http1;
mod link;
mod load;
mod report;
mod tokens;
mod upstream;

use std::io::{BufRead as _, Write as _};

use anyhow::{Context as _, bail};
use serde::{Serialize, de::DeserializeOwned};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A unit of time that both ends of one machine agree on: nanoseconds of the system's clock.
pub(crate) fn wall_nanos() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn main() -> anyhow::Result<()> {
    let role = std::env::args().nth(1).unwrap_or_default();
    // One thread each: what is measured should have the machine, and threads that wake each other would be measured too.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    let work = async {
        match role.as_str() {
            "upstream" => upstream::serve().await,
            "link" => link::serve(job()?).await,
            "load" => answer(&load::run(job()?).await?),
            "agents" => agents::run(job()?).await,
            _ => bail!("usage: c2l-bench upstream|link|load|agents <job.json"),
        }
    };
    local.block_on(&runtime, work)
}

fn job<T: DeserializeOwned>() -> anyhow::Result<T> {
    let mut text = String::new();
    std::io::stdin().lock().read_line(&mut text)?;
    serde_json::from_str(&text).context("the job on stdin")
}

/// Says one thing to whoever started this process.
pub(crate) fn answer(result: &impl Serialize) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    serde_json::to_writer(&mut stdout, result)?;
    stdout.write_all(b"\n")?;
    stdout.flush()?;
    Ok(())
}

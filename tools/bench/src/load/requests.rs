//! Small requests: what each costs on its own, and how many go at once.

use std::time::Duration;

use anyhow::ensure;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    http1::{Connection, Target},
    report::Samples,
};

/// The answer of the benchmark's upstream to `/api/version`.
const ANSWER: &[u8] = br#"{"version":"0.0.0-bench"}"#;

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Load {
    /// Requests at once, each on a connection of its own.
    at_once: usize,
    seconds: f64,
}

/// Keeps every connection; the first request on each is not counted.
pub(super) async fn small(target: &Target, load: &Load) -> anyhow::Result<Value> {
    let request = target.head("GET", "/api/version", None);
    let mut connections = Vec::new();
    for _ in 0..load.at_once {
        let mut connection = Connection::open(target).await?;
        ask(&mut connection, &request).await?;
        connections.push(connection);
    }
    let began = Instant::now();
    let until = began + Duration::from_secs_f64(load.seconds);
    let mut callers = JoinSet::new();
    for mut connection in connections {
        let request = request.clone();
        callers.spawn_local(async move {
            let mut samples = Samples::default();
            while Instant::now() < until {
                let asked = Instant::now();
                ask(&mut connection, &request).await?;
                samples.push(nanos_since(asked));
            }
            anyhow::Ok(samples)
        });
    }
    sum(callers, began).await
}

/// Opens a connection for each request.
pub(super) async fn newconn(target: &Target, load: &Load) -> anyhow::Result<Value> {
    let request = target.head("GET", "/api/version", None);
    let began = Instant::now();
    let until = began + Duration::from_secs_f64(load.seconds);
    let mut callers = JoinSet::new();
    for _ in 0..load.at_once {
        let (target, request) = (target.clone(), request.clone());
        callers.spawn_local(async move {
            let mut samples = Samples::default();
            while Instant::now() < until {
                let asked = Instant::now();
                let mut connection = Connection::open(&target).await?;
                ask(&mut connection, &request).await?;
                samples.push(nanos_since(asked));
            }
            anyhow::Ok(samples)
        });
    }
    sum(callers, began).await
}

/// Asks and takes the one right answer.
pub(super) async fn ask(connection: &mut Connection, request: &[u8]) -> anyhow::Result<()> {
    let (status, body) = answer(connection, request).await?;
    ensure!(
        status == 200 && body == ANSWER,
        "{status}: {}",
        String::from_utf8_lossy(&body)
    );
    Ok(())
}

/// Asks and takes whatever the answer is.
async fn answer(connection: &mut Connection, request: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
    connection.send(request).await?;
    let status = connection.head().await?;
    let mut body = Vec::with_capacity(ANSWER.len());
    while let Some(piece) = connection.piece().await? {
        body.extend_from_slice(&piece);
    }
    Ok((status, body))
}

/// Asks and says whether the user's agent is there; any other answer than the right one and 503 is an error.
pub(super) async fn ask_for_agent(
    connection: &mut Connection,
    request: &[u8],
) -> anyhow::Result<bool> {
    let (status, body) = answer(connection, request).await?;
    ensure!(
        status == 503 || status == 200 && body == ANSWER,
        "{status}: {}",
        String::from_utf8_lossy(&body)
    );
    Ok(status == 200)
}

async fn sum(
    mut callers: JoinSet<anyhow::Result<Samples>>,
    began: Instant,
) -> anyhow::Result<Value> {
    let mut all = Samples::default();
    while let Some(samples) = callers.join_next().await {
        all.append(&mut samples??);
    }
    let seconds = began.elapsed().as_secs_f64();
    let count = all.len();
    Ok(json!({
        "count": count,
        "seconds": seconds,
        "per_second": super::per_second(count as u64, seconds),
        "latency_us": all.summary(),
    }))
}

pub(super) fn nanos_since(then: Instant) -> u64 {
    u64::try_from(then.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

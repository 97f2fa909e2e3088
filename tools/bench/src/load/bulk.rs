//! Bulk: answers and uploads of known length, several at once, each counted to its last byte.

use anyhow::ensure;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use crate::http1::{Connection, Target};

/// Bytes of one write of an upload.
pub(super) const PIECE: &[u8] = &[b'x'; 64 * 1024];
/// A digest of the right shape; the benchmark's upstream keeps nothing.
pub(super) const BLOB: &str =
    "/api/blobs/sha256:29fdb92e57cf0827ded04ae6461b5931d01fa595843f55d36f5b275a52087dd2";

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Load {
    at_once: usize,
    /// Of each.
    bytes: u64,
}

pub(super) async fn down(target: &Target, load: &Load) -> anyhow::Result<Value> {
    let (target, bytes) = (target.clone(), load.bytes);
    all(load, move || {
        let target = target.clone();
        async move { download(&mut Connection::open(&target).await?, &target, bytes).await }
    })
    .await
}

pub(super) async fn up(target: &Target, load: &Load) -> anyhow::Result<Value> {
    let (target, bytes) = (target.clone(), load.bytes);
    all(load, move || {
        let target = target.clone();
        async move { upload(&mut Connection::open(&target).await?, &target, bytes).await }
    })
    .await
}

/// One answer of this length, counted.
pub(super) async fn download(
    connection: &mut Connection,
    target: &Target,
    bytes: u64,
) -> anyhow::Result<()> {
    let asked = json!({"model": "bench", "bytes": bytes});
    connection
        .send(&target.post("/api/generate", &asked))
        .await?;
    let status = connection.head().await?;
    let came = connection.drain().await?;
    ensure!(
        status == 200 && came == bytes,
        "{status}: {came} bytes of {bytes}"
    );
    Ok(())
}

/// One upload of this length, which the upstream counts.
pub(super) async fn upload(
    connection: &mut Connection,
    target: &Target,
    bytes: u64,
) -> anyhow::Result<()> {
    connection
        .send(&target.head("POST", BLOB, Some(bytes)))
        .await?;
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left).map_or(PIECE.len(), |left| left.min(PIECE.len()));
        connection.send(&PIECE[..length]).await?;
        left -= length as u64;
    }
    let status = connection.head().await?;
    let mut counted = Vec::new();
    while let Some(piece) = connection.piece().await? {
        counted.extend_from_slice(&piece);
    }
    ensure!(
        status == 200 && counted == bytes.to_string().as_bytes(),
        "{status}: {} of {bytes}",
        String::from_utf8_lossy(&counted)
    );
    Ok(())
}

async fn all<F>(load: &Load, transfer: impl Fn() -> F) -> anyhow::Result<Value>
where
    F: Future<Output = anyhow::Result<()>> + 'static,
{
    let began = Instant::now();
    let mut transfers = JoinSet::new();
    for _ in 0..load.at_once {
        transfers.spawn_local(transfer());
    }
    while let Some(result) = transfers.join_next().await {
        result??;
    }
    let seconds = began.elapsed().as_secs_f64();
    let bytes = load.bytes * load.at_once as u64;
    Ok(json!({
        "count": load.at_once,
        "bytes": bytes,
        "seconds": seconds,
        "per_second": super::per_second(bytes, seconds),
    }))
}

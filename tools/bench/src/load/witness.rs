//! What the upstream says of itself, asked directly, past the system measured.

use anyhow::ensure;
use serde_json::json;

use crate::http1::{Connection, Target};

/// The upstream's own address.
#[derive(Debug)]
pub(super) struct Witness(Target);

impl Witness {
    pub(super) fn at(address: &str) -> anyhow::Result<Self> {
        Ok(Self(serde_json::from_value(json!({"address": address}))?))
    }

    /// When this ("seen", "left") happened to the request with that id, in nanoseconds of the wall clock; 0 when it did not in time.
    pub(super) async fn when(&self, what: &str, id: &str) -> anyhow::Result<u64> {
        self.number(&format!("/bench/{what}?id={id}")).await
    }

    /// Bytes of all bulk so far that it has "given" or "taken".
    pub(super) async fn bytes(&self, what: &str) -> anyhow::Result<u64> {
        self.number(&format!("/bench/{what}")).await
    }

    async fn number(&self, path: &str) -> anyhow::Result<u64> {
        let mut connection = Connection::open(&self.0).await?;
        connection.send(&self.0.head("GET", path, None)).await?;
        ensure!(connection.head().await? == 200);
        let mut text = Vec::new();
        while let Some(piece) = connection.piece().await? {
            text.extend_from_slice(&piece);
        }
        Ok(std::str::from_utf8(&text)?.parse()?)
    }
}

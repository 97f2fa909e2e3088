//! What is written now and then, and what others have written.
//!
//! Invariant: no request waits for any of it. The last uses of keys are written in one go, and once more at the end.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use c2l_store::StoreError;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Identities;
use crate::registry::Registry;

/// How often it is asked whether somebody else has written: the command line, without a socket to this relay.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How often the last uses of keys, and when machines were last here, are written.
const USE_INTERVAL: Duration = Duration::from_secs(60);
/// How often what cannot matter any more is forgotten.
const PURGE_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Runs until `closing`; then writes what is left. Dropping the future leaves the last uses unwritten.
pub(crate) async fn upkeep(
    identities: Arc<Identities>,
    registry: Arc<Registry>,
    closing: CancellationToken,
) {
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut used_at, mut purged_at) = (Instant::now(), Instant::now());
    let (mut version, mut ended_at) = (None, SystemTime::now());
    while closing.run_until_cancelled(looks.tick()).await.is_some() {
        note(identities.look(&mut version).await);
        identities.end_keys(&mut ended_at);
        if used_at.elapsed() >= USE_INTERVAL {
            used_at = Instant::now();
            note(identities.write_uses().await);
            note(identities.write_seen(&registry).await);
        }
        if purged_at.elapsed() >= PURGE_INTERVAL {
            purged_at = Instant::now();
            note(identities.purge(SystemTime::now()).await);
        }
    }
    note(identities.write_uses().await);
    note(identities.write_seen(&registry).await);
}

fn note(outcome: Result<(), StoreError>) {
    if let Err(error) = outcome {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::error!(%error, cause, "the database of keys and revocations failed");
    }
}

impl Identities {
    /// Takes over what others have written, if anything.
    pub(super) async fn look(&self, version: &mut Option<i64>) -> Result<(), StoreError> {
        let found = self.store.version().await?;
        let before = version.replace(found);
        if before == Some(found) {
            return Ok(());
        }
        // The first look loads as well: somebody may have written between the start and the version that it finds.
        if let Err(error) = self.reload().await {
            *version = None; // the next look must not take this version for seen
            return Err(error);
        }
        if before.is_some() {
            tracing::info!("keys or revocations were changed by another program");
        }
        Ok(())
    }

    /// Sessions of keys that have ended since the last look hear of it: the end may have come nearer after they opened.
    fn end_keys(&self, since: &mut SystemTime) {
        let now = SystemTime::now();
        let before = std::mem::replace(since, now);
        if self.read_keys().has_end_between(before, now) {
            self.begin_epoch();
        }
    }

    /// Joins what is stored with what is in memory; from then on it counts.
    pub(crate) async fn reload(&self) -> Result<(), StoreError> {
        let snapshot = self.store.load().await?;
        {
            let mut keys = self.write_keys();
            snapshot.keys.into_iter().for_each(|key| keys.join(key));
        }
        {
            let mut revocations = self.write_revocations();
            for token in &snapshot.tokens {
                revocations.add_token(token);
            }
            for entry in &snapshot.not_before {
                revocations.add_not_before(entry);
            }
        }
        self.begin_epoch();
        Ok(())
    }

    async fn write_uses(&self) -> Result<(), StoreError> {
        let uses = self.read_keys().take_unwritten();
        if uses.is_empty() {
            return Ok(());
        }
        let written = self.store.note_used(uses.clone()).await;
        if written.is_err() {
            self.read_keys().are_unwritten(&uses);
        }
        written
    }

    async fn purge(&self, now: SystemTime) -> Result<(), StoreError> {
        self.store.purge(now).await?;
        self.write_revocations().purge(now);
        let kept = self.store.load().await?.keys;
        let kept: std::collections::HashSet<_> =
            kept.into_iter().map(|key| key.record.id).collect();
        // What was made since then is newer than anything that is purged.
        self.write_keys()
            .retain(|key| kept.contains(&key.id) || key.is_live(now));
        Ok(())
    }
}

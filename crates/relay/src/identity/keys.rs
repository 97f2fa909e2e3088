//! The keys that there are, in memory.
//!
//! Invariant: a key here has at least the limits that it has in the database: revoked stays revoked, and an end only
//! comes nearer, so what is read from there later can be joined with what was done meanwhile, in any order.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use c2l_auth::{KeyId, KeyRecord, UserId};
use c2l_store::StoredKey;

use super::caller::Usage;

/// Most keys of one user that have neither ended nor been revoked.
pub(super) const MAX_KEYS_OF_USER: usize = 256;
/// Most keys of all users, ended ones that are still known among them: some 50 MB.
pub(super) const MAX_KEYS: usize = 100_000;

/// One key.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) record: KeyRecord,
    pub(super) usage: Arc<Usage>,
}

/// A key as its owner sees it.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) record: KeyRecord,
    pub(crate) last_used_at: Option<SystemTime>,
}

/// All keys, by id.
#[derive(Debug, Default)]
pub(super) struct Keys {
    by_id: HashMap<KeyId, Arc<Held>>,
}

impl Keys {
    pub(super) fn held(&self, id: &KeyId) -> Option<Arc<Held>> {
        self.by_id.get(id).cloned()
    }

    /// A key that is not there any more counts as revoked.
    pub(super) fn is_revoked(&self, id: &KeyId) -> bool {
        let held = self.by_id.get(id);
        held.is_none_or(|held| held.record.revoked_at.is_some())
    }

    /// Whether its time is over, which ends what it holds open.
    pub(super) fn is_over(&self, id: &KeyId, now: SystemTime) -> bool {
        let held = self.by_id.get(id);
        held.is_none_or(|held| !held.record.is_live(now))
    }

    pub(super) fn has_end_between(&self, after: SystemTime, until: SystemTime) -> bool {
        let ends = self
            .by_id
            .values()
            .filter_map(|held| held.record.expires_at);
        ends.into_iter().any(|end| after < end && end <= until)
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// This user's keys that could be used at `now`, in the order of being made.
    pub(super) fn live_of(&self, user: &UserId, now: SystemTime) -> Vec<Listed> {
        let own = self.by_id.values().filter(|held| {
            let record = &held.record;
            *record.issuer == *user.issuer()
                && *record.subject == *user.subject()
                && record.is_live(now)
        });
        let mut own: Vec<_> = own
            .map(|held| Listed {
                record: held.record.clone(),
                last_used_at: held.usage.last(),
            })
            .collect();
        own.sort_by(|a, b| {
            let order = a.record.created_at.cmp(&b.record.created_at);
            order.then_with(|| a.record.id.cmp(&b.record.id))
        });
        own
    }

    /// Joins what is kept of a key with what is known of it.
    pub(super) fn join(&mut self, stored: StoredKey) {
        let StoredKey {
            mut record,
            last_used_at,
        } = stored;
        let usage = match self.by_id.get(&record.id) {
            Some(known) => {
                let ends = [record.expires_at, known.record.expires_at];
                record.expires_at = ends.into_iter().flatten().min();
                record.revoked_at = known.record.revoked_at.or(record.revoked_at);
                Arc::clone(&known.usage)
            }
            None => Arc::new(Usage::known(last_used_at)),
        };
        self.by_id
            .insert(record.id.clone(), Arc::new(Held { record, usage }));
    }

    /// Makes an end come nearer, or revokes.
    pub(super) fn change(&mut self, id: &KeyId, change: impl FnOnce(&mut KeyRecord)) {
        if let Some(held) = self.by_id.get(id) {
            let mut held = Held::clone(held);
            change(&mut held.record);
            self.by_id.insert(id.clone(), Arc::new(held));
        }
    }

    /// The uses that are not written yet; from now on they count as written.
    pub(super) fn take_unwritten(&self) -> Vec<(KeyId, SystemTime)> {
        let unwritten = self.by_id.iter().filter_map(|(id, held)| {
            let last = held.usage.take_unwritten()?;
            Some((id.clone(), last))
        });
        unwritten.collect()
    }

    pub(super) fn are_unwritten(&self, uses: &[(KeyId, SystemTime)]) {
        for (id, _) in uses {
            if let Some(held) = self.by_id.get(id) {
                held.usage.is_unwritten();
            }
        }
    }

    /// Forgets those that are in no database any more.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&KeyRecord) -> bool) {
        self.by_id.retain(|_, held| is_kept(&held.record));
    }
}

//! Who is let in: a bound on what is under way for one key, and one on all of it.
//!
//! Invariant: a place is taken exactly as long as what it was taken for goes on; when it is dropped, it is free again.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use c2l_auth::UserId;
use tokio::{sync::Notify, time::sleep};

use crate::{
    audit::CredentialName,
    limits::{Guard, Payer},
};

/// Bytes of an exchange that are counted together: each count is a look-up.
const COUNTED_BYTES: u64 = 16 * 1024;

/// Counts what is under way, by user for one.
#[derive(Debug)]
pub(crate) struct Admission<K: Eq + Hash + Clone> {
    counts: Mutex<Counts<K>>,
    idle: Notify,
    max_per_key: usize,
    max_total: usize,
}

#[derive(Debug)]
struct Counts<K> {
    by_key: HashMap<K, usize>,
    total: usize,
    /// Let in since the beginning.
    admitted: u64,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// This key has as many as it may.
    OfThisKey,
    /// All together have.
    OfAll,
}

impl<K: Eq + Hash + Clone> Admission<K> {
    pub(crate) fn new(max_per_key: usize, max_total: usize) -> Arc<Self> {
        Arc::new(Self {
            counts: Mutex::new(Counts {
                by_key: HashMap::new(),
                total: 0,
                admitted: 0,
            }),
            idle: Notify::new(),
            max_per_key,
            max_total,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Counts<K>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn admit(self: &Arc<Self>, key: &K) -> Result<Place<K>, Full> {
        let mut counts = self.lock();
        let counts = &mut *counts;
        let own = counts.by_key.entry(key.clone());
        let taken = match &own {
            Entry::Occupied(own) => *own.get(),
            Entry::Vacant(_) => 0,
        };
        if taken >= self.max_per_key {
            return Err(Full::OfThisKey);
        }
        if counts.total >= self.max_total {
            return Err(Full::OfAll);
        }
        counts.total += 1;
        counts.admitted += 1;
        *own.or_default() += 1;
        Ok(Place {
            admission: Arc::clone(self),
            key: key.clone(),
        })
    }

    /// How many places are taken.
    pub(crate) fn active(&self) -> usize {
        self.lock().total
    }

    /// Waits until none has been there for this long.
    pub(crate) async fn wait_calm(&self, calm: Duration) {
        loop {
            self.wait_idle().await;
            let seen = self.lock().admitted;
            sleep(calm).await;
            let counts = self.lock();
            if counts.total == 0 && counts.admitted == seen {
                return;
            }
        }
    }

    /// Waits until none is.
    pub(crate) async fn wait_idle(&self) {
        loop {
            let notified = self.idle.notified();
            if self.active() == 0 {
                return;
            }
            notified.await;
        }
    }
}

/// One place that is taken.
#[derive(Debug)]
pub(crate) struct Place<K: Eq + Hash + Clone> {
    admission: Arc<Admission<K>>,
    key: K,
}

impl<K: Eq + Hash + Clone> Drop for Place<K> {
    fn drop(&mut self) {
        let mut counts = self.admission.lock();
        counts.total = counts.total.saturating_sub(1);
        if let Some(own) = counts.by_key.get_mut(&self.key) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                counts.by_key.remove(&self.key);
            }
        }
        if counts.total == 0 {
            self.admission.idle.notify_waiters();
        }
    }
}

/// What a request was let in with: its places, and whose account its bytes go on.
#[derive(Debug)]
pub(crate) struct Permit {
    _of_user: Place<UserId>,
    _of_credential: Option<Place<(UserId, CredentialName)>>,
    bytes: Option<Bytes>,
}

impl Permit {
    /// `bytes` is left out where nobody limits them.
    pub(crate) fn new(
        of_user: Place<UserId>,
        of_credential: Option<Place<(UserId, CredentialName)>>,
        bytes: Option<Bytes>,
    ) -> Self {
        Self {
            _of_user: of_user,
            _of_credential: of_credential,
            bytes,
        }
    }

    /// Counts bytes that have moved, in either direction.
    pub(crate) fn moved(&mut self, bytes: usize) {
        if let Some(account) = &mut self.bytes {
            account.uncounted += bytes as u64;
            if account.uncounted >= COUNTED_BYTES {
                account.count();
            }
        }
    }
}

/// The bytes of one exchange. What is not counted yet is counted at the end.
#[derive(Debug)]
pub(crate) struct Bytes {
    guard: Arc<Guard>,
    payer: Payer,
    uncounted: u64,
}

impl Bytes {
    pub(crate) fn new(guard: Arc<Guard>, payer: Payer) -> Self {
        Self {
            guard,
            payer,
            uncounted: 0,
        }
    }

    fn count(&mut self) {
        let bytes = std::mem::take(&mut self.uncounted);
        if bytes > 0 {
            self.guard.moved(&self.payer, bytes);
        }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.count();
    }
}

//! The keys that one issuer publishes, as they are known now.
//!
//! Invariant: a set is replaced whole. Whoever checks a signature works on the set that was there when they began, and
//! holds no lock while they do.

use std::sync::{Arc, PoisonError, RwLock};

use crate::verifier::TrustedKey;

/// Which of the issuers that publish their keys, in one [`Verifier`](crate::Verifier).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProviderId(pub(crate) usize);

/// What a newly published set has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Keys that may be used now.
    pub usable: usize,
    /// Entries of the set that were left out: for other algorithms or uses, or no sound keys.
    pub unusable: usize,
    /// Keys that were not there before.
    pub added: usize,
    /// Keys that were there before. Tokens that they signed are good no longer.
    pub removed: usize,
}

/// The set that counts; none before the first one came.
#[derive(Debug, Default)]
pub(crate) struct Current(RwLock<Option<Arc<[TrustedKey]>>>);

impl Current {
    pub(crate) fn get(&self) -> Option<Arc<[TrustedKey]>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Puts `keys` in the place of what was there, and says how many came and went.
    pub(crate) fn replace(&self, keys: Vec<TrustedKey>) -> (usize, usize) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let old = current.as_deref().unwrap_or_default();
        let missing_in = |all: &[TrustedKey], some: &[TrustedKey]| {
            let is_missing = |key: &&TrustedKey| !all.iter().any(|other| other.is_same(key));
            some.iter().filter(is_missing).count()
        };
        let changes = (missing_in(old, &keys), missing_in(&keys, old));
        if changes != (0, 0) {
            *current = Some(keys.into());
        }
        changes
    }
}

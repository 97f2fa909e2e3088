//! Which credentials are known to be good, and which are new.
//!
//! Invariant: it is bounded, and who is used stays in it. It holds hashes, no credential.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use c2l_auth::Fingerprint;

use crate::limits::bucket::MAX_KEYS;

/// The credentials that were accepted since the relay started, as many as fit: which are known to be good, and which
/// are new.
#[derive(Debug, Default)]
pub(super) struct Accepted(Mutex<Generations>);

/// Two sets, the older of which goes when the younger is full: who is used stays.
#[derive(Debug, Default)]
struct Generations {
    young: HashSet<Fingerprint>,
    old: HashSet<Fingerprint>,
}

impl Accepted {
    fn with<T>(&self, work: impl FnOnce(&mut Generations) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn contains(&self, fingerprint: &Fingerprint) -> bool {
        self.with(|known| known.young.contains(fingerprint) || known.old.contains(fingerprint))
    }

    /// Remembers it; true when it was not remembered before.
    pub(super) fn is_new(&self, fingerprint: Fingerprint) -> bool {
        self.with(|known| {
            if known.young.len() >= MAX_KEYS / 2 && !known.young.contains(&fingerprint) {
                known.old = std::mem::take(&mut known.young);
            }
            let was_old = known.old.contains(&fingerprint);
            known.young.insert(fingerprint) && !was_old
        })
    }

    pub(super) fn forget(&self, fingerprint: &Fingerprint) {
        self.with(|known| {
            known.young.remove(fingerprint);
            known.old.remove(fingerprint);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_bounded_and_who_is_used_stays() {
        let accepted = Accepted::default();
        let favourite = Fingerprint::of("favourite");
        assert!(accepted.is_new(favourite));
        for number in 0..200_000 {
            assert!(accepted.is_new(Fingerprint::of(&number.to_string())));
            if number % 1000 == 0 {
                assert!(!accepted.is_new(favourite), "{number}");
            }
        }
        let kept = accepted.with(|known| known.young.len() + known.old.len());
        assert!(kept <= MAX_KEYS, "{kept}");
    }
}

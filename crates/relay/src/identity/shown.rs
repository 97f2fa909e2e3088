//! The credential that a connection has shown last, so that it is not hashed and looked up again with each request.
//!
//! Invariant: what is remembered here says whose the credential is, and never that it still counts: that is asked anew each
//! time. It is the connection's own and ends with it; it is compared in constant time and overwritten when it goes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use c2l_auth::Secret;

use super::Remembered;
use crate::gateway::credential::{Spot, Written};

/// Longer ones are looked up each time: a connection keeps little.
const MOST_BYTES: usize = 4096;

/// What one connection has shown last. Where a proxy mixes the requests of several users on it, that is now the one's and
/// now the other's.
#[derive(Debug, Default)]
pub(crate) struct Shown(Mutex<Option<Box<Known>>>);

#[derive(Debug)]
struct Known {
    spot: Spot,
    text: Secret,
    remembered: Remembered,
}

impl Shown {
    /// Whose it is, if these are the bytes that were shown last, at the same place.
    pub(super) fn recall(&self, written: Written<'_>) -> Option<Remembered> {
        let known = self.lock();
        let known = known.as_ref()?;
        let is_same = known.spot == written.spot && known.text.is(written.bytes);
        is_same.then(|| known.remembered.clone())
    }

    /// Notes a credential that was found good.
    pub(super) fn note(&self, written: Written<'_>, remembered: Remembered) {
        let text = std::str::from_utf8(written.bytes).ok();
        let text = text.filter(|text| text.len() <= MOST_BYTES);
        *self.lock() = text.map(|text| {
            Box::new(Known {
                spot: written.spot,
                text: Secret::new(text),
                remembered,
            })
        });
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Known>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

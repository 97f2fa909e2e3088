//! The last requests of each user, for that user's eyes: when, which device and route, how it went, how much moved.
//!
//! Invariant: what is kept of a request is numbers, a path without a credential, and names, the model's if its agent tells it;
//! nothing else of a body, of a query or of a header but `x-request-id`. A list is found only through the [`UserId`] that it belongs to. So many are kept of one
//! user and of all, for an hour; it costs a request one entry, and its pieces no lock.
//!
//! 1. [`Recent::begin`] enters a request when its caller is known; [`Listing`] goes with its record.
//! 2. `entry` is one request, updated while it runs; `table` is who keeps how many of them.
//! 3. `window` is what may be asked for.

mod entry;
mod table;
mod window;

#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use c2l_auth::UserId;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::{
    entry::Outcome,
    table::{Bounds, Table},
};
pub(crate) use self::{
    entry::{Asked, Entry},
    window::Window,
};

/// What a running relay keeps.
const BOUNDS: Bounds = Bounds {
    of_user: window::MOST,
    of_all: 32_768,
    age: Duration::from_secs(60 * 60),
};

/// The last requests of all users.
#[derive(Debug)]
pub(crate) struct Recent {
    table: Mutex<Table<UserId>>,
}

impl Recent {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::new(Table::new(BOUNDS)),
        })
    }

    /// Enters a request of this user, which runs until its [`Listing`] says otherwise.
    pub(crate) fn begin(self: &Arc<Self>, user: &UserId, asked: Asked) -> Listing {
        let entry = self.lock().begin(user, microseconds, asked);
        Listing {
            recent: Arc::clone(self),
            user: user.clone(),
            entry,
        }
    }

    /// What this user may see, as `/relay/v1/requests` answers.
    pub(crate) fn list(&self, user: &UserId, window: Window) -> Value {
        let (entries, next) = self.lock().list(user, window);
        let requests: Vec<_> = entries.iter().map(|entry| entry.describe()).collect();
        let now_unix_ms = self::entry::milliseconds(SystemTime::now());
        json!({ "requests": requests, "next": next, "now_unix_ms": now_unix_ms })
    }

    /// Forgets what is too old. For now and then: it may pass over what has been running for long.
    pub(crate) fn forget_old(&self) {
        self.lock().forget_old(Instant::now());
    }

    fn lock(&self) -> MutexGuard<'_, Table<UserId>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the numbers of a user begin who has none yet: later than any that the relay before this one gave.
fn microseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(0)
}

/// A request that is in the list of its user.
#[derive(Debug)]
pub(crate) struct Listing {
    recent: Arc<Recent>,
    user: UserId,
    pub(crate) entry: Arc<Entry>,
}

impl Listing {
    /// It has ended; `error` is the kind of fault and who is at fault.
    pub(crate) fn end(self, error: Option<(&'static str, &'static str)>) {
        let duration = self.entry.started().elapsed();
        let outcome = Outcome { duration, error };
        self.recent.lock().end(&self.user, &self.entry, outcome);
    }
}

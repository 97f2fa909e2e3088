//! Who is let in: a bound on the requests of one user, and one on all of them.
//!
//! Invariant: a permit lives exactly as long as its exchange; when it is dropped, the place is free again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use c2l_auth::UserId;
use c2l_tunnel::{Fault, Kind, Origin};
use tokio::{sync::Notify, time::sleep};

/// Counts the requests under way.
#[derive(Debug)]
pub(crate) struct Admission {
    counts: Mutex<Counts>,
    idle: Notify,
    max_per_user: usize,
    max_total: usize,
}

#[derive(Debug, Default)]
struct Counts {
    by_user: HashMap<UserId, usize>,
    total: usize,
    /// Let in since the beginning.
    admitted: u64,
}

impl Admission {
    pub(crate) fn new(max_per_user: usize, max_total: usize) -> Arc<Self> {
        Arc::new(Self {
            counts: Mutex::default(),
            idle: Notify::new(),
            max_per_user,
            max_total,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one request in.
    ///
    /// # Errors
    /// `UserOverLimit` or `Overloaded`.
    pub(crate) fn admit(self: &Arc<Self>, user: &UserId) -> Result<Permit, Fault> {
        let mut counts = self.lock();
        let own = counts.by_user.get(user).copied().unwrap_or_default();
        if own >= self.max_per_user {
            let message = format!("{own} requests of this user are under way already");
            return Err(Fault::new(Kind::UserOverLimit, Origin::Caller, message).retry_safe());
        }
        if counts.total >= self.max_total {
            let message = "the relay has as many requests under way as it takes";
            return Err(Fault::new(Kind::Overloaded, Origin::Relay, message).retry_safe());
        }
        counts.total += 1;
        counts.admitted += 1;
        counts.by_user.insert(user.clone(), own + 1);
        drop(counts);
        Ok(Permit {
            admission: Arc::clone(self),
            user: user.clone(),
        })
    }

    /// Requests under way.
    pub(crate) fn active(&self) -> usize {
        self.lock().total
    }

    /// Waits until no request has been under way for this long.
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

    /// Waits until no request is under way.
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

/// One request's place.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    user: UserId,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.admission.lock();
        counts.total = counts.total.saturating_sub(1);
        if let Some(own) = counts.by_user.get_mut(&self.user) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                counts.by_user.remove(&self.user);
            }
        }
        if counts.total == 0 {
            self.admission.idle.notify_waiters();
        }
    }
}

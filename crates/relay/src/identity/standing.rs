//! Whether what is under way may go on: a waiter beside each exchange and each session.
//!
//! Invariant: it looks again after every epoch, the one in which it was made among them, so nothing can be revoked
//! between the door and the first look. There is no list of what is under way: whoever moves it asks.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use c2l_auth::{AuthError, DeviceName};
use tokio::sync::watch;

use super::{Caller, Identities};
use crate::gateway::idleness::{who_waits, will_wake};

type Change = Pin<Box<dyn Future<Output = watch::Receiver<u64>> + Send>>;

/// The credential behind something that is under way.
pub(crate) struct Standing {
    identities: Arc<Identities>,
    caller: Arc<Caller>,
    /// The device of the session, where it is one.
    device: Option<DeviceName>,
    /// The epoch of the last look.
    judged_in: Option<u64>,
    change: Change,
    /// Who is woken by the next change.
    registered: Option<Waker>,
}

impl Standing {
    pub(crate) fn new(identities: &Arc<Identities>, caller: Arc<Caller>) -> Self {
        Self {
            change: next_change(identities.changes.subscribe()),
            identities: Arc::clone(identities),
            caller,
            device: None,
            judged_in: None,
            registered: None,
        }
    }

    pub(crate) fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// From here on it stands for the session of this device.
    pub(crate) fn is_of_device(&mut self, device: DeviceName) {
        self.device = Some(device);
        self.judged_in = None;
    }

    /// From here on it stands with another credential of the same user.
    pub(crate) fn renew(&mut self, caller: Arc<Caller>) {
        self.caller = caller;
        self.judged_in = None;
    }

    /// Ready once the credential was revoked. Costs an atomic load while nothing is.
    pub(crate) fn poll_revoked(&mut self, cx: &mut Context<'_>) -> Poll<AuthError> {
        loop {
            let epoch = self.identities.epoch();
            if self.judged_in != Some(epoch) {
                if let Err(error) = self.identities.judge(&self.caller, self.device.as_ref()) {
                    return Poll::Ready(error);
                }
                self.judged_in = Some(epoch);
            } else if will_wake(self.registered.as_ref(), cx) {
                return Poll::Pending;
            }
            match self.change.as_mut().poll(cx) {
                Poll::Ready(changes) => {
                    self.change = next_change(changes);
                    self.registered = None;
                }
                Poll::Pending => {
                    self.registered = who_waits(cx);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Waits until the credential was revoked. Dropping the future changes nothing.
    pub(crate) async fn revoked(&mut self) -> AuthError {
        poll_fn(|cx| self.poll_revoked(cx)).await
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing")
            .field("caller", &self.caller)
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

fn next_change(mut changes: watch::Receiver<u64>) -> Change {
    Box::pin(async move {
        if changes.changed().await.is_err() {
            // The relay is gone; so will be what waits here.
            std::future::pending::<()>().await;
        }
        changes
    })
}

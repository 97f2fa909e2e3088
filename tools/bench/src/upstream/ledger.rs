//! What the upstream remembers of its requests, for whoever asks it directly.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use crate::wall_nanos;

/// How long `/bench/…` waits for what it is asked about.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is known of the requests: of those that carry an id when, of all how much.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Bytes of bulk that went out so far, as far as the system took them.
    pub(super) given: Cell<u64>,
    /// Bytes of uploads that came in so far.
    pub(super) taken: Cell<u64>,
    marks: RefCell<HashMap<(Mark, String), u64>>,
    changed: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mark {
    /// Its first bytes of body, or the request itself where there are none, are here.
    Seen,
    /// It is over on this side.
    Left,
}

impl Ledger {
    fn mark(&self, mark: Mark, id: &str) {
        if !id.is_empty() {
            let mut marks = self.marks.borrow_mut();
            marks
                .entry((mark, id.to_owned()))
                .or_insert_with(wall_nanos);
            self.changed.notify_waiters();
        }
    }

    /// When it happened, in nanoseconds of the wall clock; 0 when it did not in time.
    pub(super) async fn when(&self, mark: Mark, id: &str) -> u64 {
        let key = (mark, id.to_owned());
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if let Some(&nanos) = self.marks.borrow().get(&key) {
                    return nanos;
                }
                changed.await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or(0)
    }
}

/// A request under way: marks its end when it is dropped.
#[derive(Debug)]
pub(super) struct Presence {
    ledger: Rc<Ledger>,
    id: String,
}

impl Presence {
    pub(super) fn new(ledger: Rc<Ledger>, id: String) -> Self {
        Self { ledger, id }
    }

    /// Its first bytes are here.
    pub(super) fn is_seen(&self) {
        self.ledger.mark(Mark::Seen, &self.id);
    }

    pub(super) fn gave(&self, bytes: u64) {
        self.ledger.given.set(self.ledger.given.get() + bytes);
    }

    pub(super) fn took(&self, bytes: u64) {
        self.ledger.taken.set(self.ledger.taken.get() + bytes);
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.ledger.mark(Mark::Left, &self.id);
    }
}

//! Who keeps how many requests, and which go first.
//!
//! Invariant: of one user there are never more than `of_user`, of all never more than `of_all`. Of one user's, the oldest
//! that has ended goes first; of all, the oldest. A user of whom nothing is left costs nothing.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::Hash,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    entry::{Asked, Entry, Outcome},
    window::Window,
};

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) of_user: usize,
    pub(super) of_all: usize,
    /// Since its beginning; what runs is kept longer.
    pub(super) age: Duration,
}

/// The requests of one user.
#[derive(Debug)]
struct List {
    /// Their numbers among all, oldest first.
    numbers: VecDeque<u64>,
    /// Grows with each beginning and each end.
    cursor: u64,
}

/// The requests of all users. The key is the user, except in tests.
#[derive(Debug)]
pub(super) struct Table<K> {
    bounds: Bounds,
    next: u64,
    /// In the order of their beginning, as in each list.
    all: BTreeMap<u64, (K, Arc<Entry>)>,
    lists: HashMap<K, List>,
}

impl<K: Clone + Eq + Hash> Table<K> {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            next: 0,
            all: BTreeMap::new(),
            lists: HashMap::new(),
        }
    }

    /// Enters a request; `first` says where the numbers of a user begin of whom nothing is there.
    pub(super) fn begin(
        &mut self,
        user: &K,
        first: impl FnOnce() -> u64,
        asked: Asked,
    ) -> Arc<Entry> {
        if self.all.len() >= self.bounds.of_all
            && let Some(&oldest) = self.all.keys().next()
        {
            self.forget(oldest);
        }
        let list = self.lists.entry(user.clone()).or_insert_with(|| List {
            numbers: VecDeque::new(),
            cursor: first(),
        });
        if list.numbers.len() >= self.bounds.of_user {
            let is_running = |number: &u64| {
                let found = self.all.get(number);
                found.is_some_and(|(_, entry)| entry.is_running())
            };
            let ended = list.numbers.iter().position(|number| !is_running(number));
            if let Some(number) = list.numbers.remove(ended.unwrap_or(0)) {
                self.all.remove(&number);
            }
        }
        let number = self.next;
        self.next += 1;
        list.cursor += 1;
        list.numbers.push_back(number);
        let entry = Arc::new(Entry::new(list.cursor, number, asked));
        self.all.insert(number, (user.clone(), Arc::clone(&entry)));
        entry
    }

    /// Ends a request. One that is in no list any more ends as well, unseen.
    pub(super) fn end(&mut self, user: &K, entry: &Entry, outcome: Outcome) {
        entry.ends(outcome);
        if self.all.contains_key(&entry.number)
            && let Some(list) = self.lists.get_mut(user)
        {
            list.cursor += 1;
            entry.ended_at.store(list.cursor, Ordering::Relaxed);
        }
    }

    /// What of this user began or ended after the cursor, and what runs, in the order of beginning; and the next cursor.
    pub(super) fn list(&self, user: &K, window: Window) -> (Vec<Arc<Entry>>, u64) {
        let Some(list) = self.lists.get(user) else {
            return (Vec::new(), 0);
        };
        // One from the future is another relay's, or nobody's: everything is new to it.
        let after = if window.after > list.cursor {
            0
        } else {
            window.after
        };
        let is_new = |entry: &Entry| {
            entry.is_running()
                || entry.seq > after
                || entry.ended_at.load(Ordering::Relaxed) > after
        };
        let entries = list.numbers.iter().rev();
        let entries = entries.filter_map(|number| self.all.get(number));
        let mut entries: Vec<_> = entries
            .map(|(_, entry)| entry)
            .filter(|entry| is_new(entry))
            .take(window.limit)
            .cloned()
            .collect();
        entries.reverse();
        (entries, list.cursor)
    }

    /// Forgets what began too long ago, and has ended.
    pub(super) fn forget_old(&mut self, now: Instant) {
        let age = self.bounds.age;
        let entries = self.all.iter();
        let is_old = |entry: &Entry| now.saturating_duration_since(entry.started()) > age;
        let old: Vec<_> = entries
            .take_while(|(_, (_, entry))| is_old(entry))
            .filter(|(_, (_, entry))| !entry.is_running())
            .map(|(&number, _)| number)
            .collect();
        for number in old {
            self.forget(number);
        }
    }

    fn forget(&mut self, number: u64) {
        let Some((user, _)) = self.all.remove(&number) else {
            return;
        };
        if let Some(list) = self.lists.get_mut(&user) {
            // In order, and mostly the first: none of the others is looked at.
            if let Ok(at) = list.numbers.binary_search(&number) {
                list.numbers.remove(at);
            }
            if list.numbers.is_empty() {
                self.lists.remove(&user);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.all.len(), self.lists.len())
    }
}

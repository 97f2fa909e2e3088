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

/// The requests of one user, by their numbers among all, oldest first. Which one goes next is found without looking
/// through those that run.
#[derive(Debug)]
struct List {
    running: VecDeque<u64>,
    ended: VecDeque<u64>,
    /// Grows with each beginning and each end.
    cursor: u64,
}

impl List {
    fn len(&self) -> usize {
        self.running.len() + self.ended.len()
    }

    /// Takes out the one that goes first.
    fn pop(&mut self) -> Option<u64> {
        self.ended.pop_front().or_else(|| self.running.pop_front())
    }

    fn end(&mut self, number: u64) {
        if remove(&mut self.running, number)
            && let Err(place) = self.ended.binary_search(&number)
        {
            self.ended.insert(place, number);
        }
    }

    /// The newest first.
    fn numbers(&self) -> Vec<u64> {
        let mut numbers: Vec<u64> = self.running.iter().chain(&self.ended).copied().collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        numbers
    }
}

/// Whether it was there.
fn remove(numbers: &mut VecDeque<u64>, number: u64) -> bool {
    let place = numbers.binary_search(&number);
    place.is_ok_and(|place| numbers.remove(place).is_some())
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
            running: VecDeque::new(),
            ended: VecDeque::new(),
            cursor: first(),
        });
        if list.len() >= self.bounds.of_user
            && let Some(number) = list.pop()
        {
            self.all.remove(&number);
        }
        let number = self.next;
        self.next += 1;
        list.cursor += 1;
        list.running.push_back(number);
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
            list.end(entry.number);
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
        let numbers = list.numbers();
        let entries = numbers.iter().filter_map(|number| self.all.get(number));
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
            if !remove(&mut list.ended, number) {
                remove(&mut list.running, number);
            }
            if list.len() == 0 {
                self.lists.remove(&user);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.all.len(), self.lists.len())
    }
}

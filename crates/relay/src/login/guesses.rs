//! How often somebody may type a code that nobody waits under.
//!
//! Invariant: memory is bounded however many come. Whoever finds no place of their own shares one with all others in
//! that position, so a crowd makes guessing slower, never free.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

/// How long a count stands: as long as a code lives.
const WINDOW: Duration = Duration::from_secs(600);
/// Places.
const MAX_KNOWN: usize = 4096;

#[derive(Debug)]
struct Count {
    wrong: u32,
    until: Instant,
}

/// Counts wrong codes by whoever typed them.
#[derive(Debug)]
pub(super) struct Guesses<K> {
    known: HashMap<K, Count>,
    others: Option<Count>,
}

impl<K: Eq + Hash + Clone> Guesses<K> {
    pub(super) fn new() -> Self {
        Self {
            known: HashMap::new(),
            others: None,
        }
    }

    /// How long this one, who may be wrong `most` times in a window, has to wait before the next guess, if at all.
    pub(super) fn wait(&self, who: &K, most: u32, now: Instant) -> Option<Duration> {
        let own = self.known.get(who);
        let count = match own {
            None if self.known.len() >= MAX_KNOWN => self.others.as_ref(),
            own => own,
        }?;
        let left = count.until.saturating_duration_since(now);
        (count.wrong >= most && !left.is_zero()).then_some(left)
    }

    /// Notes a wrong code.
    pub(super) fn note(&mut self, who: &K, now: Instant) {
        let fresh = || Count {
            wrong: 0,
            until: now + WINDOW,
        };
        if !self.known.contains_key(who) && self.known.len() >= MAX_KNOWN {
            self.known.retain(|_, count| now < count.until);
        }
        let count = if self.known.contains_key(who) || self.known.len() < MAX_KNOWN {
            self.known.entry(who.clone()).or_insert_with(fresh)
        } else {
            self.others.get_or_insert_with(fresh)
        };
        if count.until <= now {
            *count = fresh();
        }
        count.wrong = count.wrong.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u32 = 10;

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[test]
    fn ten_wrong_codes_and_then_a_wait() {
        let (mut guesses, now) = (Guesses::new(), start());
        for _ in 0..MOST {
            assert_eq!(guesses.wait(&"eve", MOST, now), None);
            guesses.note(&"eve", now);
        }
        assert_eq!(guesses.wait(&"eve", MOST, now), Some(WINDOW));
        assert_eq!(guesses.wait(&"ada", MOST, now), None, "another one");
        assert_eq!(guesses.wait(&"eve", MOST, now + WINDOW), None);
        guesses.note(&"eve", now + WINDOW);
        assert_eq!(
            guesses.wait(&"eve", MOST, now + WINDOW),
            None,
            "a new count"
        );
    }

    #[test]
    fn a_crowd_shares_a_place_and_memory_is_bounded() {
        let (mut guesses, now) = (Guesses::new(), start());
        for who in 0..30_000 {
            guesses.note(&who, now);
        }
        assert_eq!(guesses.known.len(), MAX_KNOWN);
        assert_eq!(guesses.wait(&99_999, MOST, now), Some(WINDOW));
        let later = now + WINDOW;
        guesses.note(&99_999, later);
        assert_eq!(guesses.known.len(), 1, "the old ones are gone");
        assert_eq!(guesses.wait(&99_999, MOST, later), None);
    }
}

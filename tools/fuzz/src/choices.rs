//! Decisions read from bytes, one after the other.
//!
//! Invariant: the same bytes give the same decisions; when they run out, so does whatever is decided by them.

use std::time::{Duration, Instant};

/// A reader of decisions.
#[derive(Debug)]
pub struct Choices<'a> {
    data: &'a [u8],
}

impl<'a> Choices<'a> {
    /// Decisions from these bytes.
    pub fn new(data: &'a [u8]) -> Self {
        Self { data }
    }

    /// True when nothing is left to decide by.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// One byte; 0 when there is none left.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.data.split_first() else {
            return 0;
        };
        self.data = rest;
        *first
    }

    /// Two bytes as a number.
    pub fn number(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        if end <= 256 {
            usize::from(self.byte()) % end
        } else {
            self.number() % end
        }
    }

    /// Yes, once in so many times.
    pub fn one_in(&mut self, times: u8) -> bool {
        self.byte().is_multiple_of(times)
    }

    /// The next bytes, up to so many.
    pub fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.data.split_at(most.min(self.data.len()));
        self.data = rest;
        taken
    }
}

/// A time that only moves when told to.
#[derive(Clone, Copy, Debug)]
pub struct Clock(pub Instant);

impl Clock {
    /// Any moment will do.
    #[expect(
        clippy::disallowed_methods,
        reason = "a base to count from: nothing here waits for the real clock"
    )]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Moves on.
    pub fn pass(&mut self, time: Duration) {
        self.0 += time;
    }
}

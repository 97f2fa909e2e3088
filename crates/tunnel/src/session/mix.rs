//! Where the streams of a session lie in their table, by id.
//!
//! Invariant: ids that share a bucket cannot be chosen: a number that nobody is told goes into each place. A stream is looked
//! up some twenty times in a small exchange, and the hash for keys of any form took a tenth of a token's work.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Odd, and half of its bits are set: each bit of an id changes half of the product (the golden ratio's first 64).
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Makes the hashes of one session.
#[derive(Clone, Debug)]
pub(super) struct Mix {
    secret: u64,
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            secret: RandomState::new().build_hasher().finish(),
        }
    }
}

impl BuildHasher for Mix {
    type Hasher = Mixer;

    fn build_hasher(&self) -> Mixer {
        Mixer(self.secret)
    }
}

/// One hash on its way.
pub(super) struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u64(&mut self, number: u64) {
        let (low, high) = (self.0 ^ number).carrying_mul(FACTOR, 0);
        self.0 = low ^ high;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::frame::StreamId;

    #[test]
    fn ids_of_any_distance_spread_over_the_buckets() {
        const IDS: u64 = 1024;
        let mix = Mix::default();
        for distance in [1, 2, 7, 64, 1 << 20, 1 << 40] {
            let ids = (1..=IDS).filter_map(|number| StreamId::new(number * distance));
            let buckets: HashSet<_> = ids.map(|id| mix.hash_one(id) % IDS).collect();
            // By chance, two thirds of them have one of their own or share it with few.
            assert!(buckets.len() > 512, "{distance}: {}", buckets.len());
        }
    }

    #[test]
    fn no_two_sessions_have_the_same_places() {
        let id = StreamId::new(1).expect("not 0");
        assert_ne!(Mix::default().hash_one(id), Mix::default().hash_one(id));
    }
}

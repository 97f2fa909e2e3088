//! The fuzz targets of tools/fuzz on stable: the same code, on bytes from a seeded generator, a bounded number of times.
//!
//! A failure names its seed; the same seed gives the same bytes. Read next: `tools/fuzz/src/pair.rs`.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::print_stderr,
    reason = "shared with the fuzz targets, which keep to lints of their own"
)]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

#[path = "../../../tools/fuzz/src/choices.rs"]
mod choices;
#[path = "../../../tools/fuzz/src/hostile.rs"]
mod hostile;
#[path = "../../../tools/fuzz/src/pair.rs"]
mod pair;

/// Xorshift: all that is needed is the same bytes each time.
fn bytes_of(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn for_seeds(seeds: u64, length: usize, target: impl Fn(&[u8])) {
    for seed in 1..=seeds {
        let data = bytes_of(seed, length);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(&data))) {
            eprintln!("seed {seed}");
            resume_unwind(panic);
        }
    }
}

#[test]
fn two_honest_sides_lose_tear_and_leak_nothing_whatever_the_order() {
    for_seeds(400, 600, pair::exchange);
    for_seeds(40, 4000, pair::exchange);
}

#[test]
fn raw_bytes_from_a_peer_never_panic() {
    for_seeds(500, 2000, hostile::frames);
}

#[test]
fn well_formed_nonsense_from_a_peer_never_panics_and_never_outgrows_its_bounds() {
    for_seeds(2000, 3000, hostile::structured);
}

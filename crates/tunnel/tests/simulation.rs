//! A relay, an agent and the network between them, simulated: the two real state machines, a model of the tasks around
//! them, and lines that are slow, stall, lose, cut, and carry late words of connections that nobody holds any more.
//!
//! Time is simulated, so minutes of faults take a moment. A seed decides every plan, line and fault, and all but
//! the order of what happens in the same instant; a failure names it. `C2L_SIM_SEEDS` says how many are played, `C2L_SIM_FIRST` with which to begin.
//!
//! What must hold, for each seed:
//!
//! 1. Each request ends exactly once: with a whole answer, or with a fault. None waits longer than its limits.
//! 2. What a caller takes for a whole answer is whole, and no byte of it is another's. Nor is one of any upload.
//! 3. Neither side breaks the protocol, credit above all, and neither holds more than its bounds.
//! 4. The upstream sees no request twice.
//! 5. Once the faults are over, requests pass again, and then both sides have forgotten every stream.
//!
//! Read next: `simulation/world.rs`.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test in several files"
)]

#[path = "simulation/exchange.rs"]
mod exchange;
#[path = "simulation/faults.rs"]
mod faults;
#[path = "simulation/line.rs"]
mod line;
#[path = "simulation/random.rs"]
mod random;
#[path = "simulation/session.rs"]
mod session;
#[path = "simulation/world.rs"]
mod world;

use std::{
    collections::BTreeMap,
    env,
    num::NonZero,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use world::World;

const SEEDS: u64 = 100;

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text}: a number")),
    )
}

/// Runs a world on a clock of its own.
fn simulated<T>(world: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, world)
}

/// Plays this seed to its end; says how often what happened. A failure names the seed.
fn play(seed: u64) -> BTreeMap<String, usize> {
    let played = catch_unwind(AssertUnwindSafe(|| simulated(World::play(seed))));
    played.unwrap_or_else(|panic| {
        eprintln!("C2L_SIM_SEEDS=1 C2L_SIM_FIRST={seed} plays this again");
        resume_unwind(panic)
    })
}

fn add(total: &Mutex<BTreeMap<String, usize>>, counts: BTreeMap<String, usize>) {
    let mut total = total.lock().expect("no panic");
    for (what, count) in counts {
        *total.entry(what).or_default() += count;
    }
}

#[test]
fn whatever_the_network_does_each_request_ends_once_and_nothing_is_torn_mixed_up_or_left_behind() {
    let first = number("C2L_SIM_FIRST").unwrap_or(1);
    let seeds = number("C2L_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(first);
    let total = Mutex::new(BTreeMap::<String, usize>::new());
    // Each seed is a world of its own, so they may be played side by side.
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    add(&total, play(seed));
                }
            });
        }
    });
    let total = total.into_inner().expect("no panic");
    println!("{seeds} seeds: {total:#?}");
    if seeds >= SEEDS {
        // A simulation in which nothing happens would hold every promise.
        for what in [
            "request whole",
            "request told agent_lost",
            "request told agent_offline",
            "request told timeout",
            "request told upstream_failed",
            "request left",
            "session ended: drained",
            "session ended: nothing heard for 20s",
            "session ended: replaced by a newer session of this device",
            "session ended: the connection ended",
        ] {
            assert!(total.contains_key(what), "never seen: {what}");
        }
        assert!(total["request whole"] > 2_000, "too few");
    }
}

/// A full message takes two minutes here, six times what silence may last. Large bodies do not get far in their own
/// limits, but the session goes on and what is small passes.
#[test]
fn a_line_of_one_kib_a_second_is_slow_and_never_given_up() {
    let (counts, connections) = simulated(World::crawl(1, 1024));
    println!("{counts:#?}");
    assert_eq!(connections, 1, "the session was given up");
    assert!(counts.contains_key("request whole"), "{counts:?}");
    let ended: Vec<_> = counts
        .keys()
        .filter(|what| what.starts_with("session ended"))
        .collect();
    assert!(ended.is_empty(), "{ended:?}");
}

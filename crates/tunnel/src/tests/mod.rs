//! Tests of the state machine as one side of a session sees it, against a scripted peer.
//!
//! Time is an argument, so limits are held to the millisecond; wakers count, so a lost wake-up is seen. Whole exchanges
//! between two sides, in random order, are in `tests/fuzz.rs`.

mod codec;
mod credit;
mod drain;
mod greeting;
mod hostile;
mod line;
mod pace;
mod peer;
mod streams;
mod stuck;
mod time;
mod transmit;
mod wire;

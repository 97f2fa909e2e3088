//! The demonstration model seen from its callers, over real sockets on ports that the system chose.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and so may what helps it"
)]

mod client;

mod aborts;
mod control;
mod faults;
mod shapes;
mod uploads;

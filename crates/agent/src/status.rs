//! What the agent is doing, for a status line and for tests that wait for it.
//!
//! Invariant: one enum with its data inside; whoever watches sees the newest state and never holds the agent up.
//!
//! ```text
//!      ┌────────────────────────────────────┐
//!      ▼            welcome                 │
//! Connecting ───────────────────▶ Open ─────┤ relay drained
//!      │  ▲                        │        │
//!      │  └──── BackingOff ◀───────┤ lost   │
//!      │             ▲             │        │
//!      └─────────────┘             ▼        │
//!        failed                 Draining ───┘      shutdown or refusal, from anywhere: Closed
//! ```

use std::time::Instant;

use crate::dialer::Way;

/// What an agent is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Dialing and greeting.
    Connecting {
        /// Counts from 1; starts over once a session was open.
        attempt: u32,
    },
    /// Requests may come.
    Open {
        /// The relay's name for the session, the same as in its log.
        session_id: String,
        /// When the relay welcomed us.
        since: Instant,
        /// How the relay is reached.
        way: Way,
    },
    /// Waiting before the next attempt.
    BackingOff {
        /// When it comes.
        until: Instant,
        /// Why the last one failed, one sentence without secrets.
        last_error: String,
    },
    /// No new requests; running ones finish.
    Draining,
    /// Over. The result of the run says why.
    Closed,
}

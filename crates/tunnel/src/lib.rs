//! The tunnel as a pure state machine: sessions, streams and windows; messages and time in, messages and wake-ups out.
//!
//! Invariant: this crate knows no socket, no task and no clock. The time is an argument, waiting is a
//! [`std::task::Waker`], and both programs use the very same code, each from its own [`Side`].
//!
//! How the parts stand to each other:
//!
//! 1. [`frame`] names what travels: heads, bodies, ends, resets, windows, and the frames of the session itself.
//! 2. [`wire`] converts those to and from the generated types of `c2l-proto`, checking every field on the way in.
//! 3. `stream` is one exchange: two directions that end separately, each under credit.
//! 4. `pace` says how much of bulk may be under way, so that what is small does not wait behind it.
//! 5. [`session`] holds the streams, whose turn it is to write, heartbeats, time limits and the end.
//! 6. [`link`] shares a session between the task that moves messages and the tasks that use streams.
//!
//! Read next: [`link::Link`], which is what relay and agent hold.

pub mod error;
pub mod frame;
pub mod link;
mod pace;
mod pieces;
pub mod session;
mod stream;
#[cfg(test)]
mod tests;
pub mod wire;

pub use error::{CloseReason, Fault, Kind, Origin, ProtocolError};
pub use frame::{
    ALLOWED_MODELS, Batch, Control, Frame, Hello, Limits, PROGRESS, RequestHead, ResponseHead,
    Scopes, StreamId, Welcome,
};
pub use link::{Answer, Link, StreamHandle};
pub use session::{Phase, Session, Settings, Side, StreamLimits};

/// Major version of the protocol that this code speaks.
pub const PROTOCOL_VERSION: u32 = 1;

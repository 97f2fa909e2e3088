//! What the fuzz targets run: one function per target, from bytes to a panic or nothing.
//!
//! Invariant: only public API, and no randomness of its own, so that a crash is its input.

pub mod bodies;
pub mod choices;
pub mod hostile;
pub mod pair;
pub mod strangers;

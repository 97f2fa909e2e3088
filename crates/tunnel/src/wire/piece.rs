//! A stretch of a message on its way out: framing, then a body that is not copied.
//!
//! Invariant: the two stay together, so that they go into one frame of HTTP/2 and come out of it side by side. A frame for
//! each would cost both ends twice as much.

use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Bytes in two parts, either of which may be empty.
#[derive(Debug, Default)]
pub struct Piece {
    framing: Bytes,
    body: Bytes,
}

impl Piece {
    pub(super) fn new(framing: Bytes, body: Bytes) -> Self {
        Self { framing, body }
    }

    /// What comes first, and what comes then.
    #[must_use]
    pub fn into_parts(self) -> [Bytes; 2] {
        [self.framing, self.body]
    }
}

impl From<Bytes> for Piece {
    fn from(body: Bytes) -> Self {
        Self::new(Bytes::new(), body)
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.framing.len() + self.body.len()
    }

    fn chunk(&self) -> &[u8] {
        match self.framing.is_empty() {
            true => &self.body,
            false => &self.framing,
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let parts = [&self.framing, &self.body];
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        let mut filled = 0;
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, count: usize) {
        let first = count.min(self.framing.len());
        self.framing.advance(first);
        self.body.advance(count - first);
    }
}

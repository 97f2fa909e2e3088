//! What arrived of a message, in the pieces that the line cut it into.
//!
//! Invariant: memory held is bounded by the bytes counted. Each piece may have a buffer of its own behind it, so while a
//! message is not whole, small ones are copied together.

use std::collections::VecDeque;

use bytes::{Buf, BufMut as _, Bytes, BytesMut};

/// Below this a piece that comes in the middle of a message is copied: the buffer behind it, as HTTP/2 reads it, may have
/// 8 KiB and more.
const COPY_BELOW_BYTES: usize = 4096;
/// So many places for pieces are kept between messages.
const KEPT_PIECES: usize = 16;

/// What arrived and was not read yet, in order.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    queue: VecDeque<Bytes>,
    /// Small pieces behind those, copied together.
    small: BytesMut,
    pub(super) bytes: usize,
}

impl Arrived {
    /// In how many pieces it lies.
    #[cfg(test)]
    pub(super) fn pieces(&self) -> usize {
        self.queue.len() + usize::from(!self.small.is_empty())
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        let is_waiting = self.bytes > 0;
        self.bytes += piece.len();
        if is_waiting && piece.len() < COPY_BELOW_BYTES {
            self.small.extend_from_slice(&piece);
        } else {
            self.gather();
            self.queue.push_back(piece);
        }
    }

    /// Puts what was copied together behind the rest.
    pub(super) fn gather(&mut self) {
        if !self.small.is_empty() {
            self.queue.push_back(self.small.split().freeze());
        }
    }

    /// Gives back what a long message needed.
    pub(super) fn rest(&mut self) {
        if self.bytes == 0 {
            self.small = BytesMut::new();
            if self.queue.capacity() > KEPT_PIECES {
                self.queue = VecDeque::new();
            }
        }
    }
}

/// The bytes of one message, or of its prefix.
pub(super) struct Message<'a> {
    pub(super) pieces: &'a mut Arrived,
    pub(super) left: usize,
}

impl Buf for Message<'_> {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        let front = self.pieces.queue.front().map_or(&[][..], |piece| piece);
        &front[..front.len().min(self.left)]
    }

    fn advance(&mut self, mut count: usize) {
        self.left -= count;
        self.pieces.bytes -= count;
        while count > 0
            && let Some(front) = self.pieces.queue.front_mut()
        {
            if front.len() > count {
                return front.advance(count);
            }
            count -= front.len();
            self.pieces.queue.pop_front();
        }
    }

    /// A slice where one piece holds it all, else a copy.
    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        match self.pieces.queue.front_mut() {
            Some(front) if front.len() > length => {
                self.left -= length;
                self.pieces.bytes -= length;
                front.split_to(length)
            }
            Some(front) if front.len() == length => {
                self.left -= length;
                self.pieces.bytes -= length;
                self.pieces.queue.pop_front().unwrap_or_default()
            }
            _ => {
                let mut copy = BytesMut::with_capacity(length);
                copy.put(self.take(length));
                copy.freeze()
            }
        }
    }
}

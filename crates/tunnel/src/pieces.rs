//! A queue of body pieces that keeps what it holds close to what it counts.
//!
//! Invariant: memory held is bounded by the bytes counted. A received piece is a slice of a larger message; one tiny
//! slice left in a queue would keep the whole message alive. So small pieces that have to wait are copied together,
//! which also saves a frame for each of them. A piece that somebody waits for passes through untouched.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes, BytesMut};

/// Below this a piece that waits behind another is copied instead of kept as a slice.
const COPY_BELOW_BYTES: usize = 16 * 1024;
/// Copied pieces are merged up to this length.
const MERGE_UP_TO_BYTES: usize = 16 * 1024;

#[derive(Debug)]
enum Piece {
    /// A slice of what was received.
    Shared(Bytes),
    /// Small pieces that waited, copied together.
    Merged(BytesMut),
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Shared(bytes) => bytes.len(),
            Self::Merged(bytes) => bytes.len(),
        }
    }
}

/// Body pieces in order.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    queue: VecDeque<Piece>,
    bytes: usize,
}

impl Pieces {
    /// Bytes waiting.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Adds a piece; an empty one vanishes. `is_awaited` says that somebody is about to take it: a small piece that is
    /// not awaited may stay for long, and is copied even when it stands alone.
    pub(crate) fn push(&mut self, piece: Bytes, is_awaited: bool) {
        if piece.is_empty() {
            return;
        }
        self.bytes += piece.len();
        if piece.len() >= COPY_BELOW_BYTES {
            return self.queue.push_back(Piece::Shared(piece));
        }
        match self.queue.back_mut() {
            None if is_awaited => self.queue.push_back(Piece::Shared(piece)),
            Some(Piece::Merged(last)) if last.len() + piece.len() <= MERGE_UP_TO_BYTES => {
                last.extend_from_slice(&piece);
            }
            Some(last @ Piece::Shared(_)) if last.len() + piece.len() <= MERGE_UP_TO_BYTES => {
                let mut merged = BytesMut::with_capacity((last.len() + piece.len()).max(512));
                if let Piece::Shared(first) = last {
                    merged.extend_from_slice(first);
                }
                merged.extend_from_slice(&piece);
                *last = Piece::Merged(merged);
            }
            Some(_) | None => self
                .queue
                .push_back(Piece::Merged(BytesMut::from(&piece[..]))),
        }
    }

    /// Takes the next piece, at most `limit_bytes` of it.
    pub(crate) fn pop(&mut self, limit_bytes: usize) -> Option<Bytes> {
        if limit_bytes == 0 {
            return None;
        }
        let front = self.queue.front_mut()?;
        let taken = if front.len() > limit_bytes {
            match front {
                Piece::Shared(bytes) => bytes.split_to(limit_bytes),
                Piece::Merged(bytes) => bytes.split_to(limit_bytes).freeze(),
            }
        } else {
            match self.queue.pop_front()? {
                Piece::Shared(bytes) => bytes,
                Piece::Merged(mut bytes) => bytes.copy_to_bytes(bytes.len()),
            }
        };
        self.bytes -= taken.len();
        Some(taken)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.queue = VecDeque::new();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_piece_that_somebody_waits_for_is_not_copied() {
        let mut pieces = Pieces::default();
        let token = Bytes::from_static(b"token");
        pieces.push(token.clone(), true);
        let out = pieces.pop(usize::MAX).expect("one piece");
        assert_eq!(out.as_ptr(), token.as_ptr());
        assert!(pieces.is_empty());
    }

    #[test]
    fn a_small_piece_that_may_stay_does_not_keep_its_message_alive() {
        let mut pieces = Pieces::default();
        let message = Bytes::from(vec![7; 1024 * 1024]);
        pieces.push(message.slice(..1), false);
        assert!(message.is_unique());
    }

    #[test]
    fn small_pieces_that_wait_are_merged_and_large_ones_kept_apart() {
        let mut pieces = Pieces::default();
        pieces.push(Bytes::from_static(b"a"), true);
        pieces.push(Bytes::from_static(b"b"), true);
        pieces.push(Bytes::from(vec![7; COPY_BELOW_BYTES]), true);
        pieces.push(Bytes::from_static(b"c"), true);
        assert_eq!(pieces.pop(usize::MAX).expect("merged"), "ab");
        assert_eq!(
            pieces.pop(usize::MAX).expect("large").len(),
            COPY_BELOW_BYTES
        );
        assert_eq!(pieces.pop(usize::MAX).expect("last"), "c");
        assert_eq!(pieces.bytes(), 0);
    }

    #[test]
    fn many_tiny_pieces_take_up_few_places() {
        let mut pieces = Pieces::default();
        for _ in 0..256 * 1024 {
            pieces.push(Bytes::from_static(b"x"), false);
        }
        assert_eq!(pieces.bytes(), 256 * 1024);
        assert!(pieces.queue.len() <= 17, "{} places", pieces.queue.len());
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out_in_order_whatever_the_cuts(
            lengths in prop::collection::vec((0usize..40_000, any::<bool>()), 0..20),
            cuts in prop::collection::vec(1usize..70_000, 1..10),
        ) {
            let mut pieces = Pieces::default();
            let mut expected = Vec::new();
            let mut out = Vec::new();
            let mut cuts = cuts.iter().cycle();
            for (index, (length, is_awaited)) in lengths.into_iter().enumerate() {
                let start = expected.len();
                expected.extend((0..=250).cycle().skip(start % 251).take(length));
                pieces.push(Bytes::copy_from_slice(&expected[start..]), is_awaited);
                if index % 3 == 2 {
                    let limit = *cuts.next().expect("cycle");
                    if let Some(piece) = pieces.pop(limit) {
                        prop_assert!(!piece.is_empty() && piece.len() <= limit);
                        out.extend_from_slice(&piece);
                    }
                }
                prop_assert_eq!(pieces.bytes() + out.len(), expected.len());
            }
            while let Some(piece) = pieces.pop(*cuts.next().expect("cycle")) {
                out.extend_from_slice(&piece);
            }
            prop_assert!(out == expected);
        }
    }
}

//! What the upstream answers with: a text, tokens at their pace, or bulk.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Asked, ledger::Presence};
use crate::wall_nanos;

/// Bytes of one piece of a download.
const PIECE: Bytes = Bytes::from_static(&[b'x'; 64 * 1024]);

/// A body of any of the kinds.
pub(super) enum Answer {
    Whole(Option<Bytes>),
    Tokens(Box<Tokens>),
    Bytes { left: u64, presence: Presence },
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match &mut *self {
            Self::Whole(text) => text.take(),
            Self::Tokens(tokens) => ready!(tokens.poll_next(cx)),
            Self::Bytes { left: 0, .. } => None,
            Self::Bytes { left, presence } => {
                let length =
                    usize::try_from(*left).map_or(PIECE.len(), |left| left.min(PIECE.len()));
                *left -= length as u64;
                presence.gave(length as u64);
                Some(PIECE.slice(..length))
            }
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Whole(text) => {
                http_body::SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64)
            }
            Self::Tokens(_) => http_body::SizeHint::default(),
            Self::Bytes { left, .. } => http_body::SizeHint::with_exact(*left),
        }
    }
}

/// A chat: one line a token, each at its time.
pub(super) struct Tokens {
    number: u64,
    asked: Asked,
    due: Instant,
    timer: Pin<Box<Sleep>>,
    _presence: Presence,
}

impl Tokens {
    pub(super) fn new(asked: Asked, presence: Presence) -> Self {
        let due = Instant::now();
        Self {
            number: 0,
            asked,
            due,
            timer: Box::pin(sleep_until(due)),
            _presence: presence,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.number == self.asked.tokens {
            return Poll::Ready(None);
        }
        if self.asked.gap_us > 0 && self.number > 0 {
            ready!(self.timer.as_mut().poll(cx));
        }
        let line = format!(
            "{{\"model\":\"bench\",\"n\":{},\"at\":{},\"message\":{{\"role\":\"assistant\",\"content\":\" token\"}},\"done\":{}}}\n",
            self.number,
            wall_nanos(),
            self.number + 1 == self.asked.tokens,
        );
        self.number += 1;
        self.due += Duration::from_micros(self.asked.gap_us);
        self.timer.as_mut().reset(self.due);
        Poll::Ready(Some(Bytes::from(line)))
    }
}

//! The request body on its way from the tunnel to the upstream.
//!
//! Invariant: the upstream sees a body end only when it was whole. A fault, or a length that does not hold, breaks the
//! connection to the upstream instead.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use c2l_tunnel::StreamHandle;
use http_body::{Body, Frame, SizeHint};

use super::headers;
use crate::now;

/// What the two halves of an exchange tell each other. One task moves both, so the order of single loads and stores
/// is all that matters.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// Body bytes that the upstream was given.
    pub(super) uploaded_bytes: AtomicU64,
    /// Set when the whole body was given to the upstream's connection.
    pub(super) is_upload_whole: AtomicBool,
    /// Set when the upstream has refused: the rest of the body is not wanted.
    pub(super) is_upload_over: AtomicBool,
    /// Set when the body was longer or shorter than announced.
    pub(super) is_length_wrong: AtomicBool,
    /// Interim answers so far.
    pub(super) interim_answers: AtomicU32,
    /// Set when the upstream asks for a body that is held back.
    pub(super) is_body_asked: AtomicBool,
}

/// Why a request body ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the stream failed: {0}")]
    Stream(c2l_tunnel::Fault),
    #[error("the body is not as long as announced")]
    Length,
}

/// The body of one request.
#[derive(Debug)]
pub(super) struct RequestBody {
    /// `None` once the body is whole: the stream is not held longer than it is needed.
    stream: Option<Arc<StreamHandle>>,
    /// What is left of the announced length, if one was.
    left_bytes: Option<u64>,
    signals: Arc<Signals>,
}

impl RequestBody {
    /// A body that ends with the head.
    pub(super) fn none(signals: Arc<Signals>) -> Self {
        signals.is_upload_whole.store(true, Ordering::Relaxed);
        Self {
            stream: None,
            left_bytes: Some(0),
            signals,
        }
    }

    /// What comes from `stream`, of the announced length.
    pub(super) fn from_stream(
        stream: Arc<StreamHandle>,
        length: Option<u64>,
        signals: Arc<Signals>,
    ) -> Self {
        Self {
            stream: Some(stream),
            left_bytes: length,
            signals,
        }
    }

    fn wrong_length(&self) -> BodyError {
        self.signals.is_length_wrong.store(true, Ordering::Relaxed);
        BodyError::Length
    }

    fn count(&mut self, piece: &Bytes) -> Result<(), BodyError> {
        let length = piece.len() as u64;
        if let Some(left) = self.left_bytes {
            let left = left
                .checked_sub(length)
                .ok_or_else(|| self.wrong_length())?;
            self.left_bytes = Some(left);
            if left == 0 {
                // The library does not ask for the end of a body that is as long as announced.
                self.signals.is_upload_whole.store(true, Ordering::Relaxed);
            }
        }
        self.signals
            .uploaded_bytes
            .fetch_add(length, Ordering::Relaxed);
        Ok(())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.signals.is_upload_over.load(Ordering::Relaxed) {
            return Poll::Pending; // for good: the connection is closed with the exchange
        }
        let Some(stream) = &self.stream else {
            return Poll::Ready(None);
        };
        match ready!(stream.poll_body(now(), cx)) {
            Ok(Some(piece)) => {
                self.count(&piece)?;
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Ok(None) if self.left_bytes.is_some_and(|left| left > 0) => {
                Poll::Ready(Some(Err(self.wrong_length())))
            }
            Ok(None) => {
                // HTTP/1 writes only trailers that a `Trailer` field announced, and that field ends here (RFC 9110
                // §6.5.1 permits a hop to drop them). They go to the library all the same: it knows its framing.
                let trailers = stream.take_trailers();
                self.stream = None;
                self.signals.is_upload_whole.store(true, Ordering::Relaxed);
                let trailers = trailers.map(|fields| Frame::trailers(headers::trailers(fields)));
                Poll::Ready(trailers.map(Ok))
            }
            Err(fault) => Poll::Ready(Some(Err(BodyError::Stream(fault)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.left_bytes
            .map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

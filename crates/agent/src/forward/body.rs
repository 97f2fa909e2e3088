//! The request body on its way from the tunnel to the upstream.
//!
//! Invariant: the upstream sees a body end only when it was whole and allowed. A fault, a length that does not hold, or
//! a model that may not be used breaks the connection to the upstream instead.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use c2l_models::{Gate, Glance, Refusal};
use c2l_tunnel::{StreamHandle, wire};
use http_body::{Body, Frame, SizeHint};

use super::{headers, owner};
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
    /// Set when what the body names is refused.
    pub(super) refusal: OnceLock<c2l_tunnel::Fault>,
    /// Interim answers so far.
    pub(super) interim_answers: AtomicU32,
    /// Set when the upstream asks for a body that is held back.
    pub(super) is_body_asked: AtomicBool,
    /// The model that the body names, until somebody takes it.
    model: Mutex<String>,
}

impl Signals {
    fn name(&self, model: Option<String>) {
        if let Some(model) = model.filter(|model| wire::is_model_name(model)) {
            *self.model.lock().unwrap_or_else(PoisonError::into_inner) = model;
        }
    }

    /// The model that was named, once; empty when nobody knows.
    pub(super) fn take_model(&self) -> String {
        std::mem::take(&mut self.model.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What reads a body on its way.
#[derive(Debug)]
pub(super) enum Reader {
    /// Judges it, and holds its end back until then.
    Gate(Box<Gate>),
    /// Sees which model it names, where every one is allowed.
    Glance(Glance),
}

/// Why a request body ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the stream failed: {0}")]
    Stream(c2l_tunnel::Fault),
    #[error("the body is not as long as announced")]
    Length,
    #[error("the body is refused")]
    Refused,
}

/// The body of one request.
#[derive(Debug)]
pub(super) struct RequestBody {
    /// `None` once the body is whole: the stream is not held longer than it is needed.
    stream: Option<Arc<StreamHandle>>,
    /// What is left of the announced length, if one was.
    left_bytes: Option<u64>,
    /// `None` when nobody is interested, or not any more.
    reader: Option<Reader>,
    /// Set once the stream has said that nothing more comes.
    is_ended: bool,
    signals: Arc<Signals>,
}

impl RequestBody {
    /// A body that ends with the head.
    pub(super) fn none(signals: Arc<Signals>) -> Self {
        signals.is_upload_whole.store(true, Ordering::Relaxed);
        Self {
            stream: None,
            left_bytes: Some(0),
            reader: None,
            is_ended: true,
            signals,
        }
    }

    /// What comes from `stream`, of the announced length; its end only if `reader` lets it through.
    pub(super) fn from_stream(
        stream: Arc<StreamHandle>,
        length: Option<u64>,
        reader: Option<Reader>,
        signals: Arc<Signals>,
    ) -> Self {
        Self {
            stream: Some(stream),
            left_bytes: length,
            reader,
            is_ended: false,
            signals,
        }
    }

    fn wrong_length(&self) -> BodyError {
        self.signals.is_length_wrong.store(true, Ordering::Relaxed);
        BodyError::Length
    }

    fn refused(&self, refusal: Refusal) -> BodyError {
        // One body is refused once: after an error it is not polled again.
        drop(self.signals.refusal.set(owner::fault(refusal)));
        BodyError::Refused
    }

    /// Takes a piece from the stream and gives what may go on of it now, which may be nothing.
    fn take(&mut self, piece: Bytes) -> Result<Bytes, BodyError> {
        if let Some(left) = self.left_bytes {
            let left = left.checked_sub(piece.len() as u64);
            self.left_bytes = Some(left.ok_or_else(|| self.wrong_length())?);
        }
        let is_last = self.left_bytes == Some(0);
        let passed = match &mut self.reader {
            Some(Reader::Gate(gate)) => {
                let passed = gate.pass(piece, is_last);
                self.signals.name(gate.take_model());
                passed
            }
            Some(Reader::Glance(glance)) => {
                self.signals.name(glance.look(&piece));
                Ok(piece)
            }
            None => Ok(piece),
        };
        let piece = passed.map_err(|refusal| self.refused(refusal))?;
        if is_last {
            self.reader = None;
            // The library does not ask for the end of a body that is as long as announced.
            self.signals.is_upload_whole.store(true, Ordering::Relaxed);
        }
        Ok(piece)
    }

    /// The end of the body: what was held back, then trailers, then nothing.
    fn end(&mut self) -> Result<Option<Frame<Bytes>>, BodyError> {
        if let Some(Reader::Gate(mut gate)) = self.reader.take() {
            let held = gate.finish().map_err(|refusal| self.refused(refusal))?;
            if !held.is_empty() {
                return Ok(Some(self.given(held)));
            }
        }
        // HTTP/1 writes only trailers that a `Trailer` field announced, and that field ends here (RFC 9110 §6.5.1
        // permits a hop to drop them). They go to the library all the same: it knows its framing.
        let trailers = self.stream.take().and_then(|stream| stream.take_trailers());
        self.signals.is_upload_whole.store(true, Ordering::Relaxed);
        Ok(trailers.map(|fields| Frame::trailers(headers::trailers(fields))))
    }

    fn given(&self, piece: Bytes) -> Frame<Bytes> {
        let uploaded = &self.signals.uploaded_bytes;
        uploaded.fetch_add(piece.len() as u64, Ordering::Relaxed);
        Frame::data(piece)
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
        while !self.is_ended {
            let Some(stream) = &self.stream else {
                return Poll::Ready(None);
            };
            match ready!(stream.poll_body(now(), cx)) {
                Ok(Some(piece)) => {
                    let piece = self.take(piece)?;
                    if !piece.is_empty() {
                        return Poll::Ready(Some(Ok(self.given(piece))));
                    }
                }
                Ok(None) if self.left_bytes.is_some_and(|left| left > 0) => {
                    return Poll::Ready(Some(Err(self.wrong_length())));
                }
                Ok(None) => self.is_ended = true,
                Err(fault) => return Poll::Ready(Some(Err(BodyError::Stream(fault)))),
            }
        }
        Poll::Ready(self.end().transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let held = match &self.reader {
            Some(Reader::Gate(gate)) => gate.held_bytes() as u64,
            Some(Reader::Glance(_)) | None => 0,
        };
        self.left_bytes
            .map_or_else(SizeHint::new, |left| SizeHint::with_exact(left + held))
    }
}

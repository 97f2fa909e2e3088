//! One exchange under way: the caller's upload and the agent's answer, moving at the same time.
//!
//! Invariant: an exchange has no task of its own. It moves when the caller's connection polls it, first while the
//! answer is awaited, then as the body of that answer; dropping it, at any point, resets the stream, and the agent
//! drops its request to the upstream. An answer is as long as it says, or it is torn.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use c2l_tunnel::{Answer, Fault, Kind, Origin, ResponseHead, StreamHandle};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

use crate::{
    error::{Dialect, unauthenticated},
    gateway::{admission::Permit, headers, record::Record, tear::Tear},
    identity::Standing,
};

/// How long the error record of a torn answer has to leave before the connection is cut behind it.
const RECORD_GRACE: Duration = Duration::from_millis(20);

/// The caller's body on its way to the agent.
#[derive(Debug)]
enum Upload {
    /// Held back until the upstream asks for it (RFC 9110 §10.1.1).
    Held(Incoming),
    /// Moving; a piece may wait for room.
    Moving { body: Incoming, rest: Bytes },
    /// Whole, or given up.
    Ended,
}

/// One exchange, from the opened stream on.
pub(crate) struct Exchange {
    stream: StreamHandle,
    upload: Upload,
    max_body_bytes: u64,
    record: Record,
    standing: Standing,
    permit: Permit,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("stream", &self.stream.id())
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

impl Exchange {
    /// Takes the stream and the caller's body; `is_held` keeps the body back until the upstream asks for it.
    pub(crate) fn new(
        stream: StreamHandle,
        body: Option<Incoming>,
        is_held: bool,
        max_body_bytes: Option<u64>,
        record: Record,
        standing: Standing,
        permit: Permit,
    ) -> Box<Self> {
        let upload = match body {
            None => Upload::Ended,
            Some(body) if is_held => Upload::Held(body),
            Some(body) => Upload::Moving {
                body,
                rest: Bytes::new(),
            },
        };
        Box::new(Self {
            stream,
            upload,
            max_body_bytes: max_body_bytes.unwrap_or(u64::MAX),
            record,
            standing,
            permit,
        })
    }

    /// Moves the upload until the answer begins. Dropping the future changes nothing; dropping the exchange resets the
    /// stream.
    ///
    /// # Errors
    /// The fault that ended the exchange before an answer began.
    pub(crate) async fn answer(&mut self) -> Result<Box<ResponseHead>, Fault> {
        let mut head = poll_fn(|cx| self.poll_answer(cx)).await?;
        headers::one_length(&mut head.headers).map_err(|fault| self.give_up(fault))?;
        self.record.begin(head.status);
        self.record.model(std::mem::take(&mut head.model));
        Ok(head)
    }

    /// What logs it, of one that failed before an answer began.
    pub(crate) fn into_record(self) -> Record {
        self.record
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<ResponseHead>, Fault>> {
        self.check_standing(cx)?;
        loop {
            if let Poll::Ready(Err(fault)) = self.poll_upload(cx) {
                return Poll::Ready(Err(fault));
            }
            match std::task::ready!(self.stream.poll_answer(cx))? {
                Answer::Head(head) => return Poll::Ready(Ok(head)),
                Answer::Continue => self.release_upload(),
            }
        }
    }

    /// The upstream wants the body: reading it makes the HTTP library send the 100 (Continue).
    fn release_upload(&mut self) {
        if let Upload::Held(body) = std::mem::replace(&mut self.upload, Upload::Ended) {
            self.upload = Upload::Moving {
                body,
                rest: Bytes::new(),
            };
        }
    }

    /// Moves the caller's body as far as it goes now. Room is reserved before a piece is read.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        loop {
            let Upload::Moving { body, rest } = &mut self.upload else {
                return Poll::Ready(Ok(()));
            };
            let Ok(_room) = std::task::ready!(self.stream.poll_capacity(cx)) else {
                self.upload = Upload::Ended; // the answer's side says why
                return Poll::Ready(Ok(()));
            };
            if !rest.is_empty() {
                // An error here is seen by the answer's side as well.
                if self.stream.send_body(rest, now()).is_err() {
                    self.upload = Upload::Ended;
                }
                continue;
            }
            match std::task::ready!(Pin::new(body).poll_frame(cx)) {
                None => {
                    drop(self.stream.send_end(HeaderMap::new()));
                    self.upload = Upload::Ended;
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let total = self.record.bytes_toward_upstream + data.len() as u64;
                        if total > self.max_body_bytes {
                            return Poll::Ready(Err(self.give_up(too_large(self.max_body_bytes))));
                        }
                        self.record.moved_toward_upstream(total);
                        self.permit.moved(data.len());
                        *rest = data;
                    }
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            let trailers = headers::toward_upstream(trailers);
                            drop(self.stream.send_end(trailers));
                            self.upload = Upload::Ended;
                        }
                    }
                },
                Some(Err(_)) => {
                    // Broken framing or a caller who left: the upstream must not take the rest for whole.
                    let message = "the request body broke off or is not valid";
                    let fault = Fault::new(Kind::InvalidRequest, Origin::Caller, message);
                    return Poll::Ready(Err(self.give_up(fault)));
                }
            }
        }
    }

    /// Ends the exchange when the caller's credential was revoked. Its running out in the middle ends nothing.
    fn check_standing(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        match self.standing.poll_revoked(cx) {
            Poll::Ready(error) => {
                let mut fault = unauthenticated(error.to_string());
                fault.is_retry_safe = false; // it has begun
                Err(self.give_up(fault))
            }
            Poll::Pending => Ok(()),
        }
    }

    fn give_up(&mut self, fault: Fault) -> Fault {
        self.upload = Upload::Ended;
        self.stream.reset(fault.clone());
        fault
    }
}

fn too_large(limit: u64) -> Fault {
    let message = format!("the request body is larger than {limit} bytes");
    Fault::new(Kind::BodyTooLarge, Origin::Caller, message)
}

fn wrong_length() -> Fault {
    let message = "the agent's answer is not as long as announced";
    Fault::new(Kind::AgentProtocol, Origin::Agent, message)
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// The answer was torn: the connection is cut, so that nobody takes it for whole.
#[derive(Debug, thiserror::Error)]
#[error("the answer was torn: {0}")]
pub(crate) struct Torn(pub(crate) Kind);

/// Where the body of an answer stands.
enum State {
    Streaming,
    /// The error record is on its way; then the cut.
    Tearing {
        kind: Kind,
        cut_at: Pin<Box<Sleep>>,
    },
    Ended,
}

/// The body of a forwarded answer.
pub(crate) struct AnswerBody {
    exchange: Box<Exchange>,
    state: State,
    tear: Tear,
    declared_bytes: Option<u64>,
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.exchange.fmt(f)
    }
}

impl AnswerBody {
    /// The body behind this head. `is_bodiless` says that HTTP has none here, whatever the head declares.
    pub(crate) fn new(
        exchange: Box<Exchange>,
        head: &ResponseHead,
        dialect: Dialect,
        is_bodiless: bool,
    ) -> Self {
        let declared_bytes = head
            .headers
            .get(http::header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let mut body = Self {
            exchange,
            state: State::Streaming,
            tear: Tear::new(&head.headers, dialect, declared_bytes.is_some()),
            declared_bytes,
        };
        let is_empty = head.is_whole && declared_bytes.is_none_or(|declared| declared == 0);
        if is_empty || is_bodiless {
            body.exchange.record.complete();
            body.declared_bytes = None;
            body.state = State::Ended;
        }
        body
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>> {
        self.exchange.check_standing(cx)?;
        // The upload goes on beside the answer; its failure is the exchange's.
        if let Poll::Ready(Err(fault)) = self.exchange.poll_upload(cx) {
            return Poll::Ready(Err(fault));
        }
        let piece = std::task::ready!(self.exchange.stream.poll_body(now(), cx))?;
        let passed = self.exchange.record.bytes_toward_caller;
        let passed = passed + piece.as_ref().map_or(0, |piece| piece.len() as u64);
        let is_as_announced = self.declared_bytes.is_none_or(|declared| match piece {
            Some(_) => passed <= declared,
            None => passed == declared,
        });
        if !is_as_announced {
            // Cut to the announced length, as the HTTP library would, it could be taken for whole.
            return Poll::Ready(Err(self.exchange.give_up(wrong_length())));
        }
        Poll::Ready(Ok(piece))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Torn;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Torn>>> {
        let this = &mut *self;
        match &mut this.state {
            State::Ended => return Poll::Ready(None),
            State::Tearing { kind, cut_at } => {
                let kind = *kind;
                std::task::ready!(cut_at.as_mut().poll(cx));
                this.state = State::Ended;
                return Poll::Ready(Some(Err(Torn(kind))));
            }
            State::Streaming => {}
        }
        match std::task::ready!(this.poll_stream(cx)) {
            Ok(Some(piece)) => {
                this.exchange.record.moved_toward_caller(piece.len());
                this.exchange.permit.moved(piece.len());
                this.tear.passed(&piece);
                if this.declared_bytes == Some(this.exchange.record.bytes_toward_caller) {
                    // The HTTP library is done here and drops this body: the answer is whole all the same.
                    this.exchange.record.complete();
                    this.exchange.stream.await_end();
                }
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Ok(None) => {
                this.exchange.record.complete();
                this.state = State::Ended;
                let trailers = this.exchange.stream.take_trailers();
                let trailers = trailers.map(headers::trailers_toward_caller);
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Err(fault) => {
                this.exchange.record.fail(&fault);
                // What is queued already, the head perhaps among it, leaves before the cut.
                this.state = State::Tearing {
                    kind: fault.kind,
                    cut_at: Box::pin(sleep(RECORD_GRACE)),
                };
                match this.tear.record(&fault, &this.exchange.record.request_id) {
                    Some(record) => Poll::Ready(Some(Ok(Frame::data(record)))),
                    None => self.poll_frame(cx),
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.state, self.declared_bytes) {
            (State::Ended, _) => SizeHint::with_exact(0),
            (_, Some(declared)) => SizeHint::with_exact(
                declared.saturating_sub(self.exchange.record.bytes_toward_caller),
            ),
            (_, None) => SizeHint::default(),
        }
    }
}

//! One exchange under way: the caller's upload and the agent's answer, moving at the same time.
//!
//! Invariant: an exchange has no task of its own. It moves when the caller's connection polls it, first while the
//! answer is awaited, then as the body of that answer; dropping it, at any point, resets the stream, and the agent
//! drops its request to the upstream. Whichever way it ends, exactly one event is logged.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use c2l_tunnel::{Answer, Fault, Kind, Origin, ResponseHead, StreamHandle};
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};
use tracing::Level;

use crate::{error::Dialect, gateway::admission::Permit, metrics::Metrics};

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

/// What is logged when the exchange ends.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) request_id: String,
    pub(crate) user: String,
    pub(crate) device: String,
    pub(crate) method: http::Method,
    pub(crate) route: String,
    pub(crate) started: Instant,
    pub(crate) metrics: Arc<Metrics>,
    status: Option<StatusCode>,
    first_byte: Option<Duration>,
    bytes_toward_upstream: u64,
    bytes_toward_caller: u64,
    outcome: Option<Result<(), (Kind, Origin)>>,
}

impl Record {
    pub(crate) fn new(
        request_id: String,
        method: http::Method,
        route: String,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            request_id,
            user: String::new(),
            device: String::new(),
            method,
            route,
            started: Instant::now(),
            metrics,
            status: None,
            first_byte: None,
            bytes_toward_upstream: 0,
            bytes_toward_caller: 0,
            outcome: None,
        }
    }

    /// The exchange failed before an answer began: what the caller gets instead.
    pub(crate) fn refuse(&mut self, fault: &Fault) {
        self.fail(fault);
    }

    /// The relay answered by itself, with this status.
    pub(crate) fn end_with(&mut self, status: StatusCode) {
        self.status = Some(status);
        self.complete();
    }

    /// The answer is whole; what comes after that changes nothing.
    pub(crate) fn complete(&mut self) {
        self.outcome.get_or_insert(Ok(()));
    }

    fn fail(&mut self, fault: &Fault) {
        self.outcome.get_or_insert(Err((fault.kind, fault.origin)));
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // Dropped before anyone said how it ended: by a panic of ours, else by a caller who left.
        let unsaid = if std::thread::panicking() {
            (Kind::Internal, Origin::Relay)
        } else {
            (Kind::CallerGone, Origin::Caller)
        };
        let outcome = self.outcome.unwrap_or(Err(unsaid));
        let metrics = &self.metrics;
        metrics
            .bytes_toward_upstream
            .fetch_add(self.bytes_toward_upstream, Ordering::Relaxed);
        metrics
            .bytes_toward_caller
            .fetch_add(self.bytes_toward_caller, Ordering::Relaxed);
        let (name, origin) = match outcome {
            Ok(()) => {
                metrics.exchanges_whole.fetch_add(1, Ordering::Relaxed);
                ("whole", "")
            }
            Err((kind, origin)) => {
                metrics.count_fault(kind);
                (kind.as_str(), origin.as_str())
            }
        };
        // What went well, or wrong at the caller's, is of interest one by one only to who debugs.
        let is_notable = outcome.is_err_and(|(_, origin)| origin != Origin::Caller);
        let level = if is_notable {
            Level::INFO
        } else {
            Level::DEBUG
        };
        event_at!(
            level,
            request_id = %self.request_id,
            user = %self.user,
            device = %self.device,
            method = %self.method,
            route = %self.route,
            status = self.status.map_or(0, |status| status.as_u16()),
            outcome = name,
            origin,
            bytes_toward_upstream = self.bytes_toward_upstream,
            bytes_toward_caller = self.bytes_toward_caller,
            first_byte_ms = self.first_byte.map(milliseconds),
            duration_ms = milliseconds(self.started.elapsed()),
            "exchange ended"
        );
    }
}

/// An event whose level is known only when it happens; the macros of `tracing` want a constant.
macro_rules! event_at {
    ($level:expr, $($fields:tt)*) => {
        if $level == Level::INFO { tracing::info!($($fields)*) } else { tracing::debug!($($fields)*) }
    };
}
use event_at;

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// One exchange, from the opened stream on.
pub(crate) struct Exchange {
    stream: StreamHandle,
    upload: Upload,
    max_body_bytes: u64,
    record: Record,
    _permit: Permit,
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
        permit: Permit,
    ) -> Self {
        let upload = match body {
            None => Upload::Ended,
            Some(body) if is_held => Upload::Held(body),
            Some(body) => Upload::Moving {
                body,
                rest: Bytes::new(),
            },
        };
        Self {
            stream,
            upload,
            max_body_bytes: max_body_bytes.unwrap_or(u64::MAX),
            record,
            _permit: permit,
        }
    }

    /// Moves the upload until the answer begins. Dropping the future resets the stream.
    ///
    /// # Errors
    /// The fault that ended the exchange before an answer began, with the record that logs it.
    pub(crate) async fn answer(mut self) -> Result<(Box<ResponseHead>, Self), (Fault, Record)> {
        let answer = poll_fn(|cx| self.poll_answer(cx)).await;
        match answer {
            Ok(head) => {
                self.record.first_byte = Some(self.record.started.elapsed());
                self.record.status = Some(head.status);
                Ok((head, self))
            }
            Err(fault) => Err((fault, self.record)),
        }
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<ResponseHead>, Fault>> {
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
                        self.record.bytes_toward_upstream = total;
                        *rest = data;
                    }
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            let trailers = super::headers::toward_upstream(trailers);
                            drop(self.stream.send_end(trailers));
                            self.upload = Upload::Ended;
                        }
                    }
                },
                Some(Err(_)) => {
                    // Broken framing or a caller who left: the upstream must not take the rest for whole.
                    let fault = crate::error::invalid("the request body broke off or is not valid");
                    return Poll::Ready(Err(self.give_up(fault)));
                }
            }
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
    exchange: Exchange,
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
        exchange: Exchange,
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
        if head.is_whole || is_bodiless {
            body.exchange.record.complete();
            body.declared_bytes = None;
            body.state = State::Ended;
        }
        body
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>> {
        // The upload goes on beside the answer; its failure is the exchange's.
        if let Poll::Ready(Err(fault)) = self.exchange.poll_upload(cx) {
            return Poll::Ready(Err(fault));
        }
        self.exchange.stream.poll_body(now(), cx)
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
                this.exchange.record.bytes_toward_caller += piece.len() as u64;
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
                let trailers = trailers.map(super::headers::trailers_toward_caller);
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Err(fault) => {
                this.exchange.record.fail(&fault);
                let Some(record) = this.tear.record(&fault, &this.exchange.record.request_id)
                else {
                    this.state = State::Ended;
                    return Poll::Ready(Some(Err(Torn(fault.kind))));
                };
                this.state = State::Tearing {
                    kind: fault.kind,
                    cut_at: Box::pin(sleep(RECORD_GRACE)),
                };
                Poll::Ready(Some(Ok(Frame::data(record))))
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

/// How a torn answer says so in its own format, if it has one.
#[derive(Debug)]
struct Tear {
    format: Option<Format>,
    tail: [u8; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Ndjson,
    OpenAiEvents,
    AnthropicEvents,
}

impl Tear {
    fn new(headers: &HeaderMap, dialect: Dialect, has_length: bool) -> Self {
        let content_type = headers
            .get(http::header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let format = match (
            content_type.split(';').next().unwrap_or_default().trim(),
            dialect,
        ) {
            // A record would not fit into a declared length, nor into a compressed body.
            _ if has_length || headers.contains_key(http::header::CONTENT_ENCODING) => None,
            ("application/x-ndjson", _) => Some(Format::Ndjson),
            ("text/event-stream", Dialect::Anthropic) => Some(Format::AnthropicEvents),
            ("text/event-stream", Dialect::OpenAi | Dialect::Ollama) => Some(Format::OpenAiEvents),
            _ => None,
        };
        Self {
            format,
            tail: *b"\n\n",
        }
    }

    /// Remembers how the answer stands at its end: inside a line, after one, after an event.
    fn passed(&mut self, piece: &[u8]) {
        self.tail = match piece {
            [.., before, last] => [*before, *last],
            [last] => [self.tail[1], *last],
            [] => self.tail,
        };
    }

    /// The error record, so begun that it does not run into what was cut off.
    fn record(&self, fault: &Fault, request_id: &str) -> Option<Bytes> {
        let format = self.format?;
        let is_inside_line = self.tail[1] != b'\n';
        let is_inside_event = is_inside_line || self.tail[0] != b'\n';
        let record = match format {
            Format::Ndjson => {
                let begin = if is_inside_line { "\n" } else { "" };
                format!("{begin}{}\n", Dialect::Ollama.error_body(fault, request_id))
            }
            Format::OpenAiEvents | Format::AnthropicEvents => {
                let begin = match (is_inside_line, is_inside_event) {
                    (true, _) => "\n\n",
                    (false, true) => "\n",
                    (false, false) => "",
                };
                if format == Format::OpenAiEvents {
                    format!(
                        "{begin}data: {}\n\n",
                        Dialect::OpenAi.error_body(fault, request_id)
                    )
                } else {
                    let body = Dialect::Anthropic.error_body(fault, request_id);
                    format!("{begin}event: error\ndata: {body}\n\n")
                }
            }
        };
        Some(Bytes::from(record))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn tear(content_type: &'static str, dialect: Dialect, passed: &[u8]) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static(content_type));
        let mut tear = Tear::new(&headers, dialect, false);
        tear.passed(passed);
        let fault = Fault::new(Kind::AgentLost, Origin::Agent, "gone");
        tear.record(&fault, "r")
            .map(|bytes| String::from_utf8(bytes.to_vec()).expect("text"))
    }

    #[test]
    fn a_torn_answer_says_so_in_its_own_format() {
        let inside = tear("application/x-ndjson", Dialect::Ollama, b"{\"a\":").expect("a record");
        assert!(inside.starts_with("\n{") && inside.ends_with("}\n"));
        let after = tear("application/x-ndjson", Dialect::Ollama, b"{}\n").expect("a record");
        assert!(after.starts_with("{\"code\"") || after.starts_with("{\"error\""));
        let openai = tear("text/event-stream", Dialect::OpenAi, b"data: {\"x").expect("a record");
        assert!(openai.starts_with("\n\ndata: {") && openai.ends_with("\n\n"));
        let between = tear(
            "text/event-stream; charset=utf-8",
            Dialect::OpenAi,
            b"data: {}\n\n",
        )
        .expect("a record");
        assert!(between.starts_with("data: {"));
        let anthropic =
            tear("text/event-stream", Dialect::Anthropic, b"data: {}\n").expect("a record");
        assert!(anthropic.starts_with("\nevent: error\ndata: {\""));
        assert_eq!(
            tear("application/octet-stream", Dialect::Ollama, b"x"),
            None
        );
    }

    #[test]
    fn a_body_of_declared_length_is_only_cut() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "content-type",
            HeaderValue::from_static("application/x-ndjson"),
        );
        assert!(Tear::new(&headers, Dialect::Ollama, true).format.is_none());
    }
}

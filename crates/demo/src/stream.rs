//! The streamed body: one line, one flush, one chunk, at the pace and with the fault that the model name asks for.
//!
//! hyper gathers what a body yields without a pause and writes it at once. To have each line leave alone, the body is
//! pending between two flushes, if only for one turn of the executor.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, TRAILER};
use http::{HeaderMap, Response, StatusCode};
use http_body::Frame;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

use crate::answer::{Answer, AnswerBody};
use crate::connection::Cut;
use crate::recorder::{Ended, Exchange};
use crate::switches::{Fault, FaultKind, Switches};
use crate::text::{LARGEST_PIECE, Random, Text, pattern};

/// The name of the one trailer of `+trailers`; its value is the number of lines.
pub const LINES_TRAILER: &str = "x-demo-lines";

/// How one API writes a stream. What a call writes leaves as one chunk.
pub(crate) trait Dialect: Send {
    /// The line for this token; the first one may bring an opening along.
    fn token(&mut self, index: u64, token: &str, out: &mut BytesMut);

    /// What follows the last token.
    fn close(&mut self, tokens: u64, out: &mut BytesMut);

    /// What an error in mid-stream looks like; may be nothing at all.
    fn error(&mut self, tokens: u64, out: &mut BytesMut);

    fn content_type(&self) -> &'static str;

    /// Whether the head carries the two fields that Ollama adds to named events: `Cache-Control: no-cache`, and a
    /// `Connection: keep-alive` that a tunnel must not forward.
    fn forbids_caching(&self) -> bool {
        false
    }
}

/// What Ollama says when its runner fails in mid-answer.
pub(crate) const MID_STREAM_ERROR: &str =
    "an error was encountered while running the model: unexpected EOF";

enum Script {
    Lines {
        dialect: Box<dyn Dialect>,
        text: Text,
        total: u64,
        token: String,
    },
    Raw(RawPieces),
}

/// Pieces of the pattern.
struct RawPieces {
    offset: u64,
    bytes: Option<u64>,
    pieces: Option<u64>,
    sizes: (u64, u64),
    random: Random,
    /// Said in `Content-Length`.
    announced: Option<u64>,
}

impl RawPieces {
    fn next(&mut self, sent: u64) -> Option<Bytes> {
        if self.pieces.is_some_and(|pieces| sent >= pieces) {
            return None;
        }
        let (low, high) = self.sizes;
        let size = low + self.random.below(high - low + 1);
        let size = self
            .bytes
            .map_or(size, |bytes| size.min(bytes - self.offset));
        if size == 0 {
            return None;
        }
        let piece = pattern(self.offset, usize::try_from(size).unwrap_or(LARGEST_PIECE));
        self.offset += piece.len() as u64;
        Some(piece)
    }
}

enum Phase {
    Ready,
    /// One turn of the executor, so that what was said is flushed.
    Flushing,
    Sleeping,
    Trailers,
    Over,
    /// Nothing will come any more; only the end of the connection ends this.
    Stuck,
}

/// The body of a streamed answer. Dropped early, it counts as a generation stopped.
pub(crate) struct Paced {
    exchange: Exchange,
    script: Script,
    phase: Phase,
    sent: u64,
    unflushed: bool,
    gap: Duration,
    burst: u64,
    fault: Option<Fault>,
    trailers: bool,
    buffer: BytesMut,
    sleep: Option<Pin<Box<Sleep>>>,
    due: Option<Instant>,
    _slot: Option<OwnedSemaphorePermit>,
}

impl Paced {
    /// Text in that many tokens, in the words of one API.
    pub(crate) fn lines(
        exchange: Exchange,
        slot: Option<OwnedSemaphorePermit>,
        switches: &Switches,
        plan: Lines,
    ) -> Answer {
        let content_type = plan.dialect.content_type();
        let forbids_caching = plan.dialect.forbids_caching();
        let script = Script::Lines {
            dialect: plan.dialect,
            text: plan.text,
            total: plan.total,
            token: String::new(),
        };
        let gap = switches.gap.unwrap_or(plan.gap);
        let mut answer =
            Self::start(exchange, slot, switches, script, gap, 1).into_answer(content_type);
        if forbids_caching {
            answer
                .headers_mut()
                .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            answer
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("keep-alive"));
        }
        answer
    }

    /// Bytes of the pattern, as large, in as many and in such pieces as the switches say.
    pub(crate) fn raw(
        exchange: Exchange,
        slot: Option<OwnedSemaphorePermit>,
        switches: &Switches,
    ) -> Answer {
        let pieces = RawPieces {
            offset: 0,
            bytes: switches.bytes,
            pieces: switches.pieces,
            sizes: switches
                .piece
                .unwrap_or((LARGEST_PIECE as u64, LARGEST_PIECE as u64)),
            random: Random::seeded(b"pieces"),
            // Pieces are chunks, and trailers need them too; a body that is only large has a length.
            announced: switches.bytes.filter(|_| {
                switches.piece.is_none() && switches.pieces.is_none() && !switches.trailers
            }),
        };
        let gap = switches.gap.unwrap_or_default();
        Self::start(exchange, slot, switches, Script::Raw(pieces), gap, u64::MAX)
            .into_answer("application/octet-stream")
    }

    fn start(
        exchange: Exchange,
        slot: Option<OwnedSemaphorePermit>,
        switches: &Switches,
        script: Script,
        gap: Duration,
        burst: u64,
    ) -> Self {
        Self {
            exchange,
            script,
            phase: Phase::Ready,
            sent: 0,
            unflushed: false,
            gap,
            burst: switches
                .burst
                .unwrap_or(if gap.is_zero() { burst } else { 1 }),
            fault: switches.fault,
            trailers: switches.trailers,
            buffer: BytesMut::new(),
            sleep: None,
            due: None,
            _slot: slot,
        }
    }

    fn into_answer(mut self, content_type: &'static str) -> Answer {
        self.exchange.status(StatusCode::OK);
        if self.is_announced_in_full() {
            self.exchange.ended(Ended::Answered); // nothing at all is announced
        }
        let trailers = self.trailers;
        let mut answer = Response::new(AnswerBody::Stream(Box::new(self)));
        answer
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if trailers {
            answer
                .headers_mut()
                .insert(TRAILER, HeaderValue::from_static(LINES_TRAILER));
        }
        answer
    }

    pub(crate) fn announced_bytes(&self) -> Option<u64> {
        match &self.script {
            Script::Lines { .. } => None,
            Script::Raw(pieces) => pieces.announced,
        }
    }

    pub(crate) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            match self.phase {
                Phase::Ready => {
                    if let Some(fault) = self.fault
                        && fault.after == self.sent
                    {
                        if self.unflushed {
                            self.phase = Phase::Flushing;
                            continue;
                        }
                        if let Some(last_words) = self.play(fault.kind) {
                            return Poll::Ready(Some(Ok(Frame::data(last_words))));
                        }
                        continue;
                    }
                    if let Some(piece) = self.next_piece() {
                        return Poll::Ready(Some(Ok(Frame::data(piece))));
                    }
                }
                Phase::Flushing => {
                    self.unflushed = false;
                    self.phase = Phase::Ready;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Phase::Sleeping => {
                    if let Some(sleep) = &mut self.sleep {
                        ready!(sleep.as_mut().poll(context));
                    }
                    self.unflushed = false;
                    self.phase = Phase::Ready;
                }
                Phase::Trailers => {
                    self.end();
                    let mut trailers = HeaderMap::new();
                    trailers.insert(LINES_TRAILER, HeaderValue::from(self.sent));
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Phase::Over => {
                    self.end();
                    return Poll::Ready(None);
                }
                Phase::Stuck => return Poll::Pending,
            }
        }
    }

    fn next_piece(&mut self) -> Option<Bytes> {
        let piece = match &mut self.script {
            Script::Lines {
                dialect,
                text,
                total,
                token,
            } => {
                if self.sent < *total {
                    token.clear();
                    text.push_token(self.sent, token);
                    dialect.token(self.sent, token, &mut self.buffer);
                } else {
                    dialect.close(self.sent, &mut self.buffer);
                    self.phase = if self.trailers {
                        Phase::Trailers
                    } else {
                        Phase::Over
                    };
                }
                self.buffer.split().freeze()
            }
            Script::Raw(pieces) => match pieces.next(self.sent) {
                Some(piece) => piece,
                None => {
                    self.phase = if self.trailers {
                        Phase::Trailers
                    } else {
                        Phase::Over
                    };
                    return None;
                }
            },
        };
        self.exchange.line();
        self.unflushed = true;
        if self.is_announced_in_full() {
            self.exchange.ended(Ended::Answered); // hyper does not ask again once the length is reached
        }
        if matches!(self.phase, Phase::Ready) {
            self.sent += 1;
            self.pause();
        }
        // A chunk of length zero would be the end of the body.
        (!piece.is_empty()).then_some(piece)
    }

    fn is_announced_in_full(&self) -> bool {
        matches!(&self.script, Script::Raw(pieces) if pieces.announced == Some(pieces.offset))
    }

    /// Decides what stands between the piece just made and the next one.
    fn pause(&mut self) {
        if !self.sent.is_multiple_of(self.burst) {
            return;
        }
        let is_last = matches!(&self.script, Script::Lines { total, .. } if self.sent == *total);
        if self.gap.is_zero() || is_last {
            self.phase = Phase::Flushing; // the last line follows the last token at once, in its own flush
            return;
        }
        // Counted from when the last one was due, so that timer slack does not add up; a late one does not make a burst.
        let now = Instant::now();
        let due = self
            .due
            .map_or(now + self.gap, |due| (due + self.gap).max(now));
        self.due = Some(due);
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(due),
            None => self.sleep = Some(Box::pin(tokio::time::sleep_until(due))),
        }
        self.phase = Phase::Sleeping;
    }

    fn play(&mut self, kind: FaultKind) -> Option<Bytes> {
        self.fault = None;
        self.exchange.fault_played();
        match kind {
            FaultKind::Cut | FaultKind::Tear => {
                self.exchange.ended(Ended::Cut);
                self.exchange.link.cut(if kind == FaultKind::Cut {
                    Cut::Reset
                } else {
                    Cut::Close
                });
                self.phase = Phase::Stuck;
                None
            }
            FaultKind::Silent => {
                self.phase = Phase::Stuck;
                None
            }
            FaultKind::Error => {
                self.phase = Phase::Over;
                let Script::Lines { dialect, .. } = &mut self.script else {
                    return None;
                };
                dialect.error(self.sent, &mut self.buffer);
                let last_words = self.buffer.split().freeze();
                (!last_words.is_empty()).then_some(last_words)
            }
        }
    }

    fn end(&mut self) {
        self.exchange.ended(Ended::Answered);
        self.phase = Phase::Over;
    }
}

/// What a stream of text says, and in which words.
pub(crate) struct Lines {
    pub(crate) dialect: Box<dyn Dialect>,
    pub(crate) text: Text,
    pub(crate) total: u64,
    /// Unless a switch says otherwise.
    pub(crate) gap: Duration,
}

impl fmt::Debug for Paced {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Paced")
            .field("sent", &self.sent)
            .field("gap", &self.gap)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::Waker;

    use http::{Method, Uri};
    use http_body::Body;

    use super::*;
    use crate::connection::Link;
    use crate::native::{Native, NativeLines};
    use crate::recorder::Recorder;

    /// How many frames come between two pauses, in which hyper flushes.
    fn frames_per_flush(switches: &Switches) -> Vec<usize> {
        let recorder = Arc::new(Recorder::new(0));
        let exchange = recorder.start(
            Arc::new(Link::default()),
            &Method::POST,
            &Uri::from_static("/"),
            &HeaderMap::new(),
        );
        let dialect = NativeLines {
            api: Native::Chat,
            model: "tiny".to_owned(),
            prompt_tokens: 1,
            done_reason: "stop",
        };
        let lines = Lines {
            dialect: Box::new(dialect),
            text: Text::Paragraph,
            total: 5,
            gap: Duration::ZERO,
        };
        let mut body = pin!(Paced::lines(exchange, None, switches, lines).into_body());
        let mut context = Context::from_waker(Waker::noop());
        let mut flushes = vec![0];
        loop {
            match body.as_mut().poll_frame(&mut context) {
                Poll::Ready(Some(_)) => *flushes.last_mut().unwrap() += 1,
                Poll::Ready(None) => return flushes,
                Poll::Pending => flushes.push(0),
            }
        }
    }

    #[test]
    fn a_line_a_flush_unless_told_otherwise() {
        assert_eq!(frames_per_flush(&Switches::default()), [1; 6]);
        assert_eq!(
            frames_per_flush(&Switches {
                burst: Some(2),
                ..Switches::default()
            }),
            [2, 2, 2]
        );
        assert_eq!(
            frames_per_flush(&Switches {
                burst: Some(100),
                ..Switches::default()
            }),
            [6]
        );
    }
}

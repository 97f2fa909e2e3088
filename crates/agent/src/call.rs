//! The one call to the relay as HTTP/2 carries it: messages into the request's body, messages out of the answer's.
//!
//! Invariant: bodies cross without a copy here. A message goes out as the pieces that it is made of, one frame of HTTP/2
//! each; what comes in stays slices of what HTTP/2 delivered. gRPC itself is five bytes before a message and a status
//! behind the last one.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use c2l_tunnel::{
    Batch, Link, Side,
    wire::{CONNECT_PATH, DecodeError, Decoder, Encoder, Piece},
};
use http::{HeaderValue, Request, Uri, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use tokio::task::coop::consume_budget;
use tonic::{Code, Status};

use crate::{dialer::of_grpc, error::DialError, now};

/// Most bytes of one message of the relay's. Its batches stay far below.
const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// Opens the call and waits for the relay to take it. Dropping the future gives it up.
///
/// # Errors
/// The status that the relay, or what stands in its place, refuses with.
pub(crate) async fn open(
    sender: &mut SendRequest<Outbound>,
    relay: &Uri,
    bearer: HeaderValue,
    link: &Link,
) -> Result<Inbound, Box<Status>> {
    let refused = |error| Box::new(Status::from_error(Box::new(error)));
    let mut parts = relay.clone().into_parts();
    parts.path_and_query = CONNECT_PATH.parse().ok();
    let request = Uri::from_parts(parts)
        .map_err(http::Error::from)
        .and_then(|uri| {
            Request::post(uri)
                .header(header::TE, "trailers")
                .header(header::CONTENT_TYPE, "application/grpc")
                .header(header::AUTHORIZATION, bearer)
                .body(Outbound::new(link.clone()))
        })
        .map_err(|_| refused(DialError::Name))?;
    let ready = sender.ready().await;
    ready.map_err(|error| refused(DialError::Http2(error)))?;
    let answer = sender.send_request(request).await;
    let answer = answer.map_err(|error| refused(DialError::Http2(error)))?;
    let answer = of_grpc(answer).map_err(refused)?;
    match Status::from_header_map(answer.headers()) {
        Some(status) if status.code() != Code::Ok => Err(Box::new(status)),
        _ => Ok(Inbound::new(answer.into_body())),
    }
}

/// What the relay sends.
#[derive(Debug)]
pub(crate) struct Inbound<B = Incoming> {
    body: B,
    decoder: Decoder,
}

/// Why no more messages come.
#[derive(Debug)]
pub(crate) enum Silence {
    /// The relay, or the line, ended the call with this status.
    Ended(Box<Status>),
    /// What came is no message of a relay's.
    Unreadable(DecodeError),
}

impl<B> Inbound<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn new(body: B) -> Self {
        Self {
            body,
            decoder: Decoder::new(Side::Relay, MAX_MESSAGE_BYTES),
        }
    }

    /// The next message; `None` when the relay ended the call and said nothing of a reason. Nothing is lost when this is
    /// dropped while it waits.
    ///
    /// # Errors
    /// When no more can come.
    pub(crate) async fn message(&mut self) -> Result<Option<Batch>, Silence> {
        // What is read at once may hold thousands of empty messages. Before one is taken: whoever drops this while it
        // waits has lost none.
        consume_budget().await;
        loop {
            let read = self.decoder.next_batch().map_err(Silence::Unreadable)?;
            if read.is_some() {
                return Ok(read);
            }
            let frame = match self.body.frame().await {
                None => {
                    let ended = self.decoder.end();
                    return ended.map(|()| None).map_err(Silence::Unreadable);
                }
                Some(Err(error)) => {
                    let status = Status::from_error(error.into());
                    return Err(Silence::Ended(Box::new(status)));
                }
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Ok(piece) => self.decoder.push(piece),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return match Status::from_header_map(&trailers) {
                        Some(status) if status.code() != Code::Ok => {
                            Err(Silence::Ended(Box::new(status)))
                        }
                        _ => Ok(None),
                    };
                }
            }
        }
    }
}

/// What this side says, as the body of the request.
///
/// When it is woken it lets every other ready task run once before it takes the batch. So their frames share the
/// message, which saves a fifth of the work for each token under load. No timer: when nobody else is ready, nothing is
/// held back.
#[derive(Debug)]
pub(crate) struct Outbound {
    link: Link,
    encoder: Encoder,
    /// Of the message that is being written.
    pieces: VecDeque<Piece>,
    state: Writer,
}

#[derive(Debug)]
enum Writer {
    /// Takes what is there.
    Taking,
    /// Nothing was there; once called, it lets others run first.
    Parked,
    /// There will be nothing more.
    Over,
}

impl Outbound {
    fn new(link: Link) -> Self {
        Self {
            link,
            encoder: Encoder::new(Side::Agent),
            pieces: VecDeque::new(),
            state: Writer::Taking,
        }
    }
}

impl Body for Outbound {
    type Data = Piece;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Infallible>>> {
        let this = &mut *self;
        loop {
            if let Some(piece) = this.pieces.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            match this.state {
                Writer::Taking => {}
                // HTTP/2 calls as well, when the line takes more: then there is nothing to be taken here.
                Writer::Parked if this.link.is_silent(cx) => return Poll::Pending,
                Writer::Parked => {
                    this.state = Writer::Taking;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Writer::Over => return Poll::Ready(None),
            }
            match this.link.poll_transmit(now(), cx) {
                Poll::Ready(Some(batch)) => {
                    this.encoder.encode(batch, &mut this.pieces);
                }
                Poll::Ready(None) => this.state = Writer::Over,
                Poll::Pending => {
                    this.state = Writer::Parked;
                    return Poll::Pending;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use c2l_tunnel::wire::MESSAGE_PREFIX_BYTES;
    use http_body_util::Full;

    use super::*;

    #[tokio::test]
    async fn a_relay_that_says_nothing_at_length_lets_others_run() {
        const MESSAGES: usize = 10_000;
        let said = Bytes::from(vec![0; MESSAGES * MESSAGE_PREFIX_BYTES]);
        let mut inbound = Inbound::new(Full::new(said));
        let turns = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&turns);
        let other = tokio::spawn(async move {
            loop {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        for _ in 0..MESSAGES {
            let batch = inbound.message().await.expect("valid").expect("whole");
            assert!(batch.is_empty());
        }
        other.abort();
        // The scheduler lets a task take 128 steps at once.
        let turns = turns.load(Ordering::Relaxed);
        assert!(turns >= MESSAGES / 200, "{turns}");
    }
}

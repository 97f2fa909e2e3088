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

use c2l_tunnel::{
    Batch, Link, ProtocolError, Side,
    wire::{CONNECT_PATH, DecodeError, Decoder, Encoder, Piece},
};
use http::{HeaderValue, Request, Uri, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use tonic::{Code, Status};

use crate::{dialer::of_grpc, error::DialError};

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
pub(crate) struct Inbound {
    body: Incoming,
    decoder: Decoder,
}

impl Inbound {
    fn new(body: Incoming) -> Self {
        Self {
            body,
            decoder: Decoder::new(Side::Relay, MAX_MESSAGE_BYTES),
        }
    }

    /// The next message, or what is wrong with it; `None` when the relay ended the call and said nothing of a reason.
    /// Nothing is lost when this is dropped while it waits.
    ///
    /// # Errors
    /// The status that the relay ended the call with, or one for what came instead of a message.
    pub(crate) async fn message(
        &mut self,
    ) -> Result<Option<Result<Batch, ProtocolError>>, Box<Status>> {
        loop {
            match self.decoder.next_batch() {
                Ok(Some(batch)) => return Ok(Some(Ok(batch))),
                Ok(None) => {}
                Err(DecodeError::Protocol(error)) => return Ok(Some(Err(error))),
                Err(error) => return Err(Box::new(unreadable(&error))),
            }
            let frame = match self.body.frame().await {
                None => {
                    let ended = self.decoder.end();
                    return ended.map(|()| None).map_err(|e| Box::new(unreadable(&e)));
                }
                Some(Err(error)) => return Err(Box::new(Status::from_error(Box::new(error)))),
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Ok(piece) => self.decoder.push(piece),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return match Status::from_header_map(&trailers) {
                        Some(status) if status.code() != Code::Ok => Err(Box::new(status)),
                        _ => Ok(None),
                    };
                }
            }
        }
    }
}

fn unreadable(error: &DecodeError) -> Status {
    match error {
        DecodeError::TooLarge { .. } => Status::out_of_range(error.to_string()),
        _ => Status::internal(error.to_string()),
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
    /// Nothing was there; the next poll is a wake-up.
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
                Writer::Parked => {
                    this.state = Writer::Taking;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Writer::Over => return Poll::Ready(None),
            }
            match this.link.poll_transmit(cx) {
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

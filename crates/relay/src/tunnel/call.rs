//! The one call of an agent as HTTP/2 carries it: messages out of the request's body, messages into the answer's.
//!
//! Invariant: bodies cross without a copy here. A message goes out as the pieces that it is made of, one frame of HTTP/2
//! each; what comes in stays slices of what HTTP/2 delivered. gRPC itself is five bytes before a message and a status
//! behind the last one.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use c2l_tunnel::{
    Batch, CloseReason, Link, Side,
    wire::{DecodeError, Decoder, Encoder, Piece},
};
use http::HeaderMap;
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::{sync::oneshot, task::coop::consume_budget};
use tonic::Status;

use super::session::now;

/// What the agent sends.
#[derive(Debug)]
pub(crate) struct Inbound<B = Incoming> {
    body: B,
    decoder: Decoder,
}

impl<B: Body<Data = Bytes> + Unpin> Inbound<B> {
    pub(crate) fn new(body: B, max_message_bytes: u32) -> Self {
        let max_message_bytes = usize::try_from(max_message_bytes).unwrap_or(usize::MAX);
        Self {
            body,
            decoder: Decoder::new(Side::Agent, max_message_bytes),
        }
    }

    /// The next message; `None` when there are no more, because the agent ended its side or because the line broke.
    /// Nothing is lost when this is dropped while it waits.
    ///
    /// # Errors
    /// When what came is no message of an agent's. Nothing after it can be read.
    pub(crate) async fn next(&mut self) -> Result<Option<Batch>, DecodeError> {
        // An agent could fill what is read at once with thousands of empty messages. Before one is taken: whoever drops
        // this while it waits has lost none.
        consume_budget().await;
        loop {
            if let Some(batch) = self.decoder.next_batch()? {
                return Ok(Some(batch));
            }
            let Some(Ok(frame)) = self.body.frame().await else {
                return Ok(None);
            };
            // Fields behind a request's body mean nothing in gRPC.
            if let Ok(piece) = frame.into_data() {
                self.decoder.push(piece);
            }
        }
    }
}

/// What the agent receives. Dropping it, as the transport does when the connection is gone, closes the session.
#[derive(Debug)]
pub(crate) struct Outbound {
    link: Link,
    encoder: Encoder,
    /// Of the message that is being written.
    pieces: VecDeque<Piece>,
    end: oneshot::Receiver<Status>,
    is_yielded: bool,
    /// The last message was a heartbeat or the like: nothing is kept for the next one.
    is_quiet: bool,
    is_over: bool,
}

impl Outbound {
    /// What `link` has to say, and in the end what `end` says of why it is over.
    pub(crate) fn new(link: Link, end: oneshot::Receiver<Status>) -> Self {
        Self {
            link,
            encoder: Encoder::new(Side::Relay),
            pieces: VecDeque::new(),
            end,
            is_yielded: false,
            is_quiet: false,
            is_over: false,
        }
    }

    /// The status that ends the call.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<HeaderMap> {
        let status = ready!(Pin::new(&mut self.end).poll(cx));
        let status = status.unwrap_or_else(|_| Status::unavailable("the relay is closing"));
        let mut trailers = HeaderMap::new();
        if status.add_header(&mut trailers).is_err() {
            // A message of ours that is no field's value: the code alone says enough.
            drop(Status::new(status.code(), "").add_header(&mut trailers));
        }
        Poll::Ready(trailers)
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
            if this.is_over {
                return Poll::Ready(None);
            }
            if !this.is_yielded {
                // One turn of the scheduler lets other tasks add what they have ready: fewer, fuller messages under load,
                // and nothing lost when idle. No timer is involved.
                this.is_yielded = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match this.link.poll_transmit(now(), cx) {
                Poll::Pending => {
                    if this.is_quiet {
                        this.pieces = VecDeque::new();
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Some(batch)) => {
                    this.is_yielded = false;
                    this.is_quiet = batch.frames.is_empty();
                    this.encoder.encode(batch, &mut this.pieces);
                }
                Poll::Ready(None) => {
                    let trailers = ready!(this.poll_end(cx));
                    this.is_over = true;
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        self.link.close(CloseReason::ConnectionLost);
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
    async fn an_agent_that_says_nothing_at_length_lets_others_run() {
        const MESSAGES: usize = 10_000;
        let said = Bytes::from(vec![0; MESSAGES * MESSAGE_PREFIX_BYTES]);
        let mut inbound = Inbound::new(Full::new(said), 1024);
        let turns = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&turns);
        let other = tokio::spawn(async move {
            loop {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        for _ in 0..MESSAGES {
            let batch = inbound.next().await.expect("valid").expect("whole");
            assert!(batch.is_empty());
        }
        other.abort();
        // The scheduler lets a task take 128 steps at once.
        let turns = turns.load(Ordering::Relaxed);
        assert!(turns >= MESSAGES / 200, "{turns}");
    }
}

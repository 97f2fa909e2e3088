//! The bodies that leave the public port, as one type.

use std::{
    borrow::Cow,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use c2l_tunnel::wire::Piece;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    gateway::{exchange::AnswerBody, stall},
    tunnel::call::Outbound,
};

/// What an answer's body is.
#[derive(Debug)]
pub(crate) enum GatewayBody {
    /// Made here, whole.
    Whole(Option<Bytes>),
    /// Forwarded, as it comes.
    Forwarded(AnswerBody),
    /// From a gRPC service, with its place among those that are open to strangers.
    Grpc {
        body: tonic::body::Body,
        _place: Option<OwnedSemaphorePermit>,
    },
    /// What an agent hears in its session.
    Tunnel(Box<Outbound>),
}

impl GatewayBody {
    /// A body of this text.
    pub(crate) fn text(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Whole(Some(match text.into() {
            Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
            Cow::Owned(text) => Bytes::from(text),
        }))
    }

    /// A body of these bytes, which are part of the program.
    pub(crate) fn fixed(bytes: &'static [u8]) -> Self {
        Self::Whole(Some(Bytes::from_static(bytes)))
    }

    /// No body.
    pub(crate) fn empty() -> Self {
        Self::Whole(None)
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

type Polled<D, E> = Poll<Option<Result<Frame<D>, E>>>;

/// Only the tunnel's pieces have two.
fn in_one_part<E: Into<BoxError>>(polled: Polled<Bytes, E>) -> Polled<Piece, BoxError> {
    polled
        .map_ok(|frame| frame.map_data(Piece::from))
        .map_err(Into::into)
}

impl Body for GatewayBody {
    type Data = Piece;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, BoxError>>> {
        let polled = match self.get_mut() {
            Self::Whole(bytes) => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes.into()))))
            }
            Self::Forwarded(body) => in_one_part(Pin::new(body).poll_frame(cx)),
            Self::Grpc { body, .. } => in_one_part(Pin::new(body).poll_frame(cx)),
            Self::Tunnel(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        };
        stall::note(&polled);
        polled
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Forwarded(body) => body.is_end_stream(),
            Self::Grpc { body, .. } => body.is_end_stream(),
            Self::Tunnel(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Forwarded(body) => body.size_hint(),
            Self::Grpc { body, .. } => body.size_hint(),
            Self::Tunnel(body) => body.size_hint(),
        }
    }
}

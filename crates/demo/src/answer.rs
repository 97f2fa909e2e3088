//! Answers: their body type, and the plain ones with their framing and error shapes.
//!
//! Like Go's server, a plain body of up to 2 KiB has a `Content-Length`; a larger one is chunked.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use crate::json::{json, written};
use crate::recorder::{Ended, Exchange};
use crate::stream::Paced;
use crate::switches::ModelError;

/// Go's write buffer: what fits into it is sent with its length.
const WRITE_BUFFER_BYTES: usize = 2048;

pub(crate) const NATIVE_JSON: &str = "application/json; charset=utf-8";
pub(crate) const PLAIN_JSON: &str = "application/json";
pub(crate) const PLAIN_TEXT: &str = "text/plain";

pub(crate) type Answer = Response<AnswerBody>;

#[derive(Debug)]
pub(crate) enum AnswerBody {
    /// Known from the start; the exchange ends when hyper has taken it.
    Whole {
        bytes: Option<Bytes>,
        exchange: Exchange,
    },
    Stream(Box<Paced>),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole { bytes, .. } => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::Stream(paced) => paced.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole { bytes: None, .. })
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole {
                bytes: Some(bytes), ..
            } if bytes.len() > WRITE_BUFFER_BYTES => SizeHint::default(),
            Self::Whole { bytes, .. } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Stream(paced) => paced
                .announced_bytes()
                .map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

impl Exchange {
    /// The whole answer at once. An empty content type sends none.
    pub(crate) fn answer(
        mut self,
        status: StatusCode,
        content_type: &'static str,
        bytes: Bytes,
    ) -> Answer {
        self.status(status);
        self.ended(Ended::Answered);
        let bytes = (!bytes.is_empty()).then_some(bytes);
        let mut answer = Response::new(AnswerBody::Whole {
            bytes,
            exchange: self,
        });
        *answer.status_mut() = status;
        if !content_type.is_empty() {
            answer
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        answer
    }

    /// `200` in the native API.
    pub(crate) fn native(self, write: impl FnOnce(&mut BytesMut)) -> Answer {
        self.answer(StatusCode::OK, NATIVE_JSON, written(write))
    }

    /// `200` under `/v1`: there the JSON ends with a newline.
    pub(crate) fn compatible(self, write: impl FnOnce(&mut BytesMut)) -> Answer {
        let body = written(|out| {
            write(out);
            out.extend_from_slice(b"\n");
        });
        self.answer(StatusCode::OK, PLAIN_JSON, body)
    }

    pub(crate) fn empty(self, status: StatusCode) -> Answer {
        self.answer(status, "", Bytes::new())
    }

    pub(crate) fn text(self, status: StatusCode, text: &'static str) -> Answer {
        self.answer(status, PLAIN_TEXT, Bytes::from_static(text.as_bytes()))
    }

    pub(crate) fn refuse(self, shape: Shape, refusal: &Refusal) -> Answer {
        let content_type = if shape == Shape::Native {
            NATIVE_JSON
        } else {
            PLAIN_JSON
        };
        self.answer(
            refusal.status,
            content_type,
            written(|out| refusal.write(shape, out)),
        )
    }
}

/// Ends the connection after this answer and leaves the rest of the request in the socket.
pub(crate) fn with_body_unread(mut answer: Answer) -> Answer {
    if let AnswerBody::Whole { exchange, .. } = answer.body() {
        exchange.link.leave_body_unread();
    }
    answer
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// Which of the three error shapes a path speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Native,
    OpenAi,
    Anthropic,
}

/// An error before the first line.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
        }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            message: message.into(),
        }
    }

    /// What Ollama says with this status.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let message = match status.as_u16() {
            400 => "invalid request",
            401 => "unauthorized",
            403 => "ollama cloud is disabled: remote inference is unavailable",
            404 => "model 'tiny' not found",
            413 => "request body too large",
            499 => "request canceled",
            500 => "llama runner process has terminated: exit status 2",
            502 => "cloud is unreachable",
            503 => "server busy, please try again.  maximum pending requests exceeded",
            _ => status.canonical_reason().unwrap_or("error"),
        };
        Self {
            status,
            message: message.to_owned(),
        }
    }

    fn write(&self, shape: Shape, out: &mut BytesMut) {
        let (message, status) = (&self.message, self.status.as_u16());
        match shape {
            Shape::Native if status == 401 => {
                json!(out, {"error": message, "signin_url": (SIGNIN_URL)})
            }
            Shape::Native => json!(out, {"error": message}),
            Shape::OpenAi => {
                let kind = match status {
                    400 => "invalid_request_error",
                    404 => "not_found_error",
                    _ => "api_error",
                };
                json!(out, {"error": {"message": message, "type": kind, "param": null, "code": null}});
                out.extend_from_slice(b"\n");
            }
            Shape::Anthropic => {
                let kind = match status {
                    400 => "invalid_request_error",
                    401 => "authentication_error",
                    403 => "permission_error",
                    404 => "not_found_error",
                    429 => "rate_limit_error",
                    503 | 529 => "overloaded_error",
                    _ => "api_error",
                };
                json!(out, {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_0123456789abcdef01234567"});
                out.extend_from_slice(b"\n");
            }
        }
    }
}

/// Where Ollama sends an owner who is not signed in.
pub(crate) const SIGNIN_URL: &str = "https://ollama.com/connect?name=tiny&key=demonstration";

impl From<ModelError> for Refusal {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Missing => Self::bad_request("model is required"),
            ModelError::NotFound(name) => Self::not_found(format!("model '{name}' not found")),
            ModelError::BadSwitch(what) => Self::bad_request(what),
        }
    }
}

//! From and to the wire contract, checking every field on the way in.
//!
//! Invariant: the peer is hostile until parsed. A decoded [`Batch`] holds valid HTTP and bounded text; what cannot be
//! decoded is a [`ProtocolError`], never a panic. Unknown frame kinds and enum values are ignored or read as the
//! safest known one, since a newer peer may send them.
//!
//! [`Encoder`] and [`Decoder`] are what moves a session's messages: bytes, with bodies uncopied. [`encode_agent`] and its
//! like convert the generated types, for whatever the two leave to them and for a second opinion in tests.

mod arrived;
mod control;
mod decoder;
mod encoder;
mod frames;
mod heads;
mod piece;
mod protobuf;

use std::{ops::RangeInclusive, time::Duration};

use c2l_proto::tunnel as proto;
use http::HeaderMap;

use self::{
    control::{agent_control, from_agent_control, from_relay_control, milliseconds, relay_control},
    frames::{from_request, from_response, request_frame, response_frame},
};
pub use self::{
    decoder::{DecodeError, Decoder},
    encoder::{Encoder, INLINE_BELOW_BYTES},
    piece::Piece,
};
use crate::{
    error::ProtocolError,
    frame::{Batch, Frame, Limits, StreamId},
};

/// Path of the one method, as an HTTP/2 request names it.
pub const CONNECT_PATH: &str = "/c2l.tunnel.v1.TunnelService/Connect";
/// What gRPC puts before a message: a flag and the length.
pub const MESSAGE_PREFIX_BYTES: usize = 5;
/// Most fields in one head.
pub const MAX_FIELDS: usize = 256;
/// Most bytes of all names and values of one head.
pub const MAX_FIELD_BYTES: usize = 128 * 1024;
/// Most patterns of models in one request head.
pub const MAX_MODELS: usize = 64;
/// Most bytes of one such pattern.
pub const MAX_MODEL_PATTERN_BYTES: usize = 256;
/// Most bytes of a model's name that an agent tells.
pub const MAX_MODEL_NAME_BYTES: usize = 256;
/// Least that `max_message_bytes` may be: every batch that a session makes fits, whatever is ready at once.
pub const MIN_MESSAGE_BYTES: u32 = 1024 * 1024;
/// What the status of an answer may be.
pub(crate) const STATUSES: RangeInclusive<u16> = 200..=599;
/// Most bytes of a sentence from the peer; the rest is cut.
const MAX_TEXT_BYTES: usize = 512;
/// Most bytes of a token in a renewal.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

type Decoded<T> = Result<T, ProtocolError>;

/// Encodes a batch of the agent's.
#[must_use]
pub fn encode_agent(batch: Batch) -> proto::AgentMessage {
    proto::AgentMessage {
        control: batch
            .control
            .into_iter()
            .filter_map(agent_control)
            .map(|control| proto::AgentControl {
                control: Some(control),
            })
            .collect(),
        responses: batch
            .frames
            .into_iter()
            .filter_map(|(id, frame)| {
                Some(proto::TunnelResponse {
                    stream_id: id.get(),
                    frame: Some(response_frame(frame)?),
                })
            })
            .collect(),
    }
}

/// Encodes a batch of the relay's.
#[must_use]
pub fn encode_relay(batch: Batch) -> proto::RelayMessage {
    proto::RelayMessage {
        control: batch
            .control
            .into_iter()
            .filter_map(relay_control)
            .map(|control| proto::RelayControl {
                control: Some(control),
            })
            .collect(),
        requests: batch
            .frames
            .into_iter()
            .filter_map(|(id, frame)| {
                Some(proto::TunnelRequest {
                    stream_id: id.get(),
                    frame: Some(request_frame(frame)?),
                })
            })
            .collect(),
    }
}

/// Decodes what an agent sent.
///
/// # Errors
/// When a field cannot mean anything.
pub fn decode_agent(message: proto::AgentMessage) -> Decoded<Batch> {
    let mut batch = Batch::default();
    for control in message.control.into_iter().filter_map(|c| c.control) {
        batch.control.push(from_agent_control(control)?);
    }
    batch.frames.reserve_exact(message.responses.len());
    for response in message.responses {
        batch.frames.extend(from_response(response)?);
    }
    Ok(batch)
}

/// Decodes what a relay sent.
///
/// # Errors
/// When a field cannot mean anything.
pub fn decode_relay(message: proto::RelayMessage) -> Decoded<Batch> {
    let mut batch = Batch::default();
    for control in message.control.into_iter().filter_map(|c| c.control) {
        batch.control.push(from_relay_control(control)?);
    }
    batch.frames.reserve_exact(message.requests.len());
    for request in message.requests {
        batch.frames.extend(from_request(request)?);
    }
    Ok(batch)
}

fn stream_id(number: u64) -> Decoded<StreamId> {
    StreamId::new(number).ok_or(ProtocolError::UnknownStream(0))
}

/// Checks limits against what every agent accepts: an agent does not let a relay talk it into unbounded memory, nor into
/// a window in which nothing fits.
///
/// # Errors
/// Names the field, and the least and the most that it may be.
pub fn check_limits(
    limits: &Limits,
    heartbeat_interval: Duration,
) -> Result<(), (&'static str, u32, u32)> {
    const MIB: u32 = 1024 * 1024;
    let heartbeat_ms = milliseconds(heartbeat_interval);
    [
        (
            "max_body_frame_bytes",
            limits.max_body_frame_bytes,
            1024,
            MIB,
        ),
        (
            "initial_window_bytes",
            limits.initial_window_bytes,
            1024,
            MIB,
        ),
        (
            "max_concurrent_streams",
            limits.max_concurrent_streams,
            1,
            16_384,
        ),
        (
            "max_message_bytes",
            limits.max_message_bytes,
            MIN_MESSAGE_BYTES,
            64 * MIB,
        ),
        ("heartbeat_interval_ms", heartbeat_ms, 10, 600_000),
    ]
    .into_iter()
    .find(|(_, value, low, high)| !(low..=high).contains(&value))
    .map_or(Ok(()), |(field, _, low, high)| Err((field, low, high)))
}

/// True for a pattern of models that can cross: a peer ends the session over another one. 1 to
/// [`MAX_MODEL_PATTERN_BYTES`] visible ASCII characters.
#[must_use]
pub fn is_model_pattern(pattern: &str) -> bool {
    (1..=MAX_MODEL_PATTERN_BYTES).contains(&pattern.len())
        && pattern.bytes().all(|byte| byte.is_ascii_graphic())
}

/// True for the name of a model that can cross; a peer drops another one. 1 to [`MAX_MODEL_NAME_BYTES`] bytes without
/// control characters: it is shown to people.
#[must_use]
pub fn is_model_name(name: &str) -> bool {
    (1..=MAX_MODEL_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// True when these fields can cross: a peer ends the session over more or larger ones.
#[must_use]
pub fn fits(headers: &HeaderMap) -> bool {
    headers.len() <= MAX_FIELDS && bytes_of(headers) <= MAX_FIELD_BYTES
}

/// What a head or an end adds to a message beside its body, in bytes.
pub(crate) fn field_bytes(frame: &Frame) -> usize {
    match frame {
        Frame::RequestHead(head) => {
            let models: usize = head.models.iter().map(String::len).sum();
            head.target.as_str().len() + head.request_id.len() + models + bytes_of(&head.headers)
        }
        Frame::ResponseHead(head) => head.model.len() + bytes_of(&head.headers),
        Frame::End(trailers) => bytes_of(trailers),
        Frame::Body(_) | Frame::Continue | Frame::Reset(_) | Frame::Window(_) => 0,
    }
}

fn bytes_of(headers: &HeaderMap) -> usize {
    let fields = headers.iter();
    fields
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum()
}

/// Text from the peer: cut to a bound, and without control characters, since it ends in logs and error bodies.
fn text(mut text: String) -> String {
    if text.len() > MAX_TEXT_BYTES {
        let end = text.floor_char_boundary(MAX_TEXT_BYTES);
        text.truncate(end);
    }
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        text.retain(|c| !c.is_control());
    }
    text
}

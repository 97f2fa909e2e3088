//! gRPC messages as batches: bodies stay slices of the pieces that the line delivered.
//!
//! Invariant: what is held is at most one message, whose length is known and judged before it is collected, and the piece
//! that its end came in. What [`super::encoder`] writes most is read here; whatever looks different in any way is left
//! to the generated types, so nobody is understood otherwise than the contract says.

use bytes::{Buf as _, Bytes};
use c2l_proto::tunnel as proto;
use prost::Message as _;

use super::{
    MESSAGE_PREFIX_BYTES,
    arrived::{Arrived, Message},
    control::{from_agent_control, from_relay_control},
    frames::{from_request, from_response},
    heads, stream_id,
};
use crate::{
    error::ProtocolError,
    frame::{Batch, Frame, StreamId},
    session::Side,
};

/// Why what arrived is no message of the tunnel's.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Longer than was agreed on.
    #[error("a message of {found_bytes} bytes, over the limit of {limit_bytes}")]
    TooLarge {
        /// What its prefix says.
        found_bytes: usize,
        /// What it may be.
        limit_bytes: usize,
    },
    /// Compressed, or something that gRPC does not know; no compression was agreed on.
    #[error("the flag {0} before a message")]
    Flag(u8),
    /// Not protobuf, or the stream ended in the middle of it.
    #[error("not a message: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// The line ended within a message.
    #[error("the line ended within a message")]
    Torn,
    /// A field that cannot mean anything.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// It comes behind one of the others: where a message begins is not known any more.
    #[error("what came before was no message")]
    Broken,
}

impl DecodeError {
    /// What the peer has done with it, as the reason for which its session ends.
    #[must_use]
    pub fn breach(&self) -> ProtocolError {
        let frame = match self {
            Self::Protocol(error) => return error.clone(),
            Self::TooLarge { .. } => "message over the limit",
            Self::Flag(_) => "flag before a message",
            Self::Malformed(_) => "message that is not protobuf",
            Self::Torn => "end within a message",
            Self::Broken => "message behind one that was none",
        };
        ProtocolError::Unexpected { frame }
    }
}

/// Decodes what one side sends, from pieces cut anywhere.
#[derive(Debug)]
pub struct Decoder {
    /// Whose messages these are.
    side: Side,
    max_message_bytes: usize,
    pieces: Arrived,
    /// Length of the message that is being collected, once it is known.
    expected: Option<usize>,
    /// Something came that was no message.
    is_broken: bool,
}

impl Decoder {
    /// For the messages that `side` sends.
    #[must_use]
    pub fn new(side: Side, max_message_bytes: usize) -> Self {
        Self {
            side,
            max_message_bytes,
            pieces: Arrived::default(),
            expected: None,
            is_broken: false,
        }
    }

    /// Adds what came next on the line. To be called when [`Self::next_batch`] has nothing more.
    pub fn push(&mut self, piece: Bytes) {
        if !self.is_broken {
            self.pieces.push(piece);
        }
    }

    /// The next message, if it is whole.
    ///
    /// # Errors
    /// When it cannot be one. Nothing after that is read, and each further call says [`DecodeError::Broken`].
    pub fn next_batch(&mut self) -> Result<Option<Batch>, DecodeError> {
        if self.is_broken {
            return Err(DecodeError::Broken);
        }
        let read = self.read_message();
        if read.is_err() {
            self.is_broken = true;
            self.pieces = Arrived::default();
        }
        read
    }

    fn read_message(&mut self) -> Result<Option<Batch>, DecodeError> {
        let expected = match self.expected {
            Some(expected) => expected,
            None if self.pieces.bytes < MESSAGE_PREFIX_BYTES => return Ok(None),
            None => {
                let expected = self.read_prefix()?;
                *self.expected.insert(expected)
            }
        };
        if self.pieces.bytes < expected {
            return Ok(None);
        }
        self.expected = None;
        self.pieces.gather();
        let mut message = Message {
            pieces: &mut self.pieces,
            left: expected,
        };
        let batch = read_batch(self.side, &mut message)?;
        self.pieces.rest();
        Ok(Some(batch))
    }

    /// For when the line has ended.
    ///
    /// # Errors
    /// When it ended within a message.
    pub fn end(&self) -> Result<(), DecodeError> {
        if self.is_broken {
            return Err(DecodeError::Broken);
        }
        if self.expected.is_some() || self.pieces.bytes > 0 {
            return Err(DecodeError::Torn);
        }
        Ok(())
    }

    /// In how many pieces lies what is not read yet.
    #[cfg(test)]
    pub(crate) fn kept_pieces(&self) -> usize {
        self.pieces.pieces()
    }

    fn read_prefix(&mut self) -> Result<usize, DecodeError> {
        self.pieces.gather();
        let mut prefix = Message {
            pieces: &mut self.pieces,
            left: MESSAGE_PREFIX_BYTES,
        };
        let flag = prefix.get_u8();
        let found_bytes = usize::try_from(prefix.get_u32()).unwrap_or(usize::MAX);
        let limit_bytes = self.max_message_bytes;
        match flag {
            0 if found_bytes <= limit_bytes => Ok(found_bytes),
            0 => Err(DecodeError::TooLarge {
                found_bytes,
                limit_bytes,
            }),
            flag => Err(DecodeError::Flag(flag)),
        }
    }
}

// ---- messages

fn read_batch(side: Side, message: &mut Message<'_>) -> Result<Batch, DecodeError> {
    let mut batch = Batch::default();
    while message.has_remaining() {
        let Some((field, length)) = peek_nested(message) else {
            // Something that a newer peer may send: the generated types know what is to be skipped, and what is not.
            return read_rest(side, message, batch);
        };
        match field {
            Field::Frame => {
                if let Some((id, frame)) = read_frame(side, message, length)? {
                    batch.frames.push((id, frame));
                }
            }
            Field::Control => {
                let control = message.copy_to_bytes(length);
                let control = match side {
                    Side::Agent => proto::AgentControl::decode(control)?
                        .control
                        .map(from_agent_control),
                    Side::Relay => proto::RelayControl::decode(control)?
                        .control
                        .map(from_relay_control),
                };
                batch.control.extend(control.transpose()?);
            }
        }
    }
    Ok(batch)
}

/// Reads what is left of a message as the generated types do. Both lists of a message only grow: what was read before
/// stands before it.
fn read_rest(
    side: Side,
    message: &mut Message<'_>,
    mut batch: Batch,
) -> Result<Batch, DecodeError> {
    let rest = message.copy_to_bytes(message.remaining());
    let rest = match side {
        Side::Agent => super::decode_agent(proto::AgentMessage::decode(rest)?)?,
        Side::Relay => super::decode_relay(proto::RelayMessage::decode(rest)?)?,
    };
    batch.control.extend(rest.control);
    batch.frames.extend(rest.frames);
    Ok(batch)
}

/// One frame of `length` bytes.
fn read_frame(
    side: Side,
    message: &mut Message<'_>,
    length: usize,
) -> Result<Option<(StreamId, Frame)>, DecodeError> {
    if let Some((id, skipped)) = peek_body(side, message.chunk(), length) {
        message.advance(skipped);
        let body = message.copy_to_bytes(length - skipped);
        return Ok(Some((stream_id(id)?, Frame::Body(body))));
    }
    let frame = message.copy_to_bytes(length);
    let read = match side {
        Side::Agent => heads::read_response(&frame),
        Side::Relay => heads::read_request(&frame),
    };
    if read.is_some() {
        return Ok(read);
    }
    Ok(match side {
        Side::Agent => from_response(proto::TunnelResponse::decode(frame)?)?,
        Side::Relay => from_request(proto::TunnelRequest::decode(frame)?)?,
    })
}

enum Field {
    Control,
    Frame,
}

/// The key and the length of the field that comes next, taken from the message; `None`, and nothing taken, when they are
/// not what they mostly are.
fn peek_nested(message: &mut Message<'_>) -> Option<(Field, usize)> {
    let mut bytes = message.chunk();
    let field = match read_byte(&mut bytes)? {
        0x0a => Field::Control,
        0x12 => Field::Frame,
        _ => return None,
    };
    let length = usize::try_from(read_number(&mut bytes)?).ok()?;
    let taken = message.chunk().len() - bytes.len();
    if length > message.remaining() - taken {
        return None; // the generated types say what is wrong
    }
    message.advance(taken);
    Some((field, length))
}

/// When a frame of `length` bytes is an id and a body and nothing else: the id, and where the body begins.
fn peek_body(side: Side, frame: &[u8], length: usize) -> Option<(u64, usize)> {
    let key = match side {
        Side::Agent => 4 << 3 | 2,
        Side::Relay => 3 << 3 | 2,
    };
    let mut bytes = &frame[..frame.len().min(length)];
    let before = bytes.len();
    if read_byte(&mut bytes)? != 1 << 3 {
        return None;
    }
    let id = read_number(&mut bytes)?;
    if read_byte(&mut bytes)? != key {
        return None;
    }
    let body = usize::try_from(read_number(&mut bytes)?).ok()?;
    let skipped = before - bytes.len();
    (skipped.checked_add(body) == Some(length)).then_some((id, skipped))
}

pub(super) fn read_byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

/// A number of up to nine bytes, 63 bits; `None` for what is longer or cut off.
pub(super) fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let byte = read_byte(bytes)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

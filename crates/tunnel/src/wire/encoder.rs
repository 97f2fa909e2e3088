//! Batches as gRPC messages: one small buffer for everything but long bodies, which are handed over as they are.
//!
//! Invariant: what comes out is, byte for byte, what the generated types would write (`tests/codec.rs` holds the two side
//! by side), behind the five bytes that gRPC puts before a message. A body of [`INLINE_BELOW_BYTES`] or more is not copied.

use std::collections::VecDeque;

use bytes::{BufMut as _, Bytes, BytesMut};
use c2l_proto::tunnel as proto;
use http::HeaderMap;

use super::{
    MESSAGE_PREFIX_BYTES, Piece, agent_control, frames,
    protobuf::{
        flag_bytes, nested_bytes, number_bytes, number_field_bytes, put_flag, put_length,
        put_nested, put_number, put_number_field, put_text_field, text_field_bytes,
    },
    relay_control,
};
use crate::{
    frame::{Batch, Control, Frame, RequestHead, ResponseHead, StreamId},
    session::Side,
};

/// Below this a body is copied into the buffer: one more frame of HTTP/2 costs both ends more than that copy.
pub const INLINE_BELOW_BYTES: usize = 8 * 1024;
/// The buffer that is kept between messages. A larger one goes with its message, so that an idle session keeps none.
const KEPT_BYTES: usize = 2 * 1024;
/// What the framing of one frame takes at most, beside what it carries.
const FRAME_OVERHEAD_BYTES: usize = 64;

/// Keys of protobuf fields: the number, and how it is written (0: as a number, 2: with its length).
const CONTROL: u8 = 1 << 3 | 2;
const FRAME: u8 = 2 << 3 | 2;
const STREAM_ID: u8 = 1 << 3;

/// Encodes what one side sends.
#[derive(Debug)]
pub struct Encoder {
    side: Side,
    buffer: BytesMut,
    /// Bodies that are not copied, each with its place in the buffer.
    long: Vec<(usize, Bytes)>,
}

impl Encoder {
    /// For the messages of `side`.
    #[must_use]
    pub fn new(side: Side) -> Self {
        Self {
            side,
            buffer: BytesMut::new(),
            long: Vec::new(),
        }
    }

    /// Adds `batch` to `out` as one message, in pieces that follow each other on the line. Returns its length, without
    /// the prefix. Frames that this side never sends are left out.
    pub fn encode(&mut self, batch: Batch, out: &mut VecDeque<Piece>) -> usize {
        let room = room_for(&batch);
        // All that an idle session says. What is behind it is kept for nobody.
        let is_quiet = batch.frames.is_empty();
        let least = if is_quiet { 0 } else { KEPT_BYTES / 4 };
        self.buffer.reserve(room.max(least));
        self.buffer.put_bytes(0, MESSAGE_PREFIX_BYTES);
        for control in batch.control {
            self.put_control(control);
        }
        for (id, frame) in batch.frames {
            match self.side {
                Side::Agent => self.put_response(id, frame),
                Side::Relay => self.put_request(id, frame),
            }
        }
        let long: usize = self.long.iter().map(|(_, body)| body.len()).sum();
        let length = self.buffer.len() - MESSAGE_PREFIX_BYTES + long;
        // Far above every limit on a message; one of such a length is refused by whoever reads it.
        let told = u32::try_from(length).unwrap_or(u32::MAX);
        self.buffer[1..MESSAGE_PREFIX_BYTES].copy_from_slice(&told.to_be_bytes());
        self.cut(out);
        if room > KEPT_BYTES || is_quiet {
            self.buffer = BytesMut::new();
        }
        length
    }

    /// Moves what was written to `out`, with the long bodies in their places.
    fn cut(&mut self, out: &mut VecDeque<Piece>) {
        let mut cut_at = 0;
        for (at, body) in self.long.drain(..) {
            let framing = self.buffer.split_to(at - cut_at).freeze();
            out.push_back(Piece::new(framing, body));
            cut_at = at;
        }
        if !self.buffer.is_empty() {
            out.push_back(self.buffer.split().freeze().into());
        }
    }

    fn put_control(&mut self, control: Control) {
        match self.side {
            Side::Agent => {
                if let Some(control) = agent_control(control) {
                    let control = Some(control);
                    self.put_message(CONTROL, &proto::AgentControl { control });
                }
            }
            Side::Relay => {
                if let Some(control) = relay_control(control) {
                    let control = Some(control);
                    self.put_message(CONTROL, &proto::RelayControl { control });
                }
            }
        }
    }

    fn put_response(&mut self, id: StreamId, frame: Frame) {
        match frame {
            Frame::Continue => self.put_number_frame(id, 2, 100),
            Frame::ResponseHead(head) => {
                self.begin_frame(id, 3, response_head_bytes(&head));
                put_response_head(&mut self.buffer, &head);
            }
            Frame::Body(bytes) => self.put_body(id, 4, bytes),
            Frame::End(trailers) => self.put_end(id, 5, &trailers),
            Frame::Reset(fault) => self.put_nested(id, 6, &frames::reset(fault)),
            Frame::Window(credit_bytes) => self.put_number_frame(id, 7, credit_bytes),
            Frame::RequestHead(_) => {}
        }
    }

    fn put_request(&mut self, id: StreamId, frame: Frame) {
        match frame {
            Frame::RequestHead(head) => {
                self.begin_frame(id, 2, request_head_bytes(&head));
                put_request_head(&mut self.buffer, &head);
            }
            Frame::Body(bytes) => self.put_body(id, 3, bytes),
            Frame::End(trailers) => self.put_end(id, 4, &trailers),
            Frame::Reset(fault) => self.put_nested(id, 5, &frames::reset(fault)),
            Frame::Window(credit_bytes) => self.put_number_frame(id, 6, credit_bytes),
            Frame::Continue | Frame::ResponseHead(_) => {}
        }
    }

    /// Everything of a frame that stands before its `length` bytes.
    fn begin_frame(&mut self, id: StreamId, kind: u8, length: usize) {
        let inner = 1 + number_bytes(id.get()) + nested_bytes(length);
        self.buffer.put_u8(FRAME);
        put_length(&mut self.buffer, inner);
        self.buffer.put_u8(STREAM_ID);
        put_number(&mut self.buffer, id.get());
        self.buffer.put_u8(kind << 3 | 2);
        put_length(&mut self.buffer, length);
    }

    fn put_body(&mut self, id: StreamId, kind: u8, bytes: Bytes) {
        self.begin_frame(id, kind, bytes.len());
        if bytes.len() < INLINE_BELOW_BYTES {
            self.buffer.extend_from_slice(&bytes);
        } else {
            self.long.push((self.buffer.len(), bytes));
        }
    }

    /// A frame whose one field is a number: a window, an interim answer.
    fn put_number_frame(&mut self, id: StreamId, kind: u8, number: u32) {
        let length = number_field_bytes(number.into());
        self.begin_frame(id, kind, length);
        put_number_field(&mut self.buffer, 1, number.into());
    }

    fn put_end(&mut self, id: StreamId, kind: u8, trailers: &HeaderMap) {
        self.begin_frame(id, kind, fields_bytes(trailers));
        put_fields(&mut self.buffer, 1, trailers);
    }

    /// A frame of the generated types, for what is seldom sent.
    fn put_nested(&mut self, id: StreamId, kind: u8, message: &impl prost::Message) {
        let encoded = message.encode_to_vec();
        self.begin_frame(id, kind, encoded.len());
        self.buffer.extend_from_slice(&encoded);
    }

    fn put_message(&mut self, key: u8, message: &impl prost::Message) {
        let encoded = message.encode_to_vec();
        self.buffer.put_u8(key);
        put_length(&mut self.buffer, encoded.len());
        self.buffer.extend_from_slice(&encoded);
    }
}

/// What a batch needs of the buffer, or somewhat more.
fn room_for(batch: &Batch) -> usize {
    let frames = batch.frames.iter().map(|(_, frame)| {
        FRAME_OVERHEAD_BYTES
            + match frame {
                Frame::Body(bytes) if bytes.len() < INLINE_BELOW_BYTES => bytes.len(),
                Frame::RequestHead(head) => request_head_bytes(head),
                Frame::ResponseHead(head) => response_head_bytes(head),
                Frame::End(trailers) => fields_bytes(trailers),
                Frame::Reset(fault) => {
                    fault.message.len().min(super::MAX_TEXT_BYTES)
                        + fault.model.len().min(super::MAX_MODEL_NAME_BYTES)
                }
                Frame::Body(_) | Frame::Continue | Frame::Window(_) => 0,
            }
    });
    MESSAGE_PREFIX_BYTES + batch.control.len() * FRAME_OVERHEAD_BYTES + frames.sum::<usize>()
}

// ---- heads

fn request_head_bytes(head: &RequestHead) -> usize {
    let scopes = usize::from(head.scopes.infer) + usize::from(head.scopes.manage);
    text_field_bytes(head.method.as_str().len())
        + text_field_bytes(head.target.as_str().len())
        + fields_bytes(&head.headers)
        + flag_bytes(head.is_whole)
        + flag_bytes(head.expects_continue)
        + text_field_bytes(head.request_id.len())
        + text_field_bytes(scopes)
        + head
            .models
            .iter()
            .map(|m| nested_bytes(m.len()))
            .sum::<usize>()
}

fn put_request_head(buffer: &mut BytesMut, head: &RequestHead) {
    put_text_field(buffer, 1, head.method.as_str().as_bytes());
    put_text_field(buffer, 2, head.target.as_str().as_bytes());
    put_fields(buffer, 3, &head.headers);
    put_flag(buffer, 4, head.is_whole);
    put_flag(buffer, 5, head.expects_continue);
    put_text_field(buffer, 6, head.request_id.as_bytes());
    let scopes: &[u8] = match (head.scopes.infer, head.scopes.manage) {
        (false, false) => &[],
        (true, false) => &[1],
        (false, true) => &[2],
        (true, true) => &[1, 2],
    };
    put_text_field(buffer, 7, scopes);
    for model in &head.models {
        put_nested(buffer, 8, model.as_bytes());
    }
}

fn response_head_bytes(head: &ResponseHead) -> usize {
    number_field_bytes(head.status.as_u16().into())
        + fields_bytes(&head.headers)
        + flag_bytes(head.is_whole)
        + text_field_bytes(head.model.len())
}

fn put_response_head(buffer: &mut BytesMut, head: &ResponseHead) {
    put_number_field(buffer, 1, head.status.as_u16().into());
    put_fields(buffer, 2, &head.headers);
    put_flag(buffer, 3, head.is_whole);
    put_text_field(buffer, 4, head.model.as_bytes());
}

fn field_bytes(name: &str, value: &[u8]) -> usize {
    text_field_bytes(name.len()) + text_field_bytes(value.len())
}

fn fields_bytes(headers: &HeaderMap) -> usize {
    let fields = headers.iter();
    fields
        .map(|(name, value)| nested_bytes(field_bytes(name.as_str(), value.as_bytes())))
        .sum()
}

fn put_fields(buffer: &mut BytesMut, number: u8, headers: &HeaderMap) {
    for (name, value) in headers {
        buffer.put_u8(number << 3 | 2);
        put_length(buffer, field_bytes(name.as_str(), value.as_bytes()));
        put_text_field(buffer, 1, name.as_str().as_bytes());
        put_text_field(buffer, 2, value.as_bytes());
    }
}

//! The head and the end of an answer, read as [`super::encoder`] writes them: fields in their order, each once, nothing else.
//!
//! Invariant: what looks otherwise in any way, or cannot mean anything, is `None` here and left to the generated types, which say
//! what it is, or what is wrong with it.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{
    MAX_FIELD_BYTES, MAX_FIELDS, STATUSES,
    decoder::{read_byte, read_number},
    frames::{ADDED_FIELDS, from_model},
};
use crate::frame::{Frame, ResponseHead, StreamId};

/// The key of a field of bytes.
const fn nested(number: u8) -> u8 {
    number << 3 | 2
}

/// What is left of a message, whose bytes are slices of the frame.
struct Rest<'a> {
    frame: &'a Bytes,
    bytes: &'a [u8],
}

impl<'a> Rest<'a> {
    /// Takes the key, if it comes next.
    fn take_key(&mut self, key: u8) -> Option<()> {
        let (first, rest) = self.bytes.split_first()?;
        (*first == key).then(|| self.bytes = rest)
    }

    /// Takes a length, and so many bytes.
    fn take_nested(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(read_number(&mut self.bytes)?).ok()?;
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }

    fn inside(&self, bytes: &'a [u8]) -> Self {
        let frame = self.frame;
        Self { frame, bytes }
    }
}

/// One frame of an agent's that is a head, or an end without trailers.
pub(super) fn read(frame: &Bytes) -> Option<(StreamId, Frame)> {
    let mut rest = Rest {
        frame,
        bytes: frame,
    };
    rest.take_key(1 << 3)?;
    let id = StreamId::new(read_number(&mut rest.bytes)?)?;
    let key = read_byte(&mut rest.bytes)?;
    let message = rest.take_nested()?;
    if !rest.bytes.is_empty() {
        return None;
    }
    let frame = match key {
        key if key == nested(3) => Frame::ResponseHead(Box::new(read_head(rest.inside(message))?)),
        key if key == nested(5) && message.is_empty() => Frame::End(HeaderMap::new()),
        _ => return None,
    };
    Some((id, frame))
}

fn read_head(mut rest: Rest<'_>) -> Option<ResponseHead> {
    rest.take_key(1 << 3)?;
    let status = u16::try_from(read_number(&mut rest.bytes)?).ok()?;
    let status = Some(status).filter(|status| STATUSES.contains(status))?;
    let status = StatusCode::from_u16(status).ok()?;
    let headers = read_fields(&mut rest)?;
    let is_whole = rest.take_key(3 << 3).is_some();
    if is_whole {
        rest.take_key(1)?; // the value that means true
    }
    let model = match rest.take_key(nested(4)) {
        Some(()) => String::from_utf8(rest.take_nested()?.to_vec()).ok()?,
        None => String::new(),
    };
    rest.bytes.is_empty().then(|| ResponseHead {
        status,
        headers,
        is_whole,
        model: from_model(model),
    })
}

fn read_fields(rest: &mut Rest<'_>) -> Option<HeaderMap> {
    let count = count_fields(rest.inside(rest.bytes))?;
    let mut headers = HeaderMap::with_capacity(match count {
        0 => 0,
        count => count + ADDED_FIELDS,
    });
    for _ in 0..count {
        rest.take_key(nested(2))?;
        let field = rest.take_nested()?;
        let mut field = rest.inside(field);
        field.take_key(nested(1))?;
        let name = HeaderName::from_lowercase(field.take_nested()?).ok()?;
        let value = match field.take_key(nested(2)) {
            Some(()) => HeaderValue::from_maybe_shared(field.frame.slice_ref(field.take_nested()?)),
            None => Ok(HeaderValue::from_static("")),
        };
        headers.append(name, value.ok()?);
        field.bytes.is_empty().then_some(())?;
    }
    Some(headers)
}

/// How many fields come next, if they are no more, and no larger, than a head may have.
fn count_fields(mut rest: Rest<'_>) -> Option<usize> {
    let (mut count, mut bytes) = (0, 0);
    while rest.take_key(nested(2)).is_some() {
        bytes += rest.take_nested()?.len(); // with keys and lengths: at least what counts
        count += 1;
    }
    (count <= MAX_FIELDS && bytes <= MAX_FIELD_BYTES).then_some(count)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use bytes::Buf as _;
    use c2l_proto::tunnel as proto;
    use prost::Message as _;

    use super::*;
    use crate::{
        frame::Batch,
        session::Side,
        wire::{Encoder, frames::from_response},
    };

    /// The frame as it is written, without the message around it.
    fn written(frame: &Frame) -> Bytes {
        let batch = Batch {
            control: Vec::new(),
            frames: vec![(StreamId::new(300).unwrap(), frame.clone())],
        };
        let mut pieces = VecDeque::new();
        Encoder::new(Side::Agent).encode(batch, &mut pieces);
        let mut bytes = Vec::new();
        for mut piece in pieces {
            bytes.extend_from_slice(&piece.copy_to_bytes(piece.remaining()));
        }
        let message = proto::AgentMessage::decode(&bytes[5..]).unwrap();
        message.responses[0].encode_to_vec().into()
    }

    fn head(fields: &[(&'static str, &'static str)], is_whole: bool, model: &str) -> Frame {
        let fields = fields.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        Frame::ResponseHead(Box::new(ResponseHead {
            status: StatusCode::CREATED,
            headers: fields.collect(),
            is_whole,
            model: model.to_owned(),
        }))
    }

    /// Both readers' answer, as text: the quick one's only where it has one.
    fn both(frame: &Bytes) -> (Option<String>, Option<String>) {
        let generated = proto::TunnelResponse::decode(frame.clone()).ok();
        let generated = generated.and_then(|it| from_response(it).ok().flatten());
        let text = |it: (StreamId, Frame)| format!("{it:?}");
        (read(frame).map(text), generated.map(text))
    }

    fn examples() -> Vec<Frame> {
        vec![
            head(&[], false, ""),
            head(&[], true, ""),
            head(
                &[("content-type", "text/plain"), ("x-own", "")],
                true,
                "qwen3:0.6b",
            ),
            head(
                &[("content-length", "25"), ("date", "x")],
                false,
                "bad\nname",
            ),
            Frame::End(HeaderMap::new()),
        ]
    }

    #[test]
    fn what_is_mostly_written_is_read_here_and_as_the_generated_types_read_it() {
        for frame in examples() {
            let (quick, generated) = both(&written(&frame));
            assert!(quick.is_some(), "{frame:?}");
            assert_eq!(quick, generated);
        }
    }

    #[test]
    fn nothing_is_understood_otherwise_than_by_the_generated_types() {
        for frame in examples() {
            let good = written(&frame);
            // Each byte changed in each way, each beginning, and something behind it.
            for at in 0..good.len() {
                for change in 1..=u8::MAX {
                    let mut bad = good.to_vec();
                    bad[at] ^= change;
                    let (quick, generated) = both(&bad.into());
                    assert!(
                        quick.is_none() || quick == generated,
                        "{quick:?}, {generated:?}"
                    );
                }
                let (quick, generated) = both(&good.slice(..at));
                assert!(
                    quick.is_none() || quick == generated,
                    "{quick:?}, {generated:?}"
                );
            }
            let longer = [&good[..], &[0x32, 0]].concat();
            assert_eq!(read(&longer.into()).map(|(_, frame)| frame.name()), None);
        }
    }
}

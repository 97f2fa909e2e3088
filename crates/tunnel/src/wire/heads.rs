//! Heads, and ends without trailers, read as [`super::encoder`] writes them: fields in their order, each once, nothing else.
//!
//! Invariant: what looks otherwise in any way, or cannot mean anything, is `None` here and left to the generated types, which say
//! what it is, or what is wrong with it.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, uri::PathAndQuery};

use super::{
    MAX_FIELD_BYTES, MAX_FIELDS, MAX_MODELS, STATUSES,
    decoder::{read_byte, read_number},
    frames::{ADDED_FIELDS, from_model},
    is_model_pattern, text,
};
use crate::frame::{Frame, RequestHead, ResponseHead, Scopes, StreamId};

/// An agent adds `Host`: its map need not grow for it.
const ADDED_BY_AGENT: usize = 1;

/// One frame of a relay's that is the head of a request.
pub(super) fn read_request(frame: &Bytes) -> Option<(StreamId, Frame)> {
    let mut rest = Rest::of(frame);
    let id = StreamId::new(rest.number(1)?)?;
    let head = rest.nested(2)?;
    let head = read_request_head(rest.inside(head))?;
    rest.end()?;
    Some((id, Frame::RequestHead(Box::new(head))))
}

/// One frame of an agent's that is the head of an answer, or an end without trailers.
pub(super) fn read_response(frame: &Bytes) -> Option<(StreamId, Frame)> {
    let mut rest = Rest::of(frame);
    let id = StreamId::new(rest.number(1)?)?;
    let read = match rest.nested(3) {
        Some(head) => Frame::ResponseHead(Box::new(read_response_head(rest.inside(head))?)),
        None => {
            rest.nested(5)?.is_empty().then_some(())?;
            Frame::End(HeaderMap::new())
        }
    };
    rest.end()?;
    Some((id, read))
}

fn read_request_head(mut rest: Rest<'_>) -> Option<RequestHead> {
    let head = RequestHead {
        method: Method::from_bytes(rest.nested(1)?).ok()?,
        target: read_target(rest.slice(2)?)?,
        headers: rest.headers(3, ADDED_BY_AGENT)?,
        is_whole: rest.flag(4)?,
        expects_continue: rest.flag(5)?,
        request_id: text(rest.text(6)?.to_owned()),
        scopes: read_scopes(rest.nested(7).unwrap_or_default())?,
        models: read_models(&mut rest)?,
    };
    rest.end()?;
    Some(head)
}

fn read_response_head(mut rest: Rest<'_>) -> Option<ResponseHead> {
    let status = u16::try_from(rest.number(1)?).ok()?;
    let status = Some(status).filter(|status| STATUSES.contains(status))?;
    let head = ResponseHead {
        status: StatusCode::from_u16(status).ok()?,
        headers: rest.headers(2, ADDED_FIELDS)?,
        is_whole: rest.flag(3)?,
        model: from_model(rest.text(4)?.to_owned()),
    };
    rest.end()?;
    Some(head)
}

fn read_target(target: Bytes) -> Option<PathAndQuery> {
    let target = PathAndQuery::from_maybe_shared(target).ok()?;
    target.as_str().starts_with('/').then_some(target)
}

/// Scopes that are not known mean nothing.
fn read_scopes(numbers: &[u8]) -> Option<Scopes> {
    let are_short = numbers.iter().all(|number| *number < 0x80);
    are_short.then(|| Scopes {
        infer: numbers.contains(&1),
        manage: numbers.contains(&2),
    })
}

fn read_models(rest: &mut Rest<'_>) -> Option<Vec<String>> {
    let mut models = Vec::new();
    while let Some(model) = rest.nested(8) {
        let model = str::from_utf8(model).ok()?;
        (models.len() < MAX_MODELS && is_model_pattern(model)).then_some(())?;
        models.push(model.to_owned());
    }
    Some(models)
}

/// What is left of a message, whose bytes are slices of the frame.
#[derive(Clone, Copy)]
struct Rest<'a> {
    frame: &'a Bytes,
    bytes: &'a [u8],
}

impl<'a> Rest<'a> {
    fn of(frame: &'a Bytes) -> Self {
        Self {
            frame,
            bytes: frame,
        }
    }

    fn inside(&self, bytes: &'a [u8]) -> Self {
        let frame = self.frame;
        Self { frame, bytes }
    }

    /// Nothing may be left.
    fn end(&self) -> Option<()> {
        self.bytes.is_empty().then_some(())
    }

    /// The number of this field, which comes next.
    fn number(&mut self, field: u8) -> Option<u64> {
        (read_byte(&mut self.bytes)? == field << 3).then_some(())?;
        read_number(&mut self.bytes)
    }

    /// The bytes of this field, if it comes next; otherwise nothing is taken.
    fn nested(&mut self, field: u8) -> Option<&'a [u8]> {
        let mut ahead = self.bytes;
        (read_byte(&mut ahead)? == field << 3 | 2).then_some(())?;
        let length = usize::try_from(read_number(&mut ahead)?).ok()?;
        let (bytes, after) = ahead.split_at_checked(length)?;
        self.bytes = after;
        Some(bytes)
    }

    /// The same as a part of the frame, without a copy.
    fn slice(&mut self, field: u8) -> Option<Bytes> {
        let bytes = self.nested(field)?;
        Some(self.frame.slice_ref(bytes))
    }

    /// The text of this field, empty where it does not come next.
    fn text(&mut self, field: u8) -> Option<&'a str> {
        str::from_utf8(self.nested(field).unwrap_or_default()).ok()
    }

    /// Whether this field comes next, and is set. `None` for a number that no flag is written as.
    fn flag(&mut self, field: u8) -> Option<bool> {
        match self.bytes {
            [key, 1, after @ ..] if *key == field << 3 => {
                self.bytes = after;
                Some(true)
            }
            [key, ..] if *key == field << 3 => None,
            _ => Some(false),
        }
    }

    /// The fields of a head that come next as this field, in a map with room for `more`.
    fn headers(&mut self, field: u8, more: usize) -> Option<HeaderMap> {
        let mut ahead = *self;
        let fields = std::iter::from_fn(|| ahead.nested(field));
        let (count, bytes) = fields.fold((0, 0), |(count, bytes), field| {
            (count + 1, bytes + field.len())
        });
        // The framing of each counts here: what is near the limit is left to the generated types.
        (count <= MAX_FIELDS && bytes <= MAX_FIELD_BYTES).then_some(())?;
        let mut headers = HeaderMap::with_capacity(match count {
            0 => 0,
            count => count + more,
        });
        while let Some(pair) = self.nested(field) {
            let mut pair = self.inside(pair);
            let name = HeaderName::from_lowercase(pair.nested(1)?).ok()?;
            let value = pair.slice(2).unwrap_or_default();
            pair.end()?;
            headers.append(name, HeaderValue::from_maybe_shared(value).ok()?);
        }
        Some(headers)
    }
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
        wire::{
            Encoder, MESSAGE_PREFIX_BYTES,
            frames::{from_request, from_response},
        },
    };

    /// The frame as it is written, without the message around it.
    fn written(side: Side, frame: &Frame) -> Bytes {
        let batch = Batch {
            control: Vec::new(),
            frames: vec![(StreamId::new(300).unwrap(), frame.clone())],
        };
        let mut pieces = VecDeque::new();
        Encoder::new(side).encode(batch, &mut pieces);
        let mut bytes = Vec::new();
        for mut piece in pieces {
            bytes.extend_from_slice(&piece.copy_to_bytes(piece.remaining()));
        }
        let message = &bytes[MESSAGE_PREFIX_BYTES..];
        match side {
            Side::Agent => {
                proto::AgentMessage::decode(message).unwrap().responses[0].encode_to_vec()
            }
            Side::Relay => {
                proto::RelayMessage::decode(message).unwrap().requests[0].encode_to_vec()
            }
        }
        .into()
    }

    /// Both readers' answer, as text: the quick one's only where it has one.
    fn both(side: Side, frame: &Bytes) -> (Option<String>, Option<String>) {
        let text = |it: (StreamId, Frame)| format!("{it:?}");
        let (quick, generated) = match side {
            Side::Agent => {
                let generated = proto::TunnelResponse::decode(frame.clone()).ok();
                (read_response(frame), generated.map(from_response))
            }
            Side::Relay => {
                let generated = proto::TunnelRequest::decode(frame.clone()).ok();
                (read_request(frame), generated.map(from_request))
            }
        };
        let generated = generated.and_then(|it| it.ok().flatten());
        (quick.map(text), generated.map(text))
    }

    fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let fields = fields.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        fields.collect()
    }

    fn answer(headers: HeaderMap, is_whole: bool, model: &str) -> (Side, Frame) {
        let head = ResponseHead {
            status: StatusCode::CREATED,
            headers,
            is_whole,
            model: model.to_owned(),
        };
        (Side::Agent, Frame::ResponseHead(Box::new(head)))
    }

    fn request(headers: HeaderMap, is_whole: bool, models: &[&str]) -> (Side, Frame) {
        let head = RequestHead {
            method: Method::POST,
            target: PathAndQuery::from_static("/api/chat?x=1"),
            headers,
            is_whole,
            expects_continue: !is_whole,
            request_id: "an-id".to_owned(),
            scopes: Scopes {
                infer: true,
                manage: is_whole,
            },
            models: models.iter().map(|model| (*model).to_owned()).collect(),
        };
        (Side::Relay, Frame::RequestHead(Box::new(head)))
    }

    fn examples() -> Vec<(Side, Frame)> {
        vec![
            answer(HeaderMap::new(), false, ""),
            answer(HeaderMap::new(), true, ""),
            answer(
                fields(&[("content-type", "text/plain"), ("x-own", "")]),
                true,
                "qwen3:0.6b",
            ),
            answer(
                fields(&[("content-length", "25"), ("date", "x")]),
                false,
                "bad\nname",
            ),
            (Side::Agent, Frame::End(HeaderMap::new())),
            request(HeaderMap::new(), false, &[]),
            request(
                fields(&[("accept", "*/*"), ("x-own", "")]),
                true,
                &["qwen3*", "a:b"],
            ),
        ]
    }

    fn assert_not_otherwise(side: Side, frame: &Bytes) {
        let (quick, generated) = both(side, frame);
        assert!(
            quick.is_none() || quick == generated,
            "{quick:?}, {generated:?}"
        );
    }

    #[test]
    fn what_is_mostly_written_is_read_here_and_as_the_generated_types_read_it() {
        for (side, frame) in examples() {
            let (quick, generated) = both(side, &written(side, &frame));
            assert!(quick.is_some(), "{frame:?}");
            assert_eq!(quick, generated);
        }
    }

    #[test]
    fn nothing_is_understood_otherwise_than_by_the_generated_types() {
        for (side, frame) in examples() {
            let good = written(side, &frame);
            // Each byte changed in each way, each beginning, and something behind it.
            for at in 0..good.len() {
                for change in 1..=u8::MAX {
                    let mut bad = good.to_vec();
                    bad[at] ^= change;
                    assert_not_otherwise(side, &bad.into());
                }
                assert_not_otherwise(side, &good.slice(..at));
            }
            let longer = [&good[..], &[0x32, 0]].concat();
            assert_eq!(both(side, &longer.into()).0, None);
        }
    }

    #[test]
    fn the_bounds_are_those_of_the_generated_types() {
        for count in [MAX_FIELDS, MAX_FIELDS + 1] {
            let mut headers = HeaderMap::new();
            for _ in 0..count {
                headers.append("x-own", HeaderValue::from_static("1"));
            }
            for (side, frame) in [
                answer(headers.clone(), true, ""),
                request(headers.clone(), true, &[]),
            ] {
                let (quick, generated) = both(side, &written(side, &frame));
                assert_eq!(quick, generated);
                assert_eq!(quick.is_some(), count <= MAX_FIELDS);
            }
        }
        for length in [
            MAX_FIELD_BYTES / 2,
            MAX_FIELD_BYTES - 5,
            MAX_FIELD_BYTES - 4,
        ] {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_bytes(&vec![b'v'; length]).unwrap();
            headers.append("x-ow", value);
            let (side, frame) = request(headers, true, &[]);
            let frame = written(side, &frame);
            assert_not_otherwise(side, &frame);
            assert_eq!(
                both(side, &frame).1.is_some(),
                4 + length <= MAX_FIELD_BYTES
            );
        }
        for count in [MAX_MODELS, MAX_MODELS + 1] {
            let (side, frame) = request(HeaderMap::new(), true, &vec!["m"; count]);
            let (quick, generated) = both(side, &written(side, &frame));
            assert_eq!(quick, generated);
            assert_eq!(quick.is_some(), count <= MAX_MODELS);
        }
    }
}

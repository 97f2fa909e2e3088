//! The head of a request, read as [`super::encoder`] writes it.
//!
//! Invariant: each field stands at most once and in order, and the head is good; otherwise nothing is read, and the
//! generated types say what is wrong, or understand what a newer peer means.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, uri::PathAndQuery};

use super::{
    MAX_FIELD_BYTES, MAX_FIELDS, MAX_MODELS,
    decoder::{read_byte, read_number},
    is_model_pattern, text,
};
use crate::frame::{RequestHead, Scopes};

/// Room for what the receiver adds, so that its map need not grow for it.
const ADDED_FIELDS: usize = 1;

/// The stream and the head, of a frame that holds nothing else.
pub(super) fn read_request(frame: &Bytes) -> Option<(u64, RequestHead)> {
    let rest = &mut &frame[..];
    (read_byte(rest)? == 1 << 3).then_some(())?;
    let id = read_number(rest)?;
    let mut head = nested(rest, 2)?;
    rest.is_empty().then_some(())?;
    let read = read_head(frame, &mut head)?;
    head.is_empty().then_some((id, read))
}

fn read_head(frame: &Bytes, rest: &mut &[u8]) -> Option<RequestHead> {
    Some(RequestHead {
        method: Method::from_bytes(nested(rest, 1)?).ok()?,
        target: read_target(frame.slice_ref(nested(rest, 2)?))?,
        headers: read_fields(frame, rest, 3)?,
        is_whole: flag(rest, 4)?,
        expects_continue: flag(rest, 5)?,
        request_id: text(
            str::from_utf8(nested(rest, 6).unwrap_or_default())
                .ok()?
                .to_owned(),
        ),
        scopes: read_scopes(nested(rest, 7).unwrap_or_default())?,
        models: read_models(rest)?,
    })
}

fn read_target(target: Bytes) -> Option<PathAndQuery> {
    let target = PathAndQuery::from_maybe_shared(target).ok()?;
    target.as_str().starts_with('/').then_some(target)
}

fn read_fields(frame: &Bytes, rest: &mut &[u8], key: u8) -> Option<HeaderMap> {
    let mut ahead = *rest;
    let fields = std::iter::from_fn(|| nested(&mut ahead, key));
    let (count, bytes) = fields.fold((0, 0), |(count, bytes), field| {
        (count + 1, bytes + field.len())
    });
    // The framing of each counts here: what is near the limit is left to the generated types.
    (count <= MAX_FIELDS && bytes <= MAX_FIELD_BYTES).then_some(())?;
    let mut headers = HeaderMap::with_capacity(count + ADDED_FIELDS);
    while let Some(mut field) = nested(rest, key) {
        let name = HeaderName::from_lowercase(nested(&mut field, 1)?).ok()?;
        let value = frame.slice_ref(nested(&mut field, 2).unwrap_or_default());
        field.is_empty().then_some(())?;
        headers.append(name, HeaderValue::from_maybe_shared(value).ok()?);
    }
    Some(headers)
}

/// Scopes that are not known mean nothing.
fn read_scopes(numbers: &[u8]) -> Option<Scopes> {
    let are_short = numbers.iter().all(|number| *number < 0x80);
    are_short.then(|| Scopes {
        infer: numbers.contains(&1),
        manage: numbers.contains(&2),
    })
}

fn read_models(rest: &mut &[u8]) -> Option<Vec<String>> {
    let mut models = Vec::new();
    while let Some(model) = nested(rest, 8) {
        let model = str::from_utf8(model).ok()?;
        (models.len() < MAX_MODELS && is_model_pattern(model)).then_some(())?;
        models.push(model.to_owned());
    }
    Some(models)
}

/// The bytes of the next field, if it is this one; otherwise nothing is taken.
fn nested<'a>(rest: &mut &'a [u8], number: u8) -> Option<&'a [u8]> {
    let mut ahead = *rest;
    (read_byte(&mut ahead)? == number << 3 | 2).then_some(())?;
    let length = usize::try_from(read_number(&mut ahead)?).ok()?;
    let (bytes, after) = ahead.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

/// Whether the next field is this one, and set. `None` for a number that no flag is written as.
fn flag(rest: &mut &[u8], number: u8) -> Option<bool> {
    match **rest {
        [key, 1, ..] if key == number << 3 => {
            *rest = &rest[2..];
            Some(true)
        }
        [key, ..] if key == number << 3 => None,
        _ => Some(false),
    }
}

//! Takes a compact JWT apart, before anything in it is believed.
//!
//! Invariant: the work done on an unverified credential is bounded by [`MAX_TOKEN_BYTES`], and nothing in its header
//! but `alg`, `kid` and `typ` is ever looked at, except to refuse it. They are only compared with what is configured.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::json::{self, Object};
use crate::{AuthError, Flaw, Part};

/// The longest credential that is looked at, in bytes. Tokens of real identity providers stay under 4 KiB, and common
/// HTTP servers refuse header fields above 8 KiB.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Header members that bring a key or say where one lies. Using them would let the sender choose the key (RFC 8725
/// §3.10); they are refused rather than skipped, so that a token made to be believed by them is never accepted here.
const KEY_MEMBERS: [&str; 4] = ["jwk", "jku", "x5u", "x5c"];

/// A token in its parts, unverified.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) header: Header,
    pub(crate) payload: Object,
}

impl Token {
    /// Reads the parts, the cheap refusals first. Signature and claims are not judged yet.
    pub(crate) fn parse(credential: &str) -> Result<Self, AuthError> {
        if credential.is_empty() {
            return Err(AuthError::Missing);
        }
        if credential.len() > MAX_TOKEN_BYTES {
            return Err(AuthError::TooLong);
        }
        let mut parts = credential.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(AuthError::NotAToken);
        };
        let header = Header::read(&object(header, Part::Header)?)?;
        if signature.is_empty() {
            return Err(AuthError::Unsigned);
        }
        decode(signature, Part::Signature)?;
        Ok(Self {
            header,
            payload: object(payload, Part::Payload)?,
        })
    }
}

/// What the header says about the signature and the token. It only ever narrows down which keys are tried, or rules the
/// token out.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) algorithm: String,
    pub(crate) key_id: Option<String>,
    /// What `typ` says the token is, as it is written.
    pub(crate) media_type: Option<String>,
}

impl Header {
    fn read(object: &Object) -> Result<Self, AuthError> {
        if object.contains_key("crit") {
            return Err(AuthError::CriticalHeader);
        }
        if KEY_MEMBERS.iter().any(|name| object.contains_key(*name)) {
            return Err(AuthError::KeyInHeader);
        }
        let algorithm = text(object, "alg")?.ok_or(AuthError::AlgorithmNotAllowed)?;
        if algorithm.eq_ignore_ascii_case("none") {
            return Err(AuthError::Unsigned);
        }
        Ok(Self {
            algorithm: algorithm.to_owned(),
            key_id: text(object, "kid")?.map(str::to_owned),
            media_type: text(object, "typ")?.map(str::to_owned),
        })
    }
}

fn text<'a>(object: &'a Object, name: &str) -> Result<Option<&'a str>, AuthError> {
    match object.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(AuthError::Malformed(Part::Header, Flaw::WrongType)),
    }
}

fn object(encoded: &str, part: Part) -> Result<Object, AuthError> {
    json::parse_object(&decode(encoded, part)?).map_err(|flaw| AuthError::Malformed(part, flaw))
}

/// Strict: no padding, no white space, and no bits left over, so that a token has one spelling only.
fn decode(encoded: &str, part: Part) -> Result<Vec<u8>, AuthError> {
    URL_SAFE_NO_PAD
        .decode(encoded)
        .map_err(|_| AuthError::Malformed(part, Flaw::NotBase64url))
}

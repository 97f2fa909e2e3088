//! Reads the keys that an issuer publishes: a JWK Set (RFC 7517 §5).
//!
//! Invariant: what comes out can check signatures of an algorithm that the operator allowed, and nothing else. A key that
//! does not fit is left out, whatever is odd about it; a set that could be read in two ways is refused whole. The work is
//! bounded by [`MAX_JWKS_BYTES`] and [`MAX_PUBLISHED_KEYS`].

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::algorithm::KeyType;
use crate::json::{self, Object};
use crate::{Algorithm, Flaw, Key};

/// The longest set that is looked at, in bytes. Those of large providers, with certificates beside each key, stay under
/// 32 KiB.
pub const MAX_JWKS_BYTES: usize = 256 * 1024;

/// How many keys a set may have, usable or not.
pub const MAX_PUBLISHED_KEYS: usize = 32;

/// The longest `kid` that is kept, in bytes.
const MAX_KEY_ID_BYTES: usize = 256;

/// Members of private and of shared keys (RFC 7518 §6.2.2, §6.3.2, §6.4). A key that comes with one is known to whoever
/// can read the set, and so to a forger.
const SECRET_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Why a published set is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// It is longer than [`MAX_JWKS_BYTES`].
    #[error("the key set is longer than {MAX_JWKS_BYTES} bytes")]
    TooLong,
    /// It cannot be read.
    #[error("the key set {0}")]
    Malformed(Flaw),
    /// It has no list `keys`.
    #[error("the key set has no list of keys")]
    NoList,
    /// It has more keys than [`MAX_PUBLISHED_KEYS`].
    #[error("the key set has more than {MAX_PUBLISHED_KEYS} keys")]
    TooManyKeys,
    /// Two different keys for the same algorithm have the same id; which of them counts would be a guess.
    #[error("two keys of the set have the same id (kid) and algorithm")]
    DuplicateKeyId,
    /// None of its keys is for an algorithm that is allowed.
    #[error("the key set has no key for an algorithm that is allowed")]
    NoUsableKey,
}

/// The usable keys of a set.
#[derive(Debug)]
pub struct Jwks {
    pub(crate) keys: Vec<Key>,
    pub(crate) unusable: usize,
}

impl Jwks {
    /// Reads a set for an issuer that may use these algorithms.
    ///
    /// A key that names its algorithm (`alg`) is for that one, one that does not is for each that is allowed and fits it.
    ///
    /// # Errors
    ///
    /// [`JwksError`], when there is nothing to use.
    pub fn read(text: &[u8], allowed: &[Algorithm]) -> Result<Self, JwksError> {
        if text.len() > MAX_JWKS_BYTES {
            return Err(JwksError::TooLong);
        }
        let set = json::parse_object(text).map_err(JwksError::Malformed)?;
        let Some(Value::Array(entries)) = set.get("keys") else {
            return Err(JwksError::NoList);
        };
        if entries.len() > MAX_PUBLISHED_KEYS {
            return Err(JwksError::TooManyKeys);
        }
        let mut read = Self {
            keys: Vec::new(),
            unusable: 0,
        };
        for entry in entries {
            match keys_of(entry, allowed) {
                Some(keys) => keys.into_iter().try_for_each(|key| read.add(key))?,
                None => read.unusable += 1,
            }
        }
        if read.keys.is_empty() {
            return Err(JwksError::NoUsableKey);
        }
        Ok(read)
    }

    /// How many keys may be used: one for each algorithm.
    pub fn usable(&self) -> usize {
        self.keys.len()
    }

    /// The same key twice is one key.
    fn add(&mut self, key: Key) -> Result<(), JwksError> {
        if self.keys.iter().any(|known| known.is_same(&key)) {
            return Ok(());
        }
        let is_taken = |known: &Key| known.id == key.id && known.algorithm == key.algorithm;
        if key.id.is_some() && self.keys.iter().any(is_taken) {
            return Err(JwksError::DuplicateKeyId);
        }
        self.keys.push(key);
        Ok(())
    }
}

/// One key for each algorithm that it may be used with; `None` when there is none.
fn keys_of(entry: &Value, allowed: &[Algorithm]) -> Option<Vec<Key>> {
    let jwk = entry.as_object()?;
    if !is_for_signatures(jwk)? || SECRET_MEMBERS.iter().any(|name| jwk.contains_key(*name)) {
        return None;
    }
    let id = text(jwk, "kid")?;
    if id.is_some_and(|id| id.len() > MAX_KEY_ID_BYTES) {
        return None;
    }
    let named = text(jwk, "alg")?;
    let fitting = |algorithm: &&Algorithm| named.is_none_or(|name| name == algorithm.as_str());
    let keys = allowed.iter().filter(fitting).filter_map(|algorithm| {
        let key = key(jwk, *algorithm)?;
        Some(match id {
            Some(id) => key.with_id(id),
            None => key,
        })
    });
    let keys: Vec<Key> = keys.collect();
    (!keys.is_empty()).then_some(keys)
}

/// RFC 7517 §4.2 and §4.3; `None` where they are malformed.
fn is_for_signatures(jwk: &Object) -> Option<bool> {
    let is_used = text(jwk, "use")?.is_none_or(|word| word == "sig");
    let may_verify = match jwk.get("key_ops") {
        None => true,
        Some(Value::Array(words)) => words.iter().any(|word| word == "verify"),
        Some(_) => return None,
    };
    Some(is_used && may_verify)
}

/// The key, if it is one for this algorithm (RFC 7518 §6, RFC 8037 §2).
fn key(jwk: &Object, algorithm: Algorithm) -> Option<Key> {
    let (kind, curve) = (text(jwk, "kty")??, text(jwk, "crv")?);
    match algorithm.key_type() {
        KeyType::Rsa if kind == "RSA" => {
            let (n, e) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
            Key::from_rsa(algorithm, without_zeros(&n), without_zeros(&e))
        }
        KeyType::P256 if kind == "EC" && curve == Some("P-256") => point(jwk, algorithm, 32),
        KeyType::P384 if kind == "EC" && curve == Some("P-384") => point(jwk, algorithm, 48),
        KeyType::Ed25519 if kind == "OKP" && curve == Some("Ed25519") => {
            Key::from_point(algorithm, &bytes(jwk, "x")?)
        }
        KeyType::Rsa | KeyType::P256 | KeyType::P384 | KeyType::Ed25519 => None,
    }
}

/// A point of a curve whose coordinates have exactly this length (RFC 7518 §6.2.1.2), uncompressed (SEC 1 §2.3.3).
fn point(jwk: &Object, algorithm: Algorithm, coordinate_bytes: usize) -> Option<Key> {
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() != coordinate_bytes || y.len() != coordinate_bytes {
        return None;
    }
    Key::from_point(algorithm, &[&[4], x.as_slice(), y.as_slice()].concat())
}

/// Leading zeros are not allowed (RFC 7518 §2, "Base64urlUInt"), and are written by some all the same. They change nothing.
fn without_zeros(number: &[u8]) -> &[u8] {
    let start = number.iter().position(|byte| *byte != 0);
    start.and_then(|start| number.get(start..)).unwrap_or(&[])
}

/// A text that may be left out; `None` when it is there and is no text.
fn text<'a>(jwk: &'a Object, name: &str) -> Option<Option<&'a str>> {
    match jwk.get(name) {
        None => Some(None),
        Some(Value::String(text)) => Some(Some(text)),
        Some(_) => None,
    }
}

fn bytes(jwk: &Object, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(jwk.get(name)?.as_str()?).ok()
}

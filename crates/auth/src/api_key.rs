//! Keys for programs: what one is asked for with, what is kept of it, and what it grants.
//!
//! Invariant: nothing here holds the secret part. What is kept is plain data and proves nothing by itself:
//! [`Pepper::verify`](crate::Pepper::verify) makes a grant of it, from a key whose hash it is.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use subtle::ConstantTimeEq as _;

use crate::opaque::{self, ID_LETTERS, SECRET_LETTERS};
use crate::{DeviceName, Grant, KeyError, Kind, Scope, Scopes};

/// What every key begins with.
pub const KEY_PREFIX: &str = "c2l_";

/// The longest name of a key, in bytes.
pub const MAX_KEY_NAME_BYTES: usize = 64;

/// Most patterns of models that one key may be limited to.
pub const MAX_KEY_MODELS: usize = 64;

/// The longest of these patterns, in bytes.
pub const MAX_MODEL_PATTERN_BYTES: usize = 256;

/// The public part of a key: names it in lists, logs and on the command line, and opens nothing.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(Arc<str>);

impl KeyId {
    /// Takes an id as it was written: 10 of the characters `0-9 A-Z a-z`.
    ///
    /// # Errors
    ///
    /// [`InvalidKeyId`] for any other text.
    pub fn parse(text: &str) -> Result<Self, InvalidKeyId> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if text.len() == ID_LETTERS && is_plain {
            Ok(Self(text.into()))
        } else {
            Err(InvalidKeyId)
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({})", self.0)
    }
}

/// The text is no id of a key. It is not repeated here: it may be a whole key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id of a key is 10 of the characters 0-9 A-Z a-z")]
pub struct InvalidKeyId;

/// A key as it was presented, taken apart. Whether it is good is another question.
pub struct PresentedKey<'a> {
    pub(crate) id: KeyId,
    pub(crate) secret: &'a str,
}

impl<'a> PresentedKey<'a> {
    /// Takes a credential apart, where it has the shape and the checksum of a key. Looks nothing up.
    pub fn parse(text: &'a str) -> Option<Self> {
        let body = opaque::parse(KEY_PREFIX, ID_LETTERS + SECRET_LETTERS, text)?;
        let (id, secret) = body.split_at(ID_LETTERS);
        Some(Self {
            id: KeyId(id.into()),
            secret,
        })
    }

    /// Which key it says it is: by this its record is found.
    pub fn id(&self) -> &KeyId {
        &self.id
    }
}

impl fmt::Debug for PresentedKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PresentedKey({})", self.id)
    }
}

/// What a key shall be.
#[derive(Debug, Clone)]
pub struct KeyRequest {
    /// For its owner's eyes: 1 to [`MAX_KEY_NAME_BYTES`] bytes without control characters.
    pub name: String,
    /// [`Kind::Api`] to call models, [`Kind::Agent`] to open sessions.
    pub kind: Kind,
    /// What it allows. Never [`Scope::Account`]: a key must not make keys.
    pub scopes: Scopes,
    /// The one device that it reaches, or whose session it opens; any when `None`.
    pub device: Option<DeviceName>,
    /// Patterns of the models that it may use; any model when empty.
    pub models: Vec<String>,
    /// Most requests in a minute, where it has a limit of its own.
    pub requests_per_minute: Option<NonZeroU32>,
    /// How long it is valid, at least a second; until it is revoked when `None`.
    pub ttl: Option<Duration>,
}

impl KeyRequest {
    /// What is wrong with the request, if anything.
    ///
    /// # Errors
    ///
    /// [`KeyError::InvalidKey`] says it in words fit for whoever asked.
    pub fn check(&self) -> Result<(), KeyError> {
        let is_plain = |text: &str, most: usize| {
            (1..=most).contains(&text.len()) && !text.chars().any(char::is_control)
        };
        let is_pattern = |text: &String| {
            is_plain(text, MAX_MODEL_PATTERN_BYTES) && text.bytes().all(|b| b.is_ascii_graphic())
        };
        let refuse = |why| Err(KeyError::InvalidKey(why));
        if !is_plain(&self.name, MAX_KEY_NAME_BYTES) {
            refuse("its name has 1 to 64 bytes and no control characters")
        } else if self.kind == Kind::Web {
            refuse("it is of kind api or agent")
        } else if self.scopes.contains(Scope::Account) {
            refuse("it never has the scope account: that takes a token")
        } else if self.models.len() > MAX_KEY_MODELS {
            refuse("it is limited to at most 64 patterns of models")
        } else if !self.models.iter().all(is_pattern) {
            refuse("a pattern of models has 1 to 256 visible ASCII characters")
        } else if self.ttl.is_some_and(|ttl| ttl < Duration::from_secs(1)) {
            refuse("it is valid for at least a second")
        } else {
            Ok(())
        }
    }
}

/// The keyed hash of a key and of what it is bound to. Compared in constant time.
#[derive(Clone, Copy)]
pub struct KeyMac([u8; 32]);

impl KeyMac {
    /// As it was kept.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// To keep it. Presented as a key, it is none.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for KeyMac {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyMac {}

impl fmt::Debug for KeyMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyMac(…)")
    }
}

/// What is kept of a key. All of it but the name, the rate and the times is under the hash: a record that was moved to
/// another user, or widened, does not verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Names it.
    pub id: KeyId,
    /// Its keyed hash.
    pub mac: KeyMac,
    /// The issuer of the user whose key it is.
    pub issuer: Arc<str>,
    /// That user's name.
    pub subject: Arc<str>,
    /// What it is for.
    pub kind: Kind,
    /// What it allows.
    pub scopes: Scopes,
    /// The one device it is bound to.
    pub device: Option<DeviceName>,
    /// Patterns of the models that it may use; any when empty.
    pub models: Arc<[String]>,
    /// Most requests in a minute.
    pub requests_per_minute: Option<NonZeroU32>,
    /// For its owner's eyes.
    pub name: String,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it ends by itself.
    pub expires_at: Option<SystemTime>,
    /// When it was revoked.
    pub revoked_at: Option<SystemTime>,
}

impl KeyRecord {
    /// Whether it could be used at `now`: neither revoked nor past its end.
    pub fn is_live(&self, now: SystemTime) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// What a good key allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyGrant {
    /// As of a token. Its `issued_at` is when the key was made; a key without an end has one in the year 9999.
    pub grant: Grant,
    /// Which key it was.
    pub id: KeyId,
    /// Patterns of the models that it may use; any when empty.
    pub models: Arc<[String]>,
    /// Most requests in a minute.
    pub requests_per_minute: Option<NonZeroU32>,
}

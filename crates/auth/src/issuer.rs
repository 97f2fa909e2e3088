//! Who may vouch for users, with which keys.
//!
//! Invariant: a key has exactly one algorithm, given by whoever configured it, and belongs to exactly one issuer.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rsa::{PublicEncryptingKey, PublicKey as RsaPublicKey};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey};
use jsonwebtoken::{Algorithm, DecodingKey};

use crate::{ConfigError, Kind};

/// How many keys one issuer may have. A token without a `kid` is tried against all with its algorithm.
pub const MAX_KEYS_PER_ISSUER: usize = 16;

/// The shortest shared secret for HS256, in bytes: as long as its hash (RFC 7518 §3.2).
pub const MIN_SECRET_BYTES: usize = 32;

/// One trusted issuer: its name, whom its tokens must be meant for, and its keys. [`Verifier::new`](crate::Verifier::new)
/// checks that it is complete.
#[derive(Debug, Clone)]
pub struct Issuer {
    pub(crate) name: String,
    pub(crate) audience: String,
    pub(crate) keys: Vec<Key>,
    pub(crate) default_kind: Option<Kind>,
}

impl Issuer {
    /// An issuer whose tokens say `name` as `iss` and have `audience` in `aud`; both are compared exactly.
    pub fn new(name: impl Into<String>, audience: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            audience: audience.into(),
            keys: Vec::new(),
            default_kind: None,
        }
    }

    /// The issuer with one more key.
    #[must_use]
    pub fn with_key(mut self, key: Key) -> Self {
        self.keys.push(key);
        self
    }

    /// The issuer with a kind for those of its tokens that do not say one. Without it such tokens are refused.
    #[must_use]
    pub fn with_default_kind(mut self, kind: Kind) -> Self {
        self.default_kind = Some(kind);
        self
    }

    /// What its tokens say as `iss`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A key that checks signatures, with the one algorithm it is for. `Debug` shows neither secret nor key.
#[derive(Debug, Clone)]
pub struct Key {
    pub(crate) id: Option<String>,
    pub(crate) algorithm: Algorithm,
    pub(crate) decoding: DecodingKey,
}

impl Key {
    /// An Ed25519 public key, as `-----BEGIN PUBLIC KEY-----`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::NotAPublicKey`] or [`ConfigError::PrivateKey`], also from the other constructors that take PEM.
    pub fn eddsa_pem(pem: &str) -> Result<Self, ConfigError> {
        let decode = DecodingKey::from_ed_pem;
        Self::from_pem(pem, "EdDSA", Algorithm::EdDSA, decode, |bytes| {
            ParsedPublicKey::new(&ED25519, bytes).is_ok()
        })
    }

    /// A P-256 public key, as `-----BEGIN PUBLIC KEY-----`.
    ///
    /// # Errors
    ///
    /// As [`Self::eddsa_pem`].
    pub fn es256_pem(pem: &str) -> Result<Self, ConfigError> {
        let decode = DecodingKey::from_ec_pem;
        Self::from_pem(pem, "ES256", Algorithm::ES256, decode, |bytes| {
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes).is_ok()
        })
    }

    /// An RSA public key of 2048 to 8192 bits, as `-----BEGIN PUBLIC KEY-----` or `-----BEGIN RSA PUBLIC KEY-----`.
    ///
    /// # Errors
    ///
    /// As [`Self::eddsa_pem`].
    pub fn rs256_pem(pem: &str) -> Result<Self, ConfigError> {
        let decode = DecodingKey::from_rsa_pem;
        Self::from_pem(pem, "RS256", Algorithm::RS256, decode, is_strong_rsa_key)
    }

    /// A secret shared with the issuer. Whoever knows it can be anyone, so prefer a public key.
    ///
    /// # Errors
    ///
    /// [`ConfigError::SecretTooShort`] under [`MIN_SECRET_BYTES`]; [`ConfigError::SecretIsPem`] for a PEM block.
    pub fn hs256(secret: &[u8]) -> Result<Self, ConfigError> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(ConfigError::SecretTooShort);
        }
        if secret.trim_ascii_start().starts_with(b"-----BEGIN ") {
            return Err(ConfigError::SecretIsPem);
        }
        Ok(Self {
            id: None,
            algorithm: Algorithm::HS256,
            decoding: DecodingKey::from_secret(secret),
        })
    }

    /// The relay's own key, from the 32 bytes of an Ed25519 public key.
    pub(crate) fn own(id: &str, public_key: &[u8]) -> Self {
        let decoding = DecodingKey::from_ed_der(public_key);
        Self {
            id: Some(id.to_owned()),
            algorithm: Algorithm::EdDSA,
            decoding,
        }
    }

    /// The key with an id: of the tokens that have a `kid`, it then checks only those with this one.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    fn from_pem(
        pem: &str,
        name: &'static str,
        algorithm: Algorithm,
        decode: fn(&[u8]) -> jsonwebtoken::errors::Result<DecodingKey>,
        is_usable: fn(&[u8]) -> bool,
    ) -> Result<Self, ConfigError> {
        // The PEM reader also takes private keys and certificates, and picks the first bit string it meets.
        if pem.contains("PRIVATE KEY-----") {
            return Err(ConfigError::PrivateKey);
        }
        let unusable = ConfigError::NotAPublicKey { algorithm: name };
        if !pem.contains("PUBLIC KEY-----") {
            return Err(unusable);
        }
        let Ok(decoding) = decode(pem.as_bytes()) else {
            return Err(unusable);
        };
        // Curve, point and size are judged here, once: the library would let every signature fail instead.
        if !decoding.try_get_as_bytes().is_ok_and(is_usable) {
            return Err(unusable);
        }
        Ok(Self {
            id: None,
            algorithm,
            decoding,
        })
    }
}

/// Whether `der` is an RSA public key (PKCS#1) of the sizes that signatures are checked with.
fn is_strong_rsa_key(der: &[u8]) -> bool {
    let bits = || {
        let key = RsaPublicKey::from_der(der).ok()?;
        let key: PublicKeyX509Der<'_> = key.as_der().ok()?;
        Some(
            PublicEncryptingKey::from_der(key.as_ref())
                .ok()?
                .key_size_bits(),
        )
    };
    bits().is_some_and(|bits| (2048..=8192).contains(&bits))
}

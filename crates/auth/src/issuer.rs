//! Who may vouch for users, with which keys.
//!
//! Invariant: a key has exactly one algorithm, given by whoever configured it, and belongs to exactly one issuer.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    VerificationAlgorithm,
};
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
        let name = "EdDSA";
        Self::from_pem(
            pem,
            Algorithm::EdDSA,
            name,
            DecodingKey::from_ed_pem,
            &ED25519,
        )
    }

    /// A P-256 public key, as `-----BEGIN PUBLIC KEY-----`.
    ///
    /// # Errors
    ///
    /// As [`Self::eddsa_pem`].
    pub fn es256_pem(pem: &str) -> Result<Self, ConfigError> {
        let name = "ES256";
        Self::from_pem(
            pem,
            Algorithm::ES256,
            name,
            DecodingKey::from_ec_pem,
            &ECDSA_P256_SHA256_FIXED,
        )
    }

    /// An RSA public key of 2048 to 8192 bits, as `-----BEGIN PUBLIC KEY-----` or `-----BEGIN RSA PUBLIC KEY-----`.
    ///
    /// # Errors
    ///
    /// As [`Self::eddsa_pem`].
    pub fn rs256_pem(pem: &str) -> Result<Self, ConfigError> {
        let name = "RS256";
        Self::from_pem(
            pem,
            Algorithm::RS256,
            name,
            DecodingKey::from_rsa_pem,
            &RSA_PKCS1_2048_8192_SHA256,
        )
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
        algorithm: Algorithm,
        name: &'static str,
        decode: fn(&[u8]) -> jsonwebtoken::errors::Result<DecodingKey>,
        verification: &'static dyn VerificationAlgorithm,
    ) -> Result<Self, ConfigError> {
        // The PEM reader also takes private keys and certificates and picks the first bit string it meets.
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
        // Curve, size and point are checked here, once, rather than by every signature failing later.
        let is_usable = decoding
            .try_get_as_bytes()
            .is_ok_and(|bytes| ParsedPublicKey::new(verification, bytes).is_ok());
        if is_usable {
            Ok(Self {
                id: None,
                algorithm,
                decoding,
            })
        } else {
            Err(unusable)
        }
    }
}

//! A key that checks signatures.
//!
//! Invariant: a key has exactly one algorithm, given by whoever configured it, and is judged when it is made: a key of the
//! wrong curve, size or sort never comes to a signature.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rsa::{PublicEncryptingKey, PublicKey as RsaPublicKey, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
};
use jsonwebtoken::{Algorithm as LibraryAlgorithm, DecodingKey, DecodingKeyKind};

use crate::algorithm::KeyType;
use crate::{Algorithm, ConfigError};

/// The shortest shared secret for HS256, in bytes: as long as its hash (RFC 7518 §3.2).
pub const MIN_SECRET_BYTES: usize = 32;

/// A key with the one algorithm it is for. `Debug` shows neither secret nor key.
#[derive(Debug, Clone)]
pub struct Key {
    pub(crate) id: Option<String>,
    pub(crate) algorithm: LibraryAlgorithm,
    pub(crate) decoding: DecodingKey,
}

impl Key {
    /// An Ed25519 public key, as `-----BEGIN PUBLIC KEY-----`.
    ///
    /// # Errors
    ///
    /// As [`Self::public_pem`].
    pub fn eddsa_pem(pem: &str) -> Result<Self, ConfigError> {
        Self::public_pem(Algorithm::EdDsa, pem)
    }

    /// A P-256 public key, as `-----BEGIN PUBLIC KEY-----`.
    ///
    /// # Errors
    ///
    /// As [`Self::public_pem`].
    pub fn es256_pem(pem: &str) -> Result<Self, ConfigError> {
        Self::public_pem(Algorithm::Es256, pem)
    }

    /// An RSA public key for PKCS#1 signatures with SHA-256, in either form that [`Self::public_pem`] takes.
    ///
    /// # Errors
    ///
    /// As [`Self::public_pem`].
    pub fn rs256_pem(pem: &str) -> Result<Self, ConfigError> {
        Self::public_pem(Algorithm::Rs256, pem)
    }

    /// A public key as `-----BEGIN PUBLIC KEY-----`; one for RSA has 2048 to 8192 bits, and may also be
    /// `-----BEGIN RSA PUBLIC KEY-----`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::NotAPublicKey`] or [`ConfigError::PrivateKey`].
    pub fn public_pem(algorithm: Algorithm, pem: &str) -> Result<Self, ConfigError> {
        // The PEM reader also takes private keys and certificates, and picks the first bit string it meets.
        if pem.contains("PRIVATE KEY-----") {
            return Err(ConfigError::PrivateKey);
        }
        let unusable = ConfigError::NotAPublicKey {
            algorithm: algorithm.as_str(),
        };
        if !pem.contains("PUBLIC KEY-----") {
            return Err(unusable);
        }
        let decode: fn(&[u8]) -> jsonwebtoken::errors::Result<DecodingKey> =
            match algorithm.key_type() {
                KeyType::Rsa => DecodingKey::from_rsa_pem,
                KeyType::P256 | KeyType::P384 => DecodingKey::from_ec_pem,
                KeyType::Ed25519 => DecodingKey::from_ed_pem,
            };
        let Ok(decoding) = decode(pem.as_bytes()) else {
            return Err(unusable);
        };
        let is_usable = decoding
            .try_get_as_bytes()
            .is_ok_and(|bytes| is_usable(algorithm.key_type(), bytes));
        if !is_usable {
            return Err(unusable);
        }
        Ok(Self {
            id: None,
            algorithm: algorithm.library(),
            decoding,
        })
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
            algorithm: LibraryAlgorithm::HS256,
            decoding: DecodingKey::from_secret(secret),
        })
    }

    /// The relay's own key, from the 32 bytes of an Ed25519 public key.
    pub(crate) fn own(id: &str, public_key: &[u8]) -> Self {
        let decoding = DecodingKey::from_ed_der(public_key);
        Self {
            id: Some(id.to_owned()),
            algorithm: LibraryAlgorithm::EdDSA,
            decoding,
        }
    }

    /// A key of a curve from its point as it is in a signature scheme's own encoding; `None` where it is no such point.
    pub(crate) fn from_point(algorithm: Algorithm, point: &[u8]) -> Option<Self> {
        let decoding = match algorithm.key_type() {
            KeyType::Rsa => return None,
            KeyType::P256 | KeyType::P384 => DecodingKey::from_ec_der(point),
            KeyType::Ed25519 => DecodingKey::from_ed_der(point),
        };
        is_usable(algorithm.key_type(), point).then(|| Self {
            id: None,
            algorithm: algorithm.library(),
            decoding,
        })
    }

    /// An RSA key from its modulus and exponent, both without leading zeros; `None` where they are no key that
    /// signatures are checked with.
    pub(crate) fn from_rsa(algorithm: Algorithm, n: &[u8], e: &[u8]) -> Option<Self> {
        // An exponent of 1 makes every message its own signature.
        let is_odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
        let is_sane = is_odd(n) && is_odd(e) && e != [1] && e.len() <= 4;
        let key: Result<PublicEncryptingKey, _> = PublicKeyComponents { n, e }.try_into();
        let is_strong = key.is_ok_and(|key| is_strong_size(key.key_size_bits()));
        (algorithm.key_type() == KeyType::Rsa && is_sane && is_strong).then(|| Self {
            id: None,
            algorithm: algorithm.library(),
            decoding: DecodingKey::from_rsa_raw_components(n, e),
        })
    }

    /// The key with an id: of the tokens that have a `kid`, it then checks only those with this one.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Whether both check the same signatures of the same tokens.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let is_same_key = match (self.decoding.kind(), other.decoding.kind()) {
            (DecodingKeyKind::SecretOrDer(one), DecodingKeyKind::SecretOrDer(other)) => {
                one == other
            }
            (
                DecodingKeyKind::RsaModulusExponent { n, e },
                DecodingKeyKind::RsaModulusExponent { n: m, e: f },
            ) => (n, e) == (m, f),
            _ => false,
        };
        is_same_key && self.id == other.id && self.algorithm == other.algorithm
    }
}

/// Whether the bytes are a public key of this type, in the encoding that its signatures are checked with. Curve, point
/// and size are judged here, once: the library would let every signature fail instead.
fn is_usable(key_type: KeyType, bytes: &[u8]) -> bool {
    match key_type {
        KeyType::Rsa => is_strong_rsa_key(bytes),
        KeyType::P256 => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes).is_ok(),
        KeyType::P384 => ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, bytes).is_ok(),
        KeyType::Ed25519 => ParsedPublicKey::new(&ED25519, bytes).is_ok() && !is_small_order(bytes),
    }
}

/// Whether the bytes are one of the eight points of small order, in any spelling. Under such a key, signatures are made
/// without a private half: all zeros is good for one message in four, or for every one.
fn is_small_order(point: &[u8]) -> bool {
    let Some((last, rest)) = point.split_last() else {
        return false;
    };
    let last = last & 0x7f; // the sign of x
    // 0, 1 and -1, and with the prime added where that fits.
    let is_all = |byte: u8| rest.iter().skip(1).all(|other| *other == byte);
    let is_trivial = match rest.first() {
        Some(0 | 1) => last == 0 && is_all(0),
        Some(0xec..=0xee) => last == 0x7f && is_all(0xff),
        _ => false,
    };
    let is_of_order_8 = |known: &[u8; 31], end: u8| rest == known && last == end;
    is_trivial || is_of_order_8(&ORDER_8[0], 0x05) || is_of_order_8(&ORDER_8[1], 0x7a)
}

/// The two y coordinates of the four points of order 8, without their last byte.
const ORDER_8: [[u8; 31]; 2] = [
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03,
    ],
];

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
    bits().is_some_and(is_strong_size)
}

fn is_strong_size(bits: usize) -> bool {
    (2048..=8192).contains(&bits)
}

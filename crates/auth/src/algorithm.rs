//! The signature algorithms of public keys that an operator may allow.
//!
//! Invariant: no algorithm with a shared secret is in here, so none can come from a key that somebody publishes.

use std::fmt;
use std::str::FromStr;

use jsonwebtoken::Algorithm as LibraryAlgorithm;

/// How a token is signed, as RFC 7518 §3.1 and RFC 8037 §3.1 name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// RSA, PKCS#1 v1.5, SHA-256.
    Rs256,
    /// RSA, PKCS#1 v1.5, SHA-384.
    Rs384,
    /// RSA, PKCS#1 v1.5, SHA-512.
    Rs512,
    /// RSA-PSS, SHA-256.
    Ps256,
    /// RSA-PSS, SHA-384.
    Ps384,
    /// RSA-PSS, SHA-512.
    Ps512,
    /// ECDSA on P-256, SHA-256.
    Es256,
    /// ECDSA on P-384, SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

/// What sort of key an algorithm works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyType {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Algorithm {
    /// Every one, in the order of declaration.
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// What is allowed where nobody says otherwise: what providers sign with, one algorithm for a key of each type.
    pub const USUAL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// The word in a token's header and in a published key.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    pub(crate) fn key_type(self) -> KeyType {
        match self {
            Self::Rs256 | Self::Rs384 | Self::Rs512 => KeyType::Rsa,
            Self::Ps256 | Self::Ps384 | Self::Ps512 => KeyType::Rsa,
            Self::Es256 => KeyType::P256,
            Self::Es384 => KeyType::P384,
            Self::EdDsa => KeyType::Ed25519,
        }
    }

    pub(crate) fn library(self) -> LibraryAlgorithm {
        match self {
            Self::Rs256 => LibraryAlgorithm::RS256,
            Self::Rs384 => LibraryAlgorithm::RS384,
            Self::Rs512 => LibraryAlgorithm::RS512,
            Self::Ps256 => LibraryAlgorithm::PS256,
            Self::Ps384 => LibraryAlgorithm::PS384,
            Self::Ps512 => LibraryAlgorithm::PS512,
            Self::Es256 => LibraryAlgorithm::ES256,
            Self::Es384 => LibraryAlgorithm::ES384,
            Self::EdDsa => LibraryAlgorithm::EdDSA,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(word: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str() == word)
            .ok_or(UnknownAlgorithm)
    }
}

/// The word names no algorithm that is supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an algorithm is one of: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA")]
pub struct UnknownAlgorithm;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_are_read_exactly_and_mean_what_they_say() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
            let library: LibraryAlgorithm = algorithm.as_str().parse().unwrap();
            assert_eq!(library, algorithm.library());
        }
        for word in [
            "", "none", "HS256", "HS512", "rs256", "ES256K", "ES512", "RSA-OAEP",
        ] {
            assert_eq!(word.parse::<Algorithm>(), Err(UnknownAlgorithm), "{word:?}");
        }
    }
}

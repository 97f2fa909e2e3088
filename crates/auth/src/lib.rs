//! Who is asking: verifies tokens, issues the relay's own, and makes the ids that only a verified token can make.
//!
//! Invariant: a [`UserId`] exists only because a signature was checked. Nothing here touches the network, and the
//! clock is always an argument. The only file is the relay's own signing key.
//!
//! Life of a credential, each step in its own module:
//! 1. `token` refuses what is too long, takes the three parts apart and reads the header (`json` is the strict reader).
//! 2. `claims` reads the payload into typed claims; a claim of the wrong type is refused, not skipped.
//! 3. `issuer` says which keys the named issuer may use; the key, not the header, decides the algorithm. They are given, or
//!    `published` by the issuer and read by `jwks`. `mapping` says what its claims mean to us.
//! 4. `verifier` checks the signature and the audience, then the times and the kind, and answers with a [`Grant`].
//!
//! `signing_key` is the other direction: it makes tokens with the relay's own key, which `key_file` keeps.

mod algorithm;
mod claims;
mod error;
mod fingerprint;
mod grant;
mod ids;
mod issuer;
mod json;
mod jwks;
mod key;
mod key_file;
mod mapping;
mod published;
mod secret;
mod signing_key;
mod token;
mod verifier;

#[cfg(test)]
mod tests;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use claims::{
    DEVICE_CLAIM, KIND_CLAIM, LEEWAY, MAX_LIFETIME, MAX_SUBJECT_BYTES, MAX_TOKEN_ID_BYTES,
    SCOPE_CLAIM,
};
pub use error::{AuthError, ConfigError, Flaw, KeyError, Part};
pub use fingerprint::Fingerprint;
pub use grant::{Grant, Kind, Scope, Scopes, UnknownKind, UnknownScope};
pub use ids::{DeviceName, InvalidDeviceName, UserId};
pub use issuer::{Issuer, MAX_KEYS_PER_ISSUER};
pub use jwks::{Jwks, JwksError, MAX_JWKS_BYTES, MAX_PUBLISHED_KEYS};
pub use key::{Key, MIN_SECRET_BYTES};
pub use key_file::KEY_FILE_NAME;
pub use mapping::{ClaimPath, InvalidClaimPath, Mapping, RequiredValue, Requirement, TokenUse};
pub use published::{ProviderId, Published};
pub use secret::Secret;
pub use signing_key::{OWN_AUDIENCE, OWN_ISSUER, SigningKey, TokenRequest};
pub use token::MAX_TOKEN_BYTES;
pub use verifier::Verifier;

//! Who is asking: verifies tokens, issues the relay's own, and makes the ids that only a verified token can make.
//!
//! Invariant: a [`UserId`] exists only because a signature or a keyed hash was checked, or because the holder of the
//! relay's own secret named it. Nothing here touches the network, and the clock is always an argument. The only files
//! are the relay's own secrets.
//!
//! Life of a credential, each step in its own module:
//! 1. `token` refuses what is too long, takes the three parts apart and reads the header (`json` is the strict reader).
//! 2. `claims` reads the payload into typed claims; a claim of the wrong type is refused, not skipped.
//! 3. `issuer` says which keys the named issuer may use; the key, not the header, decides the algorithm. They are given, or
//!    `published` by the issuer and read by `jwks`. `mapping` says what its claims mean to us.
//! 4. `verifier` checks the signature and the audience, then the times and the kind, and answers with a [`Grant`].
//!
//! `sign_in` is what is kept of a sign-in at a provider until the browser comes back from there; the ID token that comes of
//! it is judged by `verifier`, too.
//!
//! `signing_key` is the other direction: it makes tokens with the relay's own key, which `key_file` keeps.
//!
//! Keys for programs (`api_key`) and refresh tokens (`refresh`) are no tokens: `opaque` is their text, and `pepper`
//! makes and checks their hashes. What is kept of them lies with whoever calls.

mod algorithm;
mod api_key;
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
mod opaque;
mod pepper;
mod published;
mod refresh;
mod secret;
mod sign_in;
mod signing_key;
mod token;
mod verifier;

#[cfg(test)]
mod tests;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use api_key::{
    InvalidKeyId, KEY_PREFIX, KeyGrant, KeyId, KeyMac, KeyRecord, KeyRequest, MAX_KEY_MODELS,
    MAX_KEY_NAME_BYTES, MAX_MODEL_PATTERN_BYTES, PresentedKey,
};
pub use claims::{
    DEVICE_CLAIM, KIND_CLAIM, LEEWAY, LOGIN_CLAIM, LOGIN_TIME_CLAIM, MAX_LIFETIME,
    MAX_SUBJECT_BYTES, MAX_TOKEN_ID_BYTES, SCOPE_CLAIM, USER_ISSUER_CLAIM,
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
pub use pepper::{PEPPER_FILE_NAME, Pepper};
pub use published::{ProviderId, Published};
pub use refresh::{Attempt, Family, PresentedRefresh, REFRESH_PREFIX, Refresh};
pub use secret::Secret;
pub use sign_in::SignIn;
pub use signing_key::{OWN_AUDIENCE, OWN_ISSUER, SigningKey, TokenRequest};
pub use token::MAX_TOKEN_BYTES;
pub use verifier::{ExpectedSignIn, Verifier};

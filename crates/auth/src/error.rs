//! Everything that can be wrong with a credential, a configuration or the relay's key.
//!
//! Invariant: an [`AuthError`] is shown to whoever sent the credential, so it holds only words from this crate, never
//! any part of what was sent.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::{
    Kind, MAX_KEYS_PER_ISSUER, MAX_LIFETIME, MAX_SUBJECT_BYTES, MAX_TOKEN_BYTES, MIN_SECRET_BYTES,
    ProviderId,
};

/// Why a credential was refused. Every one of these means "not authenticated"; the message says to the sender what to mend.
///
/// [`Expired`](Self::Expired), [`NotYetValid`](Self::NotYetValid), [`LifetimeTooLong`](Self::LifetimeTooLong),
/// [`WrongAudience`](Self::WrongAudience), [`WrongKind`](Self::WrongKind), [`IdToken`](Self::IdToken),
/// [`WrongType`](Self::WrongType) and [`RequirementUnmet`](Self::RequirementUnmet) are said only of tokens whose
/// signature is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There is no credential at all.
    #[error("no credential given")]
    Missing,
    /// It is longer than [`MAX_TOKEN_BYTES`].
    #[error("the credential is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// It has not the shape of a signed JWT.
    #[error("malformed token: not three parts separated by dots")]
    NotAToken,
    /// One of its parts cannot be read.
    #[error("malformed token: the {0} {1}")]
    Malformed(Part, Flaw),
    /// Its algorithm is `none`, or its signature is empty.
    #[error("the token is not signed")]
    Unsigned,
    /// Its header names extensions that must be understood (`crit`); none is.
    #[error("the token header names critical extensions (crit), and none is supported")]
    CriticalHeader,
    /// Its header brings or points to a key (`jwk`, `jku`, `x5u`, `x5c`). Only configured keys count.
    #[error("the token header carries key material (jwk, jku, x5u or x5c), which is never used")]
    KeyInHeader,
    /// Its `iss` is nobody we trust.
    #[error("unknown issuer (iss)")]
    UnknownIssuer,
    /// Its `alg` is not the algorithm of any key of this issuer.
    #[error("the token's algorithm (alg) is not allowed for its issuer")]
    AlgorithmNotAllowed,
    /// Its `kid` is not the id of any key of this issuer.
    #[error("the token was signed with a key (kid) that is not known for its issuer")]
    UnknownKey,
    /// None of the keys that this issuer published, as far as they are known, can have signed it. Fresh ones might.
    #[error("the token was signed with a key (kid) that its issuer does not publish")]
    UnpublishedKey(ProviderId),
    /// This issuer publishes its keys, and none have come yet.
    #[error("the keys of the token's issuer could not be fetched yet")]
    KeysNotFetched(ProviderId),
    /// No key of this issuer made this signature.
    #[error("bad signature")]
    BadSignature,
    /// Its `exp` is past.
    #[error("the token has expired (exp)")]
    Expired,
    /// Its `nbf` or `iat` is in the future.
    #[error("the token is not yet valid (nbf or iat)")]
    NotYetValid,
    /// It is good for longer than [`MAX_LIFETIME`], or than is configured for its issuer.
    #[error(
        "the token is valid for longer than is accepted: {} days, or less where it is configured",
        days(MAX_LIFETIME)
    )]
    LifetimeTooLong,
    /// Its `aud` does not name us.
    #[error("the token is meant for another audience (aud)")]
    WrongAudience,
    /// It is a good token of a kind that is not accepted here.
    #[error("wrong kind of token: {found} tokens are not accepted here")]
    WrongKind {
        /// The kind it is.
        found: Kind,
    },
    /// It is an ID token where access tokens are wanted.
    #[error(
        "this is an ID token, made for the application that its user signed in to; an access token is wanted"
    )]
    IdToken,
    /// Its `typ` is none that is taken from this issuer.
    #[error("the token's type (typ) is not one that is accepted from its issuer")]
    WrongType,
    /// It was not made for the sign-in that it comes with.
    #[error("the token was made for another sign-in (nonce)")]
    WrongNonce,
    /// It does not say what every token of this issuer must say.
    #[error("the token lacks a claim or a value that is required of all tokens of its issuer")]
    RequirementUnmet,
    /// Its claims stand for more than one kind.
    #[error("the token's claims stand for more than one kind of token")]
    AmbiguousKind,
    /// A claim that must be there is not.
    #[error("the token lacks the claim {0}")]
    MissingClaim(&'static str),
    /// A claim has the wrong type, or a value that is never right.
    #[error("malformed token: the claim {0} has the wrong type or an impossible value")]
    MalformedClaim(&'static str),
    /// It begins like a key, and has neither its length nor its checksum.
    #[error("malformed key: it was mistyped or cut short")]
    MalformedKey,
    /// No key has this id, or its secret is another: which of the two is not said.
    #[error("unknown key")]
    BadKey,
    /// The key's own end is past. Said only of a key whose secret is right.
    #[error("the key has expired")]
    KeyExpired,
    /// It was good, and somebody who may took it back.
    #[error("the credential was revoked")]
    Revoked,
}

impl AuthError {
    /// Whose keys might tell more, if they were fetched now.
    pub fn wants_keys_of(&self) -> Option<ProviderId> {
        match self {
            Self::UnpublishedKey(provider) | Self::KeysNotFetched(provider) => Some(*provider),
            _ => None,
        }
    }

    /// Whether a fresh one of the same sort would be accepted: the credential was good, and its time is over.
    pub fn is_expired(&self) -> bool {
        matches!(self, Self::Expired | Self::KeyExpired)
    }
}

/// One of the three parts of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The first: how it is signed.
    Header,
    /// The second: the claims.
    Payload,
    /// The third.
    Signature,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Payload => "payload",
            Self::Signature => "signature",
        })
    }
}

/// Why a part cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Not base64url without padding, or not the one spelling of its bytes.
    NotBase64url,
    /// Not one JSON object and nothing else.
    NotAnObject,
    /// An object in it has two members of the same name.
    DuplicateMember,
    /// It nests deeper than any honest token does.
    TooDeep,
    /// A member that is defined for it has the wrong type.
    WrongType,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotBase64url => "is not base64url",
            Self::NotAnObject => "is not a JSON object",
            Self::DuplicateMember => "has the same member twice",
            Self::TooDeep => "is nested too deeply",
            Self::WrongType => "has a member of the wrong type",
        })
    }
}

/// A mistake in what the operator configured. Shown to the operator, so it names the issuer; never a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No issuer at all: nobody could ever be authenticated.
    #[error("no token issuer is configured")]
    NoIssuer,
    /// An issuer has an empty name.
    #[error("a token issuer has an empty name (iss)")]
    EmptyIssuer,
    /// Two issuers have the same name; whose key decides would be a guess.
    #[error("the token issuer {0:?} is configured twice")]
    DuplicateIssuer(String),
    /// An issuer has an empty audience.
    #[error("the token issuer {0:?} has an empty audience (aud)")]
    EmptyAudience(String),
    /// An issuer has no key.
    #[error("the token issuer {0:?} has no key")]
    NoKey(String),
    /// An issuer has so many keys that trying them all is work.
    #[error("the token issuer {0:?} has more than {MAX_KEYS_PER_ISSUER} keys")]
    TooManyKeys(String),
    /// Two keys of an issuer have the same id.
    #[error("the token issuer {0:?} has two keys with the same id (kid)")]
    DuplicateKeyId(String),
    /// An issuer has keys of its own and publishes some; which of them count would be a guess.
    #[error("the token issuer {0:?} has keys given and published: one of the two is wanted")]
    TwoKeySources(String),
    /// An issuer's tokens may live longer than any may.
    #[error("the token issuer {0:?} has a lifetime over that of any token")]
    LifetimeTooLong(String),
    /// The PEM text is no public key for the algorithm, or a weak one.
    #[error("not a usable public key for {algorithm} in PEM form")]
    NotAPublicKey {
        /// The algorithm it was configured for.
        algorithm: &'static str,
    },
    /// The PEM text holds a private key, which has no business here.
    #[error("this is a private key; a verifier is given the public key only")]
    PrivateKey,
    /// The shared secret is shorter than the algorithm's own strength (RFC 7518 §3.2).
    #[error("a shared secret for HS256 has at least {MIN_SECRET_BYTES} bytes")]
    SecretTooShort,
    /// The shared secret is a PEM block. Where that is a public key, anyone could sign with it.
    #[error(
        "the shared secret for HS256 is a PEM block: configure the key with its own algorithm instead"
    )]
    SecretIsPem,
}

/// Why the relay's own key cannot be used, or did not make the token that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The data directory is not there and cannot be made.
    #[error("cannot create the data directory {path:?}")]
    CreateDirectory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Someone else may write to the data directory, and so replace the key.
    #[error(
        "the data directory {path:?} may be written by others (mode {mode:03o}): run `chmod 700` on it"
    )]
    DirectoryPermissions {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A secret file cannot be read; `source` says whether it is there.
    #[error("cannot read the secret file {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A secret file cannot be written.
    #[error("cannot write the secret file {path:?}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Someone else may read a secret file: the secret must be taken for known.
    #[error(
        "the secret file {path:?} may be used by others (mode {mode:03o}): if nobody has read it run `chmod 600` on it, else delete it to get a new one"
    )]
    FilePermissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds no Ed25519 private key in PKCS#8 PEM form: cut short, damaged, or of another kind.
    #[error(
        "the signing key {path:?} is not an Ed25519 private key in PEM form: restore it, or delete it to get a new one (all tokens issued so far end with it)"
    )]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// The file holds no secret for hashing keys: cut short or damaged.
    #[error(
        "the key secret {path:?} is damaged: restore it, or delete it to get a new one (all keys and device logins made so far end with it)"
    )]
    NotASecret {
        /// The file.
        path: PathBuf,
    },
    /// No key can be made of what was asked for; the words say why.
    #[error("cannot make this key: {0}")]
    InvalidKey(&'static str),
    /// The system gave no random bytes, or the key could not be made from them.
    #[error("cannot generate random keys or ids")]
    Random,
    /// The user's name cannot be a `sub`.
    #[error("a user name has 1 to {MAX_SUBJECT_BYTES} bytes and no control characters")]
    InvalidUser,
    /// The lifetime asked for is under a second or over [`MAX_LIFETIME`].
    #[error(
        "a token is valid for at least 1 second and at most {} days",
        days(MAX_LIFETIME)
    )]
    InvalidLifetime,
    /// The clock stands before 1970 or after 9999.
    #[error("the system clock is wrong")]
    Clock,
    /// The signature could not be made.
    #[error("cannot sign the token")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

fn days(duration: Duration) -> u64 {
    duration.as_secs() / (24 * 60 * 60)
}

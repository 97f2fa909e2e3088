//! The one place where a credential is believed.
//!
//! Invariant: the key decides the algorithm. A header's `alg` and `kid` can only rule keys out; each key is used with
//! its own `Validation`, which allows its one algorithm, its issuer's name and audience, and nothing else.
//!
//! Work on a credential goes from cheap to dear: length, shape, types, then the signature. What depends on the values of
//! claims (expired, other audience, wrong kind) is said only after the signature, so that it is always true and tells a
//! forger nothing. `authenticate` is the part without a clock: a cache can stand in front of it, keyed by a hash of the
//! credential, and the times and the kind are still checked on every use.

use std::collections::{HashMap, HashSet};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::SystemTime;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::de::IgnoredAny;

use crate::claims::{self, Claims};
use crate::token::{Header, Token};
use crate::{
    AuthError, ConfigError, Flaw, Grant, Issuer, KIND_CLAIM, Key, Kind, MAX_KEYS_PER_ISSUER, Part,
    Scopes, UserId,
};

/// Turns credentials into [`Grant`]s. Made once, shared by reference; holds no mutable state.
#[derive(Debug)]
pub struct Verifier {
    issuers: HashMap<Arc<str>, TrustedIssuer>,
}

impl Verifier {
    /// A verifier that trusts `issuers` and nobody else.
    ///
    /// # Errors
    ///
    /// The first mistake in the configuration: no issuer, an empty or repeated name, an empty audience, no key, too
    /// many keys, or a key id used twice.
    pub fn new(issuers: Vec<Issuer>) -> Result<Self, ConfigError> {
        if issuers.is_empty() {
            return Err(ConfigError::NoIssuer);
        }
        let mut trusted = HashMap::with_capacity(issuers.len());
        for issuer in issuers {
            check(&issuer)?;
            let name: Arc<str> = issuer.name.as_str().into();
            if trusted
                .insert(name.clone(), TrustedIssuer::new(name, &issuer))
                .is_some()
            {
                return Err(ConfigError::DuplicateIssuer(issuer.name));
            }
        }
        Ok(Self { issuers: trusted })
    }

    /// What `credential` allows at `now`, if it is a good token of this `kind`.
    ///
    /// # Errors
    ///
    /// [`AuthError`] says what is wrong, in words fit for the sender.
    pub fn verify(
        &self,
        credential: &str,
        kind: Kind,
        now: SystemTime,
    ) -> Result<Grant, AuthError> {
        self.verify_any(credential, &[kind], now)
    }

    /// As [`Self::verify`], for a place that accepts several kinds; [`Grant::kind`] says which it was.
    ///
    /// # Errors
    ///
    /// [`AuthError`] says what is wrong, in words fit for the sender.
    pub fn verify_any(
        &self,
        credential: &str,
        kinds: &[Kind],
        now: SystemTime,
    ) -> Result<Grant, AuthError> {
        let authentic = self.authenticate(credential)?;
        authentic.claims.check_times(now)?;
        authentic.into_grant(kinds)
    }

    /// Everything about a credential that does not depend on when and where it is used.
    fn authenticate(&self, credential: &str) -> Result<Authentic, AuthError> {
        let token = Token::parse(credential)?;
        let issuer = self
            .issuers
            .get(claims::issuer(&token.payload)?)
            .ok_or(AuthError::UnknownIssuer)?;
        let claims = Claims::read(&token.payload)?;
        issuer.check_signature(credential, &token.header)?;
        let user = UserId::new(issuer.name.clone(), claims.subject.clone());
        let kind = claims
            .kind
            .or(issuer.default_kind)
            .ok_or(AuthError::MissingClaim(KIND_CLAIM))?;
        Ok(Authentic { user, kind, claims })
    }
}

fn check(issuer: &Issuer) -> Result<(), ConfigError> {
    let named = |error: fn(String) -> ConfigError| Err(error(issuer.name.clone()));
    let mut key_ids = HashSet::new();
    if issuer.name.is_empty() {
        Err(ConfigError::EmptyIssuer)
    } else if issuer.audience.is_empty() {
        named(ConfigError::EmptyAudience)
    } else if issuer.keys.is_empty() {
        named(ConfigError::NoKey)
    } else if issuer.keys.len() > MAX_KEYS_PER_ISSUER {
        named(ConfigError::TooManyKeys)
    } else if !issuer
        .keys
        .iter()
        .filter_map(|key| key.id.as_ref())
        .all(|id| key_ids.insert(id))
    {
        named(ConfigError::DuplicateKeyId)
    } else {
        Ok(())
    }
}

/// A token that its issuer really made for us, whether or not it is in force now.
#[derive(Debug)]
struct Authentic {
    user: UserId,
    kind: Kind,
    claims: Claims,
}

impl Authentic {
    fn into_grant(self, kinds: &[Kind]) -> Result<Grant, AuthError> {
        if !kinds.contains(&self.kind) {
            return Err(AuthError::WrongKind { found: self.kind });
        }
        Ok(Grant {
            expires_at: self.claims.expires_at(),
            user: self.user,
            kind: self.kind,
            scopes: self.claims.scopes.unwrap_or(Scopes::INFER),
            token_id: self.claims.token_id,
            device: self.claims.device,
        })
    }
}

#[derive(Debug)]
struct TrustedIssuer {
    name: Arc<str>,
    default_kind: Option<Kind>,
    keys: Vec<TrustedKey>,
}

impl TrustedIssuer {
    fn new(name: Arc<str>, issuer: &Issuer) -> Self {
        let keys = issuer
            .keys
            .iter()
            .map(|key| TrustedKey::new(key, issuer))
            .collect();
        Self {
            name,
            default_kind: issuer.default_kind,
            keys,
        }
    }

    /// Whether one of this issuer's keys made the signature, for the audience it has to be for.
    fn check_signature(&self, credential: &str, header: &Header) -> Result<(), AuthError> {
        let algorithm =
            Algorithm::from_str(&header.algorithm).map_err(|_| AuthError::AlgorithmNotAllowed)?;
        let mut keys = self
            .keys
            .iter()
            .filter(|key| key.algorithm == algorithm)
            .peekable();
        if keys.peek().is_none() {
            return Err(AuthError::AlgorithmNotAllowed);
        }
        let mut outcome = Err(AuthError::UnknownKey);
        for key in keys.filter(|key| key.may_have_signed(header)) {
            outcome = key.check_signature(credential);
            if outcome != Err(AuthError::BadSignature) {
                break;
            }
        }
        outcome
    }
}

#[derive(Debug)]
struct TrustedKey {
    id: Option<String>,
    algorithm: Algorithm,
    decoding: DecodingKey,
    validation: Validation,
}

impl TrustedKey {
    fn new(key: &Key, issuer: &Issuer) -> Self {
        let mut validation = Validation::new(key.algorithm);
        validation.set_issuer(&[&issuer.name]);
        validation.set_audience(&[&issuer.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // The library reads the system's clock. Ours is an argument: `Claims::check_times`.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Self {
            id: key.id.clone(),
            algorithm: key.algorithm,
            decoding: key.decoding.clone(),
            validation,
        }
    }

    /// A `kid` and a key id must be the same where both exist; either alone says nothing.
    fn may_have_signed(&self, header: &Header) -> bool {
        match (&self.id, &header.key_id) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        }
    }

    fn check_signature(&self, credential: &str) -> Result<(), AuthError> {
        let decoded =
            jsonwebtoken::decode::<IgnoredAny>(credential, &self.decoding, &self.validation);
        match decoded {
            Ok(_) => Ok(()),
            Err(error) => Err(match error.kind() {
                ErrorKind::InvalidAudience => AuthError::WrongAudience,
                ErrorKind::InvalidIssuer => AuthError::UnknownIssuer,
                ErrorKind::InvalidAlgorithm => AuthError::AlgorithmNotAllowed,
                // The payload has been read before; what is left is a registered header member of a wrong type.
                ErrorKind::Json(_) => AuthError::Malformed(Part::Header, Flaw::WrongType),
                _ => AuthError::BadSignature,
            }),
        }
    }
}

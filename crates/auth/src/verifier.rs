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
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm as LibraryAlgorithm, Validation};
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::claims::{self, Claims};
use crate::json::Object;
use crate::published::{Current, ProviderId, Published};
use crate::token::{Header, Token};
use crate::{
    Algorithm, AuthError, ConfigError, Flaw, Grant, Issuer, Jwks, JwksError, Key, Kind,
    MAX_KEYS_PER_ISSUER, MAX_LIFETIME, Mapping, Part, Scopes, Secret, UserId,
};

/// Turns credentials into [`Grant`]s. Made once, shared by reference; nothing of it changes but the keys that issuers
/// publish.
#[derive(Debug)]
pub struct Verifier {
    issuers: HashMap<Arc<str>, TrustedIssuer>,
    /// Names of the issuers that publish their keys; a [`ProviderId`] is a place in here.
    providers: Vec<Arc<str>>,
    removals: AtomicU64,
}

impl Verifier {
    /// A verifier that trusts `issuers` and nobody else.
    ///
    /// # Errors
    ///
    /// The first mistake in the configuration: no issuer, an empty or repeated name, an empty audience, no key, too
    /// many keys, a key id used twice, keys from two sources, or a lifetime over the limit.
    pub fn new(issuers: Vec<Issuer>) -> Result<Self, ConfigError> {
        if issuers.is_empty() {
            return Err(ConfigError::NoIssuer);
        }
        let mut trusted = HashMap::with_capacity(issuers.len());
        let mut providers = Vec::new();
        for issuer in issuers {
            check(&issuer)?;
            let name: Arc<str> = issuer.name.as_str().into();
            let id = ProviderId(providers.len());
            if issuer.published.is_some() {
                providers.push(name.clone());
            }
            if trusted
                .insert(name.clone(), TrustedIssuer::new(name, &issuer, id))
                .is_some()
            {
                return Err(ConfigError::DuplicateIssuer(issuer.name));
            }
        }
        Ok(Self {
            issuers: trusted,
            providers,
            removals: AtomicU64::new(0),
        })
    }

    /// The issuers that publish their keys, by name.
    pub fn providers(&self) -> impl Iterator<Item = (ProviderId, &str)> {
        let named = |(place, name)| (ProviderId(place), AsRef::<str>::as_ref(name));
        self.providers.iter().enumerate().map(named)
    }

    /// Uses what an issuer publishes, a JWK Set, in the place of what it published before. Verifications that have begun
    /// end with the keys that they began with.
    ///
    /// # Errors
    ///
    /// [`JwksError`] when the set has nothing to use; then all stays as it was.
    pub fn publish(&self, provider: ProviderId, jwks: &[u8]) -> Result<Published, JwksError> {
        let issuer = self.providers.get(provider.0);
        let issuer = issuer.and_then(|name| self.issuers.get(name));
        let Some((
            issuer,
            Keys::Published {
                allowed, current, ..
            },
        )) = issuer.map(|issuer| (issuer, &issuer.keys))
        else {
            return Err(JwksError::NoUsableKey); // an id of another verifier
        };
        let Jwks { keys, unusable } = Jwks::read(jwks, allowed)?;
        let usable = keys.len();
        let keys = keys.iter().map(|key| issuer.trust(key)).collect();
        let (added, removed) = current.replace(keys);
        if removed > 0 {
            // After the replacement: who sees the new number verifies with the new keys.
            self.removals.fetch_add(1, Ordering::AcqRel);
        }
        Ok(Published {
            usable,
            unusable,
            added,
            removed,
        })
    }

    /// A number that grows whenever an issuer has withdrawn a key. A grant that is remembered from before may stand on that
    /// key, and is to be verified again.
    pub fn key_removals(&self) -> u64 {
        self.removals.load(Ordering::Acquire)
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
        let (user, claims) = self.authenticate(credential)?;
        claims.check_times(now)?;
        grant(user, claims, kinds)
    }

    /// Who has signed in, by the ID token that came of it. It is a token of that issuer like any other: signed with its keys,
    /// with the claims and the reading of them that are configured. But its audience is the client that asked for it, and it
    /// belongs to one sign-in (OpenID Connect Core §3.1.3.7).
    ///
    /// # Errors
    ///
    /// [`AuthError`] says what is wrong, in words fit for the sender.
    pub fn verify_sign_in(
        &self,
        id_token: &str,
        expected: &ExpectedSignIn<'_>,
        now: SystemTime,
    ) -> Result<Grant, AuthError> {
        let token = Token::parse(id_token)?;
        let issuer = self.issuers.get(claims::issuer(&token.payload)?);
        let issuer = issuer.filter(|issuer| *issuer.name == *expected.issuer && !issuer.is_own);
        let issuer = issuer.ok_or(AuthError::UnknownIssuer)?;
        let mapping = issuer.mapping.for_sign_in();
        let mut claims = Claims::read(&token.payload, &mapping)?;
        let audience = [expected.client_id.to_owned()];
        issuer.check_signature_for(id_token, &token.header, Some(&audience))?;
        mapping.check(token.header.media_type.as_deref(), &token.payload)?;
        expected.check(&token.payload)?;
        claims.check_times(now)?;
        if !mapping.limits_scopes() {
            claims.scopes = Scopes::INFER;
        }
        (claims.kind, claims.device, claims.login) = (Kind::Web, None, None);
        let user = UserId::new(issuer.name.clone(), claims.subject.clone());
        grant(user, claims, &[Kind::Web])
    }

    /// Everything about a credential that does not depend on when and where it is used.
    fn authenticate(&self, credential: &str) -> Result<(UserId, Claims), AuthError> {
        let token = Token::parse(credential)?;
        let issuer = self
            .issuers
            .get(claims::issuer(&token.payload)?)
            .ok_or(AuthError::UnknownIssuer)?;
        let mut claims = Claims::read(&token.payload, &issuer.mapping)?;
        issuer.check_signature(credential, &token.header)?;
        let header_type = token.header.media_type.as_deref();
        issuer.mapping.check(header_type, &token.payload)?;
        let user = self.user(issuer, &claims)?;
        // Only what the relay itself says of its logins counts.
        claims.login = claims.login.filter(|_| issuer.is_own);
        Ok((user, claims))
    }

    /// Whose token it is: a user of whoever signed it, or, where that is the relay itself, of the issuer that it names.
    fn user(&self, signer: &TrustedIssuer, claims: &Claims) -> Result<UserId, AuthError> {
        let issuer = match &claims.user_issuer {
            Some(named) if signer.is_own => {
                let known = self.issuers.get_key_value(named.as_ref());
                known.ok_or(AuthError::UnknownIssuer)?.0
            }
            _ => &signer.name,
        };
        Ok(UserId::new(issuer.clone(), claims.subject.clone()))
    }
}

/// What an ID token has to say to be that of one sign-in.
#[derive(Debug)]
pub struct ExpectedSignIn<'a> {
    /// At whom somebody signed in.
    pub issuer: &'a str,
    /// What the relay is called there.
    pub client_id: &'a str,
    /// What was asked for with it.
    pub nonce: &'a Secret,
}

impl ExpectedSignIn<'_> {
    fn check(&self, payload: &Object) -> Result<(), AuthError> {
        let text = |name: &str| payload.get(name).and_then(Value::as_str);
        let nonce = text("nonce").ok_or(AuthError::MissingClaim("nonce"))?;
        if Secret::new(nonce) != *self.nonce {
            return Err(AuthError::WrongNonce);
        }
        // Where it says to whom it was given, that is the client, whoever else is in the audience.
        match payload.get("azp") {
            Some(party) if party.as_str() != Some(self.client_id) => Err(AuthError::WrongAudience),
            Some(_) | None => Ok(()),
        }
    }
}

fn check(issuer: &Issuer) -> Result<(), ConfigError> {
    let named = |error: fn(String) -> ConfigError| Err(error(issuer.name.clone()));
    let mut key_ids = HashSet::new();
    if issuer.name.is_empty() {
        Err(ConfigError::EmptyIssuer)
    } else if issuer.audiences.iter().any(String::is_empty) {
        named(ConfigError::EmptyAudience)
    } else if issuer.mapping.max_lifetime > MAX_LIFETIME {
        named(ConfigError::LifetimeTooLong)
    } else if issuer.published.is_some() && !issuer.keys.is_empty() {
        named(ConfigError::TwoKeySources)
    } else if issuer.published.as_ref().is_some_and(Vec::is_empty)
        || issuer.published.is_none() && issuer.keys.is_empty()
    {
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

/// Of a token that its issuer really made for us.
fn grant(user: UserId, claims: Claims, kinds: &[Kind]) -> Result<Grant, AuthError> {
    if !kinds.contains(&claims.kind) {
        return Err(AuthError::WrongKind { found: claims.kind });
    }
    Ok(Grant {
        expires_at: claims.expires_at(),
        issued_at: claims.issued_at(),
        user,
        kind: claims.kind,
        scopes: claims.scopes,
        token_id: claims.token_id,
        device: claims.device,
        login: claims.login,
    })
}

#[derive(Debug)]
struct TrustedIssuer {
    name: Arc<str>,
    audiences: Vec<String>,
    mapping: Mapping,
    is_own: bool,
    keys: Keys,
}

/// Where an issuer's keys come from.
#[derive(Debug)]
enum Keys {
    Given(Vec<TrustedKey>),
    Published {
        id: ProviderId,
        allowed: Vec<Algorithm>,
        current: Current,
    },
}

impl TrustedIssuer {
    /// `id` counts only where the issuer publishes its keys.
    fn new(name: Arc<str>, issuer: &Issuer, id: ProviderId) -> Self {
        let mut trusted = Self {
            name,
            audiences: issuer.audiences.clone(),
            mapping: issuer.mapping.clone(),
            is_own: issuer.is_own,
            keys: Keys::Given(Vec::new()),
        };
        trusted.keys = match &issuer.published {
            Some(allowed) => Keys::Published {
                id,
                allowed: allowed.clone(),
                current: Current::default(),
            },
            None => Keys::Given(issuer.keys.iter().map(|key| trusted.trust(key)).collect()),
        };
        trusted
    }

    fn trust(&self, key: &Key) -> TrustedKey {
        TrustedKey::new(key, &self.name, &self.audiences)
    }

    /// Whether one of this issuer's keys made the signature, for the audience it has to be for.
    fn check_signature(&self, credential: &str, header: &Header) -> Result<(), AuthError> {
        self.check_signature_for(credential, header, None)
    }

    /// The same for this audience instead of the configured ones.
    fn check_signature_for(
        &self,
        credential: &str,
        header: &Header,
        audience: Option<&[String]>,
    ) -> Result<(), AuthError> {
        let check_against = |keys: &[TrustedKey], algorithm| match audience {
            None => check_against(keys, algorithm, credential, header),
            Some(audience) => {
                let keys = keys
                    .iter()
                    .map(|key| TrustedKey::new(&key.key, &self.name, audience));
                check_against(&keys.collect::<Vec<_>>(), algorithm, credential, header)
            }
        };
        let algorithm = LibraryAlgorithm::from_str(&header.algorithm)
            .map_err(|_| AuthError::AlgorithmNotAllowed)?;
        match &self.keys {
            Keys::Given(keys) => {
                if !keys.iter().any(|key| key.key.algorithm == algorithm) {
                    return Err(AuthError::AlgorithmNotAllowed);
                }
                check_against(keys, algorithm)
            }
            Keys::Published {
                id,
                allowed,
                current,
            } => {
                if !allowed.iter().any(|known| known.library() == algorithm) {
                    return Err(AuthError::AlgorithmNotAllowed);
                }
                let keys = current.get().ok_or(AuthError::KeysNotFetched(*id))?;
                let is_named =
                    |key: &TrustedKey| key.key.id.is_some() && key.key.id == header.key_id;
                match check_against(&keys, algorithm) {
                    Err(AuthError::UnknownKey) => Err(AuthError::UnpublishedKey(*id)),
                    // Without an id it may be a key that is newer than what we have.
                    Err(AuthError::BadSignature) if !keys.iter().any(is_named) => {
                        Err(AuthError::UnpublishedKey(*id))
                    }
                    outcome => outcome,
                }
            }
        }
    }
}

fn check_against(
    keys: &[TrustedKey],
    algorithm: LibraryAlgorithm,
    credential: &str,
    header: &Header,
) -> Result<(), AuthError> {
    let mut outcome = Err(AuthError::UnknownKey);
    let fitting = keys.iter().filter(|key| key.key.algorithm == algorithm);
    for key in fitting.filter(|key| key.may_have_signed(header)) {
        outcome = key.check_signature(credential);
        if outcome != Err(AuthError::BadSignature) {
            break;
        }
    }
    outcome
}

#[derive(Debug)]
pub(crate) struct TrustedKey {
    key: Key,
    validation: Validation,
}

impl TrustedKey {
    fn new(key: &Key, issuer: &str, audiences: &[String]) -> Self {
        let mut validation = Validation::new(key.algorithm);
        validation.set_issuer(&[issuer]);
        validation.set_audience(audiences);
        // The user may be another claim than `sub`; `Claims` sees to it in either case.
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        // The library reads the system's clock. Ours is an argument: `Claims::check_times`.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Self {
            key: key.clone(),
            validation,
        }
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.key.is_same(&other.key)
    }

    /// A `kid` and a key id must be the same where both exist; either alone says nothing.
    fn may_have_signed(&self, header: &Header) -> bool {
        match (&self.key.id, &header.key_id) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        }
    }

    fn check_signature(&self, credential: &str) -> Result<(), AuthError> {
        let decoded =
            jsonwebtoken::decode::<IgnoredAny>(credential, &self.key.decoding, &self.validation);
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

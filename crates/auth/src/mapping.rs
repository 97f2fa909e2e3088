//! How the claims of one issuer become a user, a kind and scopes, and which of its tokens are taken at all.
//!
//! Invariant: everything here is the operator's word; a token can only lack what is asked of it. What a provider's words
//! are not mapped to, they do not allow.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::json::Object;
use crate::{AuthError, KIND_CLAIM, Kind, MAX_LIFETIME, SCOPE_CLAIM, Scopes};

/// The claim that is the user unless another one is configured.
const USER_CLAIM: &str = "sub";

/// Members that only ID tokens have (OpenID Connect Core §2, §3.3.2.11).
const ID_TOKEN_CLAIMS: [&str; 4] = ["nonce", "at_hash", "c_hash", "s_hash"];

/// What is made of an issuer's claims. The default reads the claims of the relay's own tokens.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// The user's name. Default `sub`. Any other must never pass from one person to another.
    pub user: ClaimPath,
    /// What the token is for. Default [`KIND_CLAIM`].
    pub kind: ClaimPath,
    /// The provider's words in that claim, and the kind that each stands for. When empty, the claim is our own word.
    pub kinds: BTreeMap<String, Kind>,
    /// The kind of tokens that say none.
    pub default_kind: Option<Kind>,
    /// What the token allows. Default [`SCOPE_CLAIM`].
    pub scope: ClaimPath,
    /// The provider's words in that claim, and the scopes that each stands for. When empty, the words are our own.
    pub scopes: BTreeMap<String, Scopes>,
    /// What every token must say.
    pub requirements: Vec<Requirement>,
    /// The longest time for which a token is good. Default, and at most, [`MAX_LIFETIME`].
    pub max_lifetime: Duration,
    /// Which sort of its tokens is taken. Default [`TokenUse::Access`].
    pub token_use: TokenUse,
}

impl Default for Mapping {
    fn default() -> Self {
        Self {
            user: ClaimPath(USER_CLAIM.to_owned()),
            kind: ClaimPath(KIND_CLAIM.to_owned()),
            kinds: BTreeMap::new(),
            default_kind: None,
            scope: ClaimPath(SCOPE_CLAIM.to_owned()),
            scopes: BTreeMap::new(),
            requirements: Vec::new(),
            max_lifetime: MAX_LIFETIME,
            token_use: TokenUse::Access,
        }
    }
}

impl Mapping {
    /// The name of the user, not yet judged.
    pub(crate) fn user<'a>(&self, payload: &'a Object) -> Result<&'a str, AuthError> {
        let name = self.user.name(USER_CLAIM, "configured as user-claim");
        match self.user.find(payload) {
            None => Err(AuthError::MissingClaim(name)),
            Some(Value::String(text)) if crate::claims::is_valid_subject(text) => Ok(text),
            Some(_) => Err(AuthError::MalformedClaim(name)),
        }
    }

    /// The kind that the token says, or else the default.
    pub(crate) fn kind(&self, payload: &Object) -> Result<Kind, AuthError> {
        let name = self.kind.name(KIND_CLAIM, "configured as kind-claim");
        let said = match self.kind.find(payload) {
            None => None,
            Some(value) if self.kinds.is_empty() => {
                let word = value.as_str().and_then(|word| word.parse().ok());
                Some(word.ok_or(AuthError::MalformedClaim(name))?)
            }
            Some(value) => {
                let words = words(value).ok_or(AuthError::MalformedClaim(name))?;
                let mapped = words.iter().filter_map(|word| self.kinds.get(*word));
                let mapped: BTreeSet<Kind> = mapped.copied().collect();
                if mapped.len() > 1 {
                    return Err(AuthError::AmbiguousKind);
                }
                mapped.first().copied()
            }
        };
        said.or(self.default_kind)
            .ok_or(AuthError::MissingClaim(name))
    }

    /// The scopes that the token says. Without the claim, a token in our own words may use models; where anything about
    /// scopes is configured, it may do nothing.
    pub(crate) fn scopes(&self, payload: &Object) -> Result<Scopes, AuthError> {
        let is_own = self.scope.0 == SCOPE_CLAIM && self.scopes.is_empty();
        let Some(value) = self.scope.find(payload) else {
            return Ok(if is_own { Scopes::INFER } else { Scopes::NONE });
        };
        let name = self.scope.name(SCOPE_CLAIM, "configured as scopes-claim");
        let words = words(value).ok_or(AuthError::MalformedClaim(name))?;
        if self.scopes.is_empty() {
            return Ok(Scopes::from_claim(words));
        }
        let mapped = words.iter().filter_map(|word| self.scopes.get(*word));
        Ok(mapped.flat_map(|scopes| scopes.iter()).collect())
    }

    /// The same reading of claims for an ID token that comes of a sign-in at the relay itself. Its kind is known from where
    /// it comes.
    pub(crate) fn for_sign_in(&self) -> Self {
        Self {
            kind: ClaimPath(KIND_CLAIM.to_owned()),
            kinds: BTreeMap::new(),
            default_kind: Some(Kind::Web),
            token_use: TokenUse::Id,
            ..self.clone()
        }
    }

    /// Whether the operator has said which claims allow what.
    pub(crate) fn limits_scopes(&self) -> bool {
        self.scope.0 != SCOPE_CLAIM || !self.scopes.is_empty()
    }

    /// Whether it is a token of the right sort, that says all that is asked. For tokens with a good signature.
    pub(crate) fn check(
        &self,
        header_type: Option<&str>,
        payload: &Object,
    ) -> Result<(), AuthError> {
        self.token_use.check(header_type, payload)?;
        if self
            .requirements
            .iter()
            .all(|wanted| wanted.is_met(payload))
        {
            Ok(())
        } else {
            Err(AuthError::RequirementUnmet)
        }
    }
}

/// Where a claim stands: its name, or names of objects in objects with dots between, `realm_access.roles`.
///
/// Names may hold dots themselves (`https://id.example/roles`): the longest that is there counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath(String);

impl ClaimPath {
    /// The longest path, in bytes.
    pub const MAX_BYTES: usize = 256;

    /// Takes a path as it was written.
    ///
    /// # Errors
    ///
    /// [`InvalidClaimPath`] when it is empty or longer than [`Self::MAX_BYTES`].
    pub fn parse(path: &str) -> Result<Self, InvalidClaimPath> {
        if (1..=Self::MAX_BYTES).contains(&path.len()) {
            Ok(Self(path.to_owned()))
        } else {
            Err(InvalidClaimPath)
        }
    }

    pub(crate) fn find<'a>(&self, payload: &'a Object) -> Option<&'a Value> {
        let (mut object, mut path) = (payload, self.0.as_str());
        loop {
            if let Some(value) = object.get(path) {
                return Some(value);
            }
            let dots = path.rmatch_indices('.');
            let (inner, rest) = dots.into_iter().find_map(|(at, _)| {
                let inner = object.get(path.get(..at)?)?.as_object()?;
                Some((inner, path.get(at + 1..)?))
            })?;
            (object, path) = (inner, rest);
        }
    }

    /// How an error names it: the usual claim by its name, any other by the setting, since errors hold no text of others.
    fn name(&self, usual: &'static str, setting: &'static str) -> &'static str {
        if self.0 == usual { usual } else { setting }
    }
}

/// The text is no path of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a claim is named by 1 to {} bytes", ClaimPath::MAX_BYTES)]
pub struct InvalidClaimPath;

/// One thing that every token of an issuer must say: the claim is this value, or a list with it.
#[derive(Debug, Clone)]
pub struct Requirement {
    /// Which claim.
    pub claim: ClaimPath,
    /// Its value; `"true"` is not `true`.
    pub value: RequiredValue,
}

/// A value that a claim must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequiredValue {
    /// A text.
    Text(String),
    /// True or false.
    Flag(bool),
    /// A whole number.
    Number(i64),
}

impl Requirement {
    fn is_met(&self, payload: &Object) -> bool {
        match self.claim.find(payload) {
            Some(Value::Array(items)) => items.iter().any(|item| self.value.is(item)),
            Some(value) => self.value.is(value),
            None => false,
        }
    }
}

impl RequiredValue {
    fn is(&self, value: &Value) -> bool {
        match self {
            Self::Text(text) => value.as_str() == Some(text),
            Self::Flag(flag) => value.as_bool() == Some(*flag),
            Self::Number(number) => value.as_i64() == Some(*number),
        }
    }
}

/// Which sort of an issuer's tokens is taken (RFC 8725 §3.11, §3.12). The audience, compared exactly, is the other half
/// of that: an ID token is for the application that its user signed in to, an access token for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenUse {
    /// Access tokens: the type in the header is `at+jwt`, `JWT` or left out, and what can be told to be an ID token is
    /// refused.
    Access,
    /// Access tokens that say so: the type in the header is `at+jwt` (RFC 9068 §4).
    StrictAccess,
    /// ID tokens: the type in the header is `JWT` or left out. For providers whose access tokens are no JWTs.
    Id,
}

impl TokenUse {
    fn check(self, header_type: Option<&str>, payload: &Object) -> Result<(), AuthError> {
        let is_plain = header_type.is_none_or(|name| is_type(name, "jwt"));
        let is_access = header_type.is_some_and(|name| is_type(name, "at+jwt"));
        match self {
            Self::StrictAccess if is_access => Ok(()),
            Self::Access if is_access => Ok(()),
            Self::Access if is_plain && is_id_token(payload) => Err(AuthError::IdToken),
            Self::Access | Self::Id if is_plain => Ok(()),
            Self::Access | Self::StrictAccess | Self::Id => Err(AuthError::WrongType),
        }
    }
}

/// Media types are compared without their case, and `application/` may be left out (RFC 7515 §4.1.9).
fn is_type(written: &str, wanted: &str) -> bool {
    const PREFIX: &str = "application/";
    let short = match written.get(..PREFIX.len()) {
        Some(start) if start.eq_ignore_ascii_case(PREFIX) => &written[PREFIX.len()..],
        _ => written,
    };
    short.eq_ignore_ascii_case(wanted)
}

/// What can be told from the claims. Keycloak's own `typ` among them says it outright, and its older versions write a
/// `nonce` into access tokens.
fn is_id_token(payload: &Object) -> bool {
    match payload.get("typ").and_then(Value::as_str) {
        Some("Bearer") => false,
        Some("ID") => true,
        _ => ID_TOKEN_CLAIMS
            .iter()
            .any(|name| payload.contains_key(*name)),
    }
}

/// The words of a claim: of a text those between spaces or commas, of a list each item.
fn words(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(
            text.split([' ', ','])
                .filter(|word| !word.is_empty())
                .collect(),
        ),
        Value::Array(items) => items.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

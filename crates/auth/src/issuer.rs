//! Who may vouch for users, with which keys, and what is made of the claims.
//!
//! Invariant: a key belongs to exactly one issuer. An issuer's keys are either given by the operator or published by the
//! issuer itself, never both, so that it is always clear who decides.

use crate::{Algorithm, Key, Kind, Mapping};

/// How many keys one issuer may be given. A token without a `kid` is tried against all with its algorithm.
pub const MAX_KEYS_PER_ISSUER: usize = 16;

/// One trusted issuer: its name, whom its tokens must be meant for, and its keys. [`Verifier::new`](crate::Verifier::new)
/// checks that it is complete.
#[derive(Debug, Clone)]
pub struct Issuer {
    pub(crate) name: String,
    pub(crate) audiences: Vec<String>,
    pub(crate) keys: Vec<Key>,
    pub(crate) published: Option<Vec<Algorithm>>,
    pub(crate) mapping: Mapping,
    /// Whether it is the relay's own, which may give tokens to users of others.
    pub(crate) is_own: bool,
}

impl Issuer {
    /// An issuer whose tokens say `name` as `iss` and have `audience` in `aud`; both are compared exactly.
    pub fn new(name: impl Into<String>, audience: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            audiences: vec![audience.into()],
            keys: Vec::new(),
            published: None,
            mapping: Mapping::default(),
            is_own: false,
        }
    }

    /// The issuer with one more audience: its tokens are for us when they name any of them.
    #[must_use]
    pub fn with_audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// The issuer with one more key.
    #[must_use]
    pub fn with_key(mut self, key: Key) -> Self {
        self.keys.push(key);
        self
    }

    /// The issuer with keys that it publishes itself, for these algorithms and no other. Until
    /// [`Verifier::publish`](crate::Verifier::publish) has been given some, none of its tokens is accepted.
    #[must_use]
    pub fn with_published_keys(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.published = Some(algorithms.into_iter().collect());
        self
    }

    /// The issuer with a kind for those of its tokens that do not say one. Without it such tokens are refused.
    #[must_use]
    pub fn with_default_kind(mut self, kind: Kind) -> Self {
        self.mapping.default_kind = Some(kind);
        self
    }

    /// The issuer with its own reading of claims.
    #[must_use]
    pub fn with_mapping(mut self, mapping: Mapping) -> Self {
        self.mapping = mapping;
        self
    }

    /// What its tokens say as `iss`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

//! Someone with a good credential, and what it allows.
//!
//! Invariant: only this module's parent makes one.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use c2l_auth::{Fingerprint, Grant, KeyGrant, KeyId, Scope, UserId};
use c2l_tunnel::{Fault, Kind, Origin};

use crate::audit::CredentialName;

/// Someone with a good credential.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) user: UserId,
    pub(crate) grant: Grant,
    /// What the credential is called in lists and logs.
    pub(crate) credential: CredentialName,
    /// Patterns of the models that the credential is limited to; none means that it does not limit them.
    pub(crate) models: Arc<[String]>,
    pub(crate) limits: Limits,
    /// Of a key: which, and where its last use is noted.
    key: Option<(KeyId, Option<Arc<Usage>>)>,
}

/// Limits that a credential brings along, beside those of its user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) requests_per_minute: Option<NonZeroU32>,
}

impl Caller {
    pub(super) fn of_token(grant: Grant, fingerprint: Fingerprint) -> Self {
        Self {
            user: grant.user.clone(),
            credential: CredentialName::of_grant(&grant, fingerprint),
            grant,
            models: Vec::new().into(),
            limits: Limits::default(),
            key: None,
        }
    }

    pub(super) fn of_key(granted: KeyGrant, usage: Option<Arc<Usage>>) -> Self {
        Self {
            user: granted.grant.user.clone(),
            grant: granted.grant,
            credential: CredentialName::Key(granted.id.as_str().into()),
            models: granted.models,
            limits: Limits {
                requests_per_minute: granted.requests_per_minute,
            },
            key: Some((granted.id, usage)),
        }
    }

    /// Refuses what the credential does not allow.
    ///
    /// # Errors
    /// `Forbidden`.
    pub(crate) fn require(&self, scope: Scope) -> Result<(), Fault> {
        if self.grant.allows(scope) {
            return Ok(());
        }
        let message = format!("this credential lacks the scope `{}`", scope.as_str());
        Err(Fault::new(Kind::Forbidden, Origin::Caller, message).retry_safe())
    }

    pub(super) fn key_id(&self) -> Option<&KeyId> {
        self.key.as_ref().map(|(id, _)| id)
    }

    /// By what a token is revoked: its `jti`, else the beginning of its hash. Within one user's tokens that is enough.
    pub(super) fn token_id(&self) -> Arc<str> {
        match &self.credential {
            CredentialName::Token(id) | CredentialName::Key(id) => Arc::clone(id),
            hash @ CredentialName::Hash(_) => hash.to_string().into(),
        }
    }

    pub(super) fn note_used(&self, now: SystemTime) {
        if let Some((_, Some(usage))) = &self.key {
            usage.note(now);
        }
    }
}

/// When a key was last used, as seconds since 1970: noted for each request, written now and then.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    last: AtomicU64,
    written: AtomicU64,
}

impl Usage {
    pub(super) fn known(last: Option<SystemTime>) -> Self {
        let last = last.map_or(0, seconds);
        Self {
            last: AtomicU64::new(last),
            written: AtomicU64::new(last),
        }
    }

    fn note(&self, now: SystemTime) {
        self.last.fetch_max(seconds(now), Ordering::Relaxed);
    }

    pub(super) fn last(&self) -> Option<SystemTime> {
        let last = self.last.load(Ordering::Relaxed);
        (last > 0).then(|| UNIX_EPOCH + Duration::from_secs(last))
    }

    /// The last use, where it is not written yet; from now on it counts as written.
    pub(super) fn take_unwritten(&self) -> Option<SystemTime> {
        let last = self.last.load(Ordering::Relaxed);
        let written = self.written.swap(last, Ordering::Relaxed);
        (last > written).then(|| UNIX_EPOCH + Duration::from_secs(last))
    }

    /// It was not written after all.
    pub(super) fn is_unwritten(&self) {
        self.written.store(0, Ordering::Relaxed);
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

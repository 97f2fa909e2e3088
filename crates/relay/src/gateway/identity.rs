//! Who is asking: the one place of the gateway that makes a [`Caller`].
//!
//! Invariant: whoever holds a `Caller` holds a user that the verifier named. A credential seen before is looked up
//! instead of verified again, never beyond its own end, nor after its issuer has withdrawn a key; the memory for that is
//! bounded, and holds no credential.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use c2l_auth::{Fingerprint, Grant, Kind, LEEWAY, Scope, UserId};
use c2l_tunnel::{Fault, Origin};
use http::HeaderMap;

use crate::{gateway::credential, providers::Providers};

/// Credentials remembered at once. When there are more, remembering starts over.
const MAX_REMEMBERED: usize = 4096;

/// Someone with a good credential.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) user: UserId,
    pub(crate) grant: Grant,
}

impl Caller {
    /// Refuses what the credential does not allow.
    ///
    /// # Errors
    /// `Forbidden`.
    pub(crate) fn require(&self, scope: Scope) -> Result<(), Fault> {
        if self.grant.scopes.contains(scope) {
            return Ok(());
        }
        let message = format!("this credential lacks the scope `{}`", scope.as_str());
        Err(Fault::new(c2l_tunnel::Kind::Forbidden, Origin::Caller, message).retry_safe())
    }
}

/// Verifies credentials of kind `api`, and remembers the good ones.
#[derive(Debug)]
pub(crate) struct Identities {
    providers: Arc<Providers>,
    remembered: Mutex<HashMap<Fingerprint, Remembered>>,
}

#[derive(Clone, Debug)]
struct Remembered {
    grant: Grant,
    /// What [`Providers::key_removals`] said before it was verified.
    key_removals: u64,
}

impl Identities {
    pub(crate) fn new(providers: Arc<Providers>) -> Self {
        Self {
            providers,
            remembered: Mutex::default(),
        }
    }

    /// The caller of a request.
    ///
    /// # Errors
    /// `Unauthenticated` or `InvalidRequest`, where the message says which thing is wrong; `IssuerUnreachable`.
    pub(crate) async fn caller(
        &self,
        path: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Caller, Fault> {
        let credential = credential::find(path, headers)?;
        let grant = self.grant(&credential).await?;
        Ok(Caller {
            user: grant.user.clone(),
            grant,
        })
    }

    async fn grant(&self, credential: &str) -> Result<Grant, Fault> {
        let fingerprint = Fingerprint::of(credential);
        let key_removals = self.providers.key_removals();
        if let Some(grant) = self.recall(&fingerprint, key_removals, SystemTime::now()) {
            return Ok(grant);
        }
        let grant = self.providers.verify(credential, Kind::Api).await?;
        let mut remembered = self.lock();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        let entry = Remembered {
            grant: grant.clone(),
            key_removals,
        };
        remembered.insert(fingerprint, entry);
        Ok(grant)
    }

    /// The grant of a credential seen before, while it stands.
    fn recall(
        &self,
        fingerprint: &Fingerprint,
        key_removals: u64,
        now: SystemTime,
    ) -> Option<Grant> {
        let known = self.lock().get(fingerprint).cloned()?;
        let stands = now < known.grant.expires_at + LEEWAY && known.key_removals == key_removals;
        stands.then_some(known.grant)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Fingerprint, Remembered>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

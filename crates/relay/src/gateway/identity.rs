//! Who is asking: the one place of the gateway that makes a [`Caller`].
//!
//! Invariant: whoever holds a `Caller` holds a user that the verifier named. A credential seen before is looked up
//! instead of verified again, never beyond its own end; the memory for that is bounded, and holds no credential.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use c2l_auth::{Fingerprint, Grant, Kind, LEEWAY, Scope, UserId, Verifier};
use c2l_tunnel::{Fault, Origin};
use http::HeaderMap;

use crate::{error::unauthenticated, gateway::credential};

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
    verifier: Arc<Verifier>,
    remembered: Mutex<HashMap<Fingerprint, Grant>>,
}

impl Identities {
    pub(crate) fn new(verifier: Arc<Verifier>) -> Self {
        Self {
            verifier,
            remembered: Mutex::default(),
        }
    }

    /// The caller of a request.
    ///
    /// # Errors
    /// `Unauthenticated` or `InvalidRequest`; the message says which thing is wrong.
    pub(crate) fn caller(&self, path: Option<&str>, headers: &HeaderMap) -> Result<Caller, Fault> {
        let credential = credential::find(path, headers)?;
        let grant = self.grant(&credential, SystemTime::now())?;
        Ok(Caller {
            user: grant.user.clone(),
            grant,
        })
    }

    fn grant(&self, credential: &str, now: SystemTime) -> Result<Grant, Fault> {
        let lock = || {
            self.remembered
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let fingerprint = Fingerprint::of(credential);
        let known = lock().get(&fingerprint).cloned();
        if let Some(grant) = known
            && now < grant.expires_at + LEEWAY
        {
            return Ok(grant);
        }
        let grant = self
            .verifier
            .verify(credential, Kind::Api, now)
            .map_err(|error| unauthenticated(error.to_string()))?;
        let mut remembered = lock();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(fingerprint, grant.clone());
        Ok(grant)
    }
}

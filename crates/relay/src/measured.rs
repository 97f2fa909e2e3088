//! The one thing that a bench of this crate measures: who a credential belongs to, first and again.
//!
//! Invariant: it is the gateway's own code; nothing here decides anything. No part of what this crate promises.

use std::sync::Arc;

use c2l_auth::{UserId, Verifier};
use c2l_tunnel::Fault;
use http::HeaderMap;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{gateway::identity::Identities, metrics::Metrics, providers::Providers};

/// What the gateway asks who is calling; it remembers nobody yet.
#[derive(Debug)]
pub struct Doorkeeper(Identities);

impl Doorkeeper {
    /// One that fetches no keys.
    #[must_use]
    pub fn new(verifier: Arc<Verifier>) -> Self {
        let (metrics, tracker) = (Arc::new(Metrics::default()), TaskTracker::new());
        let closing = CancellationToken::new();
        let providers = Providers::start(verifier, &[], &metrics, &tracker, &closing);
        Self(Identities::new(Arc::new(providers)))
    }

    /// Whose credential it is.
    ///
    /// # Errors
    /// Those of the gateway.
    pub async fn user(&self, credential: &str) -> Result<UserId, Fault> {
        let caller = self.0.caller(Some(credential), &HeaderMap::new()).await?;
        Ok(caller.user)
    }
}

//! The one thing that a bench of this crate measures: who a credential belongs to, first and again.
//!
//! Invariant: it is the gateway's own code; nothing here decides anything. No part of what this crate promises.

use std::sync::Arc;

use c2l_auth::{Kind, UserId, Verifier};
use c2l_tunnel::Fault;
use http::Request;

use crate::{Accounts, RateLimits, identity::Identities, limits::Guard, providers::Providers};

/// What the gateway asks who is calling; it remembers nobody yet.
#[derive(Debug)]
pub struct Doorkeeper(Identities);

impl Doorkeeper {
    /// One that fetches no keys, and has read nothing of what `accounts` keeps.
    #[must_use]
    pub fn new(verifier: Arc<Verifier>, accounts: Accounts) -> Self {
        let providers = Arc::new(Providers::unasked(verifier));
        let guard = Arc::new(Guard::new(RateLimits::off()));
        Self(Identities::new(providers, guard, accounts))
    }

    /// Whose credential it is.
    ///
    /// # Errors
    /// Those of the gateway.
    pub async fn user(&self, credential: &str) -> Result<UserId, Fault> {
        let (head, ()) = Request::new(()).into_parts();
        let caller = self.0.caller(Some(credential), &head, &[Kind::Api]).await?;
        Ok(caller.user.clone())
    }
}

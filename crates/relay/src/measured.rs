//! What benches and counts of allocations outside of this crate look at: who a credential belongs to, first and again,
//! what a path means, and which fields cross.
//!
//! Invariant: it is the gateway's own code; nothing here decides anything. No part of what this crate promises.

use std::sync::Arc;

use c2l_auth::{Kind, UserId, Verifier};
use c2l_tunnel::Fault;
use http::{HeaderMap, HeaderValue, Request, request, uri::PathAndQuery};

use crate::{
    Accounts, RateLimits,
    gateway::{headers, present::Present, route::Route},
    identity::Identities,
    limits::Guard,
    providers::Providers,
};

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

/// Whether a path leads anywhere.
///
/// # Errors
/// Those of the gateway.
pub fn route(target: &PathAndQuery) -> Result<(), Fault> {
    Route::parse(target).map(drop)
}

/// Whether a head is one that is answered at all.
///
/// # Errors
/// Those of the gateway.
pub fn check(head: &request::Parts) -> Result<(), Fault> {
    headers::check(head, Present::of(&head.headers))
}

/// The fields toward the upstream.
#[must_use]
pub fn toward_upstream(fields: HeaderMap) -> HeaderMap {
    headers::toward_upstream(fields)
}

/// The fields toward the caller.
#[must_use]
pub fn toward_caller(fields: HeaderMap, device: &HeaderValue) -> HeaderMap {
    headers::toward_caller(fields, device)
}

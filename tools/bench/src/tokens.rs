//! Tokens of the benchmark's users, signed with the relay's own key: many users, each with one agent.
//!
//! Invariant: user number N has the same name for its agent and for its callers.

use std::{path::Path, time::Duration, time::SystemTime};

use c2l_auth::{Kind, Scope, Scopes, SigningKey, TokenRequest};

/// Longer than any run.
const TTL: Duration = Duration::from_secs(6 * 60 * 60);

/// Signs for as many users as one likes.
pub(crate) struct Tokens(SigningKey);

impl Tokens {
    /// # Errors
    /// When the relay's data directory has no key that this user may read.
    pub(crate) fn of_relay(data_dir: &Path) -> anyhow::Result<Self> {
        Ok(Self(SigningKey::load(data_dir)?))
    }

    /// What the agent of this user connects with.
    pub(crate) fn of_agent(&self, number: usize) -> anyhow::Result<String> {
        self.issue(number, Kind::Agent, Scopes::NONE)
    }

    /// What a caller of this user asks with; it may upload, too.
    pub(crate) fn of_caller(&self, number: usize) -> anyhow::Result<String> {
        self.issue(number, Kind::Api, Scopes::INFER.with(Scope::Manage))
    }

    fn issue(&self, number: usize, kind: Kind, scopes: Scopes) -> anyhow::Result<String> {
        let request = TokenRequest {
            user: format!("bench-{number}"),
            kind,
            scopes,
            ttl: TTL,
            device: None,
        };
        Ok(self
            .0
            .issue(&request, SystemTime::now())?
            .expose()
            .to_owned())
    }
}

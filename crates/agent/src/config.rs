//! What an agent is started with.
//!
//! Invariant: every field has a unit, a default and a consequence written beside it; the agent reads no environment.

use std::{future::Future, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use http::Uri;

/// Fetches the token anew: before each connection, and again when the present one is about to run out.
pub type TokenSource =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<String, TokenError>> + Send>> + Send + Sync>;

/// The token could not be had; the sentence says from where and why, never the token.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct TokenError(pub String);

/// What an agent is started with.
#[derive(Clone)]
pub struct Config {
    /// The relay's address, `https://host[:port]`, or `http://` for loopback and where `allow_insecure` is set.
    pub relay: Uri,
    /// Permits clear text to a relay that is not on this machine. Default false: tokens and prompts would be readable
    /// on the way.
    pub allow_insecure: bool,
    /// More trusted roots beside the system's, a PEM file. Default none.
    pub ca_file: Option<PathBuf>,
    /// Where the token comes from.
    pub token: TokenSource,
    /// Name of this device; the newest session of a name replaces the one before it.
    pub device_name: String,
    /// Identity of this installation.
    pub device_id: [u8; 16],
    /// Build identity, told to the relay for its log.
    pub build: String,
    /// The one service that requests go to. Default `http://127.0.0.1:11434`.
    pub upstream: Uri,
    /// Lets callers whose token has the scope `manage` change what the machine holds: pull, push, create, copy, delete.
    /// Default false.
    pub allow_manage: bool,
    /// Most requests at the upstream at once; one more is refused as `Overloaded`. Default 256.
    pub max_concurrent_requests: usize,
    /// How long reaching the upstream may take. Default 5 s.
    pub upstream_connect_timeout: Duration,
    /// How long a request whose caller ran into the first-byte limit may go on, so that a model load is not thrown
    /// away. Default 5 min.
    pub load_grace: Duration,
    /// How long dialing the relay may take, greeting included. Default 10 s.
    pub dial_timeout: Duration,
    /// How long running requests have at shutdown. Default 30 s.
    pub drain_grace: Duration,
    /// First wait before dialing again; doubles each time. Default 1 s.
    pub backoff_min: Duration,
    /// Longest wait before dialing again. Default 30 s.
    pub backoff_max: Duration,
    /// How long a session must have been open before the wait starts over. Default 60 s.
    pub healthy_after: Duration,
}

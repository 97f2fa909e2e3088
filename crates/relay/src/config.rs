//! What a relay is started with.
//!
//! Invariant: every field has a unit, a default and a consequence written beside it; the relay reads no environment and
//! binds nothing itself.

use std::{sync::Arc, time::Duration};

use c2l_auth::Verifier;
use c2l_tunnel::Limits;
use http::HeaderValue;
use tokio::net::TcpListener;

use crate::{
    Accounts, Handover, LoginConfig, Network, Provider, PublicPort, RateLimits, WebConfig,
    control::Opening,
};

/// The sockets that a relay serves, bound by whoever starts it.
#[derive(Debug)]
pub struct Listeners {
    /// The public port: gateway, gRPC, everything.
    pub public: PublicPort,
    /// The operators' port: `/livez`, `/readyz`, `/metrics`. None of these is on the public one.
    pub ops: Option<TcpListener>,
    /// The operator's door, on this machine alone: see [`crate::control`].
    pub control: Option<Opening>,
}

/// What a relay is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Decides who is asking.
    pub verifier: Arc<Verifier>,
    /// Where the keys are of those of the verifier's issuers that publish them. Default none.
    pub providers: Vec<Provider>,
    /// Where keys and revocations are kept. `None`, the default, keeps them in memory: they end with the relay.
    pub accounts: Option<Accounts>,
    /// How devices log in. `None`, the default, lets none ask.
    pub login: Option<LoginConfig>,
    /// The web page. `None`, the default, serves none: `/` is a plain text.
    pub web: Option<WebConfig>,
    /// TLS of the public port; `None` serves clear text.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// From where connections to a port with TLS may be in clear as well: a proxy's, that ends TLS for its callers while agents
    /// come straight to the port. Default none.
    pub clear_from: Vec<Network>,
    /// Whether an agent must show a certificate that the TLS settings accept, beside its token. Default false.
    pub asks_agents_for_certificate: bool,
    /// Build identity, told to agents and on `/relay/v1/version`.
    pub build: String,
    /// Bounds of the tunnel, told to every agent.
    pub tunnel: Limits,
    /// How often each side of a session says something. Default 10 s; two silent intervals end the session.
    pub heartbeat_interval: Duration,
    /// From a dialed call to the agent's hello. Default 10 s.
    pub greeting_timeout: Duration,
    /// From a request's last sign of life to the first byte of its answer. Default 30 s.
    pub first_byte_timeout: Duration,
    /// Between two movements of an answer, and of a connection that is being written to. Default 30 s.
    pub gap_timeout: Duration,
    /// From accepting a connection to its first byte, to the end of each request head, and to the message of a gRPC
    /// call. Default 15 s.
    pub head_timeout: Duration,
    /// For a TLS handshake. Default 10 s.
    pub tls_handshake_timeout: Duration,
    /// How long a kept-alive connection may be idle between requests. Default 75 s.
    pub idle_timeout: Duration,
    /// Most connections at once; more wait in the kernel's queue. Default 16,384.
    pub max_connections: usize,
    /// Most requests of one user at once; one more is a 429. Default 256.
    pub max_requests_per_user: usize,
    /// Most requests with one credential at once; one more is a 429. Default none.
    pub max_requests_per_credential: Option<usize>,
    /// How much of anything one user, credential and address may ask for in a time; more is a 429.
    pub rates: RateLimits,
    /// Most sessions (devices) of one user at once. Default 32.
    pub max_sessions_per_user: usize,
    /// Most bytes of a request body; announced larger ones are refused unread. Default none.
    pub max_body_bytes: Option<u64>,
    /// Most bytes of a request head, HTTP/1.1 and HTTP/2 alike. Default 64 KiB.
    pub max_head_bytes: usize,
    /// Origins that browsers may call from. Default none but the relay's own.
    pub cors_origins: Vec<HeaderValue>,
    /// Whether gRPC reflection is served. Default true; it lists public services only.
    pub is_reflection_served: bool,
    /// How long running answers have at shutdown. Default 30 s.
    pub drain_timeout: Duration,
    /// How the relay processes of this port follow one another. Default none: this one comes and goes alone.
    pub handover: Option<Handover>,
    /// Lets tests make a handler panic by a header; never set by the program. Default false.
    pub has_panic_hook: bool,
}

impl Config {
    /// The defaults, around the one thing that has none.
    #[must_use]
    pub fn new(verifier: Arc<Verifier>) -> Self {
        Self {
            verifier,
            providers: Vec::new(),
            accounts: None,
            login: None,
            web: None,
            tls: None,
            clear_from: Vec::new(),
            asks_agents_for_certificate: false,
            build: env!("CARGO_PKG_VERSION").to_owned(),
            tunnel: Limits::default(),
            heartbeat_interval: Duration::from_secs(10),
            greeting_timeout: Duration::from_secs(10),
            first_byte_timeout: Duration::from_secs(30),
            gap_timeout: Duration::from_secs(30),
            head_timeout: Duration::from_secs(15),
            tls_handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            max_connections: 16_384,
            max_requests_per_user: 256,
            max_requests_per_credential: None,
            rates: RateLimits::default(),
            max_sessions_per_user: 32,
            max_body_bytes: None,
            max_head_bytes: 64 * 1024,
            cors_origins: Vec::new(),
            is_reflection_served: true,
            drain_timeout: Duration::from_secs(30),
            handover: None,
            has_panic_hook: false,
        }
    }
}

//! What an agent is started with.
//!
//! Invariant: every field has a unit, a default and a consequence written beside it; the agent reads no environment.

use std::{fmt, future::Future, net::IpAddr, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use crate::dialer::{Proxy, Transport};
use http::{Uri, uri::Scheme};

use crate::{error::Error, forward::owner::Owner};

/// Fetches the token anew: before each connection, and again when the present one is about to run out.
pub type TokenSource =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<String, TokenError>> + Send>> + Send + Sync>;

/// The token could not be had; the sentence says from where and why, never the token.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct TokenError {
    message: String,
    outlook: Outlook,
}

/// Whether asking again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Nobody can tell: an agent that has never had a token ends, another one asks again.
    Unclear,
    /// It can: something on the way is in trouble, and the agent waits for it.
    Passing,
    /// It cannot: the token was refused for good, and the agent ends.
    Final,
}

impl TokenError {
    /// An error of unclear outlook.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self::with(Outlook::Unclear, message)
    }

    /// An error of this outlook.
    #[must_use]
    pub fn with(outlook: Outlook, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { message, outlook }
    }

    /// Whether it ends an agent that has had a token before, or has not.
    pub(crate) fn is_final(&self, has_had_token: bool) -> bool {
        match self.outlook {
            Outlook::Unclear => !has_had_token,
            Outlook::Passing => false,
            Outlook::Final => true,
        }
    }
}

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
    /// Takes any certificate of the relay's. Default false: with it, whoever is on the way can read and change
    /// everything, and each connection warns of that.
    pub skip_verify: bool,
    /// Our own certificate chain and its key, two PEM files, for relays that ask for one. Default none.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// How the relay is reached. Default: whatever works.
    pub transport: Transport,
    /// The proxy on the way to the relay; never used toward the upstream. Default none.
    pub proxy: Option<Proxy>,
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
    /// Which routes and models callers may use at all.
    pub policy: Policy,
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

/// The owner's allow-list. It is enforced here, so a relay cannot exceed it. In patterns `*` stands for any run of
/// characters and `?` for any one; a denial wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Routes that are forwarded, by their path in Ollama's documentation (`/api/blobs/:digest`). Default `*`. What
    /// acts with the owner's account never is, and what changes the machine needs `allow_manage` as well.
    pub allow_routes: Vec<String>,
    /// Routes that are not. Default none.
    pub deny_routes: Vec<String>,
    /// Models that may be named. Default `*`. Without host and namespace a pattern means Ollama's own library, and
    /// without a tag `latest`.
    pub allow_models: Vec<String>,
    /// Models that may not. Default none. What a pattern leaves out means any.
    pub deny_models: Vec<String>,
    /// Lets callers use models that run at ollama.com, with the owner's account. Default false.
    pub allow_cloud_models: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            allow_routes: vec!["*".to_owned()],
            deny_routes: Vec::new(),
            allow_models: vec!["*".to_owned()],
            deny_models: Vec::new(),
            allow_cloud_models: false,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("relay", &self.relay)
            .field("device_name", &self.device_name)
            .field("upstream", &self.upstream)
            .field("allow_manage", &self.allow_manage)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// The defaults that stand beside the fields, for this relay and this device.
    #[must_use]
    pub fn new(relay: Uri, token: TokenSource, device_name: String, device_id: [u8; 16]) -> Self {
        Self {
            relay,
            allow_insecure: false,
            ca_file: None,
            skip_verify: false,
            client_certificate: None,
            transport: Transport::Auto,
            proxy: None,
            token,
            device_name,
            device_id,
            build: String::new(),
            upstream: Uri::from_static("http://127.0.0.1:11434"),
            allow_manage: false,
            policy: Policy::default(),
            max_concurrent_requests: 256,
            upstream_connect_timeout: Duration::from_secs(5),
            load_grace: Duration::from_secs(300),
            dial_timeout: Duration::from_secs(10),
            drain_grace: Duration::from_secs(30),
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(30),
            healthy_after: Duration::from_secs(60),
        }
    }

    /// Finds every mistake before the first socket is opened.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let mut problems = Vec::new();
        let mut require = |is_met: bool, problem: &str| {
            if !is_met {
                problems.push(problem.to_owned());
            }
        };
        require(
            is_plain_address(&self.relay),
            "relay: an address like https://relay.example is needed, without path, query or user",
        );
        require(
            is_https(&self.relay) || self.allow_insecure || is_loopback(&self.relay),
            "relay: http:// to another machine would show tokens and prompts to everyone on the way; \
             use https://, or allow_insecure",
        );
        require(
            is_plain_address(&self.upstream) && !is_https(&self.upstream),
            "upstream: an address like http://127.0.0.1:11434 is needed, without path, query or user",
        );
        require(
            is_device_name(&self.device_name),
            "device_name: 1 to 64 letters, digits, `.`, `_` or `-` are needed",
        );
        require(
            self.max_concurrent_requests > 0,
            "max_concurrent_requests: must not be 0",
        );
        require(
            !self.backoff_min.is_zero() && self.backoff_min <= self.backoff_max,
            "backoff_min: must be more than 0 and at most backoff_max",
        );
        for (name, limit) in [
            ("upstream_connect_timeout", self.upstream_connect_timeout),
            ("dial_timeout", self.dial_timeout),
        ] {
            require(!limit.is_zero(), &format!("{name}: must not be 0"));
        }
        problems.extend(Owner::new(self).err().into_iter().flatten());
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Error::Config { problems })
        }
    }
}

/// True for `http(s)://host[:port]` and nothing more.
fn is_plain_address(uri: &Uri) -> bool {
    let is_http = uri.scheme() == Some(&Scheme::HTTP) || uri.scheme() == Some(&Scheme::HTTPS);
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    let has_user = uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'));
    is_http && has_host && !has_user && uri.path() == "/" && uri.query().is_none()
}

pub(crate) fn is_https(uri: &Uri) -> bool {
    uri.scheme() == Some(&Scheme::HTTPS)
}

/// The host without the brackets of an IPv6 literal.
pub(crate) fn host(uri: &Uri) -> &str {
    uri.host()
        .unwrap_or_default()
        .trim_start_matches('[')
        .trim_end_matches(']')
}

/// The port, named or implied by the scheme.
pub(crate) fn port(uri: &Uri) -> u16 {
    let implied = if is_https(uri) { 443 } else { 80 };
    uri.port_u16().unwrap_or(implied)
}

/// True when the address names this machine, whatever a resolver says.
pub(crate) fn is_loopback(uri: &Uri) -> bool {
    let host = host(uri);
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

fn is_device_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

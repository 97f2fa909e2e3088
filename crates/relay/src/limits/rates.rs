//! What can be limited: the settings, and the names of what was hit.
//!
//! Invariant: the defaults are such that nobody meets them who only uses the relay.

use crate::limits::{
    address::{ForwardedBy, Network},
    bucket::Rate,
};

/// What is limited, and where the address of a caller stands. `None` is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Requests of one user. Default 6,000 a minute.
    pub user_requests: Option<Rate>,
    /// Requests with one credential. Default none.
    pub credential_requests: Option<Rate>,
    /// Bytes of bodies of one user, both directions together. Default none.
    pub user_bytes: Option<Rate>,
    /// The same of one credential. Default none.
    pub credential_bytes: Option<Rate>,
    /// Connections from one address. Default 6,000 a minute. Those of trusted proxies are not counted.
    pub address_connections: Option<Rate>,
    /// Bad credentials from one address. Default 100 a minute; beyond it only credentials that this relay has accepted
    /// before are judged from there.
    pub address_failures: Option<Rate>,
    /// Attempts to open a session from one address, WebSocket upgrades among them. Default 3,000 a minute.
    pub address_sessions: Option<Rate>,
    /// Proxies in front of the relay, whose word counts for where a request comes from. Default none.
    pub trusted_proxies: Vec<Network>,
    /// Which of a trusted proxy's fields says it. Default `X-Forwarded-For`.
    pub forwarded_by: ForwardedBy,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            user_requests: Some(Rate::per_minute(6000)),
            credential_requests: None,
            user_bytes: None,
            credential_bytes: None,
            address_connections: Some(Rate::per_minute(6000)),
            address_failures: Some(Rate::per_minute(100)),
            address_sessions: Some(Rate::per_minute(3000)),
            trusted_proxies: Vec::new(),
            forwarded_by: ForwardedBy::default(),
        }
    }
}

impl RateLimits {
    /// No limit at all, and nobody in front.
    #[must_use]
    pub fn off() -> Self {
        Self {
            user_requests: None,
            address_connections: None,
            address_failures: None,
            address_sessions: None,
            ..Self::default()
        }
    }
}

/// What was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Limit {
    UserRequests,
    CredentialRequests,
    UserStreams,
    CredentialStreams,
    UserBytes,
    CredentialBytes,
    AddressConnections,
    AddressFailures,
    AddressSessions,
}

impl Limit {
    pub(crate) const ALL: [Self; 9] = [
        Self::UserRequests,
        Self::CredentialRequests,
        Self::UserStreams,
        Self::CredentialStreams,
        Self::UserBytes,
        Self::CredentialBytes,
        Self::AddressConnections,
        Self::AddressFailures,
        Self::AddressSessions,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::UserRequests => "user_requests",
            Self::CredentialRequests => "credential_requests",
            Self::UserStreams => "user_streams",
            Self::CredentialStreams => "credential_streams",
            Self::UserBytes => "user_bytes",
            Self::CredentialBytes => "credential_bytes",
            Self::AddressConnections => "address_connections",
            Self::AddressFailures => "address_failures",
            Self::AddressSessions => "address_sessions",
        }
    }

    /// What the caller is told.
    pub(super) const fn message(self) -> &'static str {
        match self {
            Self::UserRequests => "too many requests of this user",
            Self::CredentialRequests => "too many requests with this credential",
            Self::UserStreams => "as many requests of this user are under way as may be",
            Self::CredentialStreams => {
                "as many requests with this credential are under way as may be"
            }
            Self::UserBytes => "too many bytes of this user",
            Self::CredentialBytes => "too many bytes with this credential",
            Self::AddressConnections => "too many connections from this address",
            Self::AddressFailures => {
                "too many bad credentials from this address; one that was accepted before still is"
            }
            Self::AddressSessions => "too many attempts to open a session from this address",
        }
    }
}

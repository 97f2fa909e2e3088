//! What can go wrong with a stream or a session, as closed sets.
//!
//! Invariant: a [`Fault`] may be shown to the caller; it never holds a credential, a body or an inside address.

use std::{borrow::Cow, fmt, time::Duration};

use crate::frame::StreamId;

/// What went wrong with an exchange. Each kind has one HTTP status and one gRPC code; the relay has the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Malformed, ambiguous or unsafe HTTP.
    InvalidRequest,
    /// No credential, or not a good one.
    Unauthenticated,
    /// The credential or the agent's owner does not allow it.
    Forbidden,
    /// Not a path or a device that exists for this caller.
    RouteUnknown,
    /// The method is not one that is forwarded.
    MethodNotAllowed,
    /// The request body is over the limit.
    BodyTooLarge,
    /// The caller expects something other than `100-continue` (RFC 9110 §10.1.1).
    ExpectationFailed,
    /// This user has too much under way.
    UserOverLimit,
    /// The agent is there, its upstream is not.
    UpstreamUnreachable,
    /// The upstream broke off, or answered with something that is not HTTP.
    UpstreamFailed,
    /// The session ended before the answer did.
    AgentLost,
    /// The agent broke the protocol.
    AgentProtocol,
    /// No session of this user.
    AgentOffline,
    /// The relay or the agent has no room for more.
    Overloaded,
    /// The relay or the agent is leaving.
    Draining,
    /// The keys that check this credential cannot be fetched from its issuer now.
    IssuerUnreachable,
    /// A time limit fired; the message names it.
    Timeout,
    /// A defect of ours.
    Internal,
    /// The caller left; nobody reads the answer.
    CallerGone,
}

impl Kind {
    /// Every kind, for tables and the tests that walk them.
    pub const ALL: [Self; 19] = [
        Self::InvalidRequest,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::RouteUnknown,
        Self::MethodNotAllowed,
        Self::BodyTooLarge,
        Self::ExpectationFailed,
        Self::UserOverLimit,
        Self::UpstreamUnreachable,
        Self::UpstreamFailed,
        Self::AgentLost,
        Self::AgentProtocol,
        Self::AgentOffline,
        Self::Overloaded,
        Self::Draining,
        Self::IssuerUnreachable,
        Self::Timeout,
        Self::Internal,
        Self::CallerGone,
    ];

    /// The name that callers see in `code` and that the log carries.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::RouteUnknown => "route_unknown",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::BodyTooLarge => "body_too_large",
            Self::ExpectationFailed => "expectation_failed",
            Self::UserOverLimit => "user_over_limit",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamFailed => "upstream_failed",
            Self::AgentLost => "agent_lost",
            Self::AgentProtocol => "agent_protocol",
            Self::AgentOffline => "agent_offline",
            Self::Overloaded => "overloaded",
            Self::Draining => "draining",
            Self::IssuerUnreachable => "issuer_unreachable",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
            Self::CallerGone => "caller_gone",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The one who asked.
    Caller,
    /// The public server.
    Relay,
    /// The program on the user's machine.
    Agent,
    /// The local service.
    Upstream,
}

impl Origin {
    /// The name that callers see and that the log carries.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Relay => "relay",
            Self::Agent => "agent",
            Self::Upstream => "upstream",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a stream failed: what crosses the tunnel in a reset and what the caller is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What went wrong.
    pub kind: Kind,
    /// Who is at fault.
    pub origin: Origin,
    /// One sentence that the caller may read.
    pub message: Cow<'static, str>,
    /// True when the request can be sent again without doing anything twice.
    pub is_retry_safe: bool,
    /// When a retry passes, where that is known better than by the kind. Does not cross the tunnel.
    pub retry_after: Option<Duration>,
    /// The model that the request named, where an agent says it; otherwise empty. One that does not
    /// [fit](crate::wire::is_model_name) arrives as empty.
    pub model: String,
}

impl Fault {
    /// A fault after which a retry might do something twice.
    pub fn new(kind: Kind, origin: Origin, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            origin,
            message: message.into(),
            is_retry_safe: false,
            retry_after: None,
            model: String::new(),
        }
    }

    /// The same, for a request that never reached the upstream.
    #[must_use]
    pub fn retry_safe(mut self) -> Self {
        self.is_retry_safe = true;
        self
    }

    /// The same, with the time after which a retry passes.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The caller left.
    #[must_use]
    pub fn caller_gone() -> Self {
        Self::new(Kind::CallerGone, Origin::Caller, "the caller left")
    }
}

/// How the peer broke the protocol. The session ends; nobody else is touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A frame names a stream that was never opened.
    #[error("frame for stream {0}, which was never opened")]
    UnknownStream(u64),
    /// A head reuses an id, or goes back.
    #[error("stream {0} opened again or out of order")]
    StreamReused(u64),
    /// More body bytes than credit.
    #[error("stream {id}: {excess_bytes} bytes beyond its credit")]
    CreditOverrun {
        /// The stream.
        id: StreamId,
        /// How far beyond.
        excess_bytes: usize,
    },
    /// Credit of 0, or beyond what a window can hold.
    #[error("stream {0}: impossible credit")]
    BadCredit(StreamId),
    /// A body frame that is empty or over the limit.
    #[error("stream {id}: body frame of {bytes} bytes")]
    BadBodyLength {
        /// The stream.
        id: StreamId,
        /// Its length.
        bytes: usize,
    },
    /// A frame that the state of its direction does not allow.
    #[error("stream {id}: {frame} while {state}")]
    WrongState {
        /// The stream.
        id: StreamId,
        /// What came.
        frame: &'static str,
        /// What the direction was doing.
        state: &'static str,
    },
    /// A field that cannot mean anything.
    #[error("field {field} is not valid")]
    BadField {
        /// Which one.
        field: &'static str,
    },
    /// A frame that only the other side may send, or that has no place now.
    #[error("unexpected {frame}")]
    Unexpected {
        /// What came.
        frame: &'static str,
    },
    /// The peer makes us queue without end and does not read.
    #[error("the peer does not read")]
    NotReading,
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The transport ended or broke.
    #[error("the connection ended")]
    ConnectionLost,
    /// Nothing was heard for two heartbeat intervals.
    #[error("nothing heard for {0:?}")]
    PeerSilent(Duration),
    /// The peer lives, and by its own count nothing of ours has moved there for two heartbeat intervals.
    #[error("the peer lives, but has taken in nothing of ours for {0:?}")]
    PeerStuck(Duration),
    /// The peer broke the protocol.
    #[error("protocol broken: {0}")]
    Protocol(ProtocolError),
    /// A newer session of the same device took over.
    #[error("replaced by a newer session of this device")]
    Replaced,
    /// The token ran out, and no fresh one came.
    #[error("the token has run out")]
    TokenExpired,
    /// The token was revoked, or the device removed.
    #[error("the token was revoked, or this device was removed")]
    Revoked,
    /// The machine's user ended it. The agent dials again.
    #[error("disconnected by its user")]
    Disconnected,
    /// The grace after a go-away is over, or nothing was left to do.
    #[error("drained")]
    Drained,
    /// The peer did not greet in time.
    #[error("no greeting within {0:?}")]
    NoGreeting(Duration),
}

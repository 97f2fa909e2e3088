//! What travels in a session: heads, bodies, ends, resets, windows, and the session's own frames.
//!
//! Invariant: a value of these types is valid HTTP. What comes from the wire is checked in [`crate::wire`] before it
//! becomes one, so nothing behind can be split into two requests or two answers.

use std::{fmt, num::NonZeroU64, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, uri::PathAndQuery};

use crate::error::Fault;

/// Identity of one stream in its session. Minted by the relay, strictly increasing, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(NonZeroU64);

impl StreamId {
    /// The id with this number; `None` for 0.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        match NonZeroU64::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the caller's credential allows, as it crosses to the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes {
    /// Use models.
    pub infer: bool,
    /// Change what the machine holds.
    pub manage: bool,
}

/// What an agent says in its hello when it enforces [`RequestHead::models`].
pub const ALLOWED_MODELS: &str = "allowed-models";
/// What an agent says in its hello when it says marks back ([`Control::Progress`]).
pub const PROGRESS: &str = "progress";

/// What a stream opens with, toward the upstream.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// HTTP method.
    pub method: Method,
    /// Path and query, exact bytes.
    pub target: PathAndQuery,
    /// Fields, without hop-by-hop ones and without credentials.
    pub headers: HeaderMap,
    /// True when no body follows.
    pub is_whole: bool,
    /// True when the caller holds the body back until a 100 (Continue).
    pub expects_continue: bool,
    /// The id of the exchange in every log.
    pub request_id: String,
    /// What the caller may do.
    pub scopes: Scopes,
    /// Patterns of the models that the caller's credential is limited to; none means that it does not limit them.
    /// At most [`MAX_MODELS`](crate::wire::MAX_MODELS) that [`fit`](crate::wire::is_model_pattern), and only for an
    /// agent that [enforces](Hello::enforces_models) them.
    pub models: Vec<String>,
}

/// Status and fields of an answer, toward the caller.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// 200 to 599.
    pub status: StatusCode,
    /// Fields, without hop-by-hop ones.
    pub headers: HeaderMap,
    /// True when no body follows.
    pub is_whole: bool,
    /// The model that the request named, as it spelled it; empty when that is not known. One that does not
    /// [fit](crate::wire::is_model_name) arrives as empty.
    pub model: String,
}

/// One frame of one stream.
#[derive(Clone, Debug)]
pub enum Frame {
    /// Opens a stream; relay to agent only.
    RequestHead(Box<RequestHead>),
    /// Asks for a body that is held back; agent to relay only.
    Continue,
    /// Opens the answer; agent to relay only.
    ResponseHead(Box<ResponseHead>),
    /// Body bytes; never empty.
    Body(Bytes),
    /// This direction is whole; trailers, mostly none.
    End(HeaderMap),
    /// Both directions are over.
    Reset(Fault),
    /// Credit in body bytes.
    Window(u32),
}

impl Frame {
    /// What it is, for errors and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::RequestHead(_) => "request head",
            Self::Continue => "continue",
            Self::ResponseHead(_) => "response head",
            Self::Body(_) => "body",
            Self::End(_) => "end",
            Self::Reset(_) => "reset",
            Self::Window(_) => "window",
        }
    }
}

/// What an agent says of itself when it opens a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Major version of the protocol.
    pub protocol_version: u32,
    /// Build identity, at most 128 printable bytes.
    pub build: String,
    /// Name of the device as sent; the relay parses it.
    pub device_name: String,
    /// Random identity of the installation.
    pub device_id: [u8; 16],
    /// Optional features.
    pub capabilities: Vec<String>,
    /// Grows with each session that the installation tries to open; 0 says nothing.
    pub attempt: u64,
}

impl Hello {
    /// True when this agent keeps a caller to [`RequestHead::models`]; another one would not see them.
    #[must_use]
    pub fn enforces_models(&self) -> bool {
        self.capabilities.iter().any(|said| said == ALLOWED_MODELS)
    }

    /// True when this agent says marks back.
    #[must_use]
    pub fn answers_marks(&self) -> bool {
        self.capabilities.iter().any(|said| said == PROGRESS)
    }
}

/// What a relay answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Identity of the session in every log.
    pub session_id: String,
    /// Major version of the protocol.
    pub protocol_version: u32,
    /// What both keep to.
    pub limits: Limits,
    /// How often each side says something.
    pub heartbeat_interval: Duration,
    /// Build identity.
    pub build: String,
    /// How long the session's token holds, if the relay says so.
    pub token_holds: Option<Duration>,
}

/// Bounds of a session, told by the relay and kept by both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most body bytes in one frame.
    pub max_body_frame_bytes: u32,
    /// Credit with which each direction of each stream starts.
    pub initial_window_bytes: u32,
    /// Most streams open at once.
    pub max_concurrent_streams: u32,
    /// Most bytes in one message of the call.
    pub max_message_bytes: u32,
}

impl Default for Limits {
    /// What was measured to be right: 64 KiB pieces under 256 KiB of credit.
    fn default() -> Self {
        Self {
            max_body_frame_bytes: 64 * 1024,
            initial_window_bytes: 256 * 1024,
            max_concurrent_streams: 1024,
            max_message_bytes: 1024 * 1024,
        }
    }
}

/// One frame of the session itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// First from the agent.
    Hello(Box<Hello>),
    /// First from the relay.
    Welcome(Box<Welcome>),
    /// Sign of life.
    Heartbeat {
        /// Counts up from 1.
        sequence: u64,
        /// The highest heard from the other side.
        acknowledged: u64,
        /// Counts up with what arrives from the other side; 0 says nothing.
        received: u64,
    },
    /// No new streams.
    GoAway {
        /// For the log and the status line.
        message: String,
        /// What running streams have.
        grace: Duration,
        /// True when the relay may still open some: then the session ends when it says so, not with its last stream.
        still_opens: bool,
    },
    /// How far bytes have come. Nothing in it: this side says marks back.
    Progress {
        /// To be said back; 0 marks nothing.
        mark: u64,
        /// The highest of the other side's that has come; 0 says nothing.
        seen: u64,
    },
    /// A fresh token of the same user; the relay verifies it.
    TokenRenewal(SecretToken),
    /// What became of that.
    TokenState {
        /// True when the session goes on with the fresh token.
        is_accepted: bool,
        /// How long the token that counts now holds.
        holds: Duration,
        /// Why it was not accepted.
        message: String,
    },
}

impl Control {
    /// What it is, for errors and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Welcome(_) => "welcome",
            Self::Heartbeat { .. } => "heartbeat",
            Self::GoAway { .. } => "go-away",
            Self::Progress { .. } => "progress",
            Self::TokenRenewal(_) => "token renewal",
            Self::TokenState { .. } => "token state",
        }
    }
}

/// A token on its way through the tunnel. `Debug` shows nothing of it; the crate that verifies tokens is elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretToken(pub String);

impl fmt::Debug for SecretToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretToken(…)")
    }
}

/// What one message holds: control frames, which take effect first, then stream frames in order.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Frames of the session.
    pub control: Vec<Control>,
    /// Frames of streams.
    pub frames: Vec<(StreamId, Frame)>,
}

impl Batch {
    /// True when there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.control.is_empty() && self.frames.is_empty()
    }
}

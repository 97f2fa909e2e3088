//! Which way the agents of the tests take to their relay: the same system tests run over each.
//!
//! Invariant: a value that is not one of these fails the run; nothing falls back in silence.

use std::env;

/// The variable of the environment that chooses.
const VARIABLE: &str = "C2L_TEST_TRANSPORT";

/// What lies between an agent and its relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestTransport {
    /// HTTP/2 in clear. The default.
    Grpc,
    /// HTTP/2 inside a WebSocket in clear.
    WebSocket,
    /// HTTP/2 under TLS.
    Tls,
    /// HTTP/2 inside a WebSocket under TLS.
    TlsWebSocket,
}

impl TestTransport {
    /// The one that this run of the tests is about.
    ///
    /// # Panics
    /// When the environment names one that there is not.
    #[must_use]
    pub fn of_this_run() -> Self {
        match env::var(VARIABLE).as_deref() {
            Err(_) | Ok("grpc") => Self::Grpc,
            Ok("websocket") => Self::WebSocket,
            Ok("tls") => Self::Tls,
            Ok("tls-websocket") => Self::TlsWebSocket,
            Ok(other) => panic!("{VARIABLE}={other}: grpc, websocket, tls or tls-websocket"),
        }
    }

    /// Whether relays serve TLS.
    #[must_use]
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::TlsWebSocket)
    }

    /// What agents are told. `Auto` where it is the better way: that is what agents of users are told, and
    /// `TestAgent::connect` sees to it that they did not fall back.
    #[must_use]
    pub fn for_agents(self) -> c2l_agent::Transport {
        match self {
            Self::Grpc | Self::Tls => c2l_agent::Transport::Auto,
            Self::WebSocket | Self::TlsWebSocket => c2l_agent::Transport::WebSocket,
        }
    }
}

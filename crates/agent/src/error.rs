//! How an agent fails, by what failed.
//!
//! Invariant: no value here holds a token. [`Error`] is what ends the agent; a `Setback` only ends an attempt or a
//! session, and is tried again.

use std::{io, path::PathBuf, time::Duration};

use c2l_tunnel::CloseReason;

use crate::config::TokenError;

/// Why an agent cannot go on. A retry mends none of these.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is wrong; every mistake is named.
    #[error("the configuration is not usable: {}", problems.join("; "))]
    Config {
        /// One sentence each.
        problems: Vec<String>,
    },
    /// The trusted roots could not be had, so no relay could be verified.
    #[error("no trusted roots{}", file.as_ref().map(|file| format!(" from {}", file.display())).unwrap_or_default())]
    Roots {
        /// The file asked for; `None` for those of the system.
        file: Option<PathBuf>,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No token could be had: the first one, or any when the source says that it is final.
    #[error("no token to connect with")]
    Token(#[source] TokenError),
    /// The relay refuses this agent.
    #[error("the relay refuses this agent ({refusal}): {message}")]
    Refused {
        /// What kind of refusal.
        refusal: Refusal,
        /// The relay's own words.
        message: String,
    },
    /// A newer session of the same device name took over. Dialing again would only fight it.
    #[error(
        "another agent with this device name has taken over; give each machine a name of its own (--device)"
    )]
    Replaced,
}

/// What a relay refuses an agent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No token, a bad one, one that ran out or was revoked, or one of the wrong kind.
    #[error("unauthenticated")]
    Unauthenticated,
    /// The token is good, but does not allow this.
    #[error("forbidden")]
    Forbidden,
    /// The relay does not speak this version of the protocol.
    #[error("protocol version")]
    ProtocolVersion,
}

/// Why an attempt or a session ended. Tried again after a wait.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Setback {
    #[error("no fresh token: {0}")]
    Token(TokenError),
    #[error("the source of the token took longer than {0:?}")]
    TokenTimeout(Duration),
    #[error("{0}")]
    Dial(#[from] DialError),
    #[error("no session within {0:?}")]
    NoSession(Duration),
    #[error("the relay ended the session: {}", message_or(message, code))]
    Ended { code: tonic::Code, message: String },
    #[error("the session ended: {0}")]
    Closed(CloseReason),
}

impl Setback {
    /// True when nothing on the way answered: it may open again at any moment.
    pub(crate) fn is_of_the_way(&self) -> bool {
        match self {
            Self::Dial(DialError::Connect(_) | DialError::ProxyConnect(_)) | Self::NoSession(_) => {
                true
            }
            Self::Closed(reason) => matches!(
                reason,
                CloseReason::ConnectionLost
                    | CloseReason::PeerSilent(_)
                    | CloseReason::PeerStuck(_)
            ),
            Self::Token(_) | Self::TokenTimeout(_) | Self::Dial(_) | Self::Ended { .. } => false,
        }
    }
}

/// What people meet most, in words that say what to do; the library's own words for the rest.
fn tls_sentence(error: &io::Error) -> String {
    let said = error.to_string();
    let is = |part: &str| said.contains(part);
    if is("InvalidContentType") {
        "it does not speak TLS there; is its address http://?".to_owned()
    } else if is("UnknownIssuer") || is("UnsupportedSignatureAlgorithm") {
        "nobody who is trusted signed its certificate; if it is self-made, give --ca-file"
            .to_owned()
    } else if is("CaUsedAsEndEntity") {
        "its certificate is that of an authority, not of a server; make one with basicConstraints=CA:FALSE".to_owned()
    } else if is("NotValidForName") {
        format!("its certificate is for another name ({said})")
    } else if is("Expired") {
        format!("its certificate has run out, or this machine's clock is wrong ({said})")
    } else {
        said
    }
}

fn message_or(message: &str, code: &tonic::Code) -> String {
    if message.is_empty() {
        code.description().to_owned()
    } else {
        message.to_owned()
    }
}

/// Why the relay could not be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("cannot reach the relay: {0}")]
    Connect(io::Error),
    #[error("cannot reach the proxy: {0}")]
    ProxyConnect(io::Error),
    #[error("the proxy broke off: {0}")]
    ProxyHttp(hyper::Error),
    #[error("the proxy answered: {said}")]
    ProxyRefused { said: String },
    #[error("the relay's name is not one that can be dialed")]
    Name,
    #[error("the system has no random numbers")]
    Random,
    #[error("cannot trust the relay: {}", tls_sentence(.0))]
    Tls(io::Error),
    #[error("something on the way to the relay does not pass HTTP/2")]
    NoHttp2,
    #[error("the HTTP/2 connection to the relay failed: {0}")]
    Http2(hyper::Error),
    #[error("the relay broke off: {0}")]
    Call(hyper::Error),
    #[error("the upgrade to a WebSocket failed: {0}")]
    Upgrade(hyper::Error),
    #[error("something on the way to the relay answered the upgrade in its place")]
    NotOurUpgrade,
    #[error("something on the way to the relay answered {status}{}", quoted(said))]
    Blocked {
        status: http::StatusCode,
        said: String,
    },
    #[error("{message} ({status})")]
    RelayRefused {
        status: http::StatusCode,
        code: String,
        message: String,
    },
}

impl DialError {
    /// True when the other way might get through where this one did not.
    pub(crate) fn is_perhaps_blocked(&self) -> bool {
        match self {
            Self::Tls(_)
            | Self::NoHttp2
            | Self::Http2(_)
            | Self::Upgrade(_)
            | Self::NotOurUpgrade
            | Self::Blocked { .. } => true,
            Self::Connect(_)
            | Self::ProxyConnect(_)
            | Self::ProxyHttp(_)
            | Self::ProxyRefused { .. }
            | Self::Name
            | Self::Random
            | Self::Call(_)
            | Self::RelayRefused { .. } => false,
        }
    }
}

fn quoted(said: &str) -> String {
    if said.is_empty() {
        String::new()
    } else {
        format!(": \"{said}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_wrong_with_tls_says_what_to_do() {
        let said = |error: rustls::Error| {
            DialError::Tls(io::Error::new(io::ErrorKind::InvalidData, error)).to_string()
        };
        let clear_text = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        assert!(said(clear_text).contains("does not speak TLS"));
        let of = rustls::Error::InvalidCertificate;
        for (error, part) in [
            (rustls::CertificateError::UnknownIssuer, "--ca-file"),
            (rustls::CertificateError::Expired, "clock"),
            (rustls::CertificateError::NotValidForName, "another name"),
        ] {
            let sentence = said(of(error));
            assert!(sentence.contains(part), "{sentence}");
        }
    }
}

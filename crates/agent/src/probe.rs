//! Tries what an agent does, one step at a time: for whoever looks for the step that fails.
//!
//! Invariant: a running agent of the same user is not disturbed. The only session opened here has a device name of its
//! own, and it is left the way an agent leaves: a request that it took by chance is finished.

mod certificate;

use std::{
    error::Error as _,
    fmt,
    future::{Future, pending},
    io,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::StatusCode;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    Agent, Config, Error, Refusal, Status, Way, config,
    dialer::Encrypted,
    error::{DialError, Setback},
    session::{self, End},
};

/// What kind of failure a step met: enough to say what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The relay's name is none that can be dialed, or nobody knows it.
    Name,
    /// The relay does not take connections.
    Unreachable,
    /// The proxy does not take connections.
    ProxyUnreachable,
    /// The proxy does not make the connection.
    ProxyRefused,
    /// The certificate has run out, or is not valid yet.
    CertificateTime,
    /// The certificate is for other names.
    CertificateName,
    /// The certificate is signed by nobody who is trusted.
    CertificateUntrusted,
    /// The TLS handshake failed in another way.
    Tls,
    /// Something on the way does not pass this.
    Blocked,
    /// The relay refuses this agent.
    Refused(Refusal),
    /// The relay is there, and says no, or something else than was to be expected.
    Relay,
    /// The upstream does not take connections.
    UpstreamUnreachable,
    /// The upstream is there, and what it says is no answer.
    Upstream,
    /// Nothing came within the time limit.
    Timeout,
    /// The system itself failed.
    System,
}

/// Why a step failed, in a sentence without secrets.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind it is of.
    pub cause: Cause,
    message: String,
}

impl Failure {
    fn new(cause: Cause, message: impl fmt::Display) -> Self {
        let message = message.to_string();
        Self { cause, message }
    }

    /// Nothing came in time.
    pub(crate) fn late(what: &str, limit: Duration) -> Self {
        Self::new(Cause::Timeout, format!("{what} within {limit:?}"))
    }
}

/// What a TLS handshake brought to light.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Whether the relay speaks HTTP/2, by ALPN.
    pub has_http2: bool,
    /// Whether the relay speaks HTTP/1.1, by ALPN.
    pub has_http1: bool,
    /// Until when its certificate holds, where that can be read.
    pub expires: Option<SystemTime>,
    /// The names that its certificate is for.
    pub names: Vec<String>,
}

/// What a relay says of its health.
#[derive(Clone, Copy, Debug)]
pub struct Health {
    /// Whether it takes sessions.
    pub is_serving: bool,
    /// What its clock said, to the second.
    pub date: Option<SystemTime>,
}

/// A session that was opened, and left again.
#[derive(Clone, Copy, Debug)]
pub struct Visit<T> {
    /// How long dialing and greeting took.
    pub opened_after: Duration,
    /// What was done meanwhile.
    pub brought: T,
}

/// How the answer to a caller began.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The status.
    pub status: StatusCode,
    /// From the request to the first piece of the answer.
    pub first_piece: Duration,
    /// That piece; of a refusal the whole page, as far as it is looked at.
    pub said: Bytes,
}

/// Tries the steps of one agent.
#[derive(Debug)]
pub struct Probe {
    agent: Arc<Agent>,
    limit: Duration,
}

impl Probe {
    /// For the agent of this configuration, whose device name has to be one that no agent uses. Each step may take as
    /// long as `limit`. No socket is opened yet.
    ///
    /// # Errors
    /// [`Error::Config`] with every mistake at once, or [`Error::Roots`].
    pub fn new(config: Config, limit: Duration) -> Result<Self, Error> {
        let (agent, _) = Agent::new(config)?;
        let agent = Arc::new(agent);
        Ok(Self { agent, limit })
    }

    fn config(&self) -> &Config {
        &self.agent.config
    }

    /// Whether the relay is one to be verified.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        config::is_https(&self.config().relay)
    }

    async fn within<T>(
        &self,
        what: &str,
        step: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let late = || Failure::late(what, self.limit);
        timeout(self.limit, step).await.map_err(|_| late())?
    }

    /// Looks up the relay's name.
    ///
    /// # Errors
    /// When nobody knows it.
    pub async fn look_up(&self) -> Result<Vec<SocketAddr>, Failure> {
        let found = async {
            let found = self.agent.dialer.look_up(self.config()).await;
            match found.map_err(|error| Failure::new(Cause::Name, error))? {
                none if none.is_empty() => {
                    Err(Failure::new(Cause::Name, "it stands for no address"))
                }
                some => Ok(some),
            }
        };
        self.within("no answer from the resolver", found).await
    }

    /// Connects to the proxy if there is one, else to the relay; says where that is.
    ///
    /// # Errors
    /// When it does not take connections.
    pub async fn first_hop(&self) -> Result<SocketAddr, Failure> {
        let hop = self.agent.dialer.first_hop(self.config());
        self.within("no connection", async { hop.await.map_err(failure) })
            .await
    }

    /// Asks the proxy for the way to the relay.
    ///
    /// # Errors
    /// What it says, if that is not yes.
    pub async fn proxy(&self) -> Result<(), Failure> {
        let asked = self.agent.dialer.through_proxy(self.config());
        self.within("no answer from the proxy", async {
            asked.await.map_err(failure)
        })
        .await
    }

    /// Encrypts, once for each of the two ways. A relay that agrees to one of them is well.
    ///
    /// # Errors
    /// When the relay is not to be trusted, or does not speak TLS.
    pub async fn tls(&self) -> Result<Tls, Failure> {
        let handshakes = async {
            let [http2, http1] = [Way::Grpc, Way::WebSocket].map(|way| {
                let dialer = &self.agent.dialer;
                async move { dialer.encrypted(self.config(), way).await }
            });
            let (http2, http1) = (http2.await, http1.await);
            let agreed = |way: &Result<Option<Encrypted>, DialError>| matches!(way, Ok(Some(encrypted)) if encrypted.is_agreed);
            let mut tls = Tls {
                has_http2: agreed(&http2),
                has_http1: agreed(&http1),
                ..Tls::default()
            };
            let seen = match (http2, http1) {
                (Ok(seen), _) | (Err(_), Ok(seen)) => seen,
                (Err(error), Err(_)) => return Err(failure(error)),
            };
            if let Some(certificate) = seen.and_then(|seen| seen.certificate) {
                tls.expires = certificate::expires(&certificate);
                tls.names = certificate::names(&certificate);
            }
            Ok(tls)
        };
        self.within("no end of the TLS handshake", handshakes).await
    }

    /// Asks for the relay's health, the gRPC way. Only the WebSocket needs the token.
    ///
    /// # Errors
    /// When this way is blocked, or the relay refuses.
    pub async fn health(&self, way: Way, token: &str) -> Result<Health, Failure> {
        let asked = async {
            let health = self.agent.dialer.health(self.config(), way, token).await;
            let health = health.map_err(|status| status_failure(&status))?;
            Ok(Health {
                is_serving: health.is_serving,
                date: health.date,
            })
        };
        self.within("no answer over HTTP/2", asked).await
    }

    /// Upgrades to a WebSocket with this token and stops there; no session comes about.
    ///
    /// # Errors
    /// When this way is blocked, or the relay refuses.
    pub async fn web_socket(&self, token: &str) -> Result<(), Failure> {
        let upgraded = self.agent.dialer.upgraded(self.config(), token);
        self.within("no answer to the upgrade", async {
            upgraded.await.map_err(failure)
        })
        .await
    }

    /// Opens a session, does something meanwhile, and leaves as an agent leaves: what is under way is finished.
    ///
    /// # Errors
    /// When no session comes about, or it is lost meanwhile.
    pub async fn session<T>(
        &self,
        way: Way,
        token: &str,
        meanwhile: impl Future<Output = T>,
    ) -> Result<Visit<T>, Failure> {
        let agent = &self.agent;
        agent.status.send_replace(Status::Connecting { attempt: 1 });
        let leaving = CancellationToken::new();
        let began = Instant::now();
        let visit = async {
            let mut status = agent.status.subscribe();
            let is_open = |status: &Status| matches!(status, Status::Open { .. });
            if status.wait_for(is_open).await.is_err() {
                // Cannot be: the sender lives in the agent. The session's end says more.
                pending::<()>().await;
            }
            let opened_after = began.elapsed();
            let brought = meanwhile.await;
            leaving.cancel();
            (opened_after, brought)
        };
        let mut visit = Box::pin(visit);
        let mut holding = pin!(Box::pin(session::hold_by(
            agent, way, self.limit, token, &leaving
        )));
        // Neither is dropped by the other's end: the session is waited for below.
        let (opened_after, brought) = tokio::select! {
            visited = &mut visit => visited,
            ended = &mut holding => return Err(end_failure(ended.how)),
        };
        if let End::RelayLeaves(rest) = holding.await.how {
            rest.await;
        }
        Ok(Visit {
            opened_after,
            brought,
        })
    }

    /// Gets a path from the upstream, in a request like those that an agent forwards.
    ///
    /// # Errors
    /// When it does not take connections, or what it says is no answer.
    pub async fn upstream(&self, path: &str) -> Result<(StatusCode, Bytes), Failure> {
        let looked = async {
            self.agent.forwarder.look(path).await.map_err(|fault| {
                let cause = match fault.kind {
                    c2l_tunnel::Kind::UpstreamUnreachable => Cause::UpstreamUnreachable,
                    _ => Cause::Upstream,
                };
                Failure::new(cause, &fault.message)
            })
        };
        self.within("no answer from the upstream", looked).await
    }

    /// Sends a request to this very probe's session through the relay, as a caller does.
    ///
    /// # Errors
    /// When no answer comes about; one that says no is an answer.
    pub async fn call(&self, api_token: &str, path: &str, body: String) -> Result<Opened, Failure> {
        let path = format!("/d/{}{path}", self.config().device_name);
        let called = async {
            let called = self
                .agent
                .dialer
                .call(self.config(), api_token, &path, body);
            let opened = called.await.map_err(failure)?;
            Ok(Opened {
                status: opened.status,
                first_piece: opened.first_piece,
                said: opened.said,
            })
        };
        self.within("no first piece of an answer", called).await
    }

    /// Ends what may still run, and waits for that.
    pub async fn close(self) {
        self.agent.forwarder.stop().await;
    }
}

pub(crate) fn failure(error: DialError) -> Failure {
    Failure::new(cause(&error), error)
}

fn cause(error: &DialError) -> Cause {
    match error {
        DialError::Connect(_) => Cause::Unreachable,
        DialError::ProxyConnect(_) => Cause::ProxyUnreachable,
        DialError::ProxyHttp(_) | DialError::ProxyRefused { .. } => Cause::ProxyRefused,
        DialError::Name => Cause::Name,
        DialError::Random => Cause::System,
        DialError::Tls(error) => tls_cause(error),
        DialError::NoHttp2
        | DialError::Http2(_)
        | DialError::Upgrade(_)
        | DialError::NotOurUpgrade
        | DialError::Blocked { .. } => Cause::Blocked,
        DialError::Call(_) => Cause::Relay,
        DialError::RelayRefused { code, .. } => match code.as_str() {
            "unauthenticated" => Cause::Refused(Refusal::Unauthenticated),
            "forbidden" => Cause::Refused(Refusal::Forbidden),
            _ => Cause::Relay,
        },
    }
}

fn tls_cause(error: &io::Error) -> Cause {
    use rustls::CertificateError as Bad;
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    match error {
        Some(rustls::Error::InvalidCertificate(bad)) => match bad {
            Bad::Expired
            | Bad::ExpiredContext { .. }
            | Bad::NotValidYet
            | Bad::NotValidYetContext { .. } => Cause::CertificateTime,
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => Cause::CertificateName,
            _ => Cause::CertificateUntrusted,
        },
        _ => Cause::Tls,
    }
}

/// A status that stands for a failed dial says so as its source.
fn status_failure(status: &tonic::Status) -> Failure {
    let mut source = status.source();
    while let Some(error) = source {
        if let Some(dial) = error.downcast_ref::<DialError>() {
            return Failure::new(cause(dial), dial);
        }
        source = error.source();
    }
    match status.code() {
        tonic::Code::Unauthenticated => {
            Failure::new(Cause::Refused(Refusal::Unauthenticated), status.message())
        }
        code => Failure::new(Cause::Blocked, format!("{code}: {}", status.message())),
    }
}

fn end_failure(how: End) -> Failure {
    match how {
        End::Refused(Error::Refused { refusal, message }) => {
            Failure::new(Cause::Refused(refusal), message)
        }
        End::Refused(error) => Failure::new(Cause::Relay, error),
        End::Lost(Setback::Dial(error)) => failure(error),
        End::Lost(setback @ Setback::NoSession(_)) => Failure::new(Cause::Timeout, setback),
        End::Lost(setback) => Failure::new(Cause::Relay, setback),
        End::Left | End::Drained | End::RelayLeaves(_) => {
            Failure::new(Cause::Relay, "the relay ended the session at once")
        }
    }
}

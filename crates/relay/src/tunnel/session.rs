//! One session, from its greeting to its end: messages in, messages out, the clock.
//!
//! Invariant: whichever way a session ends, its task removes exactly this session from the registry, and the call ends
//! with a status that says why. The tunnel is always read: per-stream credit is what holds a stream back.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::{Duration, SystemTime},
};

use c2l_auth::{DeviceName, Grant, Kind as TokenKind, LEEWAY};
use c2l_bridge::Pulse;
use c2l_tunnel::{
    Batch, CloseReason, Control, Fault, Hello, Link, PROTOCOL_VERSION, Settings, Side,
    StreamLimits, Welcome, wire::DecodeError,
};
use tokio::{
    sync::oneshot,
    time::{Instant, Sleep, sleep_until},
};
use tonic::Status;
use tracing::Instrument as _;

use crate::{
    Config,
    audit::{self, Who},
    error::to_status,
    gateway::listener::Life,
    identity::{Caller, Identities, Standing},
    limits::{Asker, Guard},
    metrics::Metrics,
    registry::{Attempt, Registration, Registry, Session},
    tunnel::call::{Inbound, Outbound},
};

/// At most one line in the log of a session's renewals in so long.
const RENEWAL_LINE_INTERVAL: Duration = Duration::from_secs(10);

/// What every session is run with.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) settings: Settings,
    pub(crate) build: String,
    pub(crate) identities: Arc<Identities>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) guard: Arc<Guard>,
    pub(crate) life: Life,
}

impl Terms {
    pub(crate) fn settings(config: &Config) -> Settings {
        Settings {
            side: Side::Relay,
            limits: config.tunnel,
            greeting_timeout: config.greeting_timeout,
            heartbeat_interval: config.heartbeat_interval,
            stream_limits: Some(StreamLimits {
                first_byte: config.first_byte_timeout,
                gap: config.gap_timeout,
            }),
        }
    }
}

/// Starts a session; its task is the tracker's. What is returned is what the agent receives.
pub(crate) fn start(
    terms: &Arc<Terms>,
    caller: Arc<Caller>,
    asker: Asker,
    inbound: Inbound,
    (pulse, transport): (Pulse, &'static str),
) -> Outbound {
    let link = Link::new(&terms.settings, now());
    let (ended, end) = oneshot::channel();
    let user = caller.user.log_id().to_string();
    let driver = Driver {
        terms: Arc::clone(terms),
        link: link.clone(),
        inbound,
        pulse,
        transport,
        standing: Standing::new(&terms.identities, caller),
        asker,
        session: None,
        renewal_told_at: None,
        renewal: None,
    };
    let span = tracing::info_span!("session", %user);
    terms.life.tracker.spawn(driver.run(ended).instrument(span));
    Outbound::new(link, end)
}

pub(super) fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Moves what arrives into the session, and its clock.
struct Driver {
    terms: Arc<Terms>,
    link: Link,
    inbound: Inbound,
    pulse: Pulse,
    transport: &'static str,
    standing: Standing,
    asker: Asker,
    session: Option<Arc<Session>>,
    renewal_told_at: Option<Instant>,
    /// The fresh token that is being verified, the newest if there were several.
    renewal: Option<Renewal>,
}

/// Verifying may wait for keys of the token's issuer; the session goes on meanwhile.
type Renewal = Pin<Box<dyn Future<Output = Result<Arc<Caller>, Fault>> + Send>>;

/// What the driver was woken by.
enum Event {
    Message(Batch),
    Unreadable(DecodeError),
    InboundEnded,
    SessionClosed,
    TokenExpired,
    Renewed(Result<Arc<Caller>, Fault>),
    Revoked,
    RelayClosing,
}

impl Driver {
    /// Runs to the end, and tells `ended` the status for the agent.
    #[expect(
        clippy::manual_async_fn,
        reason = "that would keep room for its arguments beside what is made of them"
    )]
    fn run(mut self, ended: oneshot::Sender<Status>) -> impl Future<Output = ()> + Send {
        async move {
            let status = self.serve().await;
            self.finish();
            // If the agent is gone already, nobody needs the status.
            drop(ended.send(status));
        }
    }

    /// Until the session is over; returns why, for the agent.
    async fn serve(&mut self) -> Status {
        let mut timer = Box::pin(sleep_until(Instant::now()));
        let mut expiry = Box::pin(sleep_until(expiry_of(self.grant())));
        loop {
            match self.next(&mut timer, &mut expiry).await {
                Event::Message(batch) => {
                    if let Err(status) = self.receive(batch) {
                        let reason = status.message();
                        self.who().did(audit::Event::SessionRefused { reason });
                        break status;
                    }
                }
                Event::Renewed(verified) => self.renewed(verified, &mut expiry),
                Event::Unreadable(error) => {
                    tracing::warn!(%error, "the agent broke the protocol");
                    self.link.close(CloseReason::Protocol(error.breach()));
                    break match error {
                        DecodeError::TooLarge { .. } => {
                            Status::resource_exhausted(error.to_string())
                        }
                        _ => self.status_of_close(),
                    };
                }
                Event::InboundEnded => self.link.close(CloseReason::ConnectionLost),
                Event::TokenExpired => self.link.close(CloseReason::TokenExpired),
                Event::Revoked => self.link.close(CloseReason::Revoked),
                Event::RelayClosing => self.link.close(CloseReason::Drained),
                Event::SessionClosed => break self.status_of_close(),
            }
        }
    }

    fn finish(&mut self) {
        // A refused greeting ends here, too; closing a closed session changes nothing.
        self.link.close(CloseReason::ConnectionLost);
        if let Some(session) = self.session.take() {
            // One that was taken out is in no list any more; any other is in one of both at every moment.
            if self.link.close_reason() != Some(CloseReason::Revoked) {
                let identities = &self.terms.identities;
                identities.note_seen(&session.user, &session.device);
            }
            self.terms.registry.remove(&session);
            let reason = self.link.close_reason().map(|reason| reason.to_string());
            tracing::info!(session = %session.id, device = %session.device, reason, "session closed");
            self.audit_end(&session);
        }
    }

    fn who(&self) -> Who<'_> {
        Who {
            user: Some(&self.grant().user),
            credential: Some(&self.standing.caller().credential),
            ..self.asker.who()
        }
    }

    fn audit_end(&self, session: &Session) {
        let reason = self.link.close_reason();
        let is_replaced = reason == Some(CloseReason::Replaced);
        let reason = reason.map(|reason| reason.to_string()).unwrap_or_default();
        let (session, device) = (session.id.as_str(), session.device.as_str());
        self.who().did(if is_replaced {
            audit::Event::SessionReplaced { session, device }
        } else {
            audit::Event::SessionClosed {
                session,
                device,
                reason: &reason,
            }
        });
    }

    async fn next(&mut self, timer: &mut Pin<Box<Sleep>>, expiry: &mut Pin<Box<Sleep>>) -> Event {
        let renewal = &mut self.renewal;
        let renewed = poll_fn(|cx| {
            let Some(verifying) = renewal else {
                return Poll::Pending;
            };
            let verified = std::task::ready!(verifying.as_mut().poll(cx));
            *renewal = None;
            Poll::Ready(verified)
        });
        let ticking = poll_fn(|cx| {
            loop {
                self.link.heard(self.pulse.last().into_std());
                let Some(due) = self.link.tick(now(), cx) else {
                    return Poll::Ready(());
                };
                timer.as_mut().reset(Instant::from_std(due));
                std::task::ready!(timer.as_mut().poll(cx));
            }
        });
        tokio::select! {
            message = self.inbound.next() => match message {
                Ok(Some(batch)) => Event::Message(batch),
                Ok(None) => Event::InboundEnded,
                Err(error) => Event::Unreadable(error),
            },
            () = ticking => Event::SessionClosed,
            verified = renewed => Event::Renewed(verified),
            () = expiry => Event::TokenExpired,
            _error = self.standing.revoked() => Event::Revoked,
            () = self.terms.life.closing.cancelled() => Event::RelayClosing,
        }
    }

    fn receive(&mut self, batch: Batch) -> Result<(), Status> {
        let notable = match self.link.receive(batch, now()) {
            Ok(notable) => notable,
            Err(error) => {
                tracing::warn!(%error, "the agent broke the protocol");
                return Ok(()); // the session is closed by now, and the next event says so
            }
        };
        for control in notable {
            match control {
                Control::Hello(hello) => self.greet(*hello)?,
                Control::TokenRenewal(token) => self.renew(token.0),
                Control::GoAway { message, .. } => {
                    tracing::info!(reason = message, "the agent is leaving");
                    self.terms.registry.changed();
                }
                Control::Welcome(_)
                | Control::Heartbeat { .. }
                | Control::Progress { .. }
                | Control::TokenState { .. } => {}
            }
        }
        Ok(())
    }

    /// Accepts the agent: from here on requests can reach it.
    fn greet(&mut self, hello: Hello) -> Result<(), Status> {
        if hello.protocol_version != PROTOCOL_VERSION {
            return Err(Status::failed_precondition(format!(
                "the agent speaks protocol version {}, this relay {PROTOCOL_VERSION}; update the older one",
                hello.protocol_version
            )));
        }
        let device = DeviceName::parse(&hello.device_name)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let caller = Arc::clone(self.standing.caller());
        let bound = caller.grant.device.as_ref();
        if bound.is_some_and(|bound| *bound != device) {
            return Err(Status::permission_denied(
                "this token is for another device",
            ));
        }
        self.standing.is_of_device(device.clone());
        if !self.terms.identities.still_stands(&caller, Some(&device)) {
            return Err(Status::unauthenticated(CloseReason::Revoked.to_string()));
        }
        let id = session_id().map_err(|fault| to_status(&fault))?;
        let registration = Registration {
            caller,
            device,
            id: id.clone(),
            address: self.asker.address,
            transport: self.transport,
            enforces_models: hello.enforces_models(),
            attempt: Attempt {
                installation: hello.device_id,
                number: hello.attempt,
            },
            build: hello.build,
            link: self.link.clone(),
        };
        let registered = self.terms.registry.register(registration);
        let session = registered.map_err(|fault| to_status(&fault))?;
        // A revocation closes what is registered: one that came before this session was has missed it.
        if !self
            .terms
            .identities
            .still_stands(&session.caller(), Some(&session.device))
        {
            self.terms.registry.remove(&session);
            return Err(Status::unauthenticated(CloseReason::Revoked.to_string()));
        }
        // Registered first: whoever hears the welcome can be reached. Streams open only once it is said.
        let welcome = Welcome {
            session_id: id,
            protocol_version: PROTOCOL_VERSION,
            limits: self.terms.settings.limits,
            heartbeat_interval: self.terms.settings.heartbeat_interval,
            build: self.terms.build.clone(),
            token_holds: Some(self.token_holds()),
        };
        self.link.welcome(welcome, now());
        self.terms.registry.changed(); // now those who wait for it can have it
        self.terms
            .metrics
            .sessions_total
            .fetch_add(1, Ordering::Relaxed);
        tracing::info!(session = %session.id, device = %session.device, build = session.build, "session opened");
        self.who().did(audit::Event::SessionOpened {
            session: &session.id,
            device: session.device.as_str(),
        });
        self.session = Some(session);
        // The relay may have begun to leave since this agent was let in; then nobody else will tell it.
        if let Some(parting) = self.terms.life.parting.get() {
            parting.tell(&self.link);
        }
        Ok(())
    }

    /// Begins to verify a fresh token.
    fn renew(&mut self, token: String) {
        let identities = Arc::clone(&self.terms.identities);
        let asker = self.asker.clone();
        let verifying = async move {
            let kinds = &[TokenKind::Agent];
            identities.identify_renewal(&asker, &token, kinds).await
        };
        self.renewal = Some(Box::pin(verifying));
    }

    /// Goes on with a fresh token of the same user. A bad one changes nothing: the present one still runs.
    fn renewed(&mut self, identified: Result<Arc<Caller>, Fault>, expiry: &mut Pin<Box<Sleep>>) {
        match identified {
            Ok(caller)
                if caller.user == self.grant().user
                    && caller.grant.device == self.grant().device =>
            {
                if let Some(session) = &self.session {
                    session.goes_on_with(&caller);
                }
                self.standing.renew(caller);
                expiry.as_mut().reset(expiry_of(self.grant()));
                if self.is_worth_a_line() {
                    tracing::info!(holds = ?self.token_holds(), "token renewed");
                }
                self.link.answer_renewal(true, self.token_holds(), "");
            }
            Ok(_) => self.refuse_renewal("the fresh token is another user's or device's"),
            Err(fault) => self.refuse_renewal(&fault.message),
        }
    }

    fn grant(&self) -> &Grant {
        &self.standing.caller().grant
    }

    fn refuse_renewal(&mut self, why: &str) {
        if self.is_worth_a_line() {
            tracing::warn!(why, "a renewal was refused; the present token still counts");
        }
        self.link.answer_renewal(false, self.token_holds(), why);
    }

    /// Whether a renewal is told in the log, good or bad: how often one comes is the agent's to say.
    fn is_worth_a_line(&mut self) -> bool {
        let told = self.renewal_told_at;
        let is_due = told.is_none_or(|told| told.elapsed() >= RENEWAL_LINE_INTERVAL);
        if is_due {
            self.renewal_told_at = Some(Instant::now());
        }
        is_due
    }

    /// Until the token runs out; once it has, what is left of the leeway.
    fn token_holds(&self) -> Duration {
        let (now, end) = (SystemTime::now(), self.grant().expires_at);
        end.duration_since(now)
            .or_else(|_| (end + LEEWAY).duration_since(now))
            .unwrap_or_default()
    }

    fn status_of_close(&self) -> Status {
        let reason = self
            .link
            .close_reason()
            .unwrap_or(CloseReason::ConnectionLost);
        let message = reason.to_string();
        match reason {
            CloseReason::Protocol(_) => Status::internal(message),
            CloseReason::Replaced => Status::aborted(message),
            CloseReason::TokenExpired | CloseReason::Revoked => Status::unauthenticated(message),
            CloseReason::NoGreeting(_) => Status::deadline_exceeded(message),
            CloseReason::ConnectionLost
            | CloseReason::PeerSilent(_)
            | CloseReason::PeerStuck(_)
            | CloseReason::Disconnected
            | CloseReason::Drained => Status::unavailable(message),
        }
    }
}

/// When a session with this token is over: its expiry, and the same leeway as at the door.
fn expiry_of(grant: &Grant) -> Instant {
    let left = (grant.expires_at + LEEWAY)
        .duration_since(SystemTime::now())
        .unwrap_or_default();
    // Longer than the timer can count is as good as a year.
    Instant::now() + left.min(Duration::from_secs(365 * 24 * 3600))
}

fn session_id() -> Result<String, Fault> {
    let random = getrandom::u64().map_err(|_| {
        Fault::new(
            c2l_tunnel::Kind::Internal,
            c2l_tunnel::Origin::Relay,
            "no random numbers",
        )
    })?;
    Ok(format!("{random:016x}"))
}

#[cfg(test)]
mod room {
    use super::*;

    fn of_task<A, B, F: Future>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_session_takes_little_room() {
        let task = of_task(Driver::run);
        assert!(task <= 704, "{task}");
    }
}

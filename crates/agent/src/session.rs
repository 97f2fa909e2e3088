//! One session with the relay: greets, moves messages both ways, keeps time, and hands each new stream on.
//!
//! Invariant: the tunnel is always read. No stream, however slow, stops this task; its credit holds it back instead.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::{Duration, SystemTime},
};

use c2l_bridge::Pulse;
use c2l_tunnel::{
    ALLOWED_MODELS, CloseReason, Control, Hello, Limits, Link, PROGRESS, PROTOCOL_VERSION,
    Settings, Side, frame::SecretToken,
};
use http::HeaderValue;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status as RpcStatus};
use tracing::{debug, info, warn};

use crate::{
    Agent,
    call::{self, Inbound, Silence},
    dialer::{Connected, Tasks, Way},
    error::{DialError, Error, Refusal, Setback},
    forward::Forwarder,
    now,
    renewal::Renewal,
    status::Status,
};

/// Until the relay's welcome says otherwise.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// A way that has brought no session after this long counts as blocked, if there is another.
const BLOCKED_AFTER: Duration = Duration::from_secs(4);
/// How often the two clocks are compared, and what difference is a jump.
const WALL_CLOCK_LOOK: Duration = Duration::from_secs(1);
const WALL_CLOCK_JUMP: Duration = Duration::from_secs(5);
/// How long the last messages of a session may take to be written.
pub(crate) const FLUSH_GRACE: Duration = Duration::from_secs(1);
/// After our go-away the relay ends the call as soon as nothing is left. This long we wait for that when nothing is.
const SETTLE: Duration = Duration::from_secs(1);
/// How often a leaving session looks whether anything is left after that.
const SETTLE_AGAIN: Duration = Duration::from_millis(50);

/// How a session ended, and how long it had been open, if ever.
pub(crate) struct Ended {
    pub(crate) how: End,
    pub(crate) open_for: Option<Duration>,
}

pub(crate) enum End {
    /// We asked for it.
    Left,
    /// The relay asked for it, and everything was finished.
    Drained,
    /// The relay asked for it; what is left of the session goes on in this future.
    RelayLeaves(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// Worth another try.
    Lost(Setback),
    /// Not worth another try.
    Refused(Error),
}

impl Ended {
    fn before_open(how: End) -> Self {
        let open_for = None;
        Self { how, open_for }
    }

    /// True when no session came about, for a reason that the other way might not meet.
    fn is_perhaps_blocked(&self) -> bool {
        self.open_for.is_none()
            && match &self.how {
                End::Lost(Setback::Dial(error)) => error.is_perhaps_blocked(),
                End::Lost(_) => true,
                End::Left | End::Drained | End::RelayLeaves(_) | End::Refused(_) => false,
            }
    }
}

/// Opens a session and holds it until it ends. When `leaving` is cancelled it drains and ends as [`End::Left`].
///
/// Where the first way seems to be blocked, the other one is tried at once.
pub(crate) async fn hold(agent: &Arc<Agent>, token: &str, leaving: &CancellationToken) -> Ended {
    let whole = agent.config.dial_timeout;
    let (first, fallback) = agent.dialer.ways.order(Instant::now());
    let Some(fallback) = fallback else {
        return hold_by(agent, first, whole, token, leaving).await;
    };
    let ended = hold_by(agent, first, whole.min(BLOCKED_AFTER), token, leaving).await;
    if !ended.is_perhaps_blocked() {
        return ended;
    }
    if let End::Lost(setback) = &ended.how {
        info!(%first, %fallback, %setback, "no session this way, trying the other");
    }
    hold_by(agent, fallback, whole, token, leaving).await
}

/// Opens a session this one way and holds it, as [`hold`] does.
pub(crate) async fn hold_by(
    agent: &Arc<Agent>,
    way: Way,
    limit: Duration,
    token: &str,
    leaving: &CancellationToken,
) -> Ended {
    let deadline = Instant::now() + limit;
    let link = Link::new(&settings(limit), now());
    link.say_hello(hello(agent));
    let opening = timeout_at(deadline, open_call(agent, way, token, &link));
    // Dropped when it is time to leave: nothing has been promised to anyone yet.
    let opened = match leaving.run_until_cancelled(opening).await {
        None => return Ended::before_open(End::Left),
        Some(Err(_)) => Err(End::Lost(Setback::NoSession(limit))),
        Some(Ok(opened)) => opened,
    };
    let (inbound, tasks) = match opened {
        Ok(call) => call,
        Err(how) => return Ended::before_open(how),
    };
    let session = Session {
        agent: Arc::clone(agent),
        way,
        link,
        open: None,
        renewal: Renewal::new(token),
        look_again_at: None,
        is_relay_leaving: false,
        is_parting: false,
        verdict: None,
    };
    session.hold(inbound, tasks, leaving).await
}

fn settings(greeting_timeout: Duration) -> Settings {
    Settings {
        side: Side::Agent,
        limits: Limits::default(),
        greeting_timeout,
        heartbeat_interval: HEARTBEAT_INTERVAL,
        stream_limits: None,
    }
}

fn hello(agent: &Agent) -> Hello {
    Hello {
        protocol_version: PROTOCOL_VERSION,
        build: agent.config.build.clone(),
        device_name: agent.config.device_name.clone(),
        device_id: agent.config.device_id,
        capabilities: vec![ALLOWED_MODELS.to_owned(), PROGRESS.to_owned()],
        attempt: agent.attempts.next(),
    }
}

/// Dials and opens the one call. Its first message, the hello, waits in the link already.
async fn open_call(
    agent: &Agent,
    way: Way,
    token: &str,
    link: &Link,
) -> Result<(Inbound, Tasks), End> {
    let connected = agent.dialer.connect(&agent.config, way, token).await;
    let Connected { mut sender, tasks } = connected.map_err(judge_dial)?;
    let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| End::Lost(Setback::Closed(CloseReason::TokenExpired)))?;
    bearer.set_sensitive(true);
    let opened = call::open(&mut sender, &agent.config.relay, bearer, link).await;
    Ok((opened.map_err(|status| judge(&status))?, tasks))
}

/// What a failed dial means for the next try. The bridge refuses in plain HTTP, before there is a call.
fn judge_dial(error: DialError) -> End {
    let DialError::RelayRefused { code, message, .. } = &error else {
        return End::Lost(Setback::Dial(error));
    };
    let refusal = match code.as_str() {
        "unauthenticated" => Refusal::Unauthenticated,
        "forbidden" => Refusal::Forbidden,
        _ => return End::Lost(Setback::Dial(error)),
    };
    let message = message.clone();
    End::Refused(Error::Refused { refusal, message })
}

/// What a status of the relay's means for the next try.
fn judge(status: &RpcStatus) -> End {
    let refused = |refusal| {
        End::Refused(Error::Refused {
            refusal,
            message: status.message().to_owned(),
        })
    };
    match status.code() {
        Code::Unauthenticated => refused(Refusal::Unauthenticated),
        Code::PermissionDenied => refused(Refusal::Forbidden),
        Code::FailedPrecondition => refused(Refusal::ProtocolVersion),
        Code::Aborted => End::Refused(Error::Replaced),
        code => End::Lost(Setback::Ended {
            code,
            message: status.message().to_owned(),
        }),
    }
}

struct Session {
    agent: Arc<Agent>,
    way: Way,
    link: Link,
    open: Option<Instant>,
    renewal: Renewal,
    /// When a leaving session looks whether anything is left.
    look_again_at: Option<Instant>,
    is_relay_leaving: bool,
    /// Another session has taken over; this one only lets its streams end.
    is_parting: bool,
    /// What the relay's last status said, if it said one.
    verdict: Option<RpcStatus>,
}

/// Why messages stopped moving.
#[derive(PartialEq, Eq)]
enum Pause {
    Over,
    /// The relay wants no new streams here: time to open the next session, while this one goes on.
    RelayLeaves,
}

impl Session {
    /// Until the session ends, or the relay says that it is leaving.
    async fn hold(
        mut self,
        mut inbound: Inbound,
        tasks: Tasks,
        leaving: &CancellationToken,
    ) -> Ended {
        let pulse = tasks.pulse.clone();
        if self.move_messages(&mut inbound, &pulse, leaving).await == Pause::Over {
            return self.finish(inbound, tasks, leaving).await;
        }
        let open_for = self.open.map(|since| since.elapsed());
        let leaving = leaving.clone();
        self.is_parting = true;
        let rest = Box::pin(async move {
            self.move_messages(&mut inbound, &pulse, &leaving).await;
            self.finish(inbound, tasks, &leaving).await;
        });
        Ended {
            how: End::RelayLeaves(rest),
            open_for,
        }
    }

    async fn finish(
        mut self,
        mut inbound: Inbound,
        tasks: Tasks,
        leaving: &CancellationToken,
    ) -> Ended {
        self.link.close(CloseReason::ConnectionLost);
        let is_drained = self.link.close_reason() == Some(CloseReason::Drained);
        if is_drained {
            // Our side of the call has ended behind the last message; the relay's end says that it has read that.
            let rest = async { while let Ok(Some(_)) = inbound.message().await {} };
            if timeout(FLUSH_GRACE, rest).await.is_err() {
                debug!("the relay did not end the call");
            }
        }
        drop(inbound);
        let grace = if is_drained {
            FLUSH_GRACE
        } else {
            Duration::ZERO
        };
        tasks.end_within(grace).await;
        let open_for = self.open.map(|since| since.elapsed());
        let how = self.how_it_ended(leaving.is_cancelled());
        Ended { how, open_for }
    }

    /// Until the session is closed, or has to be left for another.
    async fn move_messages(
        &mut self,
        inbound: &mut Inbound,
        pulse: &Pulse,
        leaving: &CancellationToken,
    ) -> Pause {
        let link = self.link.clone();
        let agent = Arc::clone(&self.agent);
        let mut clock = pin!(keep_time(&link, pulse));
        let mut wall_clock = pin!(wall_clock_jumps());
        loop {
            // Every arm may be dropped: what they wait for stays in the call, the link, the renewal or the token. They are
            // made anew only after one of them was ready, which is seldom: messages and arrivals are all in the first.
            tokio::select! {
                said = next_word(inbound, &link, &agent.forwarder) => match said {
                    Ok(controls) => {
                        for control in controls {
                            self.take_in_control(control);
                        }
                    }
                    Err(None) => return Pause::Over,
                    Err(Some(Silence::Ended(status))) => {
                        self.verdict = Some(*status);
                        return Pause::Over;
                    }
                    Err(Some(Silence::Unreadable(error))) => {
                        warn!(%error, "the relay broke the protocol");
                        link.close(CloseReason::Protocol(error.breach()));
                        return Pause::Over;
                    }
                },
                () = &mut clock => return Pause::Over,
                jump = &mut wall_clock => {
                    info!(?jump, "the clock jumped, as after sleep: connecting anew");
                    link.close(CloseReason::ConnectionLost);
                    return Pause::Over;
                }
                token = self.renewal.next(&agent.config) => {
                    debug!("sending a fresh token");
                    link.renew_token(SecretToken(token));
                }
                () = leaving.cancelled(), if self.look_again_at.is_none() => {
                    self.leave();
                    self.look_again_at = Some(Instant::now() + SETTLE);
                }
                () = sleep_until(self.look_again_at.unwrap_or_else(Instant::now)),
                    if self.look_again_at.is_some() =>
                {
                    if link.active_streams() == 0 {
                        link.close(CloseReason::Drained);
                        return Pause::Over;
                    }
                    self.look_again_at = Some(Instant::now() + SETTLE_AGAIN);
                }
            }
            if self.is_relay_leaving && !self.is_parting && self.look_again_at.is_none() {
                return Pause::RelayLeaves;
            }
        }
    }

    fn leave(&self) {
        self.agent.status.send_replace(Status::Draining);
        let grace = self.agent.config.drain_grace;
        let active = self.link.active_streams();
        info!(active, "leaving, running requests may finish");
        self.link.go_away("the agent is leaving", grace, now());
    }

    fn take_in_control(&mut self, control: Control) {
        match control {
            Control::Welcome(welcome) if welcome.protocol_version != PROTOCOL_VERSION => {
                let version = welcome.protocol_version;
                let message = format!("the relay speaks version {version} of the protocol");
                self.verdict = Some(RpcStatus::failed_precondition(message));
                self.link.close(CloseReason::ConnectionLost);
            }
            Control::Welcome(welcome) => {
                let since = Instant::now();
                self.open = Some(since);
                self.agent.dialer.ways.worked(self.way, since);
                if let Some(holds) = welcome.token_holds {
                    self.renewal.holds_for(holds, since);
                }
                info!(
                    session = %welcome.session_id,
                    relay_build = %welcome.build,
                    way = %self.way,
                    heartbeat = ?welcome.heartbeat_interval,
                    "session opened"
                );
                self.agent.status.send_replace(Status::Open {
                    session_id: welcome.session_id,
                    since: since.into_std(),
                    way: self.way,
                });
            }
            Control::GoAway { message, grace, .. } => {
                self.is_relay_leaving = true;
                info!(reason = %message, ?grace, "the relay is leaving");
            }
            Control::TokenState {
                is_accepted,
                holds,
                message,
            } => {
                self.renewal.holds_for(holds, Instant::now());
                if is_accepted {
                    info!(?holds, "token renewed");
                } else {
                    warn!(reason = %message, "the relay does not take the fresh token");
                }
            }
            // The link answers the rest itself, or has refused it.
            Control::Hello(_)
            | Control::Heartbeat { .. }
            | Control::Progress { .. }
            | Control::TokenRenewal(_) => {}
        }
    }

    fn how_it_ended(&mut self, is_leaving: bool) -> End {
        let reason = self
            .link
            .close_reason()
            .unwrap_or(CloseReason::ConnectionLost);
        let code = self.verdict.as_ref().map_or(Code::Ok, RpcStatus::code);
        debug!(%reason, ?code, "session ended");
        if is_leaving {
            return End::Left;
        }
        let is_orderly = matches!(code, Code::Ok | Code::Unavailable);
        if reason == CloseReason::Drained || self.is_relay_leaving && is_orderly {
            return End::Drained;
        }
        match &self.verdict {
            Some(status) => judge(status),
            None => End::Lost(Setback::Closed(reason)),
        }
    }
}

/// Takes messages in and hands the streams that they open on, until one says something of the session itself.
///
/// # Errors
/// When no more come, and why, if that was said. The link may be closed, too.
async fn next_word(
    inbound: &mut Inbound,
    link: &Link,
    forwarder: &Arc<Forwarder>,
) -> Result<Vec<Control>, Option<Silence>> {
    loop {
        let batch = inbound.message().await.map_err(Some)?.ok_or(None)?;
        // A broken protocol has closed the link, and so has a relay that leaves an agent with nothing under way. What it said
        // with that counts first: whether to look for another one at once.
        let controls = link.receive(batch, now()).unwrap_or_default();
        let is_open = hand_on(link, forwarder);
        if !controls.is_empty() {
            return Ok(controls);
        }
        is_open.ok_or(None)?;
    }
}

/// Begins the exchanges that have arrived; `None` when the link is closed. Nobody has to be woken for an arrival: none comes
/// but with a message, and whoever keeps the time is woken when the link is closed.
fn hand_on(link: &Link, forwarder: &Arc<Forwarder>) -> Option<()> {
    let mut unheard = Context::from_waker(Waker::noop());
    while let Poll::Ready(arrival) = link.poll_accept(&mut unheard) {
        let (head, handle) = arrival?;
        forwarder.accept(head, handle);
    }
    Some(())
}

/// Does what is due in the session, until it is closed.
async fn keep_time(link: &Link, pulse: &Pulse) {
    let mut timer = pin!(sleep_until(Instant::now()));
    poll_fn(|cx| {
        loop {
            link.heard(pulse.last().into_std());
            let Some(due) = link.tick(now(), cx) else {
                return Poll::Ready(());
            };
            let due = Instant::from_std(due);
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            ready!(timer.as_mut().poll(cx));
        }
    })
    .await;
}

/// Waits until the wall clock has run ahead of the monotonic one: the machine slept, and nothing that was connected
/// before can be trusted to be. Returns by how much. A clock that was set back says nothing of the connection.
pub(crate) async fn wall_clock_jumps() -> Duration {
    let mut seen = (Instant::now(), SystemTime::now());
    loop {
        sleep(WALL_CLOCK_LOOK).await;
        let present = (Instant::now(), SystemTime::now());
        let ran = present.0.duration_since(seen.0);
        let said = present.1.duration_since(seen.1).unwrap_or(ran);
        if let Some(jump) = said
            .checked_sub(ran)
            .filter(|jump| *jump >= WALL_CLOCK_JUMP)
        {
            return jump;
        }
        seen = present;
    }
}

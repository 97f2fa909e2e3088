//! One session with the relay: greets, moves messages both ways, keeps time, and hands each new stream on.
//!
//! Invariant: the tunnel is always read. No stream, however slow, stops this task; its credit holds it back instead.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use c2l_proto::tunnel::{AgentMessage, RelayMessage};
use c2l_tunnel::{
    CloseReason, Control, Hello, Limits, Link, PROTOCOL_VERSION, Settings, Side, wire,
};
use futures_core::Stream;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status as RpcStatus, Streaming, metadata::MetadataValue};
use tracing::{debug, info};

use crate::{
    Agent,
    dialer::{Connected, Tasks},
    error::{Error, Refusal, Setback},
    now,
    status::Status,
};

/// Until the relay's welcome says otherwise.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// How long the last messages of a session may take to be written.
const FLUSH_GRACE: Duration = Duration::from_secs(1);
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
}

/// Opens a session and holds it until it ends. When `leaving` is cancelled it drains and ends as [`End::Left`].
pub(crate) async fn hold(agent: &Agent, token: &str, leaving: &CancellationToken) -> Ended {
    let limit = agent.config.dial_timeout;
    let deadline = Instant::now() + limit;
    let link = Link::new(&settings(limit), now());
    link.say_hello(hello(agent));
    let opening = timeout_at(deadline, open_call(agent, token, &link));
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
    let mut session = Session {
        agent,
        link,
        open: None,
        is_relay_leaving: false,
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
        capabilities: Vec::new(),
    }
}

/// Dials and opens the one call. Its first message, the hello, waits in the link already.
async fn open_call(
    agent: &Agent,
    token: &str,
    link: &Link,
) -> Result<(Streaming<RelayMessage>, Tasks), End> {
    let connected = agent.dialer.connect(&agent.config).await;
    let Connected { mut client, tasks } = connected.map_err(|e| End::Lost(Setback::Dial(e)))?;
    let mut request = tonic::Request::new(Outbound::new(link.clone()));
    let mut bearer = MetadataValue::try_from(format!("Bearer {token}"))
        .map_err(|_| End::Lost(Setback::Closed(CloseReason::TokenExpired)))?;
    bearer.set_sensitive(true);
    request.metadata_mut().insert("authorization", bearer);
    let answer = client.connect(request).await.map_err(|s| judge(&s))?;
    Ok((answer.into_inner(), tasks))
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

struct Session<'a> {
    agent: &'a Agent,
    link: Link,
    open: Option<Instant>,
    is_relay_leaving: bool,
    /// What the relay's last status said, if it said one.
    verdict: Option<RpcStatus>,
}

impl Session<'_> {
    async fn hold(
        &mut self,
        mut inbound: Streaming<RelayMessage>,
        tasks: Tasks,
        leaving: &CancellationToken,
    ) -> Ended {
        self.move_messages(&mut inbound, leaving).await;
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

    /// Until the session is closed.
    async fn move_messages(
        &mut self,
        inbound: &mut Streaming<RelayMessage>,
        leaving: &CancellationToken,
    ) {
        let link = self.link.clone();
        let mut clock = pin!(keep_time(&link));
        let mut look_again_at: Option<Instant> = None;
        loop {
            // Every arm may be dropped: what they wait for stays in the call, the link or the token. In random order,
            // so that neither messages nor arrivals can starve the other.
            tokio::select! {
                message = inbound.message() => match message {
                    Ok(Some(message)) => self.take_in(message),
                    Ok(None) => return,
                    Err(status) => {
                        self.verdict = Some(status);
                        return;
                    }
                },
                arrival = poll_fn(|cx| link.poll_accept(cx)) => match arrival {
                    Some((head, handle)) => self.agent.forwarder.accept(*head, handle),
                    None => return,
                },
                () = &mut clock => return,
                () = leaving.cancelled(), if look_again_at.is_none() => {
                    self.leave();
                    look_again_at = Some(Instant::now() + SETTLE);
                }
                () = sleep_until(look_again_at.unwrap_or_else(Instant::now)),
                    if look_again_at.is_some() =>
                {
                    if link.active_streams() == 0 {
                        link.close(CloseReason::Drained);
                        return;
                    }
                    look_again_at = Some(Instant::now() + SETTLE_AGAIN);
                }
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

    fn take_in(&mut self, message: RelayMessage) {
        let received = wire::decode_relay(message)
            .inspect_err(|error| self.link.close(CloseReason::Protocol(error.clone())))
            .and_then(|batch| self.link.receive(batch, now()));
        // A broken protocol has closed the link; the loop sees that by itself.
        for control in received.unwrap_or_default() {
            self.take_in_control(control);
        }
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
                info!(
                    session = %welcome.session_id,
                    relay_build = %welcome.build,
                    heartbeat = ?welcome.heartbeat_interval,
                    "session opened"
                );
                self.agent.status.send_replace(Status::Open {
                    session_id: welcome.session_id,
                    since: since.into_std(),
                });
            }
            Control::GoAway { message, grace } => {
                self.is_relay_leaving = true;
                info!(%message, ?grace, "the relay is leaving");
                self.agent.status.send_replace(Status::Draining);
            }
            // The link answers the rest itself, or has refused it.
            Control::Hello(_) | Control::Heartbeat { .. } | Control::TokenRenewal(_) => {}
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

/// Does what is due in the session, until it is closed.
async fn keep_time(link: &Link) {
    let mut timer = pin!(sleep_until(Instant::now()));
    poll_fn(|cx| {
        loop {
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

/// What this side says, as the stream that the call reads.
///
/// When it is woken it lets every other ready task run once before it takes the batch. So their frames share the
/// message, which saves a fifth of the work for each token under load. No timer: when nobody else is ready, nothing is
/// held back.
struct Outbound {
    link: Link,
    state: Writer,
}

enum Writer {
    /// Takes what is there.
    Taking,
    /// Nothing was there; the next poll is a wake-up.
    Parked,
}

impl Outbound {
    fn new(link: Link) -> Self {
        let state = Writer::Taking;
        Self { link, state }
    }
}

impl Stream for Outbound {
    type Item = AgentMessage;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<AgentMessage>> {
        if matches!(self.state, Writer::Parked) {
            self.state = Writer::Taking;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = self.link.poll_transmit(cx);
        if polled.is_pending() {
            self.state = Writer::Parked;
        }
        polled.map(|batch| batch.map(wire::encode_agent))
    }
}

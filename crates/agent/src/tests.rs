//! The life of a session, against a relay on a real socket whose every word the test says; and what the tests of this
//! crate share.

mod hostile;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use c2l_proto::tunnel::{
    AgentMessage, RelayMessage,
    tunnel_service_server::{TunnelService, TunnelServiceServer},
};
use c2l_tunnel::{Batch, Control, Frame, Limits, RequestHead, Scopes, StreamId, Welcome, wire};
use http::{HeaderMap, Method};
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, interval, timeout},
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Streaming, transport::Server};

use crate::{
    Agent, Config, Error, Outlook, Refusal, Status, TokenError, TokenSource, session::FLUSH_GRACE,
};

/// A configuration that is sound and reaches nobody.
pub(crate) fn config() -> Config {
    Config {
        relay: "http://127.0.0.1:9".parse().unwrap(),
        allow_insecure: false,
        ca_file: None,
        skip_verify: false,
        client_certificate: None,
        transport: crate::Transport::Auto,
        proxy: None,
        token: Arc::new(|| Box::pin(async { Ok("token".to_owned()) })),
        device_name: "desk".to_owned(),
        device_id: [7; 16],
        build: "test".to_owned(),
        upstream: "http://127.0.0.1:9".parse().unwrap(),
        allow_manage: false,
        policy: crate::Policy::default(),
        max_concurrent_requests: 8,
        upstream_connect_timeout: Duration::from_secs(5),
        load_grace: Duration::from_secs(300),
        dial_timeout: Duration::from_secs(10),
        drain_grace: Duration::from_secs(30),
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(8),
        healthy_after: Duration::from_secs(60),
    }
}

/// Waits for what must come, and says where it did not.
#[track_caller]
fn soon<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    async move {
        timeout(Duration::from_secs(10), work)
            .await
            .unwrap_or_else(|_| panic!("nothing happened, waited for at {place}"))
    }
}

type FromRelay = Result<RelayMessage, tonic::Status>;

/// A relay whose every word the test says.
struct Relay {
    port: u16,
    calls: mpsc::Receiver<Call>,
    server: JoinHandle<()>,
}

/// One call of an agent's, not answered yet.
struct Call {
    authorization: String,
    inbound: Streaming<AgentMessage>,
    reply: oneshot::Sender<Result<mpsc::Receiver<FromRelay>, tonic::Status>>,
}

/// One call, accepted.
struct Held {
    inbound: Streaming<AgentMessage>,
    outbound: mpsc::Sender<FromRelay>,
}

struct Service(mpsc::Sender<Call>);

#[tonic::async_trait]
impl TunnelService for Service {
    type ConnectStream = ReceiverStream<FromRelay>;

    async fn connect(
        &self,
        request: tonic::Request<Streaming<AgentMessage>>,
    ) -> Result<tonic::Response<Self::ConnectStream>, tonic::Status> {
        let authorization = request.metadata().get("authorization").unwrap();
        let authorization = authorization.to_str().unwrap().to_owned();
        let (reply, replied) = oneshot::channel();
        let call = Call {
            authorization,
            inbound: request.into_inner(),
            reply,
        };
        let gone = |_| tonic::Status::unavailable("the test is over");
        self.0.send(call).await.map_err(|_| gone(()))?;
        let outbound = replied.await.map_err(|_| gone(()))??;
        Ok(tonic::Response::new(ReceiverStream::new(outbound)))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Relay {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, calls) = mpsc::channel(8);
        let server = tokio::spawn(async move {
            Server::builder()
                .add_service(TunnelServiceServer::new(Service(sender)))
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self {
            port,
            calls,
            server,
        }
    }

    fn config(&self) -> Config {
        let mut config = config();
        config.relay = format!("http://127.0.0.1:{}", self.port).parse().unwrap();
        config
    }

    async fn call(&mut self) -> Call {
        soon(self.calls.recv()).await.unwrap()
    }

    /// Takes the next call and welcomes it.
    async fn session(&mut self, id: &str) -> Held {
        self.session_beating(id, Duration::from_secs(15)).await
    }

    /// The same, with a heartbeat to be kept.
    async fn session_beating(&mut self, id: &str, heartbeat_interval: Duration) -> Held {
        let mut held = self.call().await.accept();
        let first = held.next().await.unwrap();
        assert!(
            matches!(&first.control[..], [Control::Hello(hello)] if hello.device_name == "desk")
        );
        held.say(Control::Welcome(Box::new(Welcome {
            session_id: id.to_owned(),
            protocol_version: 1,
            limits: Limits::default(),
            heartbeat_interval,
            build: "relay".to_owned(),
            token_holds: None,
        })))
        .await;
        held
    }
}

impl Call {
    fn accept(self) -> Held {
        let (outbound, receiver) = mpsc::channel(8);
        self.reply.send(Ok(receiver)).unwrap();
        let inbound = self.inbound;
        Held { inbound, outbound }
    }

    fn refuse(self, status: tonic::Status) {
        self.reply.send(Err(status)).unwrap();
    }
}

impl Held {
    /// What the agent says next; `None` when it has ended its side.
    async fn next(&mut self) -> Option<Batch> {
        let message = soon(self.inbound.message()).await.ok()??;
        Some(wire::decode_agent(message).unwrap())
    }

    async fn say(&self, control: Control) {
        let batch = Batch {
            control: vec![control],
            frames: Vec::new(),
        };
        self.outbound
            .send(Ok(wire::encode_relay(batch)))
            .await
            .unwrap();
    }

    async fn send(&self, frame: Frame) {
        self.send_on(StreamId::new(1).unwrap(), frame).await;
    }

    async fn send_on(&self, id: StreamId, frame: Frame) {
        let batch = Batch {
            control: Vec::new(),
            frames: vec![(id, frame)],
        };
        self.outbound
            .send(Ok(wire::encode_relay(batch)))
            .await
            .unwrap();
    }

    async fn end(self, status: tonic::Status) {
        self.outbound.send(Err(status)).await.unwrap();
    }
}

/// An agent under way.
struct Running {
    status: watch::Receiver<Status>,
    leave: oneshot::Sender<()>,
    run: JoinHandle<Result<(), Error>>,
}

impl Running {
    fn start(config: Config) -> Self {
        let (agent, status) = Agent::new(config).unwrap();
        let (leave, left) = oneshot::channel::<()>();
        let run = tokio::spawn(agent.run(async {
            left.await.ok();
        }));
        Self { status, leave, run }
    }

    async fn until(&mut self, is_so: impl FnMut(&Status) -> bool) -> Status {
        soon(self.status.wait_for(is_so)).await.unwrap().clone()
    }

    async fn until_open(&mut self, id: &str) {
        self.until(|status| matches!(status, Status::Open { session_id, .. } if session_id == id))
            .await;
    }

    async fn result(self) -> Result<(), Error> {
        let result = soon(self.run).await.unwrap();
        assert_eq!(*self.status.borrow(), Status::Closed);
        result
    }

    /// Leaves a relay that ends the session as soon as it is asked.
    async fn leave_from(self, mut held: Held) {
        let ended = tokio::spawn(self.leave());
        let said = held.next().await.unwrap();
        assert!(
            matches!(&said.control[..], [Control::GoAway { .. }]),
            "{said:?}"
        );
        drop(held);
        soon(ended).await.unwrap().unwrap();
    }

    async fn leave(self) -> Result<(), Error> {
        self.leave.send(()).unwrap();
        let result = soon(self.run).await.unwrap();
        assert_eq!(*self.status.borrow(), Status::Closed);
        result
    }
}

#[tokio::test]
async fn a_session_opens_with_the_token_and_ends_with_a_go_away() {
    let mut relay = Relay::start().await;
    let mut agent = Running::start(relay.config());
    let call = relay.call().await;
    assert_eq!(call.authorization, "Bearer token");
    drop(call); // the next one is as good
    let held = relay.session("s-1").await;
    agent.until_open("s-1").await;
    agent.leave_from(held).await;
}

#[tokio::test]
async fn a_relay_that_ignores_a_go_away_does_not_hold_up_the_end() {
    let mut relay = Relay::start().await;
    let mut agent = Running::start(relay.config());
    let mut held = relay.session("s-1").await;
    agent.until_open("s-1").await;
    agent.leave().await.unwrap();
    assert!(held.next().await.is_some(), "the go-away");
    assert!(held.next().await.is_none());
}

#[tokio::test]
async fn a_running_request_finishes_before_the_agent_leaves() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut relay = Relay::start().await;
    let mut config = relay.config();
    config.upstream = format!("http://{}", upstream.local_addr().unwrap())
        .parse()
        .unwrap();
    let mut agent = Running::start(config);
    let mut held = relay.session("s-1").await;
    agent.until_open("s-1").await;
    let request = RequestHead {
        method: Method::GET,
        target: "/api/tags".parse().unwrap(),
        headers: HeaderMap::new(),
        is_whole: true,
        expects_continue: false,
        request_id: "r-1".to_owned(),
        scopes: Scopes {
            infer: true,
            manage: false,
        },
        models: Vec::new(),
    };
    held.send(Frame::RequestHead(Box::new(request))).await;
    let (mut peer, _) = soon(upstream.accept()).await.unwrap();
    let ended = tokio::spawn(agent.leave());
    let said = held.next().await.unwrap();
    assert!(
        matches!(&said.control[..], [Control::GoAway { .. }]),
        "{said:?}"
    );
    peer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        .await
        .unwrap();
    let mut names = Vec::new();
    while names.last() != Some(&"end") {
        let batch = held.next().await.unwrap();
        names.extend(batch.frames.iter().map(|(_, frame)| frame.name()));
    }
    assert_eq!(names, ["response head", "body", "end"]);
    drop(held);
    soon(ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_refusal_is_not_tried_again() {
    for (status, expected) in [
        (
            tonic::Status::unauthenticated("bad token"),
            Refusal::Unauthenticated,
        ),
        (tonic::Status::permission_denied("no"), Refusal::Forbidden),
        (
            tonic::Status::failed_precondition("too old"),
            Refusal::ProtocolVersion,
        ),
    ] {
        let mut relay = Relay::start().await;
        let agent = Running::start(relay.config());
        let words = status.message().to_owned();
        relay.call().await.refuse(status);
        match agent.result().await {
            Err(Error::Refused { refusal, message }) => {
                assert_eq!((refusal, message), (expected, words));
            }
            other => panic!("not a refusal: {other:?}"),
        }
    }
}

#[tokio::test]
async fn an_agent_that_was_replaced_does_not_fight_its_successor() {
    let mut relay = Relay::start().await;
    let mut agent = Running::start(relay.config());
    let held = relay.session("s-1").await;
    agent.until_open("s-1").await;
    held.end(tonic::Status::aborted(
        "replaced by a newer session of this device",
    ))
    .await;
    assert!(matches!(agent.result().await, Err(Error::Replaced)));
}

#[tokio::test]
async fn a_lost_session_is_followed_by_the_next() {
    let mut relay = Relay::start().await;
    let mut config = relay.config();
    // Long enough to be seen.
    config.backoff_min = Duration::from_millis(300);
    config.backoff_max = Duration::from_millis(300);
    let mut agent = Running::start(config);
    let held = relay.session("s-1").await;
    agent.until_open("s-1").await;
    held.end(tonic::Status::unavailable("restarting")).await;
    let waiting = agent
        .until(|status| matches!(status, Status::BackingOff { .. }))
        .await;
    let Status::BackingOff { last_error, .. } = waiting else {
        unreachable!("waited for it");
    };
    assert_eq!(last_error, "the relay ended the session: restarting");
    let held = relay.session("s-2").await;
    agent.until_open("s-2").await;
    agent.leave_from(held).await;
}

#[tokio::test]
async fn a_drained_session_is_followed_by_the_next() {
    let mut relay = Relay::start().await;
    let mut agent = Running::start(relay.config());
    let mut held = relay.session("s-1").await;
    agent.until_open("s-1").await;
    held.say(Control::GoAway {
        message: "restart".to_owned(),
        grace: Duration::from_secs(30),
        still_opens: false,
    })
    .await;
    assert!(
        held.next().await.is_none(),
        "nothing runs, so the agent ends it"
    );
    drop(held);
    let held = relay.session("s-2").await;
    agent.until_open("s-2").await;
    agent.leave_from(held).await;
}

#[tokio::test]
async fn the_next_session_is_opened_before_a_relay_that_leaves_has_ended_the_call() {
    let mut relay = Relay::start().await;
    let mut agent = Running::start(relay.config());
    let left = relay.session("s-1").await;
    agent.until_open("s-1").await;
    let began = Instant::now();
    left.say(Control::GoAway {
        message: "restart".to_owned(),
        grace: Duration::from_secs(30),
        still_opens: false,
    })
    .await;
    let held = relay.session("s-2").await;
    let waited = began.elapsed();
    assert!(waited < FLUSH_GRACE, "{waited:?}: it waited for the end");
    agent.until_open("s-2").await;
    drop(left);
    agent.leave_from(held).await;
}

/// A source that gives one token after the other, and the last one for ever.
fn tokens(given: &'static [&'static str]) -> TokenSource {
    let next = Arc::new(AtomicUsize::new(0));
    Arc::new(move || {
        let index = next.fetch_add(1, Ordering::Relaxed).min(given.len() - 1);
        Box::pin(async move { Ok(given[index].to_owned()) })
    })
}

#[tokio::test]
async fn a_token_that_ran_out_is_replaced_by_a_newer_one_if_there_is_one() {
    let mut relay = Relay::start().await;
    let mut config = relay.config();
    config.token = tokens(&["first", "second"]);
    let mut agent = Running::start(config);
    let held = relay.session("s-1").await;
    agent.until_open("s-1").await;
    held.end(tonic::Status::unauthenticated("the token has run out"))
        .await;
    let call = relay.call().await;
    assert_eq!(call.authorization, "Bearer second");
    drop(call);
    let held = relay.session("s-2").await;
    agent.until_open("s-2").await;
    held.end(tonic::Status::unauthenticated("the token has run out"))
        .await;
    assert!(
        matches!(agent.result().await, Err(Error::Refused { .. })),
        "there is none"
    );
}

#[tokio::test]
async fn a_relay_that_does_not_greet_is_left() {
    let mut relay = Relay::start().await;
    let mut config = relay.config();
    config.dial_timeout = Duration::from_millis(100);
    let mut agent = Running::start(config);
    let silent = relay.call().await;
    agent
        .until(|status| matches!(status, Status::BackingOff { .. }))
        .await;
    let mut held = relay.call().await.accept();
    assert!(held.next().await.is_some(), "the hello");
    assert!(held.next().await.is_none(), "accepted, but not welcomed");
    drop(silent);
    agent.leave().await.unwrap();
}

#[tokio::test]
async fn a_relay_that_breaks_the_protocol_loses_the_session_only() {
    let mut relay = Relay::start().await;
    let mut agent = Running::start(relay.config());
    let held = relay.session("s-1").await;
    agent.until_open("s-1").await;
    held.send(Frame::Window(1)).await; // for a stream that was never opened
    let held = relay.session("s-2").await;
    agent.until_open("s-2").await;
    agent.leave_from(held).await;
}

#[tokio::test]
async fn a_relay_that_beats_and_takes_nothing_in_is_left_for_the_next_session() {
    const INTERVAL: Duration = Duration::from_millis(100);
    let mut relay = Relay::start().await;
    let mut agent = Running::start(relay.config());
    let mut stuck = relay.session_beating("s-1", INTERVAL).await;
    agent.until_open("s-1").await;
    let mut beats = interval(INTERVAL);
    let began_at = Instant::now();
    for sequence in 1.. {
        beats.tick().await;
        let beat = wire::encode_relay(Batch {
            control: vec![Control::Heartbeat {
                sequence,
                acknowledged: sequence,
                received: 1, // the hello, and nothing since
            }],
            frames: Vec::new(),
        });
        if stuck.outbound.send(Ok(beat)).await.is_err() {
            break;
        }
        assert!(began_at.elapsed() < 50 * INTERVAL, "it stays");
    }
    assert!(began_at.elapsed() >= 2 * INTERVAL);
    while stuck.next().await.is_some() {} // heartbeats of its own, which counted what they heard
    let held = relay.session("s-2").await;
    agent.until_open("s-2").await;
    agent.leave_from(held).await;
}

#[tokio::test]
async fn a_relay_that_is_not_there_is_tried_again_and_again() {
    let mut agent = Running::start(config());
    let tried = |status: &Status| matches!(status, Status::Connecting { attempt } if *attempt >= 4);
    agent.until(tried).await;
    let waiting = agent
        .until(|status| matches!(status, Status::BackingOff { .. }))
        .await;
    let Status::BackingOff { last_error, .. } = waiting else {
        unreachable!("waited for it");
    };
    assert!(
        last_error.starts_with("cannot reach the relay: Connection refused"),
        "{last_error}"
    );
    agent.leave().await.unwrap();
}

#[tokio::test]
async fn the_first_token_must_be_there() {
    let mut config = config();
    config.token = Arc::new(|| Box::pin(async { Err(TokenError::new("no such file")) }));
    let result = crate::run(config, std::future::pending()).await;
    assert!(matches!(result, Err(Error::Token(error)) if error.to_string() == "no such file"));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_may_come_yet_is_waited_for_and_one_that_never_will_is_not() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let mut config = config();
    config.token = Arc::new(move || {
        let outlook = match count.fetch_add(1, Ordering::Relaxed) {
            0..5 => Outlook::Passing,
            _ => Outlook::Final,
        };
        Box::pin(async move { Err(TokenError::with(outlook, "no login")) })
    });
    let result = crate::run(config, std::future::pending()).await;
    assert!(matches!(result, Err(Error::Token(error)) if error.to_string() == "no login"));
    assert_eq!(asked.load(Ordering::Relaxed), 6);
}

#[test]
fn every_mistake_in_the_configuration_is_named_at_once() {
    let mut config = config();
    config.relay = "http://relay.example".parse().unwrap();
    config.upstream = "https://127.0.0.1:11434/x".parse().unwrap();
    config.device_name = "not a name".to_owned();
    config.max_concurrent_requests = 0;
    config.dial_timeout = Duration::ZERO;
    let Err(Error::Config { problems }) = Agent::new(config) else {
        panic!("it is wrong");
    };
    let fields: Vec<_> = problems
        .iter()
        .filter_map(|p| p.split(':').next())
        .collect();
    let expected = [
        "relay",
        "upstream",
        "device_name",
        "max_concurrent_requests",
        "dial_timeout",
    ];
    assert_eq!(fields, expected);
}

#[test]
fn clear_text_to_another_machine_needs_leave() {
    for (relay, is_sound) in [
        ("http://relay.example", false),
        ("http://192.168.1.2:8080", false),
        ("http://localhost.example", false),
        ("http://localhost:8080", true),
        ("http://127.1.2.3", true),
        ("http://[::1]:8080", true),
        ("https://relay.example", true),
        ("https://user@relay.example", false),
        ("https://relay.example/path", false),
        ("relay.example", false),
    ] {
        let mut config = config();
        config.relay = relay.parse().unwrap();
        assert_eq!(config.check().is_ok(), is_sound, "{relay}");
        config.allow_insecure = true;
        let is_form_good = !relay.contains('@') && !relay.contains("/path") && relay.contains("//");
        assert_eq!(config.check().is_ok(), is_form_good, "{relay}");
    }
}

#[test]
fn nothing_that_can_be_printed_shows_the_token() {
    let (agent, _status) = Agent::new(config()).unwrap();
    assert!(!format!("{agent:?}").contains("token"));
}

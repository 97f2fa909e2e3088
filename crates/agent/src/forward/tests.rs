//! Forwarding between two ends of a session in memory and a small upstream on a real socket, scripted line by line.

use std::{
    future::{Future, poll_fn},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use c2l_tunnel::{
    Answer, Fault, Hello, Kind, Limits, Link, Origin, RequestHead, ResponseHead, Scopes, Settings,
    Side, StreamHandle, Welcome, wire,
};
use http::{HeaderMap, HeaderName, Method};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

use super::Forwarder;
use crate::{Config, now};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

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

/// Both ends of a session, and an agent's forwarder behind one of them.
struct Tunnel {
    relay: Link,
    agent: Link,
    forwarder: Arc<Forwarder>,
    pump: JoinHandle<()>,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

fn settings(side: Side) -> Settings {
    Settings {
        side,
        limits: Limits::default(),
        greeting_timeout: Duration::from_secs(10),
        heartbeat_interval: Duration::from_secs(15),
        stream_limits: None,
    }
}

fn greet(relay: &Link, agent: &Link) {
    agent.say_hello(Hello {
        protocol_version: 1,
        build: String::new(),
        device_name: "desk".to_owned(),
        device_id: [0; 16],
        capabilities: Vec::new(),
        attempt: 0,
    });
    let mut cx = Context::from_waker(Waker::noop());
    move_batches(relay, agent, &mut cx);
    let welcome = Welcome {
        session_id: "s".to_owned(),
        protocol_version: 1,
        limits: Limits::default(),
        heartbeat_interval: Duration::from_secs(15),
        build: String::new(),
        token_holds: None,
    };
    relay.welcome(welcome, now());
    move_batches(relay, agent, &mut cx);
}

/// Through the wire's own encoding, so that what could not cross a real session does not cross here.
fn move_batches(relay: &Link, agent: &Link, cx: &mut Context<'_>) {
    loop {
        let mut has_moved = false;
        if let Poll::Ready(Some(batch)) = relay.poll_transmit(now(), cx) {
            let batch = wire::decode_relay(wire::encode_relay(batch)).unwrap();
            agent.receive(batch, now()).unwrap();
            has_moved = true;
        }
        if let Poll::Ready(Some(batch)) = agent.poll_transmit(now(), cx) {
            let batch = wire::decode_agent(wire::encode_agent(batch)).unwrap();
            relay.receive(batch, now()).unwrap();
            has_moved = true;
        }
        if !has_moved {
            return;
        }
    }
}

impl Tunnel {
    fn new(config: &Config) -> Self {
        let relay = Link::new(&settings(Side::Relay), now());
        let agent = Link::new(&settings(Side::Agent), now());
        greet(&relay, &agent);
        let forwarder = Arc::new(Forwarder::new(config, watch::Sender::default()).unwrap());
        let (one, other, acceptor) = (relay.clone(), agent.clone(), Arc::clone(&forwarder));
        let pump = tokio::spawn(poll_fn(move |cx| {
            loop {
                move_batches(&one, &other, cx);
                match other.poll_accept(cx) {
                    Poll::Ready(Some((head, stream))) => acceptor.accept(head, stream),
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        }));
        Self {
            relay,
            agent,
            forwarder,
            pump,
        }
    }

    /// With an upstream on a port of its own.
    async fn with_upstream() -> (Self, Upstream) {
        Self::with_upstream_and(|_| {}).await
    }

    async fn with_upstream_and(change: impl FnOnce(&mut Config)) -> (Self, Upstream) {
        let upstream = Upstream::listen().await;
        let mut config = crate::tests::config();
        config.upstream = upstream.uri();
        change(&mut config);
        (Self::new(&config), upstream)
    }

    fn open(&self, head: RequestHead) -> Caller {
        Caller(self.relay.open(head, now()).unwrap())
    }

    fn get(&self, path: &str) -> Caller {
        self.open(head(Method::GET, path, &[]))
    }

    /// A request whose whole body is `body`.
    fn post(&self, path: &str, body: &'static str) -> Caller {
        let length = body.len().to_string();
        let mut head = head(Method::POST, path, &[("content-length", &length)]);
        head.is_whole = false;
        let caller = self.open(head);
        caller.send(body);
        caller.end();
        caller
    }
}

/// For bodies that stand for any: nobody looks into them.
fn unjudged(config: &mut Config) {
    config.policy.allow_cloud_models = true;
}

fn head(method: Method, path: &str, fields: &[(&str, &str)]) -> RequestHead {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    RequestHead {
        method,
        target: path.parse().unwrap(),
        headers,
        is_whole: true,
        expects_continue: false,
        request_id: "r-1".to_owned(),
        scopes: Scopes {
            infer: true,
            manage: true,
        },
        models: Vec::new(),
    }
}

/// The relay's end of one stream.
struct Caller(StreamHandle);

impl Caller {
    fn send(&self, body: &'static str) {
        let mut bytes = Bytes::from_static(body.as_bytes());
        self.0.send_body(&mut bytes, now()).unwrap();
        assert!(bytes.is_empty(), "there was room");
    }

    fn end(&self) {
        self.0.send_end(HeaderMap::new()).unwrap();
    }

    async fn answer(&self) -> Result<Answer, Fault> {
        soon(poll_fn(|cx| self.0.poll_answer(cx))).await
    }

    async fn head(&self) -> ResponseHead {
        match self.answer().await {
            Ok(Answer::Head(head)) => *head,
            other => panic!("not a head: {other:?}"),
        }
    }

    async fn fault(&self) -> Fault {
        self.answer().await.expect_err("a fault was due")
    }

    async fn piece(&self) -> Result<Option<Bytes>, Fault> {
        soon(poll_fn(|cx| self.0.poll_body(now(), cx))).await
    }

    async fn body(&self) -> Result<String, Fault> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await? {
            body.extend_from_slice(&piece);
        }
        Ok(String::from_utf8(body).unwrap())
    }

    async fn whole(&self) -> (u16, String) {
        let head = self.head().await;
        let body = if head.is_whole {
            String::new()
        } else {
            self.body().await.unwrap()
        };
        (head.status.as_u16(), body)
    }
}

struct Upstream(TcpListener);

impl Upstream {
    async fn listen() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    fn uri(&self) -> http::Uri {
        format!("http://127.0.0.1:{}", self.port()).parse().unwrap()
    }

    async fn accept(&self) -> Peer {
        let (stream, _) = soon(self.0.accept()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Peer(BufReader::new(stream))
    }
}

/// One connection, as the upstream sees it.
struct Peer(BufReader<TcpStream>);

impl Peer {
    /// The request's head, in lower case.
    async fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = soon(self.0.read_line(&mut head)).await.unwrap();
            assert!(read > 0, "closed in the head: {head:?}");
        }
        head.to_ascii_lowercase()
    }

    async fn bytes(&mut self, count: usize) -> String {
        let mut bytes = vec![0; count];
        soon(self.0.read_exact(&mut bytes)).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Waits for the agent to close; what comes before that is returned.
    async fn closed(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is an end, too.
        drop(soon(self.0.read_to_end(&mut rest)).await);
        rest
    }
}

// ---- the plain way

#[tokio::test]
async fn a_request_reaches_the_upstream_with_its_length_our_host_and_no_credentials() {
    let (tunnel, upstream) = Tunnel::with_upstream_and(unjudged).await;
    let mut request = head(
        Method::POST,
        "//api//chat/?ts=1",
        &[
            ("content-length", "4"),
            ("content-type", "application/json"),
            ("authorization", "Bearer secret"),
            ("host", "relay.example"),
            ("origin", "https://relay.example"),
            ("x-forwarded-for", "1.2.3.4"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
        ],
    );
    request.is_whole = false;
    let caller = tunnel.open(request);
    let mut peer = upstream.accept().await;
    let head = peer.head().await;
    caller.send("{");
    caller.send("\"\"}");
    caller.end();
    assert_eq!(peer.bytes(4).await, "{\"\"}");
    assert!(
        head.starts_with("post /api/chat?ts=1 http/1.1\r\n"),
        "{head}"
    );
    assert!(head.contains("content-length: 4\r\n"), "{head}");
    assert!(
        head.contains(&format!("host: localhost:{}\r\n", upstream.port())),
        "{head}"
    );
    for absent in [
        "authorization",
        "origin",
        "forwarded",
        "x-hop",
        "connection",
        "chunked",
    ] {
        assert!(!head.contains(absent), "{absent} in {head}");
    }
    peer.say("HTTP/1.1 200 OK\r\nconnection: keep-alive\r\nx-a: 1\r\ncontent-length: 2\r\n\r\nok")
        .await;
    let head = caller.head().await;
    assert_eq!(head.headers["content-length"], "2");
    assert_eq!(head.headers["x-a"], "1");
    assert!(!head.headers.contains_key("connection"));
    assert_eq!(caller.body().await.unwrap(), "ok");
}

#[tokio::test]
async fn a_body_without_length_is_chunked_whatever_the_method() {
    let (tunnel, upstream) = Tunnel::with_upstream_and(unjudged).await;
    for (method, path) in [(Method::POST, "/api/chat"), (Method::GET, "/api/tags")] {
        let mut request = head(method, path, &[]);
        request.is_whole = false;
        let caller = tunnel.open(request);
        let mut peer = upstream.accept().await;
        let head = peer.head().await;
        assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
        caller.send("abc");
        caller.end();
        assert_eq!(peer.bytes(13).await, "3\r\nabc\r\n0\r\n\r\n");
        peer.say("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
            .await;
        assert_eq!(caller.whole().await, (204, String::new()));
    }
}

#[tokio::test]
async fn each_piece_of_an_answer_crosses_when_it_is_there() {
    let (tunnel, upstream) = Tunnel::with_upstream().await;
    let caller = tunnel.post("/api/chat", "{}");
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    assert_eq!(caller.head().await.status, 200);
    for piece in ["{\"a\":1}\n", "{\"b\":2}\n"] {
        peer.say(&format!("{:x}\r\n{piece}\r\n", piece.len())).await;
        // The next one is written only after this one has arrived.
        assert_eq!(caller.piece().await.unwrap().unwrap(), piece);
    }
    peer.say("0\r\nx-checksum: 7\r\n\r\n").await;
    assert_eq!(caller.piece().await.unwrap(), None);
    assert_eq!(caller.0.take_trailers().unwrap()["x-checksum"], "7");
}

#[tokio::test]
async fn a_large_answer_crosses_whole_and_waits_for_its_reader() {
    let (tunnel, upstream) = Tunnel::with_upstream().await;
    let caller = tunnel.get("/api/tags");
    let mut peer = upstream.accept().await;
    peer.head().await;
    let body: String = (0..400_000)
        .map(|n: u32| char::from(b'a' + (n % 26) as u8))
        .collect();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    let write = async {
        peer.say(&head).await;
        peer.say(&body).await;
    };
    let read = async {
        assert_eq!(caller.head().await.headers["content-length"], "400000");
        caller.body().await.unwrap()
    };
    let ((), received) = tokio::join!(write, read);
    assert!(received == body);
}

#[tokio::test]
async fn an_answer_may_begin_and_go_on_before_the_request_ends() {
    let (tunnel, upstream) = Tunnel::with_upstream_and(unjudged).await;
    let mut request = head(Method::POST, "/api/chat", &[]);
    request.is_whole = false;
    let caller = tunnel.open(request);
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    assert_eq!(caller.head().await.status, 200);
    caller.send("up");
    assert_eq!(peer.bytes(7).await, "2\r\nup\r\n");
    peer.say("4\r\ndown\r\n").await;
    assert_eq!(caller.piece().await.unwrap().unwrap(), "down");
    caller.end();
    assert_eq!(peer.bytes(5).await, "0\r\n\r\n");
    peer.say("0\r\n\r\n").await;
    assert_eq!(caller.piece().await.unwrap(), None);
}

#[tokio::test]
async fn head_keeps_its_length_and_has_no_body() {
    let (tunnel, upstream) = Tunnel::with_upstream().await;
    let caller = tunnel.open(head(Method::HEAD, "/", &[]));
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.say("HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n")
        .await;
    let head = caller.head().await;
    assert!(head.is_whole);
    assert_eq!(head.headers["content-length"], "17");
    let next = tunnel.get("/api/version");
    peer.head().await;
    peer.say(OK).await;
    assert_eq!(next.whole().await, (200, "ok".to_owned()));
}

// ---- connections

#[tokio::test]
async fn a_clean_connection_is_used_again() {
    let (tunnel, upstream) = Tunnel::with_upstream().await;
    let mut peer = None;
    for _ in 0..5 {
        let caller = tunnel.post("/api/chat", "{}");
        let peer = match &mut peer {
            Some(peer) => peer,
            none => none.insert(upstream.accept().await),
        };
        peer.head().await;
        peer.bytes(2).await;
        peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
            .await;
        assert_eq!(caller.whole().await, (200, "ok".to_owned()));
        assert_eq!(tunnel.forwarder.pool.idle_count(), 1);
    }
}

#[tokio::test]
async fn an_idle_connection_that_the_upstream_closed_is_not_used() {
    let (tunnel, upstream) = Tunnel::with_upstream().await;
    let first = tunnel.get("/api/tags");
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.say(OK).await;
    assert_eq!(first.whole().await, (200, "ok".to_owned()));
    drop(peer);
    // The runtime looks at its sockets when it is yielded to; an upstream that closes at the very moment of the next
    // request cannot be told from one that took it.
    tokio::task::yield_now().await;
    let second = tunnel.get("/api/tags");
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.say(OK).await;
    assert_eq!(second.whole().await, (200, "ok".to_owned()));
}

#[tokio::test]
async fn a_connection_with_more_than_the_answer_on_it_is_not_used_again() {
    let (tunnel, upstream) = Tunnel::with_upstream().await;
    let first = tunnel.get("/api/tags");
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\nlie")
        .await;
    assert_eq!(first.whole().await, (200, "ok".to_owned()));
    let second = tunnel.get("/api/tags");
    let mut next = upstream.accept().await;
    next.head().await;
    next.say(OK).await;
    assert_eq!(second.whole().await, (200, "ok".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_unused_connection_is_closed_after_a_while() {
    let (tunnel, upstream) = Tunnel::with_upstream().await;
    let forwarder = Arc::clone(&tunnel.forwarder);
    let reaper = tokio::spawn(async move { forwarder.expire_idle().await });
    let caller = tunnel.get("/api/tags");
    let (stream, _) = upstream.0.accept().await.unwrap();
    let mut peer = Peer(BufReader::new(stream));
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        peer.0.read_line(&mut head).await.unwrap();
    }
    peer.say(OK).await;
    // No limits of the test's own while the clock is paused: it jumps to the first timer whenever nothing is ready.
    let answer = poll_fn(|cx| caller.0.poll_answer(cx)).await;
    assert!(matches!(answer, Ok(Answer::Head(_))));
    let mut rest = Vec::new();
    assert_eq!(peer.0.read_to_end(&mut rest).await.unwrap(), 0);
    assert_eq!(tunnel.forwarder.pool.idle_count(), 0);
    reaper.abort();
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_said_with_what_to_do() {
    let mut config = crate::tests::config();
    config.upstream = Upstream::listen().await.uri(); // closed again at once
    let tunnel = Tunnel::new(&config);
    let fault = tunnel.get("/api/tags").fault().await;
    assert_eq!(
        (fault.kind, fault.origin, fault.is_retry_safe),
        (Kind::UpstreamUnreachable, Origin::Upstream, true)
    );
    let place = config.upstream.to_string();
    let expected = format!(
        "no answer from Ollama at {}: connection refused; start it with `ollama serve`",
        place.trim_end_matches('/')
    );
    assert_eq!(fault.message, expected);
}

// ---- what the upstream does wrong

async fn fault_after(answer: &str) -> Fault {
    let (tunnel, upstream) = Tunnel::with_upstream().await;
    let caller = tunnel.get("/api/tags");
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.say(answer).await;
    if !answer.contains("HTTP/1.1 1") {
        drop(peer);
    }
    caller.fault().await
}

#[tokio::test]
async fn an_answer_that_is_none_is_the_upstreams_fault() {
    let flood = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(50);
    for answer in [
        "",
        "HTTP/1.1 2",
        "SSH-2.0-OpenSSH_9.9\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 700 What\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        &flood,
    ] {
        let fault = fault_after(answer).await;
        let expected = (Kind::UpstreamFailed, Origin::Upstream);
        assert_eq!((fault.kind, fault.origin), expected, "{answer:?}");
        assert!(!fault.is_retry_safe, "it may have been done: {answer:?}");
    }
}

#[tokio::test]
async fn a_few_interim_answers_are_no_answer() {
    let (tunnel, upstream) = Tunnel::with_upstream().await;
    let caller = tunnel.get("/api/tags");
    let mut peer = upstream.accept().await;
    peer.head().await;
    let early = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";
    peer.say(&format!("HTTP/1.1 100 Continue\r\n\r\n{early}{early}{OK}"))
        .await;
    assert_eq!(caller.whole().await, (200, "ok".to_owned()));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_reset_and_never_ended() {
    for framing in [
        "content-length: 100\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n64\r\n",
    ] {
        let (tunnel, upstream) = Tunnel::with_upstream().await;
        let caller = tunnel.get("/api/tags");
        let mut peer = upstream.accept().await;
        peer.head().await;
        peer.say(&format!("HTTP/1.1 200 OK\r\n{framing}torn")).await;
        assert_eq!(caller.head().await.status, 200);
        assert_eq!(caller.piece().await.unwrap().unwrap(), "torn");
        drop(peer);
        let fault = caller.piece().await.expect_err("a torn answer");
        assert_eq!(
            (fault.kind, fault.origin),
            (Kind::UpstreamFailed, Origin::Upstream)
        );
        assert_eq!(tunnel.forwarder.pool.idle_count(), 0);
    }
}

#[tokio::test]
async fn a_refusal_in_mid_upload_arrives_and_the_upload_stops() {
    let (tunnel, upstream) = Tunnel::with_upstream_and(|config| config.allow_manage = true).await;
    let fields = [("content-length", "100000000")];
    let mut request = head(Method::POST, "/api/blobs/sha256:00", &fields);
    request.is_whole = false;
    let caller = tunnel.open(request);
    caller.send("first");
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.bytes(5).await;
    peer.say("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nno!")
        .await;
    assert_eq!(caller.whole().await, (413, "no!".to_owned()));
    assert!(peer.closed().await.is_empty(), "nothing more was uploaded");
    drop(caller);
    soon(until(|| tunnel.agent.active_streams() == 0)).await;
    assert_eq!(tunnel.relay.active_streams(), 0);
}

/// Waits for something that other tasks bring about.
async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}

// ---- what the caller does

#[tokio::test]
async fn a_caller_who_leaves_closes_the_upstreams_connection_at_once() {
    let (tunnel, upstream) = Tunnel::with_upstream_and(unjudged).await;
    // before the head
    let caller = tunnel.post("/api/chat", "{}");
    let mut peer = upstream.accept().await;
    peer.head().await;
    drop(caller);
    peer.closed().await;
    // in the answer
    let caller = tunnel.post("/api/chat", "{}");
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.say("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun")
        .await;
    caller.head().await;
    drop(caller);
    peer.closed().await;
    // in the upload
    let mut request = head(Method::POST, "/api/chat", &[("content-length", "100")]);
    request.is_whole = false;
    let caller = tunnel.open(request);
    caller.send("begun");
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.bytes(5).await;
    drop(caller);
    assert!(peer.closed().await.is_empty());
    soon(until(|| tunnel.agent.active_streams() == 0)).await;
}

#[tokio::test]
async fn a_lost_session_closes_the_upstreams_connections() {
    let (tunnel, upstream) = Tunnel::with_upstream().await;
    let _caller = tunnel.post("/api/chat", "{}");
    let mut peer = upstream.accept().await;
    peer.head().await;
    tunnel.agent.close(c2l_tunnel::CloseReason::ConnectionLost);
    peer.closed().await;
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_announced_never_reaches_the_upstream_whole() {
    for (body, why) in [("ab", "short"), ("abcdef", "long")] {
        let (tunnel, upstream) = Tunnel::with_upstream().await;
        let mut request = head(Method::POST, "/api/chat", &[("content-length", "4")]);
        request.is_whole = false;
        let caller = tunnel.open(request);
        caller.send(body);
        caller.end();
        let mut peer = upstream.accept().await;
        let seen = String::from_utf8(peer.closed().await).unwrap();
        let body = seen.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        assert!(body.len() < 4, "{why}: {seen}");
        assert_eq!(caller.fault().await.kind, Kind::InvalidRequest, "{why}");
    }
}

#[tokio::test]
async fn an_announced_body_that_does_not_come_is_refused() {
    let (tunnel, _upstream) = Tunnel::with_upstream().await;
    let request = head(Method::POST, "/api/chat", &[("content-length", "4")]);
    let fault = tunnel.open(request).fault().await;
    assert_eq!(fault.kind, Kind::InvalidRequest);
}

#[tokio::test]
async fn what_the_policy_refuses_never_reaches_the_upstream() {
    let (tunnel, upstream) = Tunnel::with_upstream().await;
    for (method, path, kind) in [
        (Method::POST, "/api/pull", Kind::Forbidden),
        (Method::DELETE, "/api/delete", Kind::Forbidden),
        (Method::POST, "/api/me", Kind::Forbidden),
        (Method::GET, "/api/chat", Kind::MethodNotAllowed),
        (Method::TRACE, "/api/tags", Kind::MethodNotAllowed),
        (Method::GET, "/metrics", Kind::RouteUnknown),
        (Method::GET, "/api/%2e%2e/tags", Kind::InvalidRequest),
    ] {
        let fault = tunnel.open(head(method, path, &[])).fault().await;
        assert_eq!(fault.kind, kind, "{path}");
    }
    let caller = tunnel.get("/api/tags");
    let mut first = upstream.accept().await;
    assert!(first.head().await.starts_with("get /api/tags "));
    first.say(OK).await;
    assert_eq!(caller.whole().await.0, 200);
}

#[tokio::test]
async fn pieces_go_on_at_once_and_only_the_end_waits_for_the_verdict() {
    let (tunnel, upstream) = Tunnel::with_upstream().await;
    let mut request = head(Method::POST, "/api/chat", &[]);
    request.is_whole = false;
    let caller = tunnel.open(request);
    caller.send("{\"messages\":[");
    let mut peer = upstream.accept().await;
    peer.head().await;
    assert_eq!(peer.bytes(18).await, "D\r\n{\"messages\":[\r\n");
    caller.send("],\"model\":\"tiny\"}");
    assert_eq!(peer.bytes(22).await, "10\r\n],\"model\":\"tiny\"\r\n");
    // The brace and what follows it come with the end of the body.
    caller.send(" \n");
    assert_eq!(tunnel.agent.active_streams(), 1);
    caller.end();
    assert_eq!(peer.bytes(13).await, "3\r\n} \n\r\n0\r\n\r\n");
    peer.say(OK).await;
    assert_eq!(caller.whole().await, (200, "ok".to_owned()));
}

#[tokio::test]
async fn a_body_of_announced_length_goes_on_whole_and_unchanged() {
    let (tunnel, upstream) = Tunnel::with_upstream().await;
    let caller = tunnel.post("/api/chat", "{\"model\":\"tiny\"}\n");
    let mut peer = upstream.accept().await;
    assert!(peer.head().await.contains("content-length: 17\r\n"));
    assert_eq!(peer.bytes(17).await, "{\"model\":\"tiny\"}\n");
    peer.say(OK).await;
    assert_eq!(caller.whole().await, (200, "ok".to_owned()));
    assert_eq!(tunnel.forwarder.pool.idle_count(), 1);
}

#[tokio::test]
async fn a_bad_model_is_refused_before_the_rest_of_the_body_has_come() {
    let (tunnel, upstream) = Tunnel::with_upstream().await;
    let fields = [("content-length", "100000000")];
    let mut request = head(Method::POST, "/api/chat", &fields);
    request.is_whole = false;
    let caller = tunnel.open(request);
    caller.send("{\"model\":\"gpt-oss:120b-cloud\",\"images\":[\"");
    let fault = caller.fault().await;
    let expected = (Kind::Forbidden, Origin::Agent, true);
    assert_eq!((fault.kind, fault.origin, fault.is_retry_safe), expected);
    let mut peer = upstream.accept().await;
    let seen = String::from_utf8(peer.closed().await).unwrap();
    assert!(!seen.contains("cloud"), "{seen}");
    soon(until(|| tunnel.agent.active_streams() == 0)).await;
}

#[tokio::test]
async fn the_model_that_a_body_names_is_told_with_the_answer_limited_or_not() {
    for change in [unjudged as fn(&mut Config), |_| {}] {
        let (tunnel, upstream) = Tunnel::with_upstream_and(change).await;
        for (path, body, model) in [
            (
                "/api/chat",
                r#"{"stream":true,"model":"Tiny:1b"}"#,
                "Tiny:1b",
            ),
            ("/v1/chat/completions", r#"{"model":"a\u002fb"}"#, "a/b"),
            ("/api/show", r#"{"name":"x"}"#, "x"),
            ("/api/chat", "{}", ""),
        ] {
            let caller = tunnel.post(path, body);
            let mut peer = upstream.accept().await;
            peer.head().await;
            assert_eq!(peer.bytes(body.len()).await, body);
            peer.say("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
                .await;
            assert_eq!(caller.head().await.model, model, "{body}");
            assert_eq!(caller.body().await.as_deref(), Ok("ok"));
        }
    }
}

#[tokio::test]
async fn a_body_that_nobody_judges_goes_on_before_its_model_is_known() {
    let (tunnel, upstream) = Tunnel::with_upstream_and(unjudged).await;
    let mut request = head(Method::POST, "/api/chat", &[("content-length", "23")]);
    request.is_whole = false;
    let caller = tunnel.open(request);
    let mut peer = upstream.accept().await;
    peer.head().await;
    for piece in [r#"{"mod"#, r#"el":"ti"#, r#"ny","#] {
        caller.send(piece);
        assert_eq!(peer.bytes(piece.len()).await, piece);
    }
    peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n")
        .await;
    assert_eq!(caller.head().await.model, "tiny");
    caller.send(r#""a": 1}"#);
    caller.end();
    peer.say("0\r\n\r\n").await;
    assert_eq!(caller.body().await.as_deref(), Ok("ok"));
}

#[tokio::test]
async fn a_name_that_nobody_should_be_shown_is_not_told() {
    let (tunnel, upstream) = Tunnel::with_upstream_and(unjudged).await;
    let caller = tunnel.post("/api/chat", r#"{"model":"a\u009bb"}"#);
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.bytes(20).await;
    peer.say(OK).await;
    assert_eq!(caller.head().await.model, "");
}

#[tokio::test]
async fn a_refused_model_is_told_with_the_refusal() {
    let deny = |config: &mut Config| config.policy.deny_models = vec!["bad".to_owned()];
    let (tunnel, _upstream) = Tunnel::with_upstream_and(deny).await;
    let refused = tunnel
        .post("/api/chat", r#"{"model":"BAD:1b"}"#)
        .fault()
        .await;
    assert_eq!(
        (refused.kind, refused.model.as_str()),
        (Kind::Forbidden, "BAD:1b")
    );
    let unnamed = tunnel.post("/api/chat", "{}").fault().await;
    assert_eq!(
        (unnamed.kind, unnamed.model.as_str()),
        (Kind::Forbidden, "")
    );
}

#[tokio::test]
async fn a_trailer_still_follows_an_end_that_was_held_back() {
    let (tunnel, upstream) = Tunnel::with_upstream().await;
    let mut request = head(Method::POST, "/api/chat", &[]);
    request.is_whole = false;
    let caller = tunnel.open(request);
    caller.send("{}");
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("x-sum"), "1".parse().unwrap())]);
    caller.0.send_end(trailers).unwrap();
    let mut peer = upstream.accept().await;
    peer.head().await;
    assert_eq!(peer.bytes(17).await, "1\r\n{\r\n1\r\n}\r\n0\r\n\r\n");
    peer.say(OK).await;
    assert_eq!(caller.whole().await, (200, "ok".to_owned()));
}

#[tokio::test]
async fn one_request_more_than_allowed_is_refused_as_overloaded() {
    let (tunnel, upstream) = Tunnel::with_upstream_and(|c| c.max_concurrent_requests = 1).await;
    let first = tunnel.get("/api/tags");
    let mut peer = upstream.accept().await;
    peer.head().await;
    let fault = tunnel.get("/api/tags").fault().await;
    assert_eq!(
        (fault.kind, fault.origin, fault.is_retry_safe),
        (Kind::Overloaded, Origin::Agent, true)
    );
    peer.say(OK).await;
    assert_eq!(first.whole().await.0, 200);
}

// ---- a body that is held back

fn held_back() -> RequestHead {
    let mut head = head(Method::POST, "/api/chat", &[("content-length", "2")]);
    head.is_whole = false;
    head.expects_continue = true;
    head
}

#[tokio::test]
async fn the_body_is_asked_for_when_the_upstream_asks() {
    let (tunnel, upstream) = Tunnel::with_upstream().await;
    let caller = tunnel.open(held_back());
    let mut peer = upstream.accept().await;
    assert!(peer.head().await.contains("expect: 100-continue\r\n"));
    peer.say("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert!(matches!(caller.answer().await, Ok(Answer::Continue)));
    caller.send("{}");
    caller.end();
    assert_eq!(peer.bytes(2).await, "{}");
    peer.say(OK).await;
    assert_eq!(caller.whole().await, (200, "ok".to_owned()));
    assert_eq!(tunnel.forwarder.pool.idle_count(), 1);
}

#[tokio::test]
async fn a_final_answer_first_means_that_the_body_is_never_asked_for() {
    let (tunnel, upstream) = Tunnel::with_upstream().await;
    let caller = tunnel.open(held_back());
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nknown")
        .await;
    assert_eq!(caller.whole().await, (200, "known".to_owned()));
    assert!(peer.closed().await.is_empty(), "not used again");
}

#[tokio::test]
async fn an_upstream_that_says_nothing_gets_the_body_after_a_second() {
    let (tunnel, upstream) = Tunnel::with_upstream().await;
    let caller = tunnel.open(held_back());
    let mut peer = upstream.accept().await;
    peer.head().await;
    assert!(matches!(caller.answer().await, Ok(Answer::Continue)));
    caller.send("{}");
    caller.end();
    assert_eq!(peer.bytes(2).await, "{}");
    peer.say(OK).await;
    assert_eq!(caller.whole().await, (200, "ok".to_owned()));
}

// ---- loads

fn timed_out() -> Fault {
    Fault::new(Kind::Timeout, Origin::Upstream, "no answer within 30s")
}

#[tokio::test]
async fn a_load_goes_on_after_its_caller_was_told_of_a_timeout_until_its_first_byte() {
    let (tunnel, upstream) = Tunnel::with_upstream_and(|c| c.max_concurrent_requests = 1).await;
    let caller = tunnel.post("/api/chat", "{}");
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.bytes(2).await;
    caller.0.reset(timed_out());
    soon(until(|| tunnel.agent.active_streams() == 0)).await;
    // It counts as a request under way, and the session's end does not end it.
    assert_eq!(tunnel.get("/api/tags").fault().await.kind, Kind::Overloaded);
    tunnel.agent.close(c2l_tunnel::CloseReason::ConnectionLost);
    peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    peer.closed().await;
}

#[tokio::test]
async fn a_load_is_given_up_when_its_grace_is_over_and_at_shutdown() {
    for (grace, is_stopped) in [(Duration::ZERO, false), (Duration::from_secs(300), true)] {
        let (tunnel, upstream) = Tunnel::with_upstream_and(|c| c.load_grace = grace).await;
        let caller = tunnel.post("/api/chat", "{}");
        let mut peer = upstream.accept().await;
        peer.head().await;
        peer.bytes(2).await;
        caller.0.reset(timed_out());
        if is_stopped {
            soon(until(|| tunnel.agent.active_streams() == 0)).await;
            soon(tunnel.forwarder.stop()).await;
        }
        peer.closed().await;
    }
}

#[tokio::test]
async fn only_inference_is_kept_after_a_timeout() {
    let (tunnel, upstream) = Tunnel::with_upstream().await;
    let caller = tunnel.get("/api/tags");
    let mut peer = upstream.accept().await;
    peer.head().await;
    caller.0.reset(timed_out());
    peer.closed().await;
}

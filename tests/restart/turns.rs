//! Two relays on one port take turns: who stands by, who leaves, and what becomes of the connections of both.

use std::{
    net::{SocketAddr, TcpListener},
    os::unix::fs::MetadataExt as _,
    time::Duration,
};

use c2l_testkit::{Caller, PATIENCE, Program, RawConnection, empty, eventually, within};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::{BINARY, Place, shared_socket};

/// Spans everything that a test does meanwhile.
const LONG_STREAM: &str = "tiny+lines=60+gap=50ms";
/// Spans a drain timeout, or another relay's start.
const LONGER_STREAM: &str = "tiny+lines=160+gap=50ms";
const REUSE: &str = "--reuse-port";

/// Relays that are passed one socket, one after the other.
struct Passed {
    place: Place,
    socket: TcpListener,
    address: SocketAddr,
    first: Program,
    caller: Caller,
}

impl Passed {
    async fn start(more: &[&str]) -> Self {
        let mut place = Place::new().await;
        let socket = shared_socket();
        let address = socket.local_addr().expect("an address");
        let first = Program::relay_with_socket(BINARY, place.path(), &socket, more);
        let (mut first, _) = first.await;
        first.line("relay is ready").await;
        place.connect(address).await;
        let caller = Caller::new(address, &place.tokens[0]);
        Self {
            place,
            socket,
            address,
            first,
            caller,
        }
    }

    async fn next(&self) -> (Program, SocketAddr) {
        Program::relay_with_socket(BINARY, self.place.path(), &self.socket, &[]).await
    }

    fn request_bytes(&self) -> String {
        let token = &self.place.tokens[0];
        format!("GET /api/version HTTP/1.1\r\nhost: relay\r\nauthorization: Bearer {token}\r\n\r\n")
    }
}

/// Asks on a connection that is kept; returns status and head.
async fn ask_on(connection: &mut RawConnection, request: &str) -> (u16, String) {
    connection.send(request).await;
    let answer = connection.head(true).await;
    connection.read_until(b"}").await;
    (answer.status, answer.head.to_lowercase())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_connection_is_served_once_more_by_the_relay_that_leaves_and_told_to_go() {
    let mut passed = Passed::start(&[]).await;
    let mut running = passed.caller.chat(LONGER_STREAM, "hello").await;
    let request = passed.request_bytes();
    let mut kept = RawConnection::open(passed.address).await;
    let (status, head) = ask_on(&mut kept, &request).await;
    assert!(
        status == 200 && !head.contains("connection: close"),
        "{head}"
    );

    let (mut next, _) = passed.next().await;
    next.line("standing by").await;
    passed.first.signal("TERM").await;
    next.line("relay is ready").await;
    passed.first.line("draining").await;
    // Its agents have been told, and have opened their next session meanwhile.
    next.nth_line("session opened", super::USERS.len()).await;
    let (status, head) = ask_on(&mut kept, &request).await;
    assert!(
        status == 200 && head.contains("connection: close"),
        "{head}"
    );
    assert_eq!(kept.rest().await.len(), 0, "and it is closed");
    assert_eq!(passed.caller.get("/api/version").await.status(), 200);

    let (_, is_whole) = running.rest().await;
    assert!(is_whole, "an answer was torn");
    assert_eq!(passed.first.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http2_connection_is_told_to_go_and_its_streams_end_whole() {
    let mut passed = Passed::start(&[]).await;
    let stream = TcpStream::connect(passed.address)
        .await
        .expect("a connection");
    let io = TokioIo::new(stream);
    let opened = http2::handshake(TokioExecutor::new(), io).await;
    let (mut sender, connection) = opened.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let mut running = passed
        .caller
        .clone()
        .over_http2()
        .chat(LONG_STREAM, "hello")
        .await;
    let request = http::Request::get(format!("http://{}/api/version", passed.address))
        .header(
            "authorization",
            format!("Bearer {}", passed.place.tokens[0]),
        )
        .body(empty())
        .expect("a request");
    let answer = sender.send_request(request).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    drop(answer);

    let (mut next, _) = passed.next().await;
    next.line("standing by").await;
    passed.first.signal("TERM").await;
    let ended = within(PATIENCE, "the idle connection ends", connection).await;
    ended.expect("no panic").expect("a clean end");
    let (_, is_whole) = running.rest().await;
    assert!(is_whole, "an answer was torn");
    assert_eq!(passed.first.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_second_half_of_the_drain_timeout_nothing_new_is_begun() {
    let mut passed = Passed::start(&["--drain-timeout", "6s"]).await;
    let running = passed.caller.chat(LONGER_STREAM, "hello").await;
    let request = passed.request_bytes();
    let mut kept = RawConnection::open(passed.address).await;
    assert_eq!(ask_on(&mut kept, &request).await.0, 200);
    passed.first.signal("TERM").await;
    passed.first.line("draining").await;
    tokio::time::sleep(Duration::from_millis(3200)).await; // paced: the half of it is the subject
    let (status, head) = ask_on(&mut kept, &request).await;
    assert!(status == 503 && head.contains("retry-after"), "{head}");
    drop(running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stands_by_is_alive_and_not_ready_and_leaves_unnoticed() {
    let passed = Passed::start(&[]).await;
    let (mut next, ops) = passed.next().await;
    next.line("standing by").await;
    let ops = Caller::anonymous(ops);
    assert_eq!(ops.get("/livez").await.status(), 200);
    let readiness = ops.get("/readyz").await;
    assert_eq!(readiness.status(), 503);
    assert_eq!(readiness.text().await, "standing by\n");
    next.signal("TERM").await;
    assert_eq!(next.ended().await.code(), Some(0), "{:#?}", next.log());
    for _ in 0..5 {
        assert_eq!(passed.caller.get("/api/version").await.status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stands_by_takes_over_from_a_relay_that_was_killed() {
    let passed = Passed::start(&[]).await;
    let (mut next, _) = passed.next().await;
    next.line("standing by").await;
    passed.first.kill().await;
    // It waits at the port, then for its agent, which has to find out and come back.
    assert_eq!(passed.caller.get("/api/version").await.status(), 200);
    next.line("relay is ready").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_somebody_makes_blocking_holds_no_relay_up() {
    let mut passed = Passed::start(&[]).await;
    // As a service manager does when it starts the next one: the flag is that of the socket, not of the process.
    passed.socket.set_nonblocking(false).expect("a socket");
    for _ in 0..20 {
        let asking = passed.caller.get("/api/version");
        let answer = within(PATIENCE, "an answer", asking).await;
        assert_eq!(answer.status(), 200);
    }
    passed.first.signal("TERM").await;
    assert_eq!(passed.first.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relays_that_reuse_the_port_take_turns_and_the_streams_of_the_first_end_whole() {
    let mut place = Place::new().await;
    let (mut first, address, _) =
        Program::relay(BINARY, place.path(), "127.0.0.1:0", &[REUSE]).await;
    place.connect(address).await;
    let caller = Caller::new(address, &place.tokens[0]);
    let mut running = caller.chat(LONG_STREAM, "hello").await;
    let listen = address.to_string();
    let next = Program::starting_relay(BINARY, place.path(), &listen, &[REUSE]);
    let (mut next, _, _) = next.await;
    next.line("standing by").await;
    for _ in 0..5 {
        // It does not listen yet: every connection is the first one's.
        assert_eq!(caller.get("/api/version").await.status(), 200);
    }
    first.signal("TERM").await;
    next.line("relay is ready").await;
    first.line("draining").await;
    for token in &place.tokens {
        let answer = Caller::new(address, token).get("/api/version").await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await);
    }
    let (_, is_whole) = running.rest().await;
    assert!(is_whole, "an answer was torn");
    assert_eq!(first.ended().await.code(), Some(0), "{:#?}", first.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_nobody_follows_says_that_it_drains_until_somebody_comes_after_all() {
    let mut place = Place::new().await;
    let (mut relay, address, _) =
        Program::relay(BINARY, place.path(), "127.0.0.1:0", &[REUSE]).await;
    place.connect(address).await;
    let caller = Caller::new(address, &place.tokens[0]);
    let mut running = caller.chat(LONGER_STREAM, "hello").await;
    relay.signal("TERM").await;
    relay.line("draining").await;
    let refused = caller.get("/api/version").await;
    assert_eq!(refused.status(), 503);
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(refused.json().await["code"], "draining");

    // Better late than never.
    let listen = address.to_string();
    let (mut late, _, _) = Program::relay(BINARY, place.path(), &listen, &[REUSE]).await;
    relay.line("the port is left").await;
    late.nth_line("session opened", super::USERS.len()).await;
    for _ in 0..10 {
        assert_eq!(caller.get("/api/version").await.status(), 200);
    }
    let (_, is_whole) = running.rest().await;
    assert!(is_whole, "an answer was torn");
    assert_eq!(relay.ended().await.code(), Some(0), "{:#?}", relay.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_not_shared_is_not_taken() {
    let place = Place::new().await;
    let (_relay, address, _) = Program::relay(BINARY, place.path(), "127.0.0.1:0", &[]).await;
    let folder = place.path().to_str().expect("a plain name");
    let listen = address.to_string();
    let arguments = ["relay", "--data-dir", folder, "--listen", &listen, REUSE];
    let output = Program::output(BINARY, place.path(), arguments, &[]).await;
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains(REUSE), "{told}");
}

/// The operator's door lies with the relay that serves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operators_socket_changes_hands_with_the_port() {
    let mut passed = Passed::start(&[]).await;
    let socket = passed.place.path().join("run/relay.sock");
    let lies = || std::fs::metadata(&socket).map(|found| found.ino()).ok();
    let of_first = lies().expect("the first relay's socket");
    let (mut next, _) = passed.next().await;
    next.line("standing by").await;
    assert_eq!(lies(), Some(of_first), "one that stands by takes nothing");
    passed.first.signal("TERM").await;
    next.line("relay is ready").await;
    let changed = async || lies().filter(|found| *found != of_first);
    eventually(PATIENCE, "the next relay's socket", changed).await;
    assert!(passed.first.ended().await.success());
    assert!(lies().is_some(), "the first one removed only its own");
}

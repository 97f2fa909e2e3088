//! Promise: a relay is replaced by another on the same port, and nobody who uses it notices.
//!
//! Real programs, in front of an upstream of the tests. The socket is passed as a service manager does it, or shared with
//! `SO_REUSEPORT`.

#[path = "restart/callers.rs"]
mod callers;
#[path = "restart/expecting.rs"]
mod expecting;
#[path = "restart/turns.rs"]
mod turns;

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use c2l_testkit::{Caller, PATIENCE, Program, TestUpstream, eventually};
use serde_json::Value;
use socket2::SockRef;
use tempfile::TempDir;
use tokio::{task::JoinSet, time::Instant};

use callers::{Asker, Question, Tally};

const BINARY: &str = env!("CARGO_BIN_EXE_c2l");
const USERS: [&str; 4] = ["ada", "bob", "eve", "kim"];
/// Streams under way at each replacement, at least.
const STREAMS: usize = 200;
/// Callers that stream, of each user: some of them are always between two answers.
const STREAMERS: usize = 54;
const REPLACEMENTS: usize = 5;
/// Wider than the defaults: the test is about what is lost, not about how starved of time a machine is.
const LIMITS: [&str; 4] = ["--startup-grace", "20s", "--drain-timeout", "60s"];

/// Long enough to span a replacement.
const STREAM: Question = Question {
    path: "/api/chat",
    model: "tiny+lines=10+gap=500ms",
    is_streamed: true,
};
/// Not one that a client repeats by itself.
const SHORT: Question = Question {
    path: "/api/generate",
    model: "tiny+lines=3",
    is_streamed: false,
};

/// A port as a service manager holds it, with room for everybody who comes back at once.
fn shared_socket() -> TcpListener {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    SockRef::from(&socket).listen(1024).expect("a longer queue");
    socket
}

/// A place where relays follow one another, and what its relays share.
struct Place {
    folder: TempDir,
    upstream: TestUpstream,
    tokens: Vec<String>,
    agents: Vec<Program>,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let upstream = TestUpstream::start_with(|config| config.recorded_requests = 100_000).await;
        Self {
            folder,
            upstream,
            tokens: Vec::new(),
            agents: Vec::new(),
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// An agent of each user at the relay, in front of the one upstream.
    async fn connect(&mut self, relay: SocketAddr) {
        for user in USERS {
            let kind = ["--kind", "agent"];
            let token = Program::issue_token(BINARY, self.path(), user, &kind).await;
            let own = self.path().join(user);
            std::fs::create_dir(&own).expect("a folder");
            let upstream = self.upstream.address();
            let agent = Program::agent(BINARY, &own, relay, &token, upstream, &[]).await;
            self.agents.push(agent);
            let kind = ["--kind", "api"];
            let token = Program::issue_token(BINARY, self.path(), user, &kind).await;
            self.tokens.push(token);
        }
    }

    /// What the upstream says to a question.
    async fn answer(&self, question: &Question, tally: &Tally) -> Bytes {
        let caller = Caller::anonymous(self.upstream.address());
        let request = question.request(&caller, tally.next_number());
        let mut answer = caller.send(request).await;
        let (bytes, is_whole) = answer.rest().await;
        assert!(is_whole && answer.status() == 200, "{bytes:?}");
        bytes
    }

    /// Streams and short requests of every user, on and on.
    async fn crowd(&self, relay: SocketAddr, tally: &Arc<Tally>) -> JoinSet<()> {
        let (stream, short) = (Arc::new(STREAM), Arc::new(SHORT));
        let whole_stream = self.answer(&stream, tally).await;
        let whole_short = self.answer(&short, tally).await;
        let mut crowd = JoinSet::new();
        for token in &self.tokens {
            let streamer = Asker {
                caller: Caller::new(relay, token),
                relay,
                question: Arc::clone(&stream),
                expected: whole_stream.clone(),
                keeps_connection: true,
                tally: Arc::clone(tally),
            };
            for _ in 0..STREAMERS {
                streamer.clone().start(&mut crowd);
            }
            let keeper = Asker {
                question: Arc::clone(&short),
                expected: whole_short.clone(),
                ..streamer
            };
            let stranger = Asker {
                keeps_connection: false,
                ..keeper.clone()
            };
            for asker in [keeper.clone(), keeper, stranger] {
                asker.start(&mut crowd);
            }
        }
        crowd
    }

    /// How often each question has reached the upstream.
    fn asked(&self) -> HashMap<String, usize> {
        let mut asked = HashMap::new();
        for request in self.upstream.demo.recorded() {
            let body = request.body.expect("a small body");
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let prompt = body["prompt"]
                .as_str()
                .or(body["messages"][0]["content"].as_str());
            if let Some(prompt) = prompt {
                *asked.entry(prompt.to_owned()).or_default() += 1;
            }
        }
        asked
    }
}

/// Waits until enough streams are under way, and replaces the relay by the one that stands by.
#[expect(clippy::print_stdout, reason = "times are worth seeing")]
async fn replace(old: &mut Program, next: &mut Program, tally: &Tally) {
    next.line("standing by").await;
    let streaming = eventually(3 * PATIENCE, "enough streams under way", || async {
        let streaming = tally.streaming.load(Ordering::Relaxed);
        (streaming >= STREAMS).then_some(streaming)
    })
    .await;
    let began = Instant::now();
    old.signal("TERM").await;
    next.line("relay is ready").await;
    let ready_after = began.elapsed();
    let status = old.ended().await;
    assert_eq!(status.code(), Some(0), "{:#?}", old.log());
    let gone_after = began.elapsed();
    println!(
        "{streaming} streams under way: ready {ready_after:?}, the old one gone {gone_after:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_is_replaced_five_times_under_load_and_nothing_is_lost() {
    let mut place = Place::new().await;
    let socket = shared_socket();
    let address = socket.local_addr().expect("an address");
    let (mut relay, _) = Program::relay_with_socket(BINARY, place.path(), &socket, &LIMITS).await;
    relay.line("relay is ready").await;
    place.connect(address).await;
    let tally = Arc::new(Tally::default());
    let mut crowd = place.crowd(address, &tally).await;

    for _ in 0..REPLACEMENTS {
        let next = Program::relay_with_socket(BINARY, place.path(), &socket, &LIMITS);
        let (mut next, _) = next.await;
        replace(&mut relay, &mut next, &tally).await;
        relay = next;
    }
    tally.end();
    while let Some(ended) = crowd.join_next().await {
        ended.expect("a caller that did not panic");
    }
    judge(&place, &tally);
}

/// Nothing failed, nothing is torn, and the upstream was asked once for each answer.
#[expect(clippy::print_stdout, reason = "times are worth seeing")]
fn judge(place: &Place, tally: &Tally) {
    let whole = tally.whole.load(Ordering::Relaxed);
    let slowest = *tally.slowest.lock().expect("no panic");
    println!("{whole} answers whole, slowest head {slowest:?}");
    let failures = tally.failures.lock().expect("no panic");
    assert!(failures.is_empty(), "beside {whole}: {failures:#?}");
    assert!(whole >= (REPLACEMENTS * STREAMS) as u64, "{whole}");
    let asked = place.asked();
    let repeated: Vec<_> = asked.iter().filter(|(_, times)| **times != 1).collect();
    assert!(repeated.is_empty(), "more than once: {repeated:?}");
    let by_the_test = 2; // to know what the answers are
    assert_eq!(asked.len() as u64, whole + by_the_test);
}

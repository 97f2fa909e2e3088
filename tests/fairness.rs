//! Promise: one reader that stops and one endless upload change nothing for anybody else, and cost a known amount of
//! memory. With the real programs, so that the memory of each is its own.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use c2l_testkit::{Caller, Program, RawConnection, TestUpstream, upload, within};
use http::Method;
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_c2l");

/// How many streams run beside the two that are in the way.
const OTHERS: usize = 100;
/// How much a program may grow meanwhile: hundred streams with their windows, and what an allocator keeps.
const MOST_GROWTH_BYTES: u64 = 64 * 1024 * 1024;
/// How large a piece of the upload is.
const PIECE_BYTES: usize = 64 * 1024;
/// A digest that nobody has.
const BLOB: &str =
    "/api/blobs/sha256:4242424242424242424242424242424242424242424242424242424242424242";

/// 4 GB from the release build; a debug build takes as long for a quarter of it.
fn upload_bytes() -> u64 {
    let asked = std::env::var("C2L_TEST_UPLOAD_BYTES").ok();
    let asked = asked.map(|text| text.parse().expect("a number of bytes"));
    asked.unwrap_or(if cfg!(debug_assertions) {
        1 << 30
    } else {
        4 << 30
    })
}

/// A relay and an agent of `ada` as processes, which permit uploads.
struct Programs {
    relay: Program,
    agent: Program,
    caller: Caller,
    manager: Caller,
    address: std::net::SocketAddr,
    token: String,
}

impl Programs {
    async fn start(folder: &Path, upstream: &TestUpstream) -> Self {
        let limits = ["--gap-timeout", "300s"];
        let (relay, address, _ops) = Program::relay(BINARY, folder, "127.0.0.1:0", &limits).await;
        let kind = ["--kind", "agent"];
        let agent_token = Program::issue_token(BINARY, folder, "ada", &kind).await;
        let kind = ["--kind", "api"];
        let token = Program::issue_token(BINARY, folder, "ada", &kind).await;
        let kind = ["--kind", "api", "--scope", "infer,manage"];
        let managing = Program::issue_token(BINARY, folder, "ada", &kind).await;
        let upstream = upstream.address();
        let allow = ["--allow-manage"];
        let agent = Program::agent(BINARY, folder, address, &agent_token, upstream, &allow).await;
        Self {
            relay,
            agent,
            caller: Caller::new(address, token.as_str()),
            manager: Caller::new(address, managing),
            address,
            token,
        }
    }

    fn memory(&self) -> [u64; 2] {
        [self.relay.resident_bytes(), self.agent.resident_bytes()]
    }
}

fn megabytes(bytes: [u64; 2]) -> String {
    let [relay, agent] = bytes.map(|bytes| bytes / (1024 * 1024));
    format!("relay {relay} MiB, agent {agent} MiB")
}

/// One of the hundred: half of them chats that say back what they were asked, half of them bytes of a known pattern.
async fn other_stream(caller: Caller, number: usize) {
    if number.is_multiple_of(2) {
        let prompt = format!("prompt number {number}");
        let mut answer = caller.chat("tiny+echo+gap=20ms", &prompt).await;
        assert_eq!(answer.status(), 200);
        let (body, is_whole) = answer.rest().await;
        assert!(is_whole, "chat {number} was torn");
        let lines = std::str::from_utf8(&body).expect("text").lines();
        let lines: Vec<serde_json::Value> = lines
            .map(|line| serde_json::from_str(line).expect("a line"))
            .collect();
        let text: String = lines
            .iter()
            .filter_map(|line| line["message"]["content"].as_str())
            .collect();
        assert!(text.contains(&prompt), "chat {number} was told {text:?}");
        assert_eq!(lines.last().expect("a line")["done"], true);
    } else {
        let mut answer = caller.chat("tiny+bytes=300000", "bytes").await;
        assert_eq!(answer.status(), 200);
        let (body, is_whole) = answer.rest().await;
        assert!(is_whole, "download {number} was torn");
        assert_eq!(body.len(), 300_000);
        let expected = (0..).map(c2l_demo::pattern_byte).take(body.len());
        assert!(
            body.iter().copied().eq(expected),
            "download {number} is wrong"
        );
    }
}

/// Runs the hundred and says how long that took.
async fn hundred_streams(caller: &Caller) -> Duration {
    let began = Instant::now();
    let mut others = JoinSet::new();
    for number in 0..OTHERS {
        others.spawn(other_stream(caller.clone(), number));
    }
    within(Duration::from_secs(25), "a hundred streams end", async {
        while let Some(ended) = others.join_next().await {
            ended.expect("a stream that is right");
        }
    })
    .await;
    began.elapsed()
}

/// Asks for far more than fits on the way, reads the head and then nothing.
async fn reader_that_stops(programs: &Programs) -> RawConnection {
    let body = json!({ "model": "tiny+bytes=1000000000", "prompt": "all of it" }).to_string();
    let request = format!(
        "POST /api/generate HTTP/1.1\r\nhost: relay\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
        programs.token,
        body.len(),
    );
    let mut connection = RawConnection::open(programs.address).await;
    connection.send(request).await;
    assert_eq!(connection.head(true).await.status, 200);
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_and_an_endless_upload_change_nothing_for_a_hundred_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let upstream = TestUpstream::start().await;
    let programs = Programs::start(folder.path(), &upstream).await;
    // Once without anything in the way: the time to compare with, and memory that has seen a hundred streams.
    let alone = hundred_streams(&programs.caller).await;
    let before = programs.memory();

    let mut stopped = reader_that_stops(&programs).await;
    let length = upload_bytes();
    let (pieces, body) = upload();
    let request = programs.manager.request(Method::POST, BLOB);
    let request = request.body(body).expect("a request");
    let manager = programs.manager.clone();
    let began = Instant::now();
    let uploading = tokio::spawn(async move { manager.try_send(request).await });
    let feeding = tokio::spawn(async move {
        let zeros = Bytes::from(vec![0; PIECE_BYTES]);
        let mut left = length;
        while left > 0 {
            let most = u64::try_from(PIECE_BYTES).expect("small");
            let size = usize::try_from(left.min(most)).expect("small");
            pieces
                .send(zeros.slice(..size))
                .await
                .expect("a caller who sends");
            left -= size as u64;
        }
    });
    let moving = |counters: &c2l_demo::Counters| counters.bytes_uploaded > 16 * 1024 * 1024;
    upstream.wait_for("upload under way", moving).await;

    let beside = hundred_streams(&programs.caller).await;
    let during = programs.memory();
    let uploaded = upstream.demo.counters().bytes_uploaded;
    let is_uploading = !uploading.is_finished();

    feeding.await.expect("all of it was sent");
    let answer = uploading.await.expect("an upload that ends");
    assert_eq!(answer.expect("an answer").status(), 201);
    let took = began.elapsed();
    let counters = upstream.demo.counters();
    assert_eq!(counters.bytes_uploaded, length, "every byte of the upload");
    let after = programs.memory();

    // The one that stopped was left alone, and goes on where it stood.
    let mark: Vec<u8> = (0..4_000_000)
        .skip(3_999_000)
        .map(c2l_demo::pattern_byte)
        .collect();
    let resumed = stopped.read_until(&mark).await;
    assert!(resumed.is_some(), "the reader that stopped was cut off");
    drop(stopped);
    upstream
        .wait_for("end of every request", |counters| {
            counters.requests_active == 0
        })
        .await;

    println!("memory before: {}", megabytes(before));
    println!("memory during: {}", megabytes(during));
    println!("memory after:  {}", megabytes(after));
    println!("{OTHERS} streams alone: {alone:?}; beside both: {beside:?}");
    let rate = length / 1_000 / u64::try_from(took.as_millis().max(1)).expect("short");
    println!(
        "{length} bytes uploaded in {took:?} ({rate} MB/s), {uploaded} of them beside the others"
    );
    assert!(
        is_uploading,
        "the upload was over before the others: it showed nothing"
    );
    for (name, index) in [("relay", 0), ("agent", 1)] {
        let growth = during[index]
            .max(after[index])
            .saturating_sub(before[index]);
        assert!(
            growth < MOST_GROWTH_BYTES,
            "the {name} grew by {growth} bytes"
        );
    }
}

/// The memory after a few rounds of the hundred: what an allocator keeps for such work it has by then.
async fn memory_under_load(programs: &Programs) -> [u64; 2] {
    for _ in 0..2 {
        hundred_streams(&programs.caller).await;
    }
    programs.memory()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn res_03_readers_that_stop_hold_their_credit_and_no_more() {
    const READERS: u64 = 10;
    let folder = tempfile::tempdir().expect("a folder");
    let upstream = TestUpstream::start().await;
    let programs = Programs::start(folder.path(), &upstream).await;
    let before = memory_under_load(&programs).await;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(reader_that_stops(&programs).await);
    }
    let with_them = memory_under_load(&programs).await;
    println!(
        "{READERS} readers that stopped: {} before, {} with them",
        megabytes(before),
        megabytes(with_them)
    );
    for (name, index) in [("relay", 0), ("agent", 1)] {
        let growth = with_them[index].saturating_sub(before[index]);
        assert!(
            growth < MOST_GROWTH_BYTES,
            "the {name} grew by {growth} bytes"
        );
    }
    drop(readers);
    upstream
        .wait_for("end of every request", |counters| {
            counters.requests_active == 0
        })
        .await;
}

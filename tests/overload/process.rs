//! The program itself, where what is tested belongs to a process: its descriptors, its memory.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use c2l_auth::SigningKey;
use c2l_testkit::{
    Caller, PATIENCE, RawConnection, TestAgent, TestUpstream, eventually,
    tokens::{self, Token},
    within,
};
use http::StatusCode;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStderr, Command},
    task::JoinHandle,
    time::Instant,
};

use super::{CALM, crowd};

/// A relay in a process of its own, which ends with this value.
pub(super) struct RelayProcess {
    pub(super) address: SocketAddr,
    ops: SocketAddr,
    key: SigningKey,
    child: Child,
    _log: JoinHandle<()>,
    _data: TempDir,
}

impl RelayProcess {
    /// Starts one with so many descriptors, and with these flags.
    pub(super) async fn start(descriptors: u32, flags: &[&str]) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let key = SigningKey::load_or_create(data.path()).expect("a key");
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("ulimit -n {descriptors} && exec \"$0\" \"$@\""))
            .arg(env!("CARGO_BIN_EXE_c2l"))
            .args(["relay", "--listen", "127.0.0.1:0"])
            .args(["--ops-listen", "127.0.0.1:0", "--log-format", "json"])
            .arg("--data-dir")
            .arg(data.path())
            .args(flags)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("a relay");
        let log = child.stderr.take().expect("a log");
        let mut lines = BufReader::new(log).lines();
        let (address, ops) = within(PATIENCE, "the relay starts", addresses(&mut lines)).await;
        Self {
            address,
            ops,
            key,
            child,
            // Read to its end: a full pipe would hold the relay up.
            _log: tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} }),
            _data: data,
        }
    }

    pub(super) fn sign(&self, token: &Token) -> String {
        token.signed_by(&self.key)
    }

    pub(super) fn caller(&self, user: &str) -> Caller {
        Caller::new(self.address, self.sign(&tokens::api(user)))
    }

    pub(super) fn agent(&self, user: &str, upstream: SocketAddr) -> TestAgent {
        let url = format!("http://{}", self.address);
        TestAgent::start(&url, self.sign(&tokens::agent(user)), upstream, |_| {})
    }

    pub(super) async fn metric(&self, name: &str) -> u64 {
        let [value] = self.metrics([name]).await;
        value
    }

    /// These rows of one page.
    pub(super) async fn metrics<const N: usize>(&self, names: [&str; N]) -> [u64; N] {
        let page = Caller::anonymous(self.ops).get("/metrics").await;
        let page = page.text().await;
        names.map(|name| {
            let row = page.lines().find_map(|line| line.strip_prefix(name));
            row.and_then(|value| value.trim().parse().ok())
                .unwrap_or_else(|| panic!("no {name} in {page}"))
        })
    }

    async fn metric_becomes(&self, name: &str, wanted: u64) {
        let what = format!("{name} becomes {wanted}");
        eventually(2 * PATIENCE, &what, async || {
            (self.metric(name).await == wanted).then_some(())
        })
        .await;
    }

    fn proc(&self, file: &str) -> String {
        let id = self.child.id().expect("a process that runs");
        std::fs::read_to_string(format!("/proc/{id}/{file}")).expect("its figures")
    }

    /// How many files and sockets are open.
    pub(super) fn descriptors(&self) -> usize {
        let id = self.child.id().expect("a process that runs");
        let open = std::fs::read_dir(format!("/proc/{id}/fd")).expect("its descriptors");
        open.count()
    }

    /// Memory that is held now.
    pub(super) fn resident_bytes(&self) -> u64 {
        const PAGE_BYTES: u64 = 4096;
        let pages = self.proc("statm");
        let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok());
        pages.map_or(0, |pages: u64| pages * PAGE_BYTES)
    }

    /// Time spent so far.
    fn processor_time(&self) -> Duration {
        const TICK: Duration = Duration::from_millis(10);
        let figures = self.proc("stat");
        let behind_name = figures.rsplit(") ").next().unwrap_or_default();
        let ticks = behind_name.split(' ').skip(11).take(2);
        let ticks: u32 = ticks.filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
        TICK * ticks
    }
}

/// Where it listens, from the line that says so.
async fn addresses(
    lines: &mut tokio::io::Lines<BufReader<ChildStderr>>,
) -> (SocketAddr, SocketAddr) {
    while let Some(line) = lines.next_line().await.expect("a log") {
        let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        let address = |name: &str| event[name].as_str()?.parse().ok();
        if let (Some(public), Some(ops)) = (address("address"), address("ops")) {
            return (public, ops);
        }
    }
    panic!("the relay ended");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn res_11_a_relay_without_descriptors_goes_on_with_what_it_has_and_recovers() {
    const DESCRIPTORS: u32 = 256;
    /// Enough to use up the descriptors, and some who wait in the system's queue; a full queue would only make the
    /// test wait for the system to try again.
    const CROWD: usize = DESCRIPTORS as usize + 64;
    let _crowd = crowd().await;
    // Whose descriptors can be counted by its owner.
    let relay = RelayProcess::start(DESCRIPTORS, &["--allow-core-dumps"]).await;
    let upstream = TestUpstream::start().await;
    let mut agent = relay.agent("ada", upstream.address());
    agent.connected().await;
    let caller = relay.caller("ada");
    let mut running = caller.chat("tiny+lines=50+gap=40ms", "hello").await;
    assert_eq!(running.status(), StatusCode::OK);

    let mut strangers = Vec::new();
    for _ in 0..CROWD {
        strangers.push(RawConnection::open(relay.address).await);
    }
    let exhausted = async || (relay.descriptors() == DESCRIPTORS as usize).then_some(());
    eventually(PATIENCE, "no descriptor is left", exhausted).await;
    // Who is served already does not feel it, and the loop that accepts does not burn what is left of the processor.
    let (before, began) = (relay.processor_time(), Instant::now());
    let (_, is_whole) = running.rest().await;
    assert!(is_whole, "the answer that was under way");
    let (spent, took) = (relay.processor_time() - before, began.elapsed());
    println!("RES-11: {spent:?} of processor time in {took:?} without descriptors");
    assert!(spent < took / 2, "{spent:?} in {took:?}");

    drop(strangers);
    let mut answer = within(CALM, "an answer", caller.chat("tiny+lines=1", "hello")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.rest().await.1);
    let health = within(
        CALM,
        "the health check",
        Caller::anonymous(relay.ops).get("/livez"),
    )
    .await;
    assert_eq!(health.status(), StatusCode::OK);
    drop((answer, running));
    relay.metric_becomes("c2l_connections ", 1).await;
    assert_eq!(relay.metric("c2l_sessions_total ").await, 1, "one session");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn res_12_idle_agents_and_callers_cost_little_and_stay() {
    const EACH: u64 = 300;
    /// Twice what a debug build was seen to take for an agent, and four times that for a caller.
    const MOST_BYTES: u64 = 160 * 1024;
    let _crowd = crowd().await;
    // Each side is lost after two intervals of silence: more than a loaded machine makes anyone wait.
    let relay = RelayProcess::start(1024, &["--heartbeat-interval", "3s"]).await;
    let upstream = TestUpstream::start().await;
    // What is made once is made before the first look.
    let mut warm = relay.agent("warm", upstream.address());
    warm.connected().await;
    let answer = relay.caller("warm").chat("tiny", "hello").await;
    assert_eq!(answer.status(), StatusCode::OK);
    drop(answer);
    relay.metric_becomes("c2l_connections ", 1).await;
    let (before, tasks) = (relay.resident_bytes(), relay.metric("c2l_tasks ").await);

    let mut agents = Vec::new();
    for number in 0..EACH {
        agents.push(relay.agent(&format!("user-{number}"), upstream.address()));
    }
    for agent in &mut agents {
        agent.connected().await;
    }
    let with_agents = relay.resident_bytes();
    let mut callers = Vec::new();
    for _ in 0..EACH {
        let mut caller = RawConnection::open(relay.address).await;
        caller
            .send("GET /relay/v1/version HTTP/1.1\r\nhost: relay\r\n\r\n")
            .await;
        assert_eq!(caller.head(true).await.status, 200);
        callers.push(caller);
    }
    let with_all = relay.resident_bytes();
    let per_agent = with_agents.saturating_sub(before) / EACH;
    let per_caller = with_all.saturating_sub(with_agents) / EACH;

    let (spent, began) = (relay.processor_time(), Instant::now());
    // paced: idling for a few heartbeats is what is tested
    tokio::time::sleep(Duration::from_secs(7)).await;
    let (spent, took) = (relay.processor_time() - spent, began.elapsed());
    println!(
        "RES-12: an idle agent {per_agent} bytes, an idle caller {per_caller}; {spent:?} of processor time in {took:?} \
         for {EACH} agents that beat every three seconds"
    );
    assert_eq!(relay.metric("c2l_sessions ").await, EACH + 1);
    assert_eq!(
        relay.metric("c2l_sessions_total ").await,
        EACH + 1,
        "0 disconnects"
    );
    assert_eq!(relay.metric("c2l_connections ").await, 2 * EACH + 1);
    assert!(per_agent < MOST_BYTES && per_caller < MOST_BYTES);
    drop((agents, callers));
    relay.metric_becomes("c2l_connections ", 1).await;
    eventually(PATIENCE, "their tasks have ended", async || {
        (relay.metric("c2l_tasks ").await <= tasks).then_some(())
    })
    .await;
}

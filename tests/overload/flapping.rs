//! Agents that come and go on a bad road, and what is left of them in the relay's process: nothing.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use c2l_testkit::{Caller, Dice, PATIENCE, TestAgent, TestUpstream, eventually, tokens, within};
use http::StatusCode;
use tokio::{
    io::{AsyncWriteExt as _, copy, copy_bidirectional, sink},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, timeout},
};

use super::{crowd, process::RelayProcess};

const DEVICES: u64 = 10;
const CALLERS: u64 = 20;
/// Not shorter: agents, callers and road share one process, and perhaps its processor with other checks.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Both sides notice a silent peer after two intervals.
const SILENCE: Duration = Duration::from_secs(11);
/// What memory may differ by beside a tenth: pages that the allocator keeps or gives back.
const NOISE_BYTES: u64 = 2 << 20;
/// Between the starts of two agents.
const APART: Duration = Duration::from_millis(5);
/// Between two looks at what the relay holds.
const LOOK: Duration = Duration::from_millis(100);

/// How a connection ends whose time is over.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// As by a process that is killed.
    Closed,
    /// With a reset, unread bytes and all.
    Reset,
    /// The agent says no more, and still listens.
    HalfClosed,
    /// Nothing arrives any more, and nobody is told.
    Silent,
}

const FATES: [Fate; 4] = [Fate::Closed, Fate::Reset, Fate::HalfClosed, Fate::Silent];

#[derive(Debug, Default)]
struct Tally {
    /// By their fate.
    ended: [AtomicU64; FATES.len()],
    /// Those whose half-close the relay did not answer with its own.
    unheard: AtomicU64,
}

/// Between the agents and their relay; it ends with this value, and its connections with it.
struct BadRoad {
    address: SocketAddr,
    tally: Arc<Tally>,
    task: JoinHandle<()>,
}

impl Drop for BadRoad {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl BadRoad {
    async fn start(relay: SocketAddr, mut dice: Dice) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let tally = Arc::<Tally>::default();
        let counted = Arc::clone(&tally);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((agent, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let (dice, tally) = (Dice::new(dice.roll()), Arc::clone(&counted));
                connections.spawn(async move {
                    // What the two say to the end of their connection is what is tested.
                    drop(carry(agent, relay, dice, &tally).await);
                });
            }
        });
        Self {
            address,
            tally,
            task,
        }
    }

    fn told(&self) -> String {
        let each = FATES.iter().zip(&self.tally.ended);
        each.map(|(fate, count)| format!("{fate:?} {}", count.load(Ordering::Relaxed)))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

async fn carry(
    mut agent: TcpStream,
    relay: SocketAddr,
    mut dice: Dice,
    tally: &Tally,
) -> io::Result<()> {
    let mut onward = TcpStream::connect(relay).await?;
    let fate = *dice.pick(&FATES);
    // Some end in the middle of the greeting.
    let most = if dice.happens(20) { 30 } else { 20_000 };
    let life = Duration::from_millis(dice.below(most));
    if let Ok(ended) = timeout(life, copy_bidirectional(&mut agent, &mut onward)).await {
        return ended.map(|_| ());
    }
    tally.ended[fate as usize].fetch_add(1, Ordering::Relaxed);
    match fate {
        Fate::Closed => {}
        Fate::Reset => {
            agent.set_zero_linger()?;
            onward.set_zero_linger()?;
        }
        Fate::HalfClosed => {
            drop(agent);
            onward.shutdown().await?;
            let mut nothing = sink();
            let until_closed = timeout(PATIENCE, copy(&mut onward, &mut nothing));
            let was_heard = until_closed.await.is_ok();
            tally
                .unheard
                .fetch_add(u64::from(!was_heard), Ordering::Relaxed);
        }
        // paced: nobody is to notice before their heartbeats do
        Fate::Silent => sleep(SILENCE).await,
    }
    Ok(())
}

/// What a relay holds, as the system and it itself count.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    tasks: u64,
    connections: u64,
    sessions: u64,
    requests: u64,
}

impl Held {
    async fn by(relay: &RelayProcess) -> Self {
        let names = [
            "c2l_tasks ",
            "c2l_connections ",
            "c2l_sessions ",
            "c2l_requests_active ",
        ];
        let [tasks, connections, sessions, requests] = relay.metrics(names).await;
        Self {
            descriptors: relay.descriptors(),
            tasks,
            connections,
            sessions,
            requests,
        }
    }

    /// By a relay that has come to rest with this many connections.
    async fn at_rest(relay: &RelayProcess, connections: u64) -> Self {
        eventually(PATIENCE, "a relay at rest", async || {
            let held = Self::by(relay).await;
            sleep(LOOK).await; // paced: whoever is leaving has left by the second look
            let is_at_rest = held.connections == connections && held == Self::by(relay).await;
            is_at_rest.then_some(held)
        })
        .await
    }

    /// Waits until it is this again, and says what it was instead.
    async fn is_left_by(&self, relay: &RelayProcess) {
        let deadline = Instant::now() + 3 * PATIENCE;
        loop {
            let held = Self::by(relay).await;
            if held == *self {
                return;
            }
            assert!(Instant::now() < deadline, "{held:?} instead of {self:?}");
            sleep(LOOK).await; // paced: between two looks at a condition
        }
    }
}

/// How many flap, and how long each half takes.
struct Flock {
    users: u64,
    half: Duration,
}

impl Flock {
    /// 500 for so many seconds in all, if `C2L_FLAP_SECONDS` says so; else as many as one may bear beside other tests.
    fn of_this_run() -> Self {
        let given = std::env::var("C2L_FLAP_SECONDS").ok();
        let seconds: Option<f64> = given.map(|text| text.parse().expect("seconds"));
        Self {
            users: if seconds.is_some() { 50 } else { 8 },
            half: Duration::from_secs_f64(seconds.unwrap_or(12.0) / 2.0),
        }
    }

    fn agents(&self) -> u64 {
        self.users * DEVICES
    }
}

/// All agents and their callers, for so long; what came of it. When it returns, none of them is left.
async fn flap(
    relay: &RelayProcess,
    upstream: SocketAddr,
    dice: &mut Dice,
    flock: &Flock,
) -> String {
    let road = BadRoad::start(relay.address, Dice::new(dice.roll())).await;
    let mut agents = Vec::new();
    for number in 0..flock.agents() {
        let token = relay.sign(&tokens::agent(&format!("user-{}", number % flock.users)));
        let url = format!("http://{}", road.address);
        agents.push(TestAgent::start(&url, token, upstream, |config| {
            config.device_name = format!("device-{}", number / flock.users);
            config.backoff_min = Duration::from_millis(200);
            config.backoff_max = Duration::from_secs(2);
        }));
        sleep(APART).await; // paced: it is their ends that are to come at any time
    }
    let until = Instant::now() + flock.half;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let user = format!("user-{}", dice.below(flock.users));
        callers.spawn(ask(relay.caller(&user), Dice::new(dice.roll()), until));
    }
    let answers = callers.join_all().await;
    let whole: u64 = answers.iter().map(|(whole, _)| whole).sum();
    let other: u64 = answers.iter().map(|(_, other)| other).sum();
    let told = format!(
        "connections ended by the road: {}; {whole} answers whole, {other} not",
        road.told()
    );
    assert_eq!(road.tally.unheard.load(Ordering::Relaxed), 0, "unheard");
    assert!(whole > 0 && other > 0, "agents that both serve and fail");
    for (number, agent) in agents.into_iter().enumerate() {
        // Half of them crash, the other half take their leave when they are dropped.
        if number % 2 == 0 {
            agent.kill().await;
        }
    }
    told
}

/// One caller who asks one device after another until then; how many answers were whole, and how many were not.
async fn ask(caller: Caller, mut dice: Dice, until: Instant) -> (u64, u64) {
    let (mut whole, mut other) = (0, 0);
    while Instant::now() < until {
        let path = format!("/d/device-{}/api/chat", dice.below(DEVICES));
        let body = serde_json::json!({ "model": "tiny+lines=20+gap=20ms", "messages": [] });
        let mut answer = caller.post(&path, &body).await;
        if answer.status() == StatusCode::OK && dice.happens(20) {
            drop(answer); // who asked has left
            other += 1;
        } else if answer.rest().await.1 && answer.status() == StatusCode::OK {
            whole += 1;
        } else {
            other += 1;
        }
        sleep(Duration::from_millis(dice.below(200))).await; // paced: a caller, not a flood
    }
    (whole, other)
}

/// Somebody whose agent stays asks once a second and is always served. How fast belongs to tests that run alone.
async fn watch(neighbour: &Caller) -> ! {
    loop {
        let answer = neighbour.chat("tiny+lines=2", "hello");
        let mut answer = within(PATIENCE, "the neighbour is answered", answer).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(answer.rest().await.1, "a whole answer for the neighbour");
        sleep(Duration::from_secs(1)).await; // paced: once a second
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_flapping_agents_took_of_the_relay_is_given_back() {
    let _crowd = crowd().await;
    let seed = Dice::seed();
    println!("C2L_TEST_SEED={seed}");
    let (mut dice, flock) = (Dice::new(seed), Flock::of_this_run());
    let interval = format!("{}s", HEARTBEAT.as_secs());
    // They all come from one address, more often than honest ones of one address do.
    let flags = [
        "--heartbeat-interval",
        &interval,
        "--limit-address-sessions=none",
        "--limit-address-connections=none",
    ];
    let relay = RelayProcess::start(4096, &flags).await;
    let upstream = TestUpstream::start().await;
    let mut steady = relay.agent("steady", upstream.address());
    steady.connected().await;
    let neighbour = relay.caller("steady");
    let first = neighbour.chat("tiny", "hello").await;
    assert_eq!(first.status(), StatusCode::OK);
    drop(first);
    let before = Held::at_rest(&relay, 1).await;

    // The first half is for what is allocated once: memory is compared between the ends of the two.
    let mut memory = [0; 2];
    for memory in &mut memory {
        tokio::select! {
            told = flap(&relay, upstream.address(), &mut dice, &flock) => println!("{told}"),
            never = watch(&neighbour) => never,
        }
        before.is_left_by(&relay).await;
        *memory = relay.resident_bytes();
    }
    let [one, two] = memory;
    let sessions = relay.metric("c2l_sessions_total ").await;
    println!("{sessions} sessions; memory {one} bytes, then {two}; {before:?} as before");
    assert!(sessions > flock.agents(), "agents that came back");
    assert!(two < one + one / 10 + NOISE_BYTES, "{two} after {one}");
    assert_eq!(relay.metric("c2l_panics_total ").await, 0);
}

//! The whole of it: the relay and its registry, the agent and its supervisor, callers, and what became of each request.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap, HashSet},
    future::Future,
    pin::pin,
    rc::Rc,
    time::Duration,
};

use c2l_tunnel::{CloseReason, Limits, Link};
use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_local},
    time::{Instant, sleep, timeout},
};

use super::{
    exchange::{Outcome, Plan, ask},
    faults,
    line::{Fate, Weather},
    random::Random,
    session::{Clock, Connection, HEARTBEAT, LIMIT, Progress},
};

/// How many ask at once, each one thing after the other.
const CALLERS: u64 = 4;
/// How long the agent waits at most between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const DIAL_LIMIT: Duration = Duration::from_secs(10);
/// What a batch may hold beside the window of a stream.
const BATCH_BYTES: usize = 128 * 1024;

/// What the agent's process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Process {
    Runs,
    /// Nothing of it is polled, as under SIGSTOP or in sleep.
    Stands,
    Killed,
}

pub struct World {
    pub seed: u64,
    pub limits: Limits,
    pub weather: watch::Sender<Weather>,
    pub relay_clock: Clock,
    pub agent_clock: Clock,
    process: RefCell<watch::Sender<Process>>,
    /// The one session that requests go to.
    current: RefCell<Option<Rc<Connection>>>,
    connections: RefCell<Vec<Rc<Connection>>>,
    plans: RefCell<HashMap<u64, Plan>>,
    next_request: Cell<u64>,
    outcomes: RefCell<HashMap<u64, Outcome>>,
    seen: RefCell<HashSet<u64>>,
    tasks: RefCell<Vec<JoinHandle<()>>>,
    is_enough: watch::Sender<bool>,
}

impl World {
    /// Plays one seed; says how often what happened.
    pub async fn play(seed: u64) -> BTreeMap<String, usize> {
        let mut random = Random::of(seed, 0);
        let world = Self::new(
            seed,
            Limits {
                max_body_frame_bytes: 1024 << random.below(7),
                initial_window_bytes: 1024 << random.below(9),
                ..Limits::default()
            },
        );
        world.start_agent();
        let callers = world.start_callers();
        faults::storm(&world).await;
        world.end_callers(callers).await;
        world.passes_again().await;
        world.comes_to_rest().await
    }

    /// Nothing goes wrong, but the line is as narrow as this. Says how often what happened, and how many connections
    /// that took.
    pub async fn crawl(seed: u64, bytes_per_second: usize) -> (BTreeMap<String, usize>, usize) {
        let world = Self::new(seed, Limits::default());
        world
            .weather
            .send_modify(|weather| weather.bytes_per_second = Some(bytes_per_second));
        world.start_agent();
        let callers = world.start_callers();
        sleep(30 * LIMIT).await;
        let connections = world.connections.borrow().len();
        world.weather.send_replace(Weather::default());
        world.end_callers(callers).await;
        (world.comes_to_rest().await, connections)
    }

    fn new(seed: u64, limits: Limits) -> Rc<Self> {
        Rc::new(Self {
            seed,
            limits,
            weather: watch::Sender::default(),
            relay_clock: Clock::true_one(),
            agent_clock: Clock::true_one(),
            process: RefCell::new(watch::Sender::new(Process::Runs)),
            current: RefCell::default(),
            connections: RefCell::default(),
            plans: RefCell::default(),
            next_request: Cell::new(1),
            outcomes: RefCell::default(),
            seen: RefCell::default(),
            tasks: RefCell::default(),
            is_enough: watch::Sender::new(false),
        })
    }

    fn start_callers(self: &Rc<Self>) -> Vec<JoinHandle<()>> {
        let call = |lane| spawn_local(Rc::clone(self).call(lane));
        (0..CALLERS).map(call).collect()
    }

    /// Each finishes what it asks for, in bounded time.
    async fn end_callers(&self, callers: Vec<JoinHandle<()>>) {
        self.is_enough.send_replace(true);
        for caller in callers {
            let ended = timeout(20 * LIMIT, caller).await;
            self.check_tasks().await;
            ended.expect("every request ends").expect("no panic");
        }
    }

    // ---- tasks

    /// A task of the relay's, or of the network's.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.borrow_mut().push(spawn_local(task));
    }

    /// A task of the agent's process: it stands still with it, and dies with it.
    pub fn spawn_at_agent(&self, task: impl Future<Output = ()> + 'static) {
        let mut process = self.process.borrow().subscribe();
        self.spawn(async move {
            let mut task = pin!(task);
            loop {
                let stops = process.wait_for(|process| *process != Process::Runs);
                tokio::select! {
                    biased;
                    _ = stops => {}
                    () = &mut task => return,
                }
                let goes_on = process.wait_for(|process| *process != Process::Stands);
                if goes_on
                    .await
                    .is_ok_and(|process| *process == Process::Killed)
                {
                    return;
                }
            }
        });
    }

    /// A panic in a task is the test's.
    async fn check_tasks(&self) {
        let (over, running) = self
            .tasks
            .take()
            .into_iter()
            .partition::<Vec<_>, _>(JoinHandle::is_finished);
        self.tasks.borrow_mut().extend(running);
        for task in over {
            if let Err(error) = task.await {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }

    // ---- the agent

    pub fn freeze(&self) {
        self.process.borrow().send_replace(Process::Stands);
    }

    /// It goes on; its clock stood still for so long.
    pub fn thaw(&self, slept: Duration) {
        self.agent_clock.stood_still(slept);
        self.process.borrow().send_replace(Process::Runs);
    }

    pub fn kill_agent(&self) {
        self.process.borrow().send_replace(Process::Killed);
    }

    pub fn start_agent(self: &Rc<Self>) {
        self.process.replace(watch::Sender::new(Process::Runs));
        self.spawn_at_agent(Rc::clone(self).supervise());
    }

    /// Keeps a session, as the agent's supervisor does.
    async fn supervise(self: Rc<Self>) {
        let tries = self.connections.borrow().len() as u64;
        let mut random = Random::of(self.seed, 2_000_000 + tries);
        let mut wait = Duration::from_secs(1);
        loop {
            if let Some(connection) = self.dial().await {
                let mut progress = connection.progress.subscribe();
                let left = progress.wait_for(|progress| *progress >= Progress::RelayLeaves);
                let opened_at = Instant::now();
                if left.await.is_ok_and(|left| *left == Progress::RelayLeaves) {
                    continue; // the next one is opened before this one ends
                }
                if opened_at.elapsed() >= Duration::from_secs(60) {
                    wait = Duration::from_secs(1);
                }
            }
            sleep(random.within(wait)).await;
            wait = (2 * wait).min(LONGEST_WAIT);
        }
    }

    async fn dial(self: &Rc<Self>) -> Option<Rc<Connection>> {
        let mut weather = self.weather.subscribe();
        let is_open = |weather: &Weather| !weather.lost_toward_relay && !weather.lost_toward_agent;
        let open = timeout(DIAL_LIMIT, weather.wait_for(is_open)).await.ok()?;
        let there_and_back = 2 * open.ok()?.latency;
        sleep(there_and_back).await;
        let number = self.connections.borrow().len() as u64;
        let (connection, agent) = Connection::open(self, number);
        self.connections.borrow_mut().push(Rc::clone(&connection));
        self.spawn_at_agent(agent);
        Some(connection)
    }

    // ---- the relay

    /// The newest wins.
    pub fn register(&self, connection: &Rc<Connection>) {
        let before = self.current.replace(Some(Rc::clone(connection)));
        if let Some(before) = before {
            before.relay.close(CloseReason::Replaced);
        }
    }

    /// Takes this very session out, if it is still the one.
    pub fn deregister(&self, connection: &Rc<Connection>) {
        let mut current = self.current.borrow_mut();
        current.take_if(|current| Rc::ptr_eq(current, connection));
    }

    pub fn session(&self) -> Option<Link> {
        let current = self.current.borrow();
        let link = current.as_ref().map(|connection| connection.relay.clone());
        link.filter(Link::is_open)
    }

    pub fn relay_leaves(&self, grace: Duration) {
        if let Some(link) = self.session() {
            link.go_away("bye", grace, self.relay_clock.now());
        }
    }

    // ---- the network

    pub fn newest(&self) -> Option<Rc<Connection>> {
        self.connections.borrow().last().cloned()
    }

    pub fn decide_fate(&self, fate: Fate) {
        if let Some(connection) = self.newest() {
            connection.fate.send_replace(fate);
        }
    }

    // ---- requests

    pub fn plan(&self, number: u64) -> Plan {
        self.plans.borrow()[&number].clone()
    }

    pub fn note_seen(&self, number: u64) {
        let is_first = self.seen.borrow_mut().insert(number);
        assert!(is_first, "request {number} was done twice");
    }

    /// Asks with this plan, and notes how it ends.
    async fn request(&self, make: impl FnOnce(u64) -> Plan) -> Outcome {
        let number = self.next_request.replace(self.next_request.get() + 1);
        let plan = make(number);
        self.plans.borrow_mut().insert(number, plan.clone());
        let outcome = ask(self, &plan).await;
        let before = self.outcomes.borrow_mut().insert(number, outcome.clone());
        assert_eq!(before, None, "request {number} ended twice");
        outcome
    }

    async fn call(self: Rc<Self>, lane: u64) {
        let mut random = Random::of(self.seed, 3_000_000 + lane);
        while !*self.is_enough.borrow() {
            sleep(random.between(0, 4_000)).await;
            self.request(|number| Plan::of(self.seed, number)).await;
        }
    }

    pub fn check_bounds(&self, link: &Link) {
        let stream = self.limits.initial_window_bytes as usize + BATCH_BYTES;
        let most = link.active_streams() * stream;
        assert!(
            link.held_bytes() <= most,
            "{} bytes held",
            link.held_bytes()
        );
    }

    // ---- the end

    /// With the network well again, a request passes within what noticing and waiting take.
    async fn passes_again(&self) {
        let until = Instant::now() + 2 * HEARTBEAT + LONGEST_WAIT + DIAL_LIMIT + LIMIT;
        while self.request(Plan::easy).await != Outcome::Whole {
            assert!(Instant::now() < until, "the agent does not come back");
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// Nothing is asked any more: nothing is left either. Says how often what happened.
    async fn comes_to_rest(&self) -> BTreeMap<String, usize> {
        sleep(4 * LIMIT).await;
        self.check_tasks().await;
        for connection in self.connections.borrow().iter() {
            let left = (
                connection.relay.active_streams(),
                connection.agent.active_streams(),
            );
            assert_eq!(left, (0, 0), "connection {}", connection.number);
            assert_eq!(
                connection.relay.held_bytes() + connection.agent.held_bytes(),
                0
            );
        }
        let open = |link: &Link| link.close_reason().is_none();
        let connections = self.connections.borrow();
        let alive = connections
            .iter()
            .filter(|c| open(&c.relay) || open(&c.agent));
        assert_eq!(alive.count(), 1, "the newest, and no other");
        let outcomes = self.outcomes.borrow();
        assert_eq!(outcomes.len() as u64, self.next_request.get() - 1);
        let mut counts = BTreeMap::new();
        let mut count = |what: String| *counts.entry(what).or_default() += 1;
        for outcome in outcomes.values() {
            count(match outcome {
                Outcome::Whole => "request whole".to_owned(),
                Outcome::Told(kind) => format!("request told {kind}"),
                Outcome::Left => "request left".to_owned(),
            });
        }
        for link in connections.iter().flat_map(|c| [&c.relay, &c.agent]) {
            if let Some(reason) = link.close_reason() {
                count(format!("session ended: {reason}"));
            }
        }
        counts
    }
}

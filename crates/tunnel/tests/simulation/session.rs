//! A connection and the tasks of both sides around it, in the shape of those of the two programs.

use std::{
    cell::Cell,
    collections::VecDeque,
    future::{Future, pending, poll_fn},
    pin::pin,
    rc::Rc,
    time::Duration,
};

use c2l_tunnel::{
    Batch, CloseReason, Control, Hello, Limits, Link, PROGRESS, Settings, Side, StreamLimits,
    Welcome,
    wire::{Decoder, Encoder, Piece},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use super::{
    exchange,
    line::{Arrival, Fate, Line},
    random::Random,
    world::World,
};

pub const HEARTBEAT: Duration = Duration::from_secs(10);
pub const LIMIT: Duration = Duration::from_secs(30);
const GREETING: Duration = Duration::from_secs(10);
/// Messages that the transport takes before the writer waits.
const SEND_BUFFER: usize = 2;
/// What the agent takes for sleep.
const JUMP: Duration = Duration::from_secs(5);

/// How far a connection has come, as its agent sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    Greeting,
    Open,
    /// The relay wants no new streams here.
    RelayLeaves,
    Over,
}

/// One connection, and the session at either end.
pub struct Connection {
    pub number: u64,
    pub relay: Link,
    pub agent: Link,
    pub fate: watch::Sender<Fate>,
    pub progress: watch::Sender<Progress>,
}

/// The time as one side has it.
#[derive(Clone)]
pub struct Clock(Rc<Cell<Duration>>);

impl Clock {
    /// One that never stands still.
    pub fn true_one() -> Self {
        Self(Rc::default())
    }

    pub fn now(&self) -> std::time::Instant {
        (Instant::now() - self.0.get()).into_std()
    }

    /// When it is that moment here.
    fn wait_for(&self, moment: std::time::Instant) -> Instant {
        Instant::from_std(moment) + self.0.get()
    }

    /// It stood still for so long: the machine slept.
    pub fn stood_still(&self, slept: Duration) {
        self.0.set(self.0.get() + slept);
    }
}

impl Connection {
    /// Connects: the relay's side runs at once, the agent's is what is returned.
    pub fn open(world: &Rc<World>, number: u64) -> (Rc<Self>, impl Future<Output = ()> + use<>) {
        let settings = |side| Settings {
            side,
            limits: Limits::default(),
            greeting_timeout: GREETING,
            heartbeat_interval: HEARTBEAT,
            stream_limits: (side == Side::Relay).then_some(StreamLimits {
                first_byte: LIMIT,
                gap: LIMIT,
            }),
        };
        let connection = Rc::new(Self {
            number,
            relay: Link::new(&settings(Side::Relay), world.relay_clock.now()),
            agent: Link::new(&settings(Side::Agent), world.agent_clock.now()),
            fate: watch::Sender::default(),
            progress: watch::Sender::new(Progress::Greeting),
        });
        connection.agent.say_hello(hello());
        let (toward_agent, at_agent) = connection.line(world, Side::Agent);
        let (toward_relay, at_relay) = connection.line(world, Side::Relay);
        world.spawn(relay_side(
            Rc::clone(world),
            Rc::clone(&connection),
            toward_agent,
            at_relay,
        ));
        let agent = agent_side(
            Rc::clone(world),
            Rc::clone(&connection),
            toward_relay,
            at_agent,
        );
        (connection, agent)
    }

    fn line(&self, world: &World, side: Side) -> (mpsc::Sender<Vec<u8>>, mpsc::Receiver<Arrival>) {
        let (sender, from) = mpsc::channel(SEND_BUFFER);
        let (to, receiver) = mpsc::channel(1);
        let owner = 1_000_000 + 2 * self.number + u64::from(side == Side::Relay);
        let line = Line {
            side,
            weather: world.weather.subscribe(),
            fate: self.fate.subscribe(),
            random: Random::of(world.seed, owner),
        };
        world.spawn(line.carry(from, to));
        (sender, receiver)
    }
}

fn hello() -> Hello {
    Hello {
        protocol_version: 1,
        build: "simulated".to_owned(),
        device_name: "laptop".to_owned(),
        device_id: [7; 16],
        capabilities: vec![PROGRESS.to_owned()],
        attempt: 0,
    }
}

async fn relay_side(
    world: Rc<World>,
    connection: Rc<Connection>,
    line: mpsc::Sender<Vec<u8>>,
    mut arrivals: mpsc::Receiver<Arrival>,
) {
    let link = &connection.relay;
    let receiving = async {
        while let Some(arrival) = arrivals.recv().await {
            for control in take_in(link, Side::Relay, arrival, &world.relay_clock) {
                if let Control::Hello(_) = control {
                    link.welcome(welcome(&world), world.relay_clock.now());
                    world.register(&connection);
                }
            }
            world.check_bounds(link);
        }
    };
    // The end of any is the end of the call.
    tokio::select! {
        biased;
        () = receiving => {}
        () = transmit(link, Side::Relay, line, &world.relay_clock) => {}
        () = keep_time(link, &world.relay_clock) => {}
    }
    link.close(CloseReason::ConnectionLost);
    world.deregister(&connection);
}

fn welcome(world: &World) -> Welcome {
    Welcome {
        session_id: String::new(),
        protocol_version: 1,
        limits: world.limits,
        heartbeat_interval: HEARTBEAT,
        build: String::new(),
        token_holds: None,
    }
}

async fn agent_side(
    world: Rc<World>,
    connection: Rc<Connection>,
    line: mpsc::Sender<Vec<u8>>,
    mut arrivals: mpsc::Receiver<Arrival>,
) {
    let link = &connection.agent;
    let _over = Over(Rc::clone(&connection));
    let receiving = async {
        while let Some(arrival) = arrivals.recv().await {
            for control in take_in(link, Side::Agent, arrival, &world.agent_clock) {
                match control {
                    Control::Welcome(_) => connection.has_come(Progress::Open),
                    Control::GoAway { .. } => connection.has_come(Progress::RelayLeaves),
                    _ => {}
                }
            }
            world.check_bounds(link);
        }
    };
    let accepting = async {
        while let Some((head, handle)) = poll_fn(|cx| link.poll_accept(cx)).await {
            world.spawn_at_agent(exchange::serve(Rc::clone(&world), head, handle));
        }
        pending::<()>().await;
    };
    tokio::select! {
        biased;
        () = receiving => {}
        () = accepting => {}
        () = transmit(link, Side::Agent, line, &world.agent_clock) => {}
        () = keep_time(link, &world.agent_clock) => {}
        () = wall_clock_jumps(&world.agent_clock) => {}
    }
}

/// However the agent's side ends, killed or by itself, its session is over.
struct Over(Rc<Connection>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.agent.close(CloseReason::ConnectionLost);
        self.0.has_come(Progress::Over);
    }
}

impl Connection {
    fn has_come(&self, so_far: Progress) {
        self.progress
            .send_modify(|progress| *progress = so_far.max(*progress));
    }
}

fn take_in(link: &Link, side: Side, arrival: Arrival, clock: &Clock) -> Vec<Control> {
    let message = match arrival {
        Arrival::Piece => {
            link.heard(clock.now());
            return Vec::new();
        }
        Arrival::Message(message) => message,
    };
    let sender = match side {
        Side::Relay => Side::Agent,
        Side::Agent => Side::Relay,
    };
    let mut decoder = Decoder::new(sender, message.len());
    decoder.push(message.into());
    let batch = decoder.next_batch().expect("what we encode decodes");
    let batch: Batch = batch.expect("and is whole");
    link.receive(batch, clock.now())
        .expect("neither side breaks the protocol")
}

async fn transmit(link: &Link, side: Side, line: mpsc::Sender<Vec<u8>>, clock: &Clock) {
    let mut encoder = Encoder::new(side);
    while let Some(batch) = poll_fn(|cx| link.poll_transmit(clock.now(), cx)).await {
        let mut pieces = VecDeque::new();
        encoder.encode(batch, &mut pieces);
        let parts = pieces.into_iter().flat_map(Piece::into_parts);
        let message = parts.collect::<Vec<_>>().concat();
        if line.send(message).await.is_err() {
            return;
        }
    }
}

async fn keep_time(link: &Link, clock: &Clock) {
    let mut timer = pin!(sleep_until(Instant::now()));
    poll_fn(|cx| {
        loop {
            let Some(due) = link.tick(clock.now(), cx) else {
                return std::task::Poll::Ready(());
            };
            timer.as_mut().reset(clock.wait_for(due));
            std::task::ready!(timer.as_mut().poll(cx));
        }
    })
    .await;
}

/// The machine slept: what was connected before is not to be trusted.
async fn wall_clock_jumps(clock: &Clock) {
    loop {
        let before = (Instant::now(), clock.now());
        sleep(Duration::from_secs(1)).await;
        if before.0.elapsed() >= (clock.now() - before.1) + JUMP {
            return;
        }
    }
}

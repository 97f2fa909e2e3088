//! A byte-stream proxy between an agent and its relay that behaves as networks do: it loses everything, in one direction
//! or both, without telling anybody; it takes its time, evenly or not; it is narrow; it cuts.
//!
//! Invariant: what comes out of a direction is what went in, in order, as far as it comes; a line that is slow or lossy
//! is never a line that lies. Read next: `line`, one direction of one connection.

mod line;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// What no longer arrives. Not even the end of a connection does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loss {
    /// All is well.
    #[default]
    Nothing,
    /// From the agent to the relay.
    TowardRelay,
    /// From the relay to the agent.
    TowardAgent,
    /// Both ways.
    Everything,
}

impl Loss {
    fn takes(self, toward: Toward) -> bool {
        match self {
            Self::Nothing => false,
            Self::TowardRelay => toward == Toward::Relay,
            Self::TowardAgent => toward == Toward::Agent,
            Self::Everything => true,
        }
    }
}

/// One of the two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    /// From the agent to the relay.
    Relay,
    /// From the relay to the agent.
    Agent,
}

/// How a line is where it loses nothing. Each direction has this of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// How long each byte is under way.
    pub delay: Duration,
    /// How much longer it may be, each time anew; bytes never overtake one another.
    pub jitter: Duration,
    /// How much passes in a second; no bound when there is none.
    pub bytes_per_second: Option<u32>,
}

/// How the connections of one time are.
#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    loss: Loss,
    shape: Shape,
    half_closed: Option<Toward>,
    is_cut: bool,
}

/// A proxy on port 0 in front of a relay. It ends with this value, and its connections with it.
#[derive(Debug)]
pub struct TestProxy {
    address: SocketAddr,
    /// That of connections to come, and of those since the last time that the present ones were singled out.
    weather: Arc<Mutex<watch::Sender<Weather>>>,
    earlier: Vec<watch::Sender<Weather>>,
    accepted: Arc<AtomicU64>,
    relay: Arc<Mutex<SocketAddr>>,
    task: JoinHandle<()>,
}

impl TestProxy {
    /// In front of the relay at this address.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start(relay: SocketAddr) -> Self {
        Self::start_with(relay, Shape::default()).await
    }

    /// The same, over a line like this.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start_with(relay: SocketAddr, shape: Shape) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let weather = Weather {
            shape,
            ..Weather::default()
        };
        let weather = Arc::new(Mutex::new(watch::Sender::new(weather)));
        let accepted = Arc::<AtomicU64>::default();
        let relay = Arc::new(Mutex::new(relay));
        let task = {
            let (weather, accepted) = (Arc::clone(&weather), Arc::clone(&accepted));
            let relay = Arc::clone(&relay);
            tokio::spawn(async move {
                let mut connections = JoinSet::new();
                while let Ok((agent, _)) = listener.accept().await {
                    let number = accepted.fetch_add(1, Ordering::Relaxed);
                    let weather = lock(&weather).subscribe();
                    let relay = *lock(&relay);
                    connections.spawn(carry(agent, relay, weather, number));
                }
            })
        };
        Self {
            address,
            weather,
            earlier: Vec::new(),
            accepted,
            relay,
            task,
        }
    }

    /// Connections to come lead to this relay; those that are there stay where they are.
    pub fn point_to(&self, relay: SocketAddr) {
        *lock(&self.relay) = relay;
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// From now on this is lost, on connections to come, too.
    pub fn lose(&self, loss: Loss) {
        lock(&self.weather).send_modify(|weather| weather.loss = loss);
    }

    /// From now on this is lost on the present connections; those to come are well.
    pub fn lose_present(&mut self, loss: Loss) {
        self.change_present(|weather| weather.loss = loss);
    }

    /// The present connections end at once, whatever is under way; those to come are well.
    pub fn cut_present(&mut self) {
        self.change_present(|weather| weather.is_cut = true);
    }

    /// This direction of the present connections ends, cleanly and without the other; those to come are well.
    pub fn half_close_present(&mut self, toward: Toward) {
        self.change_present(|weather| weather.half_closed = Some(toward));
    }

    fn change_present(&mut self, change: impl FnOnce(&mut Weather)) {
        let mut current = lock(&self.weather);
        let well = Weather {
            shape: current.borrow().shape,
            ..Weather::default()
        };
        let present = std::mem::replace(&mut *current, watch::Sender::new(well));
        drop(current);
        present.send_modify(change);
        self.earlier.push(present);
    }

    /// What was held back arrives after all, late.
    pub fn heal(&self) {
        for earlier in &self.earlier {
            earlier.send_modify(|weather| weather.loss = Loss::Nothing);
        }
        self.lose(Loss::Nothing);
    }
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn carry(
    agent: TcpStream,
    relay: SocketAddr,
    mut weather: watch::Receiver<Weather>,
    number: u64,
) {
    let Ok(relay) = TcpStream::connect(relay).await else {
        return;
    };
    // A proxy that gathers small packets would show as delay of ours.
    if agent
        .set_nodelay(true)
        .and(relay.set_nodelay(true))
        .is_err()
    {
        return; // one of them has gone already
    }
    let (from_agent, to_agent) = agent.into_split();
    let (from_relay, to_relay) = relay.into_split();
    let (up, down) = (weather.clone(), weather.clone());
    let lines = async {
        tokio::join!(
            line::carry(from_agent, to_relay, Toward::Relay, up, 2 * number),
            line::carry(from_relay, to_agent, Toward::Agent, down, 2 * number + 1),
        )
    };
    // Either may be dropped: both sockets go with the lines. An error is the end of the proxy.
    tokio::select! {
        _ = lines => {}
        _ = weather.wait_for(|weather| weather.is_cut) => {}
    }
}

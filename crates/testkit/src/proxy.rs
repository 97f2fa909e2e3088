//! A byte-stream proxy between an agent and its relay that can lose everything, in one direction or both, without
//! telling anybody: what a network does whose cable is pulled.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
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
    fn takes(self, direction: Self) -> bool {
        self == direction || self == Self::Everything
    }
}

/// A proxy on port 0 in front of a relay. It ends with this value, and its connections with it.
#[derive(Debug)]
pub struct TestProxy {
    address: SocketAddr,
    /// That of connections to come, and of those since the last [`Self::lose_present`].
    loss: Arc<Mutex<watch::Sender<Loss>>>,
    earlier: Vec<watch::Sender<Loss>>,
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
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let loss = Arc::new(Mutex::new(watch::Sender::new(Loss::Nothing)));
        let accepted = Arc::<AtomicU64>::default();
        let relay = Arc::new(Mutex::new(relay));
        let task = {
            let (loss, accepted) = (Arc::clone(&loss), Arc::clone(&accepted));
            let relay = Arc::clone(&relay);
            tokio::spawn(async move {
                let mut connections = JoinSet::new();
                while let Ok((agent, _)) = listener.accept().await {
                    accepted.fetch_add(1, Ordering::Relaxed);
                    let loss = lock(&loss).subscribe();
                    let relay = *relay.lock().unwrap_or_else(PoisonError::into_inner);
                    connections.spawn(carry(agent, relay, loss));
                }
            })
        };
        Self {
            address,
            loss,
            earlier: Vec::new(),
            accepted,
            relay,
            task,
        }
    }

    /// Connections to come lead to this relay; those that are there stay where they are.
    pub fn point_to(&self, relay: SocketAddr) {
        *self.relay.lock().unwrap_or_else(PoisonError::into_inner) = relay;
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
        lock(&self.loss).send_replace(loss);
    }

    /// From now on this is lost on the present connections; those to come are well.
    pub fn lose_present(&mut self, loss: Loss) {
        let mut current = lock(&self.loss);
        let present = std::mem::replace(&mut *current, watch::Sender::new(Loss::Nothing));
        drop(current);
        present.send_replace(loss);
        self.earlier.push(present);
    }

    /// What was held back arrives after all, late.
    pub fn heal(&self) {
        for earlier in &self.earlier {
            earlier.send_replace(Loss::Nothing);
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

async fn carry(agent: TcpStream, relay: SocketAddr, loss: watch::Receiver<Loss>) {
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
    tokio::join!(
        pump(from_agent, to_relay, Loss::TowardRelay, loss.clone()),
        pump(from_relay, to_agent, Loss::TowardAgent, loss),
    );
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    direction: Loss,
    mut loss: watch::Receiver<Loss>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        // Held back as long as it is lost; the proxy's own end ends the wait, too.
        let is_over = loss.wait_for(|loss| !loss.takes(direction)).await.is_err();
        if is_over || read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            drop(to.shutdown().await); // a peer that has gone needs no end
            return;
        }
    }
}

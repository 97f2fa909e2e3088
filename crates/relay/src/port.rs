//! The public port, from whoever prepared it to the next relay that has it.
//!
//! Invariant: a connection that has come into this relay's hands is served, and one that waits in a queue that another
//! relay shares is left to that one.

use std::{future::pending, io, net::SocketAddr, sync::Arc};

use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{Error, Relay, gateway::listener, handover::Handover};

/// Connections that the kernel keeps until they are taken in, where its own bound (`net.core.somaxconn`) is not lower. In the
/// second after a crash thousands of agents are back: one that finds no room here, or a caller, tries again only a second
/// later, then after two more.
const BACKLOG: u32 = 4096;

/// The public port, as whoever starts the relay has prepared it.
#[derive(Debug)]
pub enum PublicPort {
    /// It listens already. With a [`Handover`], its queue is shared with the other relays that have this very socket.
    Listening(TcpListener),
    /// Bound with `SO_REUSEPORT`, not listening yet: each relay has a queue of its own, and listens when it is its turn.
    Bound(TcpSocket),
}

impl From<TcpListener> for PublicPort {
    fn from(listener: TcpListener) -> Self {
        Self::Listening(listener)
    }
}

impl PublicPort {
    /// Where it is.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Listening(listener) => listener.local_addr(),
            Self::Bound(socket) => socket.local_addr(),
        }
    }

    pub(crate) fn is_queue_shared(&self) -> bool {
        matches!(self, Self::Listening(_))
    }

    /// Where relays take turns on a socket, whoever passed it has said how long its queue is; any other is as long as
    /// `BACKLOG`.
    pub(crate) fn listen(self, is_passed: bool) -> io::Result<TcpListener> {
        match self {
            Self::Listening(listener) if is_passed => Ok(listener),
            Self::Listening(listener) => lengthen(listener),
            Self::Bound(socket) => socket.listen(BACKLOG),
        }
    }
}

/// A socket that listens may be told so again, with another length.
fn lengthen(listener: TcpListener) -> io::Result<TcpListener> {
    let length = i32::try_from(BACKLOG).unwrap_or(i32::MAX);
    socket2::SockRef::from(&listener).listen(length)?;
    Ok(listener)
}

/// The public port while this relay takes connections in.
#[derive(Debug)]
pub(crate) struct OpenPort {
    is_queue_shared: bool,
    left: CancellationToken,
    accepting: JoinHandle<()>,
}

impl OpenPort {
    /// Waits for this relay's turn, then takes connections in. Dropping the future gives the wait up.
    ///
    /// # Errors
    /// When the turn cannot be had, or the system does not let it listen.
    pub(crate) async fn take(relay: &Arc<Relay>, public: PublicPort) -> Result<Self, Error> {
        let is_queue_shared = public.is_queue_shared();
        let handover = relay.config.handover.as_ref();
        let mut is_first = true;
        if let Some(handover) = handover {
            is_first = handover.try_turn().map_err(Error::Handover)?;
            if !is_first {
                tracing::info!("standing by: another relay has the port");
                handover.turn().await.map_err(Error::Handover)?;
            }
        }
        // Before all else: the one before soon closes, and who finds nobody listening is refused. Here they only wait.
        let listener = public.listen(handover.is_some()).map_err(Error::Handover)?;
        if !is_first {
            // What the one before has answered counts from the first connection on.
            relay.identities.reload().await.map_err(Error::Store)?;
        }
        if let Some(handover) = handover.filter(|_| is_queue_shared || !is_first) {
            relay.expect_agents(handover.startup_grace);
        }
        let left = CancellationToken::new();
        let accepting =
            listener::accept(Arc::clone(relay), listener, left.clone(), is_queue_shared);
        Ok(Self {
            is_queue_shared,
            accepting: relay.life.tracker.spawn(accepting),
            left,
        })
    }

    /// Lets the next relay have it. Returns false when there is none: the port stays open then, so that callers are told
    /// that this one drains.
    pub(crate) async fn hand_over(&mut self, handover: &Handover) -> bool {
        if self.is_queue_shared {
            self.close().await;
            handover.leave();
            return true;
        }
        // Each has a queue of its own: this one stays open until the next one listens.
        handover.leave();
        let is_taken_over = handover.is_taken_over().await;
        if is_taken_over {
            self.close().await;
        }
        is_taken_over
    }

    /// Closes it when a relay comes after all, though nobody was there to hand it to. Then does nothing, for ever.
    pub(crate) async fn leave_to_a_late_one(&mut self, handover: &Handover) {
        while !handover.is_taken_over().await {}
        self.close().await;
        pending().await
    }

    async fn close(&mut self) {
        self.left.cancel();
        if (&mut self.accepting).await.is_err() {
            tracing::error!("the accept loop panicked");
        }
        tracing::info!("no more connections: the port is left to the next relay");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use tokio::{net::TcpStream, time::timeout};

    use super::*;

    #[tokio::test]
    async fn many_wait_for_a_relay_that_takes_nobody_in() {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .bind("127.0.0.1:0".parse().expect("an address"))
            .expect("a port");
        let short = socket.listen(1).expect("it listens");
        let listener = lengthen(short).expect("it listens on");
        let address = listener.local_addr().expect("its address");
        let mut waiting = Vec::new();
        for number in 0..100 {
            let connected = timeout(Duration::from_secs(10), TcpStream::connect(address)).await;
            let connected = connected.unwrap_or_else(|_| panic!("no room for number {number}"));
            waiting.push(connected.expect("a connection"));
        }
    }
}

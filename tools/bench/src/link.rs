//! A slow link: a byte stream with a rate each way and a delay, as a home's uplink has.
//!
//! Invariant: order and bytes are kept, and all connections share the one rate of their direction. What waits here is bounded: a few milliseconds' worth before the slow hop, and
//! what is on its way behind it. The sockets' own buffers are kept small, since what lies in them waits as well.

use std::{cell::Cell, net::SocketAddr, rc::Rc, time::Duration};

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::mpsc,
    time::{Instant, sleep_until},
};

use crate::answer;

/// Most that waits before the slow hop, as time.
const QUEUE: Duration = Duration::from_millis(5);
/// A packet or three: what is read at once.
const READ_BYTES: usize = 4 * 1024;
const SOCKET_BUFFER_BYTES: u32 = 64 * 1024;
/// Pieces on their way at once; more than any rate and delay here can fill.
const ON_THE_WAY: usize = 4096;

#[derive(Debug, Deserialize)]
pub(crate) struct Job {
    /// Where connections go on to.
    to: SocketAddr,
    /// Bytes a second from whoever connects (the agent) to `to` (the relay).
    up_bytes: u64,
    /// Bytes a second the other way.
    down_bytes: u64,
    /// Each way.
    delay_ms: u64,
}

#[derive(Serialize)]
struct Listening {
    port: u16,
}

/// Serves until the process is ended; says its port first.
pub(crate) async fn serve(job: Job) -> anyhow::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?; // before `listen`: a window once offered is not taken back
    socket.bind(([127, 0, 0, 1], 0).into())?;
    let listener = socket.listen(1024)?;
    answer(&Listening {
        port: listener.local_addr()?.port(),
    })?;
    accept(listener, &job).await
}

async fn accept(listener: TcpListener, job: &Job) -> anyhow::Result<()> {
    let delay = Duration::from_millis(job.delay_ms);
    let (up, down) = (Hop::new(job.up_bytes), Hop::new(job.down_bytes));
    loop {
        let (near, _) = listener.accept().await?;
        let Ok(far) = connect(job.to).await else {
            continue; // the relay is away: so is this connection
        };
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let (near_read, near_write) = near.into_split();
        let (far_read, far_write) = far.into_split();
        tokio::task::spawn_local(carry(near_read, far_write, Rc::clone(&up), delay));
        tokio::task::spawn_local(carry(far_read, near_write, Rc::clone(&down), delay));
    }
}

async fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.connect(to).await
}

/// The slow hop of one direction.
struct Hop {
    /// Bytes a second.
    rate: u64,
    /// When what has been taken is through.
    free_at: Cell<Instant>,
}

impl Hop {
    fn new(rate: u64) -> Rc<Self> {
        Rc::new(Self {
            rate: rate.max(1),
            free_at: Cell::new(Instant::now()),
        })
    }

    /// Until it will take more: no more than a few milliseconds' worth waits before it.
    async fn room(&self) {
        loop {
            let at = self.free_at.get();
            let at = at.checked_sub(QUEUE).unwrap_or(at);
            if Instant::now() >= at {
                return;
            }
            sleep_until(at).await; // another connection may have filled it meanwhile
        }
    }

    /// Takes these bytes, and says when the last of them is through.
    fn take(&self, bytes: usize) -> Instant {
        let takes = Duration::from_nanos(bytes as u64 * 1_000_000_000 / self.rate);
        let through = self.free_at.get().max(Instant::now()) + takes;
        self.free_at.set(through);
        through
    }
}

/// One direction of one connection.
async fn carry(mut from: OwnedReadHalf, to: OwnedWriteHalf, hop: Rc<Hop>, delay: Duration) {
    let (on_the_way, arrivals) = mpsc::channel(ON_THE_WAY);
    tokio::task::spawn_local(arrive(arrivals, to));
    let mut buffer = BytesMut::new();
    loop {
        hop.room().await;
        buffer.reserve(READ_BYTES);
        let mut room = (&mut from).take(READ_BYTES as u64);
        let Ok(read @ 1..) = room.read_buf(&mut buffer).await else {
            return; // its end follows what is on the way
        };
        let through = hop.take(read);
        let piece = buffer.split().freeze();
        if on_the_way.send((through + delay, piece)).await.is_err() {
            return;
        }
    }
}

async fn arrive(mut arrivals: mpsc::Receiver<(Instant, Bytes)>, mut to: OwnedWriteHalf) {
    while let Some((at, piece)) = arrivals.recv().await {
        sleep_until(at).await;
        if to.write_all(&piece).await.is_err() {
            return;
        }
    }
    to.shutdown().await.unwrap_or_default();
}

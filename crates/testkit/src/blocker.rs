//! Things on the way that do not pass HTTP/2, each in its own manner.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// How HTTP/2 is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Answers the preface like an HTTP/1.1 server that does not know it.
    Answers405,
    /// Closes the connection with a reset.
    Resets,
    /// Takes everything and says nothing.
    Stalls,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Answers405, Self::Resets, Self::Stalls];
}

/// A hop that passes HTTP/1.1 with its upgrades on, and blocks HTTP/2.
#[derive(Debug)]
pub struct Blocker {
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// Starts one in front of `target`.
///
/// # Panics
/// When no port can be had.
pub async fn start(target: SocketAddr, kind: Kind) -> Blocker {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(pass(stream, target, kind));
        }
    });
    Blocker { address, task }
}

impl Blocker {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Blocker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What goes wrong on the way is what is tested; the ends see it.
async fn pass(mut stream: TcpStream, target: SocketAddr, kind: Kind) {
    let mut first = [0; 3];
    if stream.read_exact(&mut first).await.is_err() {
        return;
    }
    if &first == b"PRI" {
        match kind {
            Kind::Answers405 => {
                let answer = b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                drop(stream.write_all(answer).await);
            }
            // Unread bytes make the close a reset.
            Kind::Resets => {}
            Kind::Stalls => {
                let mut void = [0; 4096];
                while matches!(stream.read(&mut void).await, Ok(read) if read > 0) {}
            }
        }
        return;
    }
    let Ok(mut onward) = TcpStream::connect(target).await else {
        return;
    };
    if onward.write_all(&first).await.is_ok() {
        drop(copy_bidirectional(&mut stream, &mut onward).await);
    }
}

//! An upstream that the test plays by hand: it reads, writes and falls silent exactly when the test says so.

use std::{io, net::SocketAddr, time::Duration};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{PATIENCE, within};

/// A listener whose connections the test takes one by one. Dropping it refuses whoever comes next.
#[derive(Debug)]
pub struct PlayedUpstream {
    listener: TcpListener,
    address: SocketAddr,
}

impl PlayedUpstream {
    /// Listens on port 0.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        Self { listener, address }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection.
    ///
    /// # Panics
    /// When none comes in time.
    pub async fn accept(&self) -> PlayedConnection {
        let accepted = within(PATIENCE, "a connection", self.listener.accept()).await;
        let (stream, _) = accepted.expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        PlayedConnection {
            stream,
            read: BytesMut::new(),
        }
    }

    /// The next connection, with the head of the request on it read.
    pub async fn request(&self) -> (String, PlayedConnection) {
        let mut connection = self.accept().await;
        let head = connection.request_head().await;
        (head, connection)
    }
}

/// One connection of a [`PlayedUpstream`]. Dropping it closes it.
#[derive(Debug)]
pub struct PlayedConnection {
    stream: TcpStream,
    read: BytesMut,
}

impl PlayedConnection {
    /// Reads the head of a request, up to and with the empty line.
    ///
    /// # Panics
    /// When it does not come in time, or the connection ends first.
    pub async fn request_head(&mut self) -> String {
        let head = self.take_until(b"\r\n\r\n").await.expect("a head");
        String::from_utf8(head.to_vec()).expect("a head of text")
    }

    /// Reads the next chunk of a chunked request body; `None` at its end.
    ///
    /// # Errors
    /// When the connection ended before the body did.
    ///
    /// # Panics
    /// When nothing comes in time, or what comes is not a chunk.
    pub async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        let line = self.take_until(b"\r\n").await?;
        let digits = std::str::from_utf8(&line).expect("a size").trim();
        let length = usize::from_str_radix(digits, 16).expect("a chunk size");
        let mut chunk = self.take(length + 2).await?;
        chunk.truncate(length);
        Ok((length > 0).then_some(chunk))
    }

    /// Reads so many bytes.
    ///
    /// # Errors
    /// When the connection ended before.
    pub async fn take(&mut self, length: usize) -> io::Result<Bytes> {
        while self.read.len() < length {
            self.fill().await?;
        }
        Ok(self.read.split_to(length).freeze())
    }

    async fn take_until(&mut self, mark: &[u8]) -> io::Result<Bytes> {
        loop {
            let mut windows = self.read.windows(mark.len());
            if let Some(at) = windows.position(|window| window == mark) {
                return Ok(self.read.split_to(at + mark.len()).freeze());
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        let reading = self.stream.read_buf(&mut self.read);
        match within(PATIENCE, "bytes at the upstream", reading).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Writes bytes as they are.
    ///
    /// # Panics
    /// When the peer has gone, or does not read.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let writing = self.stream.write_all(bytes.as_ref());
        let written = within(PATIENCE, "the agent reads", writing).await;
        written.expect("an agent that reads");
    }

    /// Begins a chunked answer of this type.
    pub async fn answer(&mut self, content_type: &str) {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        self.send(head).await;
    }

    /// Writes one chunk, in one write.
    pub async fn send_chunk(&mut self, bytes: &[u8]) {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.send(chunk).await;
    }

    /// Ends a chunked answer.
    pub async fn finish(&mut self) {
        self.send("0\r\n\r\n").await;
    }

    /// Resets the connection (RST), as a process does that is killed.
    ///
    /// # Panics
    /// When the system does not let it.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("a socket");
    }

    /// Waits until the agent has closed it; what still came is thrown away. Returns the last bytes of that.
    ///
    /// # Panics
    /// When it is not closed within `limit`.
    pub async fn closed(mut self, limit: Duration) -> Bytes {
        within(limit, "the agent closes its connection", async {
            loop {
                let excess = self.read.len().saturating_sub(64);
                self.read.advance(excess);
                match self.stream.read_buf(&mut self.read).await {
                    Ok(0) | Err(_) => return self.read.split().freeze(),
                    Ok(_) => {}
                }
            }
        })
        .await
    }
}

//! WebSocket messages as one stream of bytes.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_core::Stream as _;
use futures_sink::Sink as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_websockets::{
    ClientBuilder, CloseCode, Config, Error, Limits, Message, ServerBuilder, WebSocketStream,
};

use crate::MAX_MESSAGE_BYTES;

/// Most bytes of a message that we send: one full piece of the tunnel with its framing.
const MAX_SENT_BYTES: usize = 64 * 1024 + 1024;

/// How the WebSocket library is set: what a message may cost, and when it is written. Public for the echo that suites of
/// test cases are run against.
#[must_use]
pub fn settings() -> (Limits, Config) {
    (
        Limits::default().max_payload_len(Some(MAX_MESSAGE_BYTES)),
        Config::default().flush_threshold(MAX_SENT_BYTES),
    )
}

/// Which end of the WebSocket this is; the client masks what it sends (RFC 6455 §5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The agent.
    Client,
    /// The relay.
    Server,
}

/// A byte stream over an upgraded connection. Reader and writer must be polled by the same task, as an HTTP/2
/// connection does.
pub struct ByteStream<T> {
    socket: WebSocketStream<T>,
    /// What is left of the message that came last.
    read: Bytes,
    /// The socket has queued an answer to a ping. It is written before anything more is read, so that a peer who pings
    /// and does not read costs nothing.
    owes_answer: bool,
    /// What the peer did wrong. The close that says so goes out before the reader hears of it and drops the connection.
    torn: Option<io::Error>,
    is_ended: bool,
}

impl<T> fmt::Debug for ByteStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteStream")
            .field("unread_bytes", &self.read.len())
            .field("is_ended", &self.is_ended)
            .finish_non_exhaustive()
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> ByteStream<T> {
    /// Over a connection whose opening handshake is done.
    pub fn new(connection: T, role: Role) -> Self {
        let (limits, config) = settings();
        let socket = match role {
            Role::Client => ClientBuilder::new()
                .limits(limits)
                .config(config)
                .take_over(connection),
            Role::Server => ServerBuilder::new()
                .limits(limits)
                .config(config)
                .serve(connection),
        };
        Self {
            socket,
            read: Bytes::new(),
            owes_answer: false,
            torn: None,
            is_ended: false,
        }
    }

    /// Waits for bytes to read; false at the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.read.is_empty() {
            if let Some(error) = self.torn.take() {
                // Tried once: a peer who does not read is not waited for.
                drop(Pin::new(&mut self.socket).poll_flush(cx));
                return Poll::Ready(Err(error));
            }
            if self.is_ended {
                return Poll::Ready(Ok(false));
            }
            if self.owes_answer {
                ready!(Pin::new(&mut self.socket).poll_flush(cx)).map_err(to_io)?;
                self.owes_answer = false;
            }
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                None => self.is_ended = true,
                Some(Err(error)) => {
                    if matches!(error, Error::PayloadTooLong { .. }) {
                        // For a message of many fragments the library leaves the close to us.
                        self.say_goodbye(CloseCode::MESSAGE_TOO_BIG, "message too long");
                    }
                    self.is_ended = true;
                    self.torn = Some(to_io(error));
                }
                Some(Ok(message)) => self.take_in(message),
            }
        }
        Poll::Ready(Ok(true))
    }

    fn take_in(&mut self, message: Message) {
        if message.is_binary() {
            self.read = message.into_payload().into();
        } else if message.is_ping() {
            self.owes_answer = true;
        } else if message.is_text() {
            self.is_ended = true;
            // 1003: nothing here is text (RFC 6455 §7.4.1).
            self.say_goodbye(CloseCode::UNSUPPORTED_DATA, "binary messages only");
            self.torn = Some(io::Error::new(
                io::ErrorKind::InvalidData,
                "a text message in the tunnel",
            ));
        }
    }

    /// Queues a close, unless there is one already.
    fn say_goodbye(&mut self, code: CloseCode, reason: &str) {
        let close = Message::close(Some(code), reason);
        // Whether it can still be sent changes nothing.
        drop(Pin::new(&mut self.socket).start_send(close));
    }
}

fn to_io(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for ByteStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if ready!(self.poll_fill(cx))? {
            let length = self.read.len().min(buf.remaining());
            buf.put_slice(&self.read[..length]);
            self.read.advance(length);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> ByteStream<T> {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&mut BytesMut),
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(to_io)?;
        let mut payload = BytesMut::new();
        take(&mut payload);
        let length = payload.len();
        if length > 0 {
            let message = Message::binary(payload);
            Pin::new(&mut self.socket)
                .start_send(message)
                .map_err(to_io)?;
        }
        Poll::Ready(Ok(length))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ByteStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, |payload| {
            payload.extend_from_slice(&bytes[..bytes.len().min(MAX_SENT_BYTES)]);
        })
    }

    /// Everything that is ready goes into one message: HTTP/2 writes frame heads and bodies as slices.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, |payload| {
            let total: usize = slices.iter().map(|slice| slice.len()).sum();
            payload.reserve(total.min(MAX_SENT_BYTES));
            for slice in slices {
                let room = MAX_SENT_BYTES - payload.len();
                payload.extend_from_slice(&slice[..slice.len().min(room)]);
            }
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(to_io)
    }

    /// Says goodbye with 1000 and closes.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(to_io)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    fn pair(capacity: usize) -> (ByteStream<DuplexStream>, ByteStream<DuplexStream>) {
        let (near, far) = duplex(capacity);
        (
            ByteStream::new(near, Role::Client),
            ByteStream::new(far, Role::Server),
        )
    }

    #[tokio::test]
    async fn bytes_come_out_as_they_went_in_whatever_the_sizes() {
        let (mut client, mut server) = pair(1000);
        let sent: Vec<u8> = (0..500_000u32).map(|n| n.to_le_bytes()[1]).collect();
        let expected = sent.clone();
        let writer = async {
            let mut rest = &sent[..];
            let mut size = 1;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(size.min(rest.len()));
                client.write_all(now).await.unwrap();
                client.flush().await.unwrap();
                rest = later;
                size = size * 3 % 100_003 + 1;
            }
            client.shutdown().await.unwrap();
        };
        let reader = async {
            let mut got = Vec::new();
            server.read_to_end(&mut got).await.unwrap();
            got
        };
        let ((), got) = tokio::join!(writer, reader);
        assert!(got == expected);
    }

    #[tokio::test]
    async fn res_14_a_message_over_the_limit_is_refused_before_it_is_held() {
        let (mut raw, far) = duplex(1024);
        let mut server = ByteStream::new(far, Role::Server);
        // A masked binary frame that declares 2^63-1 bytes.
        raw.write_all(&[
            0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4,
        ])
        .await
        .unwrap();
        let error = server.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        server.shutdown().await.unwrap();
        let mut close = [0; 4];
        raw.read_exact(&mut close).await.unwrap();
        assert_eq!(close[0], 0x88);
        assert_eq!(u16::from_be_bytes([close[2], close[3]]), 1009);
    }

    #[tokio::test]
    async fn res_13_a_text_message_is_closed_with_1003() {
        let (mut raw, far) = duplex(1024);
        let mut server = ByteStream::new(far, Role::Server);
        raw.write_all(&[0x81, 0x81, 0, 0, 0, 0, b'x'])
            .await
            .unwrap();
        assert!(server.read_u8().await.is_err());
        server.flush().await.unwrap();
        let mut close = [0; 4];
        raw.read_exact(&mut close).await.unwrap();
        assert_eq!(u16::from_be_bytes([close[2], close[3]]), 1003);
    }

    #[tokio::test]
    async fn a_peer_who_pings_and_does_not_read_is_not_read_either() {
        let (mut raw, far) = duplex(64);
        let mut server = ByteStream::new(far, Role::Server);
        let reading = tokio::spawn(async move { server.read_u8().await });
        let ping = [0x89, 0x80 | 4, 0, 0, 0, 0, b'p', b'i', b'n', b'g'];
        let mut sent = 0;
        // The pipe holds 64 bytes a way. A server that went on reading would take all of these.
        while tokio::time::timeout(std::time::Duration::from_millis(200), raw.write_all(&ping))
            .await
            .is_ok()
        {
            sent += 1;
            assert!(sent < 1000, "pings are taken without end");
        }
        drop(raw);
        assert!(reading.await.unwrap().is_err() || sent > 0);
    }

    #[tokio::test]
    async fn pings_are_answered() {
        let (mut raw, far) = duplex(1024);
        let mut server = ByteStream::new(far, Role::Server);
        raw.write_all(&[0x89, 0x82, 0, 0, 0, 0, b'h', b'i'])
            .await
            .unwrap();
        raw.write_all(&[0x82, 0x81, 0, 0, 0, 0, b'x'])
            .await
            .unwrap();
        assert_eq!(server.read_u8().await.unwrap(), b'x');
        server.flush().await.unwrap();
        let mut pong = [0; 4];
        raw.read_exact(&mut pong).await.unwrap();
        assert_eq!(pong, [0x8a, 2, b'h', b'i']);
    }
}

//! The caller's connection with the bytes that were read ahead, and a limit on a write that does not move.
//!
//! What moves is noted in [`Requests`], which knows how long a connection has been of no use. Invariant: a peer that
//! stops reading costs a bounded time. HTTP libraries wait for a blocked socket for ever; the body behind it is not even
//! polled, so no limit inside of it could fire.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use crate::gateway::idleness::{LONGEST, Requests};

/// A connection after its first bytes were looked at.
#[derive(Debug)]
pub(crate) struct TimedIo<T> {
    inner: T,
    read_ahead: BytesMut,
    write_limit: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    requests: Arc<Requests>,
    linger: Linger,
}

/// After the last answer of a connection, what the caller still sends is read and thrown away for a moment. Closing on
/// unread bytes makes a reset, and a reset can destroy the answer on its way to a caller who is still uploading (RFC
/// 9112 §9.6).
#[derive(Debug)]
enum Linger {
    /// This connection does not.
    Never,
    /// It will, when its sending direction has ended.
    Then,
    /// It does: so many bytes, and until then.
    Now {
        left_bytes: usize,
        until: Pin<Box<Sleep>>,
    },
}

/// How much is thrown away at most, and for how long.
const LINGER_BYTES: usize = 16 * 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(1);

impl<T> TimedIo<T> {
    pub(crate) fn new(
        inner: T,
        read_ahead: BytesMut,
        write_limit: Duration,
        requests: Arc<Requests>,
    ) -> Self {
        Self {
            inner,
            read_ahead,
            write_limit: write_limit.min(LONGEST),
            stalled: None,
            requests,
            linger: Linger::Never,
        }
    }

    /// The same, reading on for a moment after the last answer.
    pub(crate) fn lingering(mut self) -> Self {
        self.linger = Linger::Then;
        self
    }

    /// Passes a write's outcome on, and turns one that waits too long into an error.
    fn watch<R>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let due = Instant::now() + self.write_limit;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep_until(due)));
        std::task::ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the peer does not read",
        )))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for TimedIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read_ahead.is_empty() {
            let before = buf.filled().len();
            let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
            if buf.filled().len() > before {
                self.requests.read();
            }
            return polled;
        }
        self.requests.read();
        let length = self.read_ahead.len().min(buf.remaining());
        buf.put_slice(&self.read_ahead[..length]);
        self.read_ahead.advance(length);
        if self.read_ahead.is_empty() {
            self.read_ahead = BytesMut::new(); // nothing stays allocated for the life of the connection
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> TimedIo<T> {
    /// Throws away what still comes; done at the peer's end, at an error, or when it is enough.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if matches!(self.linger, Linger::Then) {
            self.linger = Linger::Now {
                left_bytes: LINGER_BYTES,
                until: Box::pin(sleep_until(Instant::now() + LINGER_TIME)),
            };
        }
        let Linger::Now { left_bytes, until } = &mut self.linger else {
            return Poll::Ready(());
        };
        let mut scrap = [MaybeUninit::uninit(); 8 * 1024]; // nobody reads it
        loop {
            if *left_bytes == 0 || until.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut buf = ReadBuf::uninit(&mut scrap);
            let read = std::task::ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buf));
            if read.is_err() || buf.filled().is_empty() {
                return Poll::Ready(());
            }
            *left_bytes = left_bytes.saturating_sub(buf.filled().len());
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TimedIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if polled.is_ready() {
            self.requests.wrote();
        }
        self.watch(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        if polled.is_ready() {
            self.requests.wrote();
        }
        self.watch(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.watch(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !matches!(self.linger, Linger::Now { .. }) {
            let polled = Pin::new(&mut self.inner).poll_shutdown(cx);
            std::task::ready!(self.watch(cx, polled))?;
        }
        self.poll_linger(cx).map(Ok)
    }
}

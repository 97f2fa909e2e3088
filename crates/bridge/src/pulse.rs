//! When bytes last came over a connection, more than a few: a sign of life below frames and messages.
//!
//! Invariant: nothing of what passes is kept, changed or held up. On a slow line one message takes longer than silence
//! may, and a session that knows only of whole messages would give a line up that moves all the time.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

/// So many bytes are worth a beat. Fewer may be a hop's own: one that pings on behalf of a peer who is dead must not keep
/// him alive, and one that pings each second does not come this far within the silence that is allowed.
const BEAT_BYTES: usize = 1024;

/// When bytes last came over one connection, a KiB of them. Clones tell of the same one.
#[derive(Clone, Debug)]
pub struct Pulse {
    began_at: Instant,
    /// Nanoseconds from then to the last bytes; enough for five centuries.
    last: Arc<AtomicU64>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            began_at: Instant::now(),
            last: Arc::default(),
        }
    }
}

impl Pulse {
    /// When the last KiB was full; before any was, when this was made.
    #[must_use]
    pub fn last(&self) -> Instant {
        self.began_at + Duration::from_nanos(self.last.load(Ordering::Relaxed))
    }

    fn beat(&self) {
        let nanoseconds = u64::try_from(self.began_at.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last.store(nanoseconds, Ordering::Relaxed);
    }
}

/// A connection whose incoming bytes show in a [`Pulse`].
#[derive(Debug)]
pub struct Pulsed<T> {
    inner: T,
    pulse: Pulse,
    /// Bytes since the last beat.
    read_bytes: usize,
}

impl<T> Pulsed<T> {
    /// `inner`, telling `pulse`.
    pub fn new(inner: T, pulse: Pulse) -> Self {
        Self {
            inner,
            pulse,
            read_bytes: 0,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Pulsed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.read_bytes += buf.filled().len() - before;
        if self.read_bytes >= BEAT_BYTES {
            self.read_bytes = 0;
            self.pulse.beat();
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Pulsed<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        time::advance,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_full_kib_that_comes_is_a_pulse() {
        let (mut far, near) = duplex(4096);
        let pulse = Pulse::default();
        let began_at = pulse.last();
        let mut near = Pulsed::new(near, pulse.clone());
        let mut buffer = [0; BEAT_BYTES];
        advance(Duration::from_secs(5)).await;
        near.write_all(&buffer).await.expect("room");
        assert_eq!(pulse.last(), began_at, "what is sent says nothing");
        far.write_all(&buffer).await.expect("room");
        near.read_exact(&mut buffer[1..]).await.expect("bytes");
        assert_eq!(pulse.last(), began_at, "so few may be a hop's own");
        near.read_u8().await.expect("the last of them");
        assert_eq!(pulse.last(), began_at + Duration::from_secs(5));
        advance(Duration::from_secs(5)).await;
        drop(far);
        near.read_u8().await.expect_err("the end");
        assert_eq!(pulse.last(), began_at + Duration::from_secs(5));
    }
}

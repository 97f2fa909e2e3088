//! One direction of one connection: a reader that says of each piece when it arrives, and a writer that waits for that.
//!
//! Invariant: bytes keep their order, and what is under way is bounded: a line that is full is not read.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{Shape, Toward, Weather};

/// Most bytes of a piece; a narrow line takes smaller ones, twenty a second, so that they trickle.
const MOST_PIECE_BYTES: usize = 64 * 1024;
const PIECES_PER_SECOND: u32 = 20;
/// Most under way: a line holds so many bytes, however small the pieces are.
const MOST_BYTES: usize = 4 * 1024 * 1024;
const MOST_PIECES: usize = 16 * 1024;

/// Bytes, and when they arrive; none at the end.
struct Piece {
    bytes: Bytes,
    arrives_at: Instant,
    _room: OwnedSemaphorePermit,
}

/// Carries bytes until either end or the proxy is gone. `seed` is for the jitter.
pub(super) async fn carry(
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
    toward: Toward,
    weather: watch::Receiver<Weather>,
    seed: u64,
) {
    let (sender, pieces) = mpsc::channel(MOST_PIECES);
    let reading = read(from, sender, weather.clone(), Schedule::new(seed));
    tokio::join!(reading, write(to, pieces, toward, weather));
}

async fn read(
    mut from: impl AsyncRead + Unpin,
    pieces: mpsc::Sender<Piece>,
    weather: watch::Receiver<Weather>,
    mut schedule: Schedule,
) {
    let mut buffer = vec![0; MOST_PIECE_BYTES];
    let line = Arc::new(Semaphore::new(MOST_BYTES));
    loop {
        let shape = weather.borrow().shape;
        // paced: a narrow line takes so much in a second, and what it has not taken stays with the sender
        sleep_until(schedule.free_at).await;
        let most = piece_bytes(&shape);
        let length = from.read(&mut buffer[..most]).await.unwrap_or(0);
        let taken = u32::try_from(length).unwrap_or(u32::MAX);
        let Ok(room) = Arc::clone(&line).acquire_many_owned(taken).await else {
            return; // it is never closed
        };
        let piece = Piece {
            bytes: Bytes::copy_from_slice(&buffer[..length]),
            arrives_at: schedule.arrival(&shape, length),
            _room: room,
        };
        if pieces.send(piece).await.is_err() || length == 0 {
            return;
        }
    }
}

fn piece_bytes(shape: &Shape) -> usize {
    shape.bytes_per_second.map_or(MOST_PIECE_BYTES, |rate| {
        let piece = (rate / PIECES_PER_SECOND).max(1) as usize;
        piece.min(MOST_PIECE_BYTES)
    })
}

async fn write(
    mut to: impl AsyncWrite + Unpin,
    mut pieces: mpsc::Receiver<Piece>,
    toward: Toward,
    mut weather: watch::Receiver<Weather>,
) {
    let mut ending = weather.clone();
    let ended = ending.wait_for(|weather| weather.half_closed == Some(toward));
    let mut ended = std::pin::pin!(ended);
    loop {
        // The piece that is dropped with the first arm is the one that a half-closed line does not carry.
        let piece = tokio::select! {
            piece = next(&mut pieces, toward, &mut weather) => piece,
            _ = &mut ended => None,
        };
        let Some(bytes) = piece else {
            drop(to.shutdown().await); // a peer that has gone needs no end
            return;
        };
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// The next bytes, when they arrive; `None` at the end.
async fn next(
    pieces: &mut mpsc::Receiver<Piece>,
    toward: Toward,
    weather: &mut watch::Receiver<Weather>,
) -> Option<Bytes> {
    let piece = pieces.recv().await?;
    // paced: this is how long the line is
    sleep_until(piece.arrives_at).await;
    // Held back as long as it is lost; the proxy's own end ends the wait, too.
    let carried = weather.wait_for(|weather| !weather.loss.takes(toward));
    carried.await.ok()?;
    (!piece.bytes.is_empty()).then_some(piece.bytes)
}

/// When the line is free for the next piece, and when each arrives.
struct Schedule {
    free_at: Instant,
    last_arrival: Instant,
    random: u64,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        Self {
            free_at: now,
            last_arrival: now,
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
        }
    }

    fn arrival(&mut self, shape: &Shape, length: usize) -> Instant {
        let now = Instant::now();
        if let Some(rate) = shape.bytes_per_second {
            let length = u32::try_from(length).unwrap_or(u32::MAX);
            let takes = Duration::from_secs(1).mul_f64(f64::from(length) / f64::from(rate.max(1)));
            self.free_at = self.free_at.max(now) + takes;
        }
        let left_at = self.free_at.max(now);
        let arrival = left_at + shape.delay + shape.jitter.mul_f64(self.random_fraction());
        self.last_arrival = self.last_arrival.max(arrival);
        self.last_arrival
    }

    /// Xorshift: the same each time for a connection of the same number.
    fn random_fraction(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        f64::from(u32::try_from(self.random >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    /// Sends `length` bytes over a line of this shape, and says when the first and the last arrived.
    async fn times(shape: Shape, length: usize) -> (Duration, Duration) {
        let (mut sender, from) = duplex(1 << 20);
        let (to, mut receiver) = duplex(1 << 20);
        let weather = watch::Sender::new(Weather {
            shape,
            ..Weather::default()
        });
        let began_at = Instant::now();
        let sent: Vec<u8> = (0..=250).cycle().take(length).collect();
        let sending = async {
            for piece in sent.chunks(1000) {
                sender.write_all(piece).await.expect("room");
                tokio::task::yield_now().await;
            }
            drop(sender);
        };
        let receiving = async {
            let first = receiver.read_u8().await.expect("a byte");
            let first_at = began_at.elapsed();
            let mut got = vec![first];
            receiver.read_to_end(&mut got).await.expect("bytes");
            assert_eq!(got, sent, "other bytes, or in another order");
            (first_at, began_at.elapsed())
        };
        let line = carry(from, to, Toward::Relay, weather.subscribe(), 1);
        tokio::join!(sending, line, receiving).2
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_takes_its_time_and_keeps_the_order() {
        let shape = Shape {
            delay: Duration::from_millis(300),
            jitter: Duration::from_millis(100),
            bytes_per_second: None,
        };
        let (first, last) = times(shape, 200_000).await;
        for time in [first, last] {
            let is_right = time >= shape.delay && time <= shape.delay + shape.jitter;
            assert!(is_right, "{time:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_narrow_line_carries_what_it_can_and_no_more() {
        let shape = Shape {
            bytes_per_second: Some(10_000),
            ..Shape::default()
        };
        let (first, last) = times(shape, 50_000).await;
        assert!(first <= Duration::from_millis(100), "{first:?}");
        let expected = Duration::from_secs(5);
        let is_right = last.abs_diff(expected) <= Duration::from_millis(100);
        assert!(is_right, "{last:?}");
    }
}

//! Whose turn it is on the public port: one relay process takes connections in, the next one stands by until it leaves.
//!
//! Invariant: of the relays that share a lock one at a time has the turn, and one that crashes loses it with its life: the
//! lock is the system's (`flock`), not what stands in a file. Why it is so: docs/decisions/0007.

use std::{
    fs::{File, TryLockError},
    io,
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// How often one who stands by looks whether it is its turn. Meanwhile connections wait in the kernel's queue.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How long a relay that leaves waits for one that takes its turn.
const SUCCESSOR_LIMIT: Duration = Duration::from_secs(1);
/// How long both take connections in where each has a queue of its own: the next one has to listen first.
const OVERLAP: Duration = Duration::from_millis(100);

/// How relay processes follow one another on a port. Cloning shares the turn.
#[derive(Clone, Debug)]
pub struct Handover {
    lock: Arc<File>,
    /// How long a request waits for its user's agent to come over, counted from taking the port over.
    pub startup_grace: Duration,
}

impl Handover {
    /// `lock` is a file that every relay of this port opens for itself; what is in it does not matter.
    #[must_use]
    pub fn new(lock: File, startup_grace: Duration) -> Self {
        Self {
            lock: Arc::new(lock),
            startup_grace,
        }
    }

    /// Takes the turn if nobody has it.
    pub(crate) fn try_turn(&self) -> io::Result<bool> {
        match self.lock.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Waits until nobody else has the turn, and takes it. Dropping the future gives nothing up.
    pub(crate) async fn turn(&self) -> io::Result<()> {
        // Looking is cheap, and unlike a thread that waits for the lock it can be given up.
        while !self.try_turn()? {
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// Gives the turn away.
    pub(crate) fn leave(&self) {
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "cannot give the port away before the end");
        }
    }

    /// After [`Self::leave`]: whether another relay takes the turn and, by now, listens.
    pub(crate) async fn is_taken_over(&self) -> bool {
        let until = Instant::now() + SUCCESSOR_LIMIT;
        while Instant::now() < until {
            sleep(LOOK_AGAIN).await;
            match self.try_turn() {
                Ok(true) => self.leave(),
                Ok(false) => {
                    sleep(OVERLAP).await;
                    return true;
                }
                Err(error) => tracing::warn!(%error, "cannot see whether another relay has come"),
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> (Handover, Handover) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let opened = || Handover::new(file.reopen().unwrap(), Duration::ZERO);
        (opened(), opened())
    }

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_has_the_turn() {
        let (first, second) = two();
        first.turn().await.unwrap();
        assert!(!second.try_turn().unwrap());
        let mut waiting = tokio::spawn({
            let second = second.clone();
            async move { second.turn().await }
        });
        let early = tokio::time::timeout(Duration::from_secs(60), &mut waiting).await;
        assert!(early.is_err(), "the first one still has it");
        first.leave();
        assert!(first.is_taken_over().await);
        waiting.await.unwrap().unwrap();
        assert!(!first.try_turn().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_does_not_wait_long_for_a_successor() {
        let (only, _) = two();
        only.turn().await.unwrap();
        only.leave();
        let began = Instant::now();
        assert!(!only.is_taken_over().await);
        assert!(began.elapsed() < 2 * SUCCESSOR_LIMIT);
    }

    #[tokio::test]
    async fn a_turn_ends_with_who_had_it() {
        let (first, second) = two();
        assert!(first.try_turn().unwrap());
        drop(first); // as a crash does
        assert!(second.try_turn().unwrap());
    }
}

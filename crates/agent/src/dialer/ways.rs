//! Which way to the relay is tried, and in which order: what worked comes first, the better way is tried again now and
//! then.
//!
//! Invariant: one way at a time. There is never a second session beside the first.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long the bridge is used before plain HTTP/2 is tried first again.
const BETTER_AGAIN: Duration = Duration::from_secs(10 * 60);

/// Which way the owner wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Whatever works: plain HTTP/2 first.
    #[default]
    Auto,
    /// Plain HTTP/2 alone.
    Grpc,
    /// The bridge alone.
    WebSocket,
}

/// A way to the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// gRPC over HTTP/2.
    Grpc,
    /// The same HTTP/2 bytes inside a WebSocket.
    WebSocket,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grpc => "grpc",
            Self::WebSocket => "websocket",
        })
    }
}

/// Remembers what worked.
#[derive(Debug)]
pub(crate) struct Ways {
    wanted: Transport,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// The bridge was needed; since when plain HTTP/2 has not been tried.
    bridged_since: Option<Instant>,
}

impl Ways {
    pub(crate) fn new(wanted: Transport) -> Self {
        Self {
            wanted,
            memory: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to try now: the first, and the one to fall back to, if any.
    pub(crate) fn order(&self, now: Instant) -> (Way, Option<Way>) {
        match self.wanted {
            Transport::Grpc => (Way::Grpc, None),
            Transport::WebSocket => (Way::WebSocket, None),
            Transport::Auto => match &mut self.lock().bridged_since {
                Some(since) if now < *since + BETTER_AGAIN => (Way::WebSocket, Some(Way::Grpc)),
                Some(since) => {
                    *since = now;
                    (Way::Grpc, Some(Way::WebSocket))
                }
                None => (Way::Grpc, Some(Way::WebSocket)),
            },
        }
    }

    /// A session was opened this way.
    pub(crate) fn worked(&self, way: Way, now: Instant) {
        let mut memory = self.lock();
        match way {
            Way::Grpc => memory.bridged_since = None,
            Way::WebSocket => {
                memory.bridged_since.get_or_insert(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_worked_comes_first_and_the_better_way_is_tried_again() {
        let ways = Ways::new(Transport::Auto);
        let better_first = (Way::Grpc, Some(Way::WebSocket));
        let bridge_first = (Way::WebSocket, Some(Way::Grpc));
        assert_eq!(ways.order(Instant::now()), better_first);
        ways.worked(Way::WebSocket, Instant::now());
        assert_eq!(ways.order(Instant::now()), bridge_first);
        tokio::time::advance(BETTER_AGAIN).await;
        assert_eq!(ways.order(Instant::now()), better_first);
        assert_eq!(
            ways.order(Instant::now()),
            bridge_first,
            "only now and then"
        );
        ways.worked(Way::Grpc, Instant::now());
        assert_eq!(ways.order(Instant::now()), better_first);
    }

    #[tokio::test(start_paused = true)]
    async fn a_forced_way_is_the_only_one() {
        assert_eq!(
            Ways::new(Transport::Grpc).order(Instant::now()),
            (Way::Grpc, None)
        );
        let ways = Ways::new(Transport::WebSocket);
        ways.worked(Way::WebSocket, Instant::now());
        assert_eq!(ways.order(Instant::now()), (Way::WebSocket, None));
    }
}

//! Where a relay stands.
//!
//! ```text
//! StandingBy ──▶ Serving ──▶ HandingOver ──▶ Draining        a relay that is followed by another on its port
//! Serving ─────────────────────────────────▶ Draining        one that is not
//! ```
//!
//! Invariant: it only moves to the right.

use std::sync::Arc;

use tokio::sync::watch;

/// Where a relay stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Another relay has the port.
    StandingBy,
    /// Connections, sessions and requests are taken in.
    Serving,
    /// The port is another relay's. Requests are still served on connections that are here; no session is taken in.
    HandingOver,
    /// Nothing new is taken in.
    Draining,
}

/// The phase of a running relay, shared by all its parts.
#[derive(Clone, Debug)]
pub(crate) struct Stage(Arc<watch::Sender<Phase>>);

impl Stage {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Phase::StandingBy)))
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Moves on. There is no way back.
    pub(crate) fn enter(&self, next: Phase) {
        self.0.send_if_modified(|phase| {
            let is_further = next > *phase;
            if is_further {
                *phase = next;
            }
            is_further
        });
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.phase() >= Phase::HandingOver
    }

    /// Waits until the relay begins to leave.
    pub(crate) async fn left(&self) {
        self.reached(|phase| phase >= Phase::HandingOver).await;
    }

    /// Waits until the relay hands its port over; for ever, if it drains without doing so.
    pub(crate) async fn handing_over(&self) {
        self.reached(|phase| phase == Phase::HandingOver).await;
    }

    async fn reached(&self, is_it: impl Fn(Phase) -> bool) {
        let mut phases = self.0.subscribe();
        // An error would mean that the sender is gone, and this is one.
        if phases.wait_for(|phase| is_it(*phase)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn there_is_no_way_back() {
        let stage = Stage::new();
        assert!(!stage.is_leaving());
        stage.enter(Phase::Serving);
        stage.enter(Phase::StandingBy);
        assert_eq!(stage.phase(), Phase::Serving);
        stage.enter(Phase::HandingOver);
        stage.handing_over().await;
        stage.enter(Phase::Draining);
        stage.enter(Phase::HandingOver);
        assert_eq!(stage.phase(), Phase::Draining);
        stage.left().await;
    }
}

//! How a relay leaves: not ready, its port given away, its agents sent to the next one, and time for what still runs.
//!
//! Invariant: whoever reaches a relay that hands over, on a connection that it had already, is served: the sessions stay
//! until no request has come for a moment. Bounded by the drain timeout; in its second half nothing new is begun.

use std::{future::pending, time::Duration};

use c2l_tunnel::Link;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{
    Relay, gateway::idleness::LONGEST, phase::Phase, port::OpenPort, tunnel::health::Health,
};

/// How long no request may have been under way before a relay that hands over closes its idle connections. A request
/// that is on its way on one of them is lost when it is closed, so each has this long to bring one and be told to go.
const CALM: Duration = Duration::from_secs(1);

/// What agents are told when the relay leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parting {
    until: Instant,
    /// Until when requests are served that come on connections from before.
    opens_until: Option<Instant>,
}

impl Parting {
    /// Says it to one agent.
    pub(crate) fn tell(&self, link: &Link) {
        const MESSAGE: &str = "the relay is leaving";
        let now = Instant::now();
        let grace = self.until.duration_since(now);
        match self.opens_until {
            Some(opens_until) => {
                let opens = opens_until.duration_since(now);
                link.hand_over(MESSAGE, opens, grace, now.into_std());
            }
            None => link.go_away(MESSAGE, grace, now.into_std()),
        }
    }
}

/// Leaves; returns when nothing is under way any more, or the grace is over.
pub(crate) async fn leave(relay: &Relay, health: &Health, mut port: OpenPort) {
    let grace = relay.config.drain_timeout.min(LONGEST);
    let began = Instant::now();
    let is_followed = match &relay.config.handover {
        Some(handover) => {
            relay.life.stage.enter(Phase::HandingOver);
            health.draining().await;
            port.hand_over(handover).await
        }
        None => false,
    };
    let parting = Parting {
        until: began + grace,
        opens_until: is_followed.then_some(began + grace / 2),
    };
    if !is_followed {
        relay.life.stage.enter(Phase::Draining);
        health.draining().await;
    }
    tell_agents(relay, parting);
    let running = relay.active_requests();
    tracing::info!(running, ?grace, is_followed, "draining");

    let calm = if is_followed { CALM } else { Duration::ZERO };
    let ending = timeout_at(parting.until, relay.admission.wait_calm(calm));
    // Each may be dropped: the first two only look, and a port that is still open is closed with the relay.
    tokio::select! {
        ended = ending => if ended.is_err() {
            let running = relay.active_requests();
            tracing::warn!(running, "the grace is over; what still runs is cut");
        },
        () = refuse_in_time(relay, parting) => {}
        () = await_late_one(relay, port, is_followed) => {}
    }
}

/// Sessions that are being opened right now are told when they are open.
fn tell_agents(relay: &Relay, parting: Parting) {
    let parting = relay.life.parting.get_or_init(|| parting);
    for session in relay.registry.all() {
        parting.tell(&session.link);
    }
    relay.registry.changed();
}

/// A request that comes late would be cut by the end of the grace; it is better told to come back. Does not return.
async fn refuse_in_time(relay: &Relay, parting: Parting) {
    if let Some(opens_until) = parting.opens_until {
        sleep_until(opens_until).await;
        relay.life.stage.enter(Phase::Draining);
    }
    pending().await
}

/// Where nobody was there to hand the port to, somebody may still come. Does not return.
async fn await_late_one(relay: &Relay, mut port: OpenPort, is_followed: bool) {
    match &relay.config.handover {
        Some(handover) if !is_followed => port.leave_to_a_late_one(handover).await,
        _ => pending().await,
    }
}

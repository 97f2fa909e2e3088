//! One direction of one connection. Messages keep their order; how long they take, and whether they arrive at all, is the
//! weather's.

use std::time::Duration;

use c2l_tunnel::Side;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use super::random::Random;

/// How the network is, for everybody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    pub latency: Duration,
    pub jitter: Duration,
    /// `None` is as good as no bound.
    pub bytes_per_second: Option<usize>,
    /// Nothing moves toward this side, or these.
    pub lost_toward_relay: bool,
    pub lost_toward_agent: bool,
}

impl Weather {
    pub fn is_lost_toward(&self, side: Side) -> bool {
        match side {
            Side::Relay => self.lost_toward_relay,
            Side::Agent => self.lost_toward_agent,
        }
    }
}

/// How one connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    #[default]
    Well,
    /// Something on the way has forgotten it: nothing passes, and nobody is told.
    Forgotten,
    /// Both ends are told.
    Cut,
}

/// What arrives.
pub enum Arrival {
    /// A part of a message that is not whole yet.
    Piece,
    Message(Vec<u8>),
}

/// A connection's line toward `side`.
pub struct Line {
    pub side: Side,
    pub weather: watch::Receiver<Weather>,
    pub fate: watch::Receiver<Fate>,
    pub random: Random,
}

/// What a buffer on the way holds, in pieces.
const UNDER_WAY: usize = 64;

impl Line {
    /// Carries until the sender has ended or the receiver is gone, and then until what is under way has arrived.
    pub async fn carry(self, from: mpsc::Receiver<Vec<u8>>, to: mpsc::Sender<Arrival>) {
        let (enter, leave) = mpsc::channel(UNDER_WAY);
        let mut fate = self.fate.clone();
        let arriving = deliver(
            self.side,
            self.weather.clone(),
            self.fate.clone(),
            leave,
            to,
        );
        let carrying = async {
            tokio::join!(squeeze(self.weather, self.random, from, enter), arriving);
        };
        // A cut drops what is under way.
        tokio::select! {
            biased;
            () = carrying => {}
            _ = fate.wait_for(|fate| *fate == Fate::Cut) => {}
        }
    }
}

/// The narrow end: each message takes as long as it is.
async fn squeeze(
    weather: watch::Receiver<Weather>,
    mut random: Random,
    mut from: mpsc::Receiver<Vec<u8>>,
    enter: mpsc::Sender<(Instant, Arrival)>,
) {
    let mut last = Instant::now();
    while let Some(message) = from.recv().await {
        let mut left = message.len();
        loop {
            let now = *weather.borrow();
            let piece = match now.bytes_per_second {
                None => left,
                Some(rate) => {
                    let piece = left.min((rate / 4).max(64));
                    sleep(Duration::from_millis((1000 * piece).div_ceil(rate) as u64)).await;
                    piece
                }
            };
            left -= piece;
            let under_way = now.latency + random.within(now.jitter);
            last = last.max(Instant::now() + under_way);
            if left > 0 {
                if enter.send((last, Arrival::Piece)).await.is_err() {
                    return;
                }
                continue;
            }
            break;
        }
        if enter.send((last, Arrival::Message(message))).await.is_err() {
            return;
        }
    }
}

async fn deliver(
    side: Side,
    mut weather: watch::Receiver<Weather>,
    mut fate: watch::Receiver<Fate>,
    mut leave: mpsc::Receiver<(Instant, Arrival)>,
    to: mpsc::Sender<Arrival>,
) {
    loop {
        let next = leave.recv().await;
        if let Some((at, _)) = &next {
            sleep_until(*at).await;
        }
        // The end of a connection is lost like everything else.
        loop {
            let passes = weather.wait_for(|weather| !weather.is_lost_toward(side));
            if passes.await.is_err() || fate.wait_for(|fate| *fate == Fate::Well).await.is_err() {
                return;
            }
            if !weather.borrow().is_lost_toward(side) {
                break;
            }
        }
        let Some((_, arrival)) = next else {
            return;
        };
        if to.send(arrival).await.is_err() {
            return;
        }
    }
}

//! What goes wrong: one thing after another, some of them at once, until it is enough.

use std::{rc::Rc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    line::{Fate, Weather},
    random::Random,
    world::World,
};

/// How long it goes on.
const STORM: Duration = Duration::from_secs(5 * 60);

/// One fault after the other; at the end everything is well.
pub async fn storm(world: &Rc<World>) {
    let mut random = Random::of(world.seed, u64::MAX);
    let until = Instant::now() + STORM;
    while Instant::now() < until {
        sleep(random.between(100, 25_000)).await;
        fault(world, &mut random).await;
    }
    world.weather.send_replace(Weather::default());
    world.thaw(Duration::ZERO);
}

async fn fault(world: &Rc<World>, random: &mut Random) {
    match random.below(10) {
        0 => world.decide_fate(Fate::Cut),
        1 => {
            world.decide_fate(Fate::Forgotten);
            // What was said on it may arrive late, when another connection has taken its place.
            let remembered = random.one_in(2).then(|| random.between(100, 60_000));
            let forgotten = world.newest();
            if let (Some(after), Some(connection)) = (remembered, forgotten) {
                world.spawn(async move {
                    sleep(after).await;
                    connection.fate.send_if_modified(|fate| {
                        let is_forgotten = *fate == Fate::Forgotten;
                        if is_forgotten {
                            *fate = Fate::Well;
                        }
                        is_forgotten
                    });
                });
            }
        }
        2 | 3 => {
            let (relay, agent) =
                [(true, true), (true, false), (false, true)][random.bytes_below(3)];
            world.weather.send_modify(|weather| {
                weather.lost_toward_relay = relay;
                weather.lost_toward_agent = agent;
            });
            let most = if random.one_in(2) { 9_000 } else { 60_000 };
            sleep(random.between(10, most)).await;
            world.weather.send_modify(|weather| {
                weather.lost_toward_relay = false;
                weather.lost_toward_agent = false;
            });
        }
        4 | 5 => {
            let rate = 1024 << random.below(7);
            let rate = (!random.one_in(3)).then_some(rate as usize);
            world
                .weather
                .send_modify(|weather| weather.bytes_per_second = rate);
        }
        6 => {
            let (latency, jitter) = (random.between(0, 500), random.between(0, 200));
            world.weather.send_modify(|weather| {
                weather.latency = latency;
                weather.jitter = jitter;
            });
        }
        7 => {
            world.freeze();
            let stopped = random.between(10, 60_000);
            sleep(stopped).await;
            // Stopped, its clock runs on; asleep, it stands still, and only the one on the wall tells.
            let slept = random.one_in(2).then_some(stopped);
            world.thaw(slept.unwrap_or_default());
        }
        8 => {
            world.kill_agent();
            sleep(random.between(0, 5_000)).await;
            world.start_agent();
        }
        _ => world.relay_leaves(random.between(0, 40_000)),
    }
}

//! Keeps a session: fetches the token, opens one, and after a loss waits with full jitter before the next.
//!
//! Invariant: never a tight loop, whatever the relay does. The wait starts over only after a session has been open for
//! a while; a refusal that a retry cannot mend ends the agent instead.

use std::{future::Future, sync::Arc, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    Agent, TokenError,
    config::Config,
    error::{DialError, Error, Refusal, Setback},
    session::{self, End, Ended},
    status::{Status, note_error},
};

/// Keeps a session until `leaving` is cancelled or the relay refuses for good. Sessions that a leaving relay asked to
/// end are waited for, each within its own grace.
pub(crate) async fn supervise(
    agent: &Arc<Agent>,
    leaving: &CancellationToken,
) -> Result<(), Error> {
    let mut parting = JoinSet::new();
    let result = keep(agent, leaving, &mut parting).await;
    while parting.join_next().await.is_some() {}
    result
}

async fn keep(
    agent: &Arc<Agent>,
    leaving: &CancellationToken,
    parting: &mut JoinSet<()>,
) -> Result<(), Error> {
    let mut back_off = BackOff::new(&agent.config);
    let mut attempt = 0_u32;
    let mut has_had_token = false;
    while !leaving.is_cancelled() {
        while parting.try_join_next().is_some() {}
        attempt = attempt.saturating_add(1);
        agent.status.send_replace(Status::Connecting { attempt });
        let Some(token) = unless_left(leaving, fetch_token(&agent.config)).await else {
            break;
        };
        let setback = match token {
            Err(Setback::Token(error)) if error.is_final(has_had_token) => {
                return Err(Error::Token(error));
            }
            Err(setback) => setback,
            Ok(token) => {
                has_had_token = true;
                let mut ended = session::hold(agent, &token, leaving).await;
                if let Some(open_for) = ended.open_for {
                    attempt = 0;
                    back_off.had_session(open_for);
                }
                if let End::RelayLeaves(rest) = ended.how {
                    // The next session is opened before this one is left.
                    parting.spawn(rest);
                    ended.how = End::Drained;
                }
                match next_step(&agent.config, leaving, ended, &token).await? {
                    Step::Leave => break,
                    Step::AtOnce => continue,
                    Step::After(setback) => setback,
                }
            }
        };
        let wait = back_off.next_wait(random());
        warn!(%setback, ?wait, "no session, trying again");
        let last_error = setback.to_string();
        note_error(&agent.activity, &last_error);
        agent.status.send_replace(Status::BackingOff {
            until: (Instant::now() + wait).into_std(),
            last_error,
        });
        unless_left(leaving, wait_or_return(agent, &setback, wait)).await;
    }
    info!("left");
    Ok(())
}

/// Waits, or less when it makes no sense to wait on: the machine woke from sleep, or the way to the relay was closed and
/// is open again. A relay that answers is met with the whole wait; a way that is dead is listened to.
async fn wait_or_return(agent: &Agent, setback: &Setback, wait: Duration) {
    let is_known_closed = matches!(
        setback,
        Setback::Dial(DialError::Connect(_) | DialError::ProxyConnect(_))
    );
    let way_returns = async {
        if setback.is_of_the_way() {
            let returns = agent.dialer.way_returns(&agent.config, is_known_closed);
            returns.await;
        } else {
            std::future::pending().await
        }
    };
    // Every arm may be dropped.
    tokio::select! {
        () = sleep(wait) => {}
        _jump = session::wall_clock_jumps() => info!("the clock jumped, as after sleep: not waiting on"),
        () = way_returns => info!("the way to the relay is open again: not waiting on"),
    }
}

enum Step {
    Leave,
    AtOnce,
    After(Setback),
}

async fn next_step(
    config: &Config,
    leaving: &CancellationToken,
    ended: Ended,
    token: &str,
) -> Result<Step, Error> {
    // A relay that opens and ends sessions in a row is met with waits like any other trouble.
    let has_lasted = ended
        .open_for
        .is_some_and(|open_for| open_for >= config.backoff_min);
    let at_once_or = |setback| {
        if has_lasted {
            Step::AtOnce
        } else {
            Step::After(setback)
        }
    };
    match ended.how {
        End::Left => Ok(Step::Leave),
        End::Drained | End::RelayLeaves(_) => Ok(at_once_or(Setback::Closed(
            c2l_tunnel::CloseReason::Drained,
        ))),
        End::Lost(setback) => Ok(Step::After(setback)),
        // A token that ran out in mid-session is no refusal if there is a newer one.
        End::Refused(Error::Refused {
            refusal: Refusal::Unauthenticated,
            message,
        }) if ended.open_for.is_some() => {
            let Some(fresh) = unless_left(leaving, fetch_token(config)).await else {
                return Ok(Step::Leave);
            };
            match fresh {
                Ok(fresh) if fresh == token => {
                    return Err(Error::Refused {
                        refusal: Refusal::Unauthenticated,
                        message,
                    });
                }
                Err(Setback::Token(error)) if error.is_final(true) => {
                    return Err(Error::Token(error));
                }
                Ok(_) | Err(_) => {}
            }
            let code = tonic::Code::Unauthenticated;
            Ok(at_once_or(Setback::Ended { code, message }))
        }
        End::Refused(error) => Err(error),
    }
}

/// The output, or `None` when it is time to leave. The future is dropped then.
async fn unless_left<T>(leaving: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    leaving.run_until_cancelled(work).await
}

/// Under the same limit as dialing: the source may be a command that hangs.
pub(crate) async fn fetch_token(config: &Config) -> Result<String, Setback> {
    let limit = config.dial_timeout;
    let token = timeout(limit, (config.token)())
        .await
        .map_err(|_| Setback::TokenTimeout(limit))?
        .map_err(Setback::Token)?;
    let token = token.trim();
    let is_visible = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_visible {
        let problem = "what the source gave is not a token (empty, or with blanks in it)";
        return Err(Setback::Token(TokenError::new(problem)));
    }
    Ok(token.to_owned())
}

/// 1, 2, 4, 8, 16, 30, 30 … seconds, each with full jitter: uniform between nothing and that.
///
/// backon's own jitter adds up to a whole delay on top of each, which keeps agents apart less well and doubles the
/// longest wait, so only its delays are used.
#[derive(Debug)]
struct BackOff {
    delays: ExponentialBuilder,
    current: <ExponentialBuilder as backon::BackoffBuilder>::Backoff,
    longest: Duration,
    healthy_after: Duration,
}

impl BackOff {
    fn new(config: &Config) -> Self {
        let delays = ExponentialBuilder::new()
            .with_min_delay(config.backoff_min)
            .with_max_delay(config.backoff_max)
            .with_factor(2.0)
            .without_max_times();
        Self {
            delays,
            current: delays.build(),
            longest: config.backoff_max,
            healthy_after: config.healthy_after,
        }
    }

    /// Starts over after a session that was healthy: one that is lost at once again shows that nothing has changed.
    fn had_session(&mut self, open_for: Duration) {
        if open_for >= self.healthy_after {
            self.current = self.delays.build();
        }
    }

    /// The next wait; `random` is uniform over all its values.
    fn next_wait(&mut self, random: u32) -> Duration {
        let delay = self.current.next().unwrap_or(self.longest);
        delay.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

/// Without randomness the whole delay is waited: safe for the relay, if not for its evenness.
fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::config;

    fn seconds(back_off: &mut BackOff, random: u32) -> f64 {
        back_off.next_wait(random).as_secs_f64()
    }

    fn defaults() -> BackOff {
        let mut config = config();
        config.backoff_min = Duration::from_secs(1);
        config.backoff_max = Duration::from_secs(30);
        config.healthy_after = Duration::from_secs(60);
        BackOff::new(&config)
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut back_off = defaults();
        let waits: Vec<_> = (0..8).map(|_| seconds(&mut back_off, u32::MAX)).collect();
        assert_eq!(waits, [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
    }

    #[test]
    fn jitter_is_full() {
        let mut back_off = defaults();
        assert_eq!(seconds(&mut back_off, 0), 0.0);
        let half = seconds(&mut back_off, u32::MAX / 2);
        assert!((half - 1.0).abs() < 0.001, "{half}");
    }

    #[test]
    fn waits_start_over_after_a_healthy_session_and_not_after_a_shorter_one() {
        let mut back_off = defaults();
        for _ in 0..4 {
            back_off.next_wait(u32::MAX);
        }
        back_off.had_session(Duration::from_millis(59_999));
        assert_eq!(seconds(&mut back_off, u32::MAX), 16.0);
        back_off.had_session(Duration::from_secs(60));
        assert_eq!(seconds(&mut back_off, u32::MAX), 1.0);
    }
}

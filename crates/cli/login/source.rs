//! The agent's source of tokens when this machine is logged in.
//!
//! Invariant: a refresh is written down before it is asked for and after it was answered, under the login's lock. So
//! however often, and in how many programs at once, a token is asked for, the relay sees each refresh token used once, or
//! again by somebody who knows the attempt.

use std::{
    io::{self, ErrorKind},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use c2l_agent::{Config, Errands, Outlook, TokenError, TokenSource};
use c2l_auth::Secret;
use tokio::sync::Mutex;
use tracing::{debug, warn};

use super::{
    Locked, Login, Place,
    oauth::{self, Refused, Tokens},
    vault::{self, Record, Secrets},
};

/// What to do when there is no login, or none any more.
pub(crate) const LOG_IN: &str = "log in with `c2l login`";

/// Tokens of this login, fetched the way that this agent goes.
pub(crate) fn source(login: Login, way: &Config) -> TokenSource {
    let source = Arc::new(Source {
        login,
        way: Config {
            // An answer has to come before whoever asks for the token gives up.
            dial_timeout: way.dial_timeout / 2,
            ..way.clone()
        },
        errands: Mutex::new(None),
    });
    Arc::new(move || {
        let source = Arc::clone(&source);
        Box::pin(async move { source.token().await.map(|token| token.expose().to_owned()) })
    })
}

struct Source {
    login: Login,
    way: Config,
    /// Made when it is needed first. Whoever holds this is the one who asks.
    errands: Mutex<Option<Errands>>,
}

impl Source {
    /// The token that is kept while it holds for long enough, else the next one.
    async fn token(&self) -> Result<Secret, TokenError> {
        let mut errands = self.errands.lock().await;
        let locked = self.login.place.lock().await;
        let locked = locked.map_err(|error| kept(&error))?;
        let loaded = locked.on_disk(vault::load).await;
        let (record, mut secrets) = loaded.map_err(|error| kept(&error))?;
        let now = SystemTime::now();
        let present = secrets.access.clone();
        if let Some((token, until, life)) = &present
            && holds(*until, *life, now)
        {
            return Ok(token.clone());
        }
        let errands = match &mut *errands {
            Some(errands) => errands,
            empty => empty.insert(Errands::new(self.way.clone()).map_err(|error| {
                TokenError::with(Outlook::Final, format!("cannot refresh the login: {error}"))
            })?),
        };
        let attempt = match &secrets.attempt {
            Some(attempt) => attempt.clone(), // whose answer never came
            None => oauth::new_attempt()
                .ok_or_else(|| TokenError::new("the system gives no random bytes"))?,
        };
        secrets.attempt = Some(attempt.clone());
        save(&locked, &record, &secrets).await?;
        match oauth::refresh(errands, &secrets.refresh, &attempt).await {
            Ok(tokens) => {
                let token = tokens.access.clone();
                save(&locked, &record, &after(tokens)).await?;
                debug!(relay = self.login.relay, "the login was refreshed");
                Ok(token)
            }
            Err(refused @ Refused::Word { .. }) => Err(refusal(refused)),
            // The present one is good for a while yet, and the next one is asked for again.
            Err(refused) => match present {
                Some((token, until, life)) if left(until, life, now) > 0 => {
                    warn!(%refused, "the login could not be refreshed yet");
                    Ok(token)
                }
                _ => Err(refusal(refused)),
            },
        }
    }
}

/// What is kept from now on.
pub(crate) fn after(tokens: Tokens) -> Secrets {
    let life = tokens.life.as_secs();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let until = now.unwrap_or_default().as_secs().saturating_add(life);
    Secrets {
        refresh: tokens.refresh,
        attempt: None,
        access: Some((tokens.access, until, life)),
    }
}

/// Throws away the token that a relay did not take, so that the next start asks for another one.
pub(crate) async fn drop_token(login: &Login) {
    let dropped = async {
        let locked = login.place.lock().await?;
        let drop_it = |place: &Place| {
            let (record, mut secrets) = vault::load(place)?;
            secrets.access = None;
            vault::save(place, &record, &secrets)
        };
        locked.on_disk(drop_it).await
    };
    if let Err(error) = dropped.await {
        debug!(%error, "the refused token stays where it is");
    }
}

/// A third of its life must be left: the agent asks for the next one when a quarter is.
fn holds(until: u64, life: u64, now: SystemTime) -> bool {
    left(until, life, now) > life / 3
}

/// How many seconds of its life are left; none when the clock says what cannot be.
fn left(until: u64, life: u64, now: SystemTime) -> u64 {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let left = until.saturating_sub(now);
    if left > life { 0 } else { left }
}

/// What the relay's word means for an agent.
fn refusal(refused: Refused) -> TokenError {
    match refused {
        Refused::Word { said, .. } => TokenError::with(Outlook::Final, format!("{said}; {LOG_IN}")),
        Refused::Unreached(_) | Refused::Trouble { .. } => TokenError::with(
            Outlook::Passing,
            format!("cannot refresh the login: {refused}"),
        ),
    }
}

async fn save(locked: &Arc<Locked>, record: &Record, secrets: &Secrets) -> Result<(), TokenError> {
    let (record, secrets) = (record.clone(), secrets.clone());
    let saved = locked.on_disk(move |place| vault::save(place, &record, &secrets));
    saved.await.map_err(|error| kept(&error))
}

fn kept(error: &io::Error) -> TokenError {
    if error.kind() == ErrorKind::NotFound {
        let message = format!("this machine is not logged in any more; {LOG_IN}");
        return TokenError::with(Outlook::Final, message);
    }
    TokenError::new(format!(
        "the login that is kept here cannot be used: {error}"
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_token_is_used_until_a_third_of_its_life_is_left() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(holds(1_900, 900, at(1_000)));
        assert!(holds(1_900, 900, at(1_599)));
        assert!(!holds(1_900, 900, at(1_600)));
        assert!(!holds(1_900, 900, at(5_000)));
        assert!(!holds(1_900, 900, at(10)), "a clock that was set back");
    }
}

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
use tokio::{sync::Mutex, task::spawn_blocking};
use tracing::debug;

use super::{
    Login, Place,
    oauth::{self, Refused, Tokens},
    vault::{self, Record, Secrets},
};

/// What to do when there is no login, or none any more.
pub(crate) const LOG_IN: &str = "log in with `c2l login`";

/// Tokens of this login, fetched the way that this agent goes.
pub(crate) fn source(login: Login, way: &Config) -> TokenSource {
    let source = Arc::new(Source {
        login,
        way: way.clone(),
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
        let place = &self.login.place;
        let _locked = place.lock().await.map_err(|error| kept(&error))?;
        let (record, mut secrets) = on_disk(place, |place| vault::load(&place)).await?;
        if let Some((token, until, life)) = &secrets.access
            && holds(*until, *life, SystemTime::now())
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
        secrets.access = None;
        save(place, &record, &secrets).await?;
        let tokens = oauth::refresh(errands, &secrets.refresh, &attempt).await;
        let next = after(tokens.map_err(refusal)?);
        save(place, &record, &next).await?;
        debug!(relay = self.login.relay, "the login was refreshed");
        let (token, _, _) = next
            .access
            .ok_or_else(|| kept(&ErrorKind::NotFound.into()))?;
        Ok(token)
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
    let Ok(_locked) = login.place.lock().await else {
        return;
    };
    let dropped = on_disk(&login.place, |place| {
        let (record, mut secrets) = vault::load(&place)?;
        secrets.access = None;
        vault::save(&place, &record, &secrets)
    });
    if let Err(error) = dropped.await {
        debug!(%error, "the refused token stays where it is");
    }
}

/// A third of its life must be left: the agent asks for the next one when a quarter is.
fn holds(until: u64, life: u64, now: SystemTime) -> bool {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let left = until.saturating_sub(now);
    left <= life && left > life / 3
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

async fn save(place: &Place, record: &Record, secrets: &Secrets) -> Result<(), TokenError> {
    let (record, secrets) = (record.clone(), secrets.clone());
    on_disk(place, move |place| vault::save(&place, &record, &secrets)).await
}

async fn on_disk<T: Send + 'static>(
    place: &Place,
    work: impl FnOnce(Place) -> io::Result<T> + Send + 'static,
) -> Result<T, TokenError> {
    let place = place.clone();
    let done = spawn_blocking(move || work(place)).await;
    done.map_err(|_| TokenError::new("the work on the disk was broken off"))?
        .map_err(|error| kept(&error))
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

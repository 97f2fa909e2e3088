//! Device login (RFC 8628): a machine without a credential shows a short code, somebody who has one says yes.
//!
//! 1. [`code`] makes the codes.
//! 2. [`pending`] keeps the logins that wait, with a bound on everything that a stranger can do; `guesses` counts wrong
//!    codes.
//! 3. [`oauth`] is what devices ask, in [`form`]s; [`word`] is what people say to it, [`web`] where they say it in a browser.
//! 4. Once somebody has said yes, a login is a family of refresh tokens: `identity::logins`.
//!
//! Invariant: nobody is logged in without the word of somebody who is known, or who sits at the relay itself; and that
//! word is about a code which they have typed or been shown beside who asks, from where and when.

mod answers;
mod code;
pub(crate) mod form;
mod guesses;
pub(crate) mod oauth;
mod page;
mod pending;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod tests;
pub(crate) mod web;
mod word;

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use c2l_auth::{DeviceName, KeyError, Secret, SigningKey, UserId};

pub(crate) use self::pending::Word;
use self::{
    code::UserCode,
    pending::{Asking, Codes, Full, Guesser, NoLogin, Pending, Polled, Terms},
};
use crate::identity::{Caller, Going, Identities, MAX_TOKEN_LIFE};

/// Most logins that wait at once: some 4 MiB.
const MOST_LOGINS: usize = 10_000;
/// Most that wait at once of one address.
const MOST_OF_A_PLACE: usize = 10;
/// How often a new code may be taken already before something else is wrong.
const MOST_TRIES: usize = 8;

/// How devices log in.
#[derive(Clone)]
pub struct LoginConfig {
    /// Signs the tokens of devices: the relay's own key.
    pub signing_key: Arc<SigningKey>,
    /// How long an agent's token lives. Default 15 min, at most a day; a device refreshes it in time.
    pub token_life: Duration,
    /// How long a login lasts that is not used. Default 90 days, at most 400.
    pub idle: Duration,
    /// Between two questions of a device that waits. Default 5 s, at most a minute.
    pub interval: Duration,
    /// How long a device waits for somebody's word. Default 10 min, at most a day.
    pub patience: Duration,
}

impl LoginConfig {
    /// The defaults, around the one thing that has none.
    #[must_use]
    pub fn new(signing_key: Arc<SigningKey>) -> Self {
        Self {
            signing_key,
            token_life: Duration::from_secs(15 * 60),
            idle: Duration::from_secs(90 * 24 * 3600),
            interval: Duration::from_secs(5),
            patience: Duration::from_secs(600),
        }
    }
}

impl fmt::Debug for LoginConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginConfig")
            .field("token_life", &self.token_life)
            .field("idle", &self.idle)
            .field("interval", &self.interval)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// The logins of one relay.
#[derive(Debug)]
pub(crate) struct Logins {
    config: LoginConfig,
    pending: Mutex<Pending<Approver>>,
}

/// Whose word it is.
#[derive(Clone, Debug)]
pub(crate) enum Approver {
    /// Somebody with a credential, which has to stand still when the device comes for its tokens.
    Caller(Arc<Caller>),
    /// The operator, in a user's name.
    Operator(UserId),
}

impl Approver {
    /// Whose the device becomes.
    pub(crate) fn user(&self) -> &UserId {
        match self {
            Self::Caller(caller) => &caller.user,
            Self::Operator(user) => user,
        }
    }

    /// Whether their credential was not taken back meanwhile.
    fn stands(&self, identities: &Identities) -> bool {
        match self {
            Self::Caller(caller) => identities.still_stands(caller, None),
            Self::Operator(_) => true,
        }
    }

    fn guessers(&self, from: Option<IpAddr>) -> Vec<Guesser> {
        let who = match self {
            Self::Caller(caller) => Guesser::User(caller.user.clone()),
            Self::Operator(_) => Guesser::Operator,
        };
        let place = from.map(Guesser::at);
        [Some(who), place].into_iter().flatten().collect()
    }
}

/// A login that was begun.
#[derive(Debug)]
struct Started {
    device_code: Secret,
    user_code: UserCode,
}

/// Why none was.
#[derive(Debug)]
enum NotStarted {
    Full(Full),
    /// The system gives no random bytes.
    Random,
}

impl Logins {
    pub(crate) fn new(config: LoginConfig) -> Self {
        let pending = Pending::new(Terms {
            interval: config.interval.min(pending::SLOWEST),
            lifetime: config.patience.min(MAX_TOKEN_LIFE),
            most: MOST_LOGINS,
            most_of_a_place: MOST_OF_A_PLACE,
        });
        Self {
            config,
            pending: Mutex::new(pending),
        }
    }

    fn start(&self, device: &DeviceName, address: IpAddr) -> Result<Started, NotStarted> {
        let device_code = code::long().ok_or(NotStarted::Random)?;
        let mut last = Full::Taken;
        for _ in 0..MOST_TRIES {
            let user_code = UserCode::mint().ok_or(NotStarted::Random)?;
            let codes = Codes {
                device: code::kept(device_code.expose()),
                user: user_code,
            };
            let asking = Asking {
                device: device.clone(),
                address,
                at: SystemTime::now(),
            };
            match self.lock().start(codes, asking, now()) {
                Ok(()) => {
                    return Ok(Started {
                        device_code,
                        user_code,
                    });
                }
                Err(Full::Taken) => {}
                Err(full) => {
                    last = full;
                    break;
                }
            }
        }
        Err(NotStarted::Full(last))
    }

    fn poll(&self, device_code: &str) -> Polled<Approver> {
        self.lock().poll(&code::kept(device_code), now())
    }

    /// What waits under a typed code.
    fn look(&self, typed: &str, by: &Approver, from: Option<IpAddr>) -> Result<Asking, NoLogin> {
        let code = UserCode::parse(typed);
        self.lock().look(code, &by.guessers(from), None, now())
    }

    /// The same for a page; the ticket is good for one word of theirs.
    fn look_with_ticket(
        &self,
        typed: &str,
        by: Approver,
        from: IpAddr,
    ) -> Result<(Asking, Secret), NoLogin> {
        let ticket = code::long().ok_or(NoLogin::Unknown)?;
        let guessers = by.guessers(Some(from));
        let given = Some((code::kept(ticket.expose()), by));
        let code = UserCode::parse(typed);
        let asking = self.lock().look(code, &guessers, given, now())?;
        Ok((asking, ticket))
    }

    /// Somebody's word on what waits under a typed code; the device becomes theirs.
    fn decide(
        &self,
        typed: &str,
        by: Approver,
        from: Option<IpAddr>,
        word: Word,
    ) -> Result<Asking, NoLogin> {
        let code = UserCode::parse(typed);
        let guessers = by.guessers(from);
        self.lock().decide(code, &guessers, by, word, now())
    }

    fn decide_by_ticket(
        &self,
        typed: &str,
        ticket: &str,
        word: Word,
    ) -> Result<(Approver, Asking), NoLogin> {
        let code = UserCode::parse(typed);
        self.lock()
            .decide_by_ticket(code, &code::kept(ticket), word, now())
    }

    /// Those that wait, the oldest first: half of the code, and who asks.
    fn waiting(&self) -> Vec<(String, Asking)> {
        self.lock().list(now())
    }

    /// How long an agent's token lives.
    fn token_life(&self) -> Duration {
        self.config.token_life.min(MAX_TOKEN_LIFE)
    }

    /// An agent's token of this login.
    fn token(&self, going: &Going) -> Result<Secret, KeyError> {
        self.config.signing_key.issue_for_login(
            &going.user,
            &going.device,
            (&going.id, going.began),
            self.token_life(),
            SystemTime::now(),
        )
    }

    fn lock(&self) -> MutexGuard<'_, Pending<Approver>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

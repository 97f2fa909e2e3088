//! The sessions that are connected here, each found only through the user it belongs to.
//!
//! Invariant: the map is keyed by [`UserId`], which only the verifier can make, and a session holds the same id: a
//! stream is opened only when both agree. There is no table in which sessions of two users mix.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime},
};

use c2l_auth::{DeviceName, UserId};
use c2l_tunnel::{CloseReason, Fault, Kind, Link, Origin, Phase, RequestHead, StreamHandle};
use http::HeaderValue;
use tokio::sync::watch;

use crate::identity::Caller;

/// One connected device.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) user: UserId,
    pub(crate) device: DeviceName,
    /// Its name as answers say it.
    pub(crate) device_field: HeaderValue,
    pub(crate) id: String,
    pub(crate) build: String,
    /// Where the agent is, as far as this relay can tell.
    pub(crate) address: IpAddr,
    /// `grpc` or `websocket`.
    pub(crate) transport: &'static str,
    /// Whether the agent keeps a caller to the models that their credential is limited to.
    pub(crate) enforces_models: bool,
    attempt: Attempt,
    pub(crate) connected_at: SystemTime,
    pub(crate) link: Link,
    /// Whose credential it was opened or last renewed with.
    caller: Mutex<Arc<Caller>>,
    generation: u64,
}

impl Session {
    /// With what it goes on from here.
    pub(crate) fn goes_on_with(&self, caller: &Arc<Caller>) {
        *self.lock_caller() = Arc::clone(caller);
    }

    /// With what it goes on.
    pub(crate) fn caller(&self) -> Arc<Caller> {
        Arc::clone(&self.lock_caller())
    }

    fn lock_caller(&self) -> MutexGuard<'_, Arc<Caller>> {
        self.caller.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a stream for this user, and for no other.
    ///
    /// # Errors
    /// When the session takes no new streams, or the user is not the one whose session this is.
    pub(crate) fn open_stream(
        &self,
        user: &UserId,
        head: RequestHead,
        now: Instant,
    ) -> Result<StreamHandle, Fault> {
        if *user != self.user {
            return Err(Fault::new(
                Kind::Internal,
                Origin::Relay,
                "a request was about to reach another user's device; it was stopped",
            ));
        }
        self.link.open(head, now)
    }
}

/// What a new session is registered with.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) caller: Arc<Caller>,
    pub(crate) device: DeviceName,
    pub(crate) id: String,
    pub(crate) build: String,
    pub(crate) address: IpAddr,
    pub(crate) transport: &'static str,
    pub(crate) enforces_models: bool,
    pub(crate) attempt: Attempt,
    pub(crate) link: Link,
}

/// Which attempt of which installation a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) installation: [u8; 16],
    /// Grows with each; 0 from an agent that does not count.
    pub(crate) number: u64,
}

impl Attempt {
    /// True when the agent has made `other` after this one, so that this one was given up.
    fn is_older_than(self, other: Self) -> bool {
        self.installation == other.installation && self.number != 0 && self.number < other.number
    }
}

/// Every name of a device is a field's value as well.
fn field_of(device: &DeviceName) -> HeaderValue {
    HeaderValue::from_str(device.as_str()).unwrap_or(HeaderValue::from_static(""))
}

fn late() -> Fault {
    let message = "a later attempt of this agent is connected already; try again";
    Fault::new(Kind::AgentLost, Origin::Agent, message)
}

/// Sessions by user.
#[derive(Debug)]
pub(crate) struct Registry {
    /// Each list is in the order of connecting: the last one answers when no device is named.
    sessions: Mutex<HashMap<UserId, Vec<Arc<Session>>>>,
    generations: AtomicU64,
    changes: watch::Sender<u64>,
    max_sessions_per_user: usize,
}

impl Registry {
    pub(crate) fn new(max_sessions_per_user: usize) -> Self {
        Self {
            sessions: Mutex::new(HashMap::new()),
            generations: AtomicU64::new(0),
            changes: watch::Sender::new(0),
            max_sessions_per_user,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, Vec<Arc<Session>>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a session. The one before it of the same device is closed: the newest wins.
    ///
    /// # Errors
    /// `UserOverLimit` when this user has as many devices connected as a user may, `AgentLost` when the agent has given
    /// this attempt up and its later one is here.
    pub(crate) fn register(&self, registration: Registration) -> Result<Arc<Session>, Fault> {
        let Registration {
            caller,
            device,
            id,
            build,
            address,
            transport,
            enforces_models,
            attempt,
            link,
        } = registration;
        let user = caller.user.clone();
        let session = Arc::new(Session {
            user: user.clone(),
            device_field: field_of(&device),
            device,
            id,
            build,
            address,
            transport,
            enforces_models,
            attempt,
            connected_at: SystemTime::now(),
            link,
            caller: Mutex::new(caller),
            generation: self.generations.fetch_add(1, Ordering::Relaxed),
        });
        let replaced = {
            let mut sessions = self.lock();
            let own = sessions.entry(user).or_default();
            let place = own.iter().position(|other| other.device == session.device);
            if place.is_some_and(|index| session.attempt.is_older_than(own[index].attempt)) {
                return Err(late());
            }
            let before = place.map(|index| own.remove(index));
            if own.len() >= self.max_sessions_per_user {
                return Err(Fault::new(
                    Kind::UserOverLimit,
                    Origin::Caller,
                    format!("{} devices of this user are connected already", own.len()),
                ));
            }
            own.push(Arc::clone(&session));
            before
        };
        // One that is leaving anyway lets its streams end; it takes no new ones. One that is still being greeted has lost
        // its place already, and must not open beside the new one.
        if let Some(before) = replaced
            && !matches!(before.link.phase(), Phase::Draining { .. })
        {
            before.link.close(CloseReason::Replaced);
        }
        self.changed();
        Ok(session)
    }

    /// Removes a session, and only this one: a stale end can never remove the session that took its place.
    pub(crate) fn remove(&self, session: &Session) {
        {
            let mut sessions = self.lock();
            if let Some(own) = sessions.get_mut(&session.user) {
                own.retain(|other| other.generation != session.generation);
                if own.is_empty() {
                    sessions.remove(&session.user);
                }
            }
        }
        self.changed();
    }

    /// This user's session: of the device named, else of the one connected last.
    ///
    /// # Errors
    /// `AgentOffline` when none is connected, `Draining` when all are leaving, `RouteUnknown` for a device that this
    /// user does not have: the same answer whether it exists for somebody else or nowhere.
    pub(crate) fn find(
        &self,
        user: &UserId,
        device: Option<&DeviceName>,
        now: Instant,
    ) -> Result<Arc<Session>, Fault> {
        let sessions = self.lock();
        let own = sessions.get(user).map(Vec::as_slice).unwrap_or_default();
        let mut is_known = false;
        for session in own.iter().rev() {
            if device.is_none_or(|name| *name == session.device) {
                if session.link.takes_streams(now) {
                    return Ok(Arc::clone(session));
                }
                match session.link.phase() {
                    Phase::Draining { .. } => is_known = true,
                    Phase::Greeting { .. } | Phase::Open | Phase::Closed(_) => {} // not yet, or no more
                }
            }
        }
        Err(match (is_known, device) {
            (true, _) => Fault::new(Kind::Draining, Origin::Agent, "the device is leaving"),
            (false, Some(_)) => Fault::new(
                Kind::RouteUnknown,
                Origin::Caller,
                "no device of this name is connected for this user",
            ),
            (false, None) => Fault::new(
                Kind::AgentOffline,
                Origin::Agent,
                "no device of this user is connected; start `c2l agent` on the machine with the models",
            ),
        }
        .retry_safe())
    }

    /// This user's sessions, the one connected last first.
    pub(crate) fn sessions_of(&self, user: &UserId) -> Vec<Arc<Session>> {
        let sessions = self.lock();
        let own = sessions.get(user).map(Vec::as_slice).unwrap_or_default();
        own.iter().rev().cloned().collect()
    }

    /// Closes those of this user's sessions that may not go on. Each would end by itself; no request reaches it even
    /// until then.
    pub(crate) fn close_revoked(&self, user: &UserId, may_go_on: impl Fn(&Session) -> bool) {
        let mut ended = self.sessions_of(user);
        ended.retain(|session| !may_go_on(session));
        for session in ended {
            session.link.close(CloseReason::Revoked);
        }
    }

    /// Ends what this device of the user has here; it may come back. Answers how many sessions that were.
    pub(crate) fn disconnect(&self, user: &UserId, device: &DeviceName) -> usize {
        let mut own = self.sessions_of(user);
        own.retain(|session| session.device == *device && session.link.close_reason().is_none());
        for session in &own {
            session.link.close(CloseReason::Disconnected);
        }
        own.len()
    }

    /// Every session, for shutdown.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.lock().values().flatten().cloned().collect()
    }

    /// How many sessions there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().values().map(Vec::len).sum()
    }

    /// Changes whenever a session comes, goes or starts to leave.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Tells the watchers that something about a session is different now.
    pub(crate) fn changed(&self) {
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// True when the session takes no new streams.
pub(crate) fn is_draining(session: &Session) -> bool {
    !matches!(session.link.phase(), Phase::Open)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use c2l_auth::{Kind as TokenKind, Scopes, SigningKey, TokenRequest, Verifier};
    use c2l_tunnel::Welcome;

    use super::*;
    use crate::{
        Accounts, Config, RateLimits,
        identity::Identities,
        limits::{Asker, Guard},
        providers::Providers,
        tunnel::session::Terms,
    };

    /// Somebody with a good token for opening sessions.
    async fn agent() -> Arc<Caller> {
        let key = SigningKey::ephemeral().unwrap();
        let verifier = Arc::new(Verifier::new(vec![key.issuer()]).unwrap());
        let request = TokenRequest {
            user: "ada".to_owned(),
            kind: TokenKind::Agent,
            scopes: Scopes::NONE,
            ttl: Duration::from_secs(60),
            device: None,
        };
        let token = key.issue(&request, SystemTime::now()).unwrap();
        let identities = Identities::new(
            Arc::new(Providers::unasked(verifier)),
            Arc::new(Guard::new(RateLimits::off())),
            Accounts::in_memory().unwrap(),
        );
        let asker = Asker::of(&http::Extensions::new());
        let kinds = &[TokenKind::Agent];
        let identified = identities.identify(&asker, token.expose(), kinds).await;
        identified.unwrap()
    }

    fn link() -> Link {
        let key = SigningKey::ephemeral().unwrap();
        let verifier = Verifier::new(vec![key.issuer()]).unwrap();
        let config = Config::new(Arc::new(verifier));
        let now = tokio::time::Instant::now().into_std();
        Link::new(&Terms::settings(&config), now)
    }

    fn registration(caller: &Arc<Caller>, id: &str, link: &Link) -> Registration {
        Registration {
            caller: Arc::clone(caller),
            device: DeviceName::parse("desk").unwrap(),
            id: id.to_owned(),
            build: String::new(),
            address: crate::limits::address::UNKNOWN,
            transport: "grpc",
            enforces_models: true,
            attempt: Attempt {
                installation: [7; 16],
                number: 0,
            },
            link: link.clone(),
        }
    }

    #[tokio::test]
    async fn an_attempt_that_was_given_up_takes_nobodys_place() {
        let (registry, caller) = (Registry::new(8), agent().await);
        let link = link();
        let try_as = |installation, number| {
            let attempt = Attempt {
                installation,
                number,
            };
            let registration = Registration {
                attempt,
                ..registration(&caller, "one", &link)
            };
            registry
                .register(registration)
                .map_err(|fault| fault.kind)
                .map(drop)
        };
        let (this, other) = ([7; 16], [8; 16]);
        assert_eq!(try_as(this, 5), Ok(()));
        assert_eq!(try_as(this, 4), Err(Kind::AgentLost), "it comes late");
        assert_eq!(try_as(this, 6), Ok(()), "the next one");
        assert_eq!(try_as(other, 1), Ok(()), "another machine: the newest wins");
        assert_eq!(try_as(other, 0), Ok(()), "it does not count");
        assert_eq!(registry.sessions_of(&caller.user).len(), 1);
    }

    #[tokio::test]
    async fn one_that_lost_its_place_while_it_was_greeted_never_opens() {
        let (registry, caller) = (Registry::new(8), agent().await);
        let (first, second) = (link(), link());
        registry
            .register(registration(&caller, "first", &first))
            .unwrap();
        registry
            .register(registration(&caller, "second", &second))
            .unwrap();
        let welcome = Welcome {
            session_id: "first".to_owned(),
            protocol_version: c2l_tunnel::PROTOCOL_VERSION,
            limits: c2l_tunnel::Limits::default(),
            heartbeat_interval: Duration::from_secs(10),
            build: String::new(),
            token_holds: None,
        };
        first.welcome(welcome, tokio::time::Instant::now().into_std());
        assert_eq!(first.close_reason(), Some(CloseReason::Replaced));
        assert_eq!(second.close_reason(), None);
    }
}

//! How much one user, one credential and one address may ask for, and what happens beyond it.
//!
//! 1. `rates` says what is limited, and how it is called.
//! 2. `address` says where somebody asks from.
//! 3. `bucket` counts, in bounded memory; `accepted` knows the credentials that were good.
//! 4. [`Guard`] holds all of these for one relay, and says no: 429 with the time after which a retry passes.
//! 5. `sample` keeps the audit log short when that happens a lot.
//! 6. `arrivals` refuses nobody: agents that come together open their sessions one handful after the other.
//!
//! Invariant: a refusal counts nothing, so what it says of when to come back stays true however often it is ignored.
//! Bytes are the exception that follows from it: they are counted as they move, into debt if need be, since a stream
//! that has begun is let end; what comes after it waits.

mod accepted;
pub(crate) mod address;
mod arrivals;
pub(crate) mod bucket;
mod rates;
mod sample;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use c2l_auth::{AuthError, Fingerprint, Grant, UserId};
use c2l_tunnel::{Fault, Kind as FaultKind, Origin};
use http::{Extensions, HeaderMap};
use tokio::time::Instant;

use crate::{
    audit::{CredentialName, Event, Who},
    error::unauthenticated,
    identity::Caller,
    limits::{
        accepted::Accepted,
        address::{Network, Source, UNKNOWN},
        arrivals::Arrivals,
        bucket::{Buckets, Rate},
        sample::{Kind, Samples},
    },
};

pub(crate) use self::rates::Limit;
pub use self::rates::RateLimits;

/// Connections over their limit that are told so, of all addresses together; the others are closed unread.
const TOLD: Rate = Rate::new(100, Duration::from_secs(1)).expect("neither is zero");

/// Where a request comes from, and which one it is. Every request has one among its extensions.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) address: IpAddr,
    pub(crate) request_id: Arc<str>,
}

impl Asker {
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_else(|| Self {
            address: UNKNOWN,
            request_id: Arc::from(""),
        })
    }

    pub(crate) fn who(&self) -> Who<'_> {
        Who {
            address: Some(self.address),
            request_id: Some(&self.request_id),
            ..Who::default()
        }
    }
}

/// Whose request it is and with what, as far as limits go.
#[derive(Clone, Debug)]
pub(crate) struct Payer {
    pub(crate) user: UserId,
    pub(crate) credential: CredentialName,
    /// The credential's own rate of requests, which counts instead of the general one.
    pub(crate) own_requests: Option<Rate>,
}

impl Payer {
    /// The one who pays for what this caller does.
    pub(crate) fn of(caller: &Caller) -> Self {
        let own = caller.limits.requests_per_minute;
        Self {
            user: caller.user.clone(),
            credential: caller.credential.clone(),
            own_requests: own.map(|own| Rate::per_minute(u64::from(own.get()))),
        }
    }

    pub(crate) fn key(&self) -> (UserId, CredentialName) {
        (self.user.clone(), self.credential.clone())
    }
}

/// What becomes of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Welcome {
    Served,
    /// Whatever is asked on it is answered with a refusal, until then.
    Refused {
        until: Instant,
    },
    Closed,
}

/// The limits of one relay, and how far each is used up.
#[derive(Debug)]
pub(crate) struct Guard {
    limits: RateLimits,
    user_requests: Buckets<UserId>,
    credential_requests: Buckets<(UserId, CredentialName)>,
    user_bytes: Buckets<UserId>,
    credential_bytes: Buckets<(UserId, CredentialName)>,
    connections: Buckets<Source>,
    told: Buckets<()>,
    failures: Buckets<Source>,
    sessions: Buckets<Source>,
    accepted: Accepted,
    /// Made by the relay itself, and not shown to it yet.
    issued: Accepted,
    samples: Samples,
    has_warned: AtomicBool,
    hits: [AtomicU64; Limit::ALL.len()],
    pub(crate) arrivals: Arrivals,
}

impl Guard {
    pub(crate) fn new(limits: RateLimits) -> Self {
        Self {
            limits,
            user_requests: Buckets::new(),
            credential_requests: Buckets::new(),
            user_bytes: Buckets::new(),
            credential_bytes: Buckets::new(),
            connections: Buckets::new(),
            told: Buckets::new(),
            failures: Buckets::new(),
            sessions: Buckets::new(),
            accepted: Accepted::default(),
            issued: Accepted::default(),
            samples: Samples::default(),
            has_warned: AtomicBool::new(false),
            hits: Default::default(),
            arrivals: Arrivals::new(),
        }
    }

    /// Where a request comes from; `headers` is left out where no proxy has written anything among them.
    pub(crate) fn client(&self, peer: IpAddr, headers: Option<&HeaderMap>) -> IpAddr {
        let Some(headers) = headers else {
            return peer.to_canonical();
        };
        let RateLimits {
            trusted_proxies,
            forwarded_by,
            ..
        } = &self.limits;
        if trusted_proxies.is_empty()
            && address::looks_like_proxy(peer, headers)
            && !self.has_warned.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%peer, "requests come through a proxy that is no --trusted-proxy: all that come through it share the limits of one address");
        }
        address::client(peer, headers, trusted_proxies, *forwarded_by)
    }

    /// Whether a trusted proxy says that the client's connection to it was in TLS.
    pub(crate) fn is_tls_before(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        let RateLimits {
            trusted_proxies,
            forwarded_by,
            ..
        } = &self.limits;
        address::is_tls_before(peer, headers, trusted_proxies, *forwarded_by)
    }

    /// Judges a connection that was just accepted. Those of trusted proxies are many people's, and not counted.
    pub(crate) fn connection(&self, peer: IpAddr, now: Instant) -> Welcome {
        let is_proxy = |network: &Network| network.contains(peer);
        let Some(rate) = self.limits.address_connections else {
            return Welcome::Served;
        };
        if self.limits.trusted_proxies.iter().any(is_proxy) {
            return Welcome::Served;
        }
        let Err(wait) = self.connections.take(Source::of(peer), rate, now) else {
            return Welcome::Served;
        };
        let who = Who {
            address: Some(peer.to_canonical()),
            ..Who::default()
        };
        self.hit(Limit::AddressConnections, &who, now);
        if self.told.take((), TOLD, now).is_ok() {
            return Welcome::Refused { until: now + wait };
        }
        Welcome::Closed
    }

    /// Judges a request on a connection that was taken in with [`Welcome::Refused`]. Once the time is over the
    /// connection is judged anew, as another one would be.
    ///
    /// # Errors
    /// `UserOverLimit`.
    pub(crate) fn refused_connection(&self, peer: IpAddr, until: Instant) -> Result<(), Fault> {
        let now = Instant::now();
        let limit = Limit::AddressConnections;
        if now < until {
            return Err(over_limit(limit, until - now));
        }
        let Some(rate) = self.limits.address_connections else {
            return Ok(());
        };
        let taken = self.connections.take(Source::of(peer), rate, now);
        taken.map_err(|wait| over_limit(limit, wait))
    }

    /// Judges an attempt to open a session, before its credential.
    ///
    /// # Errors
    /// `UserOverLimit`.
    pub(crate) fn session(&self, asker: &Asker) -> Result<(), Fault> {
        let now = Instant::now();
        let Some(rate) = self.limits.address_sessions else {
            return Ok(());
        };
        let taken = self.sessions.take(Source::of(asker.address), rate, now);
        taken.map_err(|wait| self.refuse(Limit::AddressSessions, &asker.who(), wait, now))
    }

    /// Whether a credential from there is looked at. One that this relay has accepted before is all the same: nobody
    /// locks out the others behind the same address.
    ///
    /// # Errors
    /// `UserOverLimit`.
    pub(crate) fn may_judge(&self, asker: &Asker, credential: &str) -> Result<(), Fault> {
        let now = Instant::now();
        let Some(rate) = self.limits.address_failures else {
            return Ok(());
        };
        match self.failures.look(&Source::of(asker.address), rate, now) {
            Err(wait) if !self.is_known(&Fingerprint::of(credential)) => {
                Err(self.refuse(Limit::AddressFailures, &asker.who(), wait, now))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Notes that a credential was judged and found good.
    pub(crate) fn accepted(
        &self,
        asker: &Asker,
        fingerprint: Fingerprint,
        grant: &Grant,
        name: &CredentialName,
    ) {
        if self.accepted.is_new(fingerprint) {
            let who = Who {
                user: Some(&grant.user),
                credential: Some(name),
                ..asker.who()
            };
            let kind = grant.kind.as_str();
            who.did(Event::CredentialAccepted { kind });
        }
    }

    /// Notes a credential that the relay has just made: it is good before it was ever shown, also where somebody guesses.
    pub(crate) fn vouch(&self, credential: &str) {
        self.issued.is_new(Fingerprint::of(credential));
    }

    fn is_known(&self, fingerprint: &Fingerprint) -> bool {
        self.accepted.contains(fingerprint) || self.issued.contains(fingerprint)
    }

    /// Notes that a credential was judged and found bad, and returns what its sender is told.
    pub(crate) fn refused(&self, asker: &Asker, credential: &str, error: &AuthError) -> Fault {
        let now = Instant::now();
        let fingerprint = Fingerprint::of(credential);
        // A good one in the wrong place is still known where it belongs.
        if !matches!(error, AuthError::WrongKind { .. }) {
            self.accepted.forget(&fingerprint);
        }
        self.note_failure(asker, now);
        self.note_refused(asker, credential, error.to_string(), now)
    }

    fn note_failure(&self, asker: &Asker, now: Instant) {
        if let Some(rate) = self.limits.address_failures {
            // Never into debt: who was let past the look must not lock out the others there for longer than a guesser could.
            let taken = self.failures.take(Source::of(asker.address), rate, now);
            taken.unwrap_or_default();
        }
    }

    /// The same for what somebody signs in with on the page, a link or a provider's code: nothing of it is named.
    pub(crate) fn refused_sign_in(&self, asker: &Asker, reason: String) -> Fault {
        let now = Instant::now();
        self.note_failure(asker, now);
        self.note_refused(asker, "", reason, now)
    }

    fn note_refused(&self, asker: &Asker, credential: &str, reason: String, now: Instant) -> Fault {
        let name = is_long_enough_to_name(credential)
            .then(|| CredentialName::Hash(Fingerprint::of_signed(credential)));
        let who = Who {
            credential: name.as_ref(),
            ..asker.who()
        };
        self.samples.note(Kind::Refused, &who, &reason, now);
        unauthenticated(reason)
    }

    /// Judges a request whose credential is good.
    ///
    /// # Errors
    /// `UserOverLimit`.
    pub(crate) fn request(&self, asker: &Asker, payer: &Payer) -> Result<(), Fault> {
        let now = Instant::now();
        let refuse = |limit| move |wait| self.refuse_payer(limit, asker, payer, wait, now);
        if let Some(rate) = self.limits.user_bytes {
            let looked = self.user_bytes.look(&payer.user, rate, now);
            looked.map_err(refuse(Limit::UserBytes))?;
        }
        if let Some(rate) = self.limits.credential_bytes {
            let looked = self.credential_bytes.look(&payer.key(), rate, now);
            looked.map_err(refuse(Limit::CredentialBytes))?;
        }
        // Looked at before the other takes, so that what is refused costs nothing.
        if let Some(rate) = self.limits.user_requests {
            let looked = self.user_requests.look(&payer.user, rate, now);
            looked.map_err(refuse(Limit::UserRequests))?;
        }
        if let Some(rate) = stricter(payer.own_requests, self.limits.credential_requests) {
            let taken = self.credential_requests.take(payer.key(), rate, now);
            taken.map_err(refuse(Limit::CredentialRequests))?;
        }
        if let Some(rate) = self.limits.user_requests {
            self.user_requests.spend(payer.user.clone(), rate, 1, now);
        }
        Ok(())
    }

    /// Whether anybody needs to count bytes.
    pub(crate) fn counts_bytes(&self) -> bool {
        self.limits.user_bytes.is_some() || self.limits.credential_bytes.is_some()
    }

    /// Counts bytes that have moved.
    pub(crate) fn moved(&self, payer: &Payer, bytes: u64) {
        let now = Instant::now();
        if let Some(rate) = self.limits.user_bytes {
            self.user_bytes.spend(payer.user.clone(), rate, bytes, now);
        }
        if let Some(rate) = self.limits.credential_bytes {
            self.credential_bytes.spend(payer.key(), rate, bytes, now);
        }
    }

    /// Too much at once. When one of them ends nobody knows: a second is a guess.
    pub(crate) fn too_many_streams(&self, limit: Limit, asker: &Asker, payer: &Payer) -> Fault {
        self.refuse_payer(limit, asker, payer, Duration::from_secs(1), Instant::now())
    }

    fn refuse_payer(
        &self,
        limit: Limit,
        asker: &Asker,
        payer: &Payer,
        wait: Duration,
        now: Instant,
    ) -> Fault {
        let who = Who {
            user: Some(&payer.user),
            credential: Some(&payer.credential),
            ..asker.who()
        };
        self.refuse(limit, &who, wait, now)
    }

    fn refuse(&self, limit: Limit, who: &Who<'_>, wait: Duration, now: Instant) -> Fault {
        self.hit(limit, who, now);
        over_limit(limit, wait)
    }

    fn hit(&self, limit: Limit, who: &Who<'_>, now: Instant) {
        self.hits[limit as usize].fetch_add(1, Ordering::Relaxed);
        self.samples.note(Kind::Limit(limit), who, "", now);
    }

    /// How often each limit was hit.
    pub(crate) fn hits(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Limit::ALL.into_iter().map(|limit| {
            (
                limit.as_str(),
                self.hits[limit as usize].load(Ordering::Relaxed),
            )
        })
    }

    /// Writes to the audit log what was only counted there. Called about once a second, and at the end.
    pub(crate) fn flush(&self, is_last: bool) {
        self.samples.flush(Instant::now(), is_last);
    }
}

fn over_limit(limit: Limit, wait: Duration) -> Fault {
    Fault::new(FaultKind::UserOverLimit, Origin::Caller, limit.message())
        .retry_safe()
        .retry_after(wait)
}

/// A key's own rate is its maker's wish: it can only narrow the operator's.
fn stricter(own: Option<Rate>, general: Option<Rate>) -> Option<Rate> {
    match (own, general) {
        (Some(own), Some(general)) => Some(own.stricter(general)),
        (own, general) => own.or(general),
    }
}

/// The beginning of a hash tells nothing of a token or a key. Of a password that somebody typed into the wrong place it
/// would help to guess it.
fn is_long_enough_to_name(credential: &str) -> bool {
    credential.len() >= 32
}

#[cfg(test)]
mod tests;

//! Identity providers: verifies tokens, with keys that their issuers publish and that are fetched in the background.
//!
//! Invariant: verifying waits for the network in one case alone, a token of a configured issuer whose key is not known
//! yet; that wait is bounded, and shared by all who are in it. What is fetched is decided by the configuration, never by
//! anything in a token.
//!
//! People sign in at some of them, on the relay's page: `sign_in`.
//!
//! Read next: `keeper` (when it is fetched), `fetch` (how), `url` (from where).

mod fetch;
mod keeper;
mod sign_in;
mod url;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use c2l_auth::{AuthError, Grant, Kind, ProviderId, Verifier};
use c2l_tunnel::{Fault, Origin};
use rustls::ClientConfig;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::sign_in::{NotSignedIn, SignInAt};
use self::{
    keeper::{Door, Keeper},
    sign_in::MAX_EXCHANGING,
};
pub use self::{
    sign_in::SignInClient,
    url::{ProviderUrl, UrlError},
};
use crate::{error::unauthenticated, metrics::Metrics};

/// How often, at most, tokens with unknown keys make their issuer's keys be fetched.
pub const REFETCH_INTERVAL: Duration = Duration::from_secs(10);

/// An issuer whose keys are fetched.
#[derive(Clone, Debug)]
pub struct Provider {
    /// What its tokens say as `iss`; one of the verifier's issuers that publish their keys.
    pub issuer: String,
    /// Where its keys are.
    pub source: Source,
    /// TLS toward it: whom to trust.
    pub tls: Arc<ClientConfig>,
    /// How long after a token with an unknown key has caused a fetch no other one does. Default [`REFETCH_INTERVAL`].
    pub refetch_interval: Duration,
    /// How people sign in there on the web page. Default none: they cannot.
    pub sign_in: Option<SignInClient>,
}

impl Provider {
    /// A provider with the defaults.
    #[must_use]
    pub fn new(issuer: impl Into<String>, source: Source, tls: Arc<ClientConfig>) -> Self {
        Self {
            issuer: issuer.into(),
            source,
            tls,
            refetch_interval: REFETCH_INTERVAL,
            sign_in: None,
        }
    }
}

/// Where a provider's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A JWK Set at this URL.
    Jwks(ProviderUrl),
    /// A discovery document (OpenID Connect Discovery) at this URL, which says where the JWK Set is.
    Discovery(ProviderUrl),
}

/// Verifies every credential of the relay.
#[derive(Debug)]
pub(crate) struct Providers {
    verifier: Arc<Verifier>,
    doors: HashMap<ProviderId, Door>,
    /// Those at which people sign in.
    sign_ins: Vec<SignInAt>,
    /// For codes that are being exchanged.
    exchanging: Semaphore,
}

impl Providers {
    /// Begins to fetch; the tasks are the tracker's, and end with `closing`. An issuer that publishes its keys and has
    /// no provider gets none: its tokens are refused.
    pub(crate) fn start(
        verifier: Arc<Verifier>,
        providers: &[Provider],
        metrics: &Arc<Metrics>,
        tracker: &TaskTracker,
        closing: &CancellationToken,
    ) -> Self {
        let mut doors = HashMap::new();
        let mut sign_ins = Vec::new();
        for (id, issuer) in verifier.providers() {
            let Some(provider) = providers.iter().find(|known| known.issuer == issuer) else {
                tracing::error!(issuer, "nobody says where this issuer's keys are");
                continue;
            };
            let door = Door::new(provider.refetch_interval);
            sign_ins.extend(SignInAt::new(provider, id));
            let keeper = Keeper {
                provider: provider.clone(),
                id,
                verifier: Arc::clone(&verifier),
                metrics: Arc::clone(metrics),
                door: door.clone(),
            };
            tracker.spawn(keeper.run(closing.clone()));
            doors.insert(id, door);
        }
        Self {
            verifier,
            doors,
            sign_ins,
            exchanging: Semaphore::new(MAX_EXCHANGING),
        }
    }

    /// Ones of whom nobody is ever asked: a token counts when the verifier has its key already.
    pub(crate) fn unasked(verifier: Arc<Verifier>) -> Self {
        Self {
            verifier,
            doors: HashMap::new(),
            sign_ins: Vec::new(),
            exchanging: Semaphore::new(0),
        }
    }

    /// What `credential` allows now, if it is a good one of this kind. Waits, for some seconds at most, when its issuer's
    /// keys may have to be fetched for it.
    ///
    /// # Errors
    /// What is wrong with it; or that a key is missing and the issuer cannot be asked for it.
    pub(crate) async fn verify(&self, credential: &str, kinds: &[Kind]) -> Result<Grant, Refusal> {
        self.verified(|| self.verify_now(credential, kinds)).await
    }

    /// Verifies, and once more if fresh keys may help.
    async fn verified(
        &self,
        verify: impl Fn() -> Result<Grant, AuthError>,
    ) -> Result<Grant, Refusal> {
        match verify() {
            Ok(grant) => Ok(grant),
            Err(error) => match self.door(error) {
                Some(door) if door.refetched().await => {
                    verify().map_err(|error| self.refusal(error))
                }
                _ => Err(self.refusal(error)),
            },
        }
    }

    /// See [`Verifier::key_removals`].
    pub(crate) fn key_removals(&self) -> u64 {
        self.verifier.key_removals()
    }

    fn verify_now(&self, credential: &str, kinds: &[Kind]) -> Result<Grant, AuthError> {
        self.verifier
            .verify_any(credential, kinds, SystemTime::now())
    }

    fn door(&self, error: AuthError) -> Option<&Door> {
        self.doors.get(&error.wants_keys_of()?)
    }

    fn refusal(&self, error: AuthError) -> Refusal {
        let is_away = self.door(error).is_some_and(|door| !door.is_reachable());
        if is_away || matches!(error, AuthError::KeysNotFetched(_)) {
            return Refusal::IssuerUnreachable;
        }
        Refusal::Credential(error)
    }
}

/// Why a credential is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// There is something wrong with it.
    #[error(transparent)]
    Credential(#[from] AuthError),
    /// Nobody can say, for now.
    #[error("the keys of the token's issuer cannot be fetched now; try again")]
    IssuerUnreachable,
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Credential(error) => unauthenticated(error.to_string()),
            Refusal::IssuerUnreachable => {
                let kind = c2l_tunnel::Kind::IssuerUnreachable;
                Self::new(kind, Origin::Relay, refusal.to_string()).retry_safe()
            }
        }
    }
}

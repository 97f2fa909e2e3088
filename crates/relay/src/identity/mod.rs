//! Who is asking: the one place of the relay that makes a [`Caller`].
//!
//! Invariant: whoever holds a `Caller` holds a user whom `auth` named, from a signature or a keyed hash. A credential
//! seen before is looked up instead of verified again, never beyond its own end; the memory for that is bounded, and
//! holds no credential. Nothing that was revoked is accepted once its revocation was answered.
//!
//! How a revocation acts, in this order: it is stored (`accounts`), it is in the tables in memory (`revocations`,
//! `keys`), the epoch changes, whoever asked is answered. A remembered credential that was judged in the present epoch
//! costs one atomic load; in a new one it is judged again, once. What is under way has a [`standing::Standing`], which
//! wakes with each epoch and asks the same. `upkeep` writes what need not be written at once, and hears of others'
//! changes.

mod accounts;
mod browsers;
mod caller;
mod devices;
mod keys;
mod logins;
mod revocations;
mod standing;
#[cfg(test)]
mod tests;
mod upkeep;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use c2l_auth::{
    AuthError, DeviceName, Fingerprint, KEY_PREFIX, Kind, LEEWAY, Pepper, PresentedKey,
};
use c2l_store::{Storage, StoreError};
use c2l_tunnel::Fault;
use http::request;
use tokio::sync::watch;

pub use self::accounts::Accounts;
pub(crate) use self::{
    accounts::{Made, TokenName},
    caller::Caller,
    devices::no_such_device,
    keys::Listed,
    logins::{Going, MAX_TOKEN_LIFE, NotRefreshed},
    standing::Standing,
    upkeep::upkeep,
};
use self::{keys::Keys, revocations::Revocations};
use crate::{
    audit::CredentialName,
    gateway::credential,
    limits::{Asker, Guard, Payer},
    providers::{Providers, Refusal},
};

/// Credentials remembered at once. When there are more, remembering starts over.
const MAX_REMEMBERED: usize = 4096;

/// Verifies credentials, remembers the good ones, and knows which count no longer.
#[derive(Debug)]
pub(crate) struct Identities {
    providers: Arc<Providers>,
    guard: Arc<Guard>,
    pepper: Arc<Pepper>,
    store: Arc<dyn Storage>,
    keys: RwLock<Keys>,
    revocations: RwLock<Revocations>,
    /// Changes after each revocation is in the tables, and before it is answered.
    epoch: AtomicU64,
    /// Wakes whoever has something under way; follows `epoch`.
    changes: watch::Sender<u64>,
    remembered: Mutex<HashMap<Fingerprint, Remembered>>,
    unwritten: Mutex<devices::Unwritten>,
}

/// A credential that was good.
#[derive(Debug, Clone)]
struct Remembered {
    caller: Arc<Caller>,
    /// The epoch in which it was found to be not revoked.
    judged_in: u64,
    /// What [`Providers::key_removals`] said before it was verified.
    key_removals: u64,
}

impl Identities {
    /// With everything that `accounts` keeps.
    ///
    /// # Errors
    /// When that cannot be read.
    pub(crate) async fn load(
        providers: Arc<Providers>,
        guard: Arc<Guard>,
        accounts: Accounts,
    ) -> Result<Arc<Self>, StoreError> {
        let identities = Self::new(providers, guard, accounts);
        identities.reload().await?;
        Ok(Arc::new(identities))
    }

    /// With nothing of what `accounts` keeps yet.
    pub(crate) fn new(providers: Arc<Providers>, guard: Arc<Guard>, accounts: Accounts) -> Self {
        Self {
            providers,
            guard,
            pepper: accounts.pepper,
            store: accounts.store,
            keys: RwLock::default(),
            revocations: RwLock::default(),
            epoch: AtomicU64::new(0),
            changes: watch::Sender::new(0),
            remembered: Mutex::default(),
            unwritten: Mutex::default(),
        }
    }

    /// The caller of a request, which counts as one of theirs, with a credential of one of these kinds.
    ///
    /// # Errors
    /// Those of [`Self::identify`]; `InvalidRequest`, and `UserOverLimit`.
    pub(crate) async fn caller(
        &self,
        path: Option<&str>,
        head: &request::Parts,
        kinds: &[Kind],
    ) -> Result<Arc<Caller>, Fault> {
        let credential = credential::find(path, &head.headers)?;
        let asker = Asker::of(&head.extensions);
        let caller = self.identify(&asker, &credential, kinds).await?;
        self.guard.request(&asker, &Payer::of(&caller))?;
        Ok(caller)
    }

    /// Whose credential this is, if it is good now, of one of these kinds, and not revoked. Waits where a key of its
    /// issuer has to be fetched; see [`Providers::verify`].
    ///
    /// # Errors
    /// `Unauthenticated`, where the message says what is wrong; `IssuerUnreachable`; `UserOverLimit` without having
    /// looked at it, when too many from that address were bad.
    pub(crate) async fn identify(
        &self,
        asker: &Asker,
        credential: &str,
        kinds: &[Kind],
    ) -> Result<Arc<Caller>, Fault> {
        let fingerprint = Fingerprint::of(credential);
        if let Some(caller) = self.recall(&fingerprint) {
            return self.of_kind(caller, asker, credential, kinds);
        }
        self.guard.may_judge(asker, credential)?;
        // In a box: this is for the first request with it, and every request would carry the room that a fetch of keys takes.
        Box::pin(self.identify_renewal(asker, credential, kinds)).await
    }

    /// The same for who is here already with a good one: nothing of the address is asked.
    ///
    /// # Errors
    /// `Unauthenticated` and `IssuerUnreachable`, as [`Self::identify`].
    pub(crate) async fn identify_renewal(
        &self,
        asker: &Asker,
        credential: &str,
        kinds: &[Kind],
    ) -> Result<Arc<Caller>, Fault> {
        let fingerprint = Fingerprint::of(credential);
        let judged = self.judged(credential, &fingerprint).await;
        let judged = judged.map_err(|refusal| match refusal {
            Refusal::Credential(error) => self.guard.refused(asker, credential, &error),
            Refusal::IssuerUnreachable => refusal.into(),
        })?;
        let caller = Arc::clone(&judged.caller);
        let caller = self.of_kind(caller, asker, credential, kinds)?;
        self.guard
            .accepted(asker, fingerprint, &caller.grant, &caller.credential);
        // Only now: what is remembered is taken in elsewhere without a word to the audit log.
        self.remember(fingerprint, judged);
        Ok(caller)
    }

    fn of_kind(
        &self,
        caller: Arc<Caller>,
        asker: &Asker,
        credential: &str,
        kinds: &[Kind],
    ) -> Result<Arc<Caller>, Fault> {
        let found = caller.grant.kind;
        if !kinds.contains(&found) {
            let error = AuthError::WrongKind { found };
            return Err(self.guard.refused(asker, credential, &error));
        }
        caller.note_used(SystemTime::now());
        Ok(caller)
    }

    /// One that was judged in the present epoch, with the keys that there are.
    fn recall(&self, fingerprint: &Fingerprint) -> Option<Arc<Caller>> {
        let known = self.lock_remembered().get(fingerprint).cloned()?;
        let is_current = known.judged_in == self.epoch()
            && known.key_removals == self.providers.key_removals()
            && known.caller.is_in_force(SystemTime::now());
        is_current.then_some(known.caller)
    }

    /// Verifies it, or asks again of one that is remembered.
    async fn judged(
        &self,
        credential: &str,
        fingerprint: &Fingerprint,
    ) -> Result<Remembered, Refusal> {
        let now = SystemTime::now();
        let known = self.lock_remembered().get(fingerprint).cloned();
        // Before it is judged: a revocation that comes meanwhile has another epoch, and it is judged again.
        let judged_in = self.epoch();
        let key_removals = self.providers.key_removals();
        let caller = match known {
            Some(known) if known.caller.is_in_force(now) && known.key_removals == key_removals => {
                self.judge_again(known.caller, credential).await?
            }
            _ => self.verify(credential).await?,
        };
        self.judge(&caller, None)?;
        Ok(Remembered {
            caller,
            judged_in,
            key_removals,
        })
    }

    fn remember(&self, fingerprint: Fingerprint, judged: Remembered) {
        let mut remembered = self.lock_remembered();
        if remembered.len() >= MAX_REMEMBERED && !remembered.contains_key(&fingerprint) {
            remembered.clear();
        }
        remembered.insert(fingerprint, judged);
    }

    /// A token is what it was, and only has to be judged; a key may have a new end, and its hash is as cheap.
    async fn judge_again(
        &self,
        known: Arc<Caller>,
        credential: &str,
    ) -> Result<Arc<Caller>, Refusal> {
        match known.credential {
            CredentialName::Key(_) => self.verify(credential).await,
            CredentialName::Token(_) | CredentialName::Hash(_) => Ok(known),
        }
    }

    async fn verify(&self, credential: &str) -> Result<Arc<Caller>, Refusal> {
        if !credential.starts_with(KEY_PREFIX) {
            let grant = self.providers.verify(credential, &Kind::ALL).await?;
            return Ok(Arc::new(Caller::of_token(
                grant,
                Fingerprint::of_signed(credential),
            )));
        }
        let key = PresentedKey::parse(credential).ok_or(AuthError::MalformedKey)?;
        let held = self.read_keys().held(key.id());
        let record = held.as_ref().map(|held| &held.record);
        let now = SystemTime::now();
        let granted = self.pepper.verify(&key, record, &Kind::ALL, now)?;
        let usage = held.map(|held| Arc::clone(&held.usage));
        Ok(Arc::new(Caller::of_key(granted, usage)))
    }

    /// Whether this caller's credential still counts. For a session its device counts as well, and the end of its key, which
    /// may have come nearer; what is under way otherwise outlives an end.
    ///
    /// # Errors
    /// [`AuthError::Revoked`].
    fn judge(&self, caller: &Caller, device: Option<&DeviceName>) -> Result<(), AuthError> {
        let is_revoked = match &caller.credential {
            CredentialName::Key(_) => caller.key_id().is_none_or(|id| match device {
                Some(_) => self.read_keys().is_over(id, SystemTime::now()),
                None => self.read_keys().is_revoked(id),
            }),
            CredentialName::Token(_) | CredentialName::Hash(_) => false,
        };
        if is_revoked || self.read_revocations().covers(caller, device) {
            return Err(AuthError::Revoked);
        }
        Ok(())
    }

    /// Whether what was let in with this credential, for this device's session if it is one, may go on.
    pub(crate) fn still_stands(&self, caller: &Caller, device: Option<&DeviceName>) -> bool {
        self.judge(caller, device).is_ok()
    }

    /// Who else vouches for users.
    pub(crate) fn providers(&self) -> &Providers {
        &self.providers
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// What is in the tables by now counts from here on, for everything that is under way, too.
    fn begin_epoch(&self) {
        let epoch = self.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        self.changes.send_modify(|told| *told = epoch.max(*told));
    }

    fn lock_remembered(&self) -> std::sync::MutexGuard<'_, HashMap<Fingerprint, Remembered>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn read_keys(&self) -> std::sync::RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_keys(&self) -> std::sync::RwLockWriteGuard<'_, Keys> {
        self.keys.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_revocations(&self) -> std::sync::RwLockReadGuard<'_, Revocations> {
        self.revocations
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write_revocations(&self) -> std::sync::RwLockWriteGuard<'_, Revocations> {
        self.revocations
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Caller {
    /// Whether its time is not over at `now`. A token's clock may be another's, a key's is ours.
    fn is_in_force(&self, now: SystemTime) -> bool {
        match self.credential {
            CredentialName::Key(_) => now < self.grant.expires_at,
            CredentialName::Token(_) | CredentialName::Hash(_) => {
                now < self.grant.expires_at + LEEWAY
            }
        }
    }
}

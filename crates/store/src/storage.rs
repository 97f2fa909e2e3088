//! What a relay asks of whatever keeps its accounts: small enough that many relays may share another one later.
//!
//! Invariant: a change that was answered without an error outlives a crash. A future that was dropped may have changed
//! something all the same.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::SystemTime};

use c2l_auth::{Attempt, DeviceName, Family, KeyId, KeyRecord};

use crate::StoreError;

/// An answer under way. Dropping it does not undo what was asked.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Keys, revocations and device logins, durably. Each call may fail with any [`StoreError`], and then changed nothing
/// or, where the disk broke off, all of it.
pub trait Storage: fmt::Debug + Send + Sync {
    /// All keys, revoked ones among them, and all revocations that still matter.
    fn load(&self) -> Pending<'_, Snapshot>;

    /// Changes when somebody else has written since the last [`Self::load`]; cheap enough to ask twice a second.
    fn version(&self) -> Pending<'_, i64>;

    /// Keeps a new key. Where it takes the place of another, that one ends at the time given, unless it does before.
    fn add_key(&self, key: KeyRecord, replaces: Option<(KeyId, SystemTime)>) -> Pending<'_, ()>;

    /// Revokes these keys; those that are revoked already, or are not there, stay as they are.
    fn revoke_keys(&self, ids: Vec<KeyId>, at: SystemTime) -> Pending<'_, ()>;

    /// Notes when keys were last used, in one write.
    fn note_used(&self, used: Vec<(KeyId, SystemTime)>) -> Pending<'_, ()>;

    /// Revokes one token.
    fn revoke_token(&self, token: RevokedToken) -> Pending<'_, ()>;

    /// Ends what was issued to a user, or to one device of theirs, before a time; device logins among it.
    fn set_not_before(&self, entry: NotBefore) -> Pending<'_, ()>;

    /// Keeps a new device login.
    fn add_family(&self, family: Family) -> Pending<'_, ()>;

    /// The device login of this id.
    fn family(&self, id: KeyId) -> Pending<'_, Option<Family>>;

    /// The device logins of this user that are not revoked and have not run out at `now`.
    fn families_of(
        &self,
        issuer: Arc<str>,
        subject: Arc<str>,
        now: SystemTime,
    ) -> Pending<'_, Vec<Family>>;

    /// Moves a login from this generation to the next one in this attempt; false where it stands at another one or was revoked, as
    /// when two use the same refresh token at once.
    fn advance_family(
        &self,
        id: KeyId,
        from_generation: u32,
        attempt: Option<Attempt>,
        now: SystemTime,
        expires_at: SystemTime,
    ) -> Pending<'_, bool>;

    /// Revokes one device login.
    fn revoke_family(&self, id: KeyId, at: SystemTime) -> Pending<'_, ()>;

    /// The machines of this user that were connected, by name.
    fn devices_of(&self, issuer: Arc<str>, subject: Arc<str>) -> Pending<'_, Vec<KnownDevice>>;

    /// Notes when machines were last connected, in one write. Their labels stay. Of one user the last 256 are kept, those with
    /// a label first.
    fn note_seen(&self, seen: Vec<KnownDevice>) -> Pending<'_, ()>;

    /// Sets or takes away what a user calls a machine; one that was not known is from now on.
    fn label_device(&self, device: KnownDevice) -> Pending<'_, ()>;

    /// Forgets a machine, and what it was called.
    fn forget_device(
        &self,
        issuer: Arc<str>,
        subject: Arc<str>,
        device: DeviceName,
    ) -> Pending<'_, ()>;

    /// Forgets what cannot matter any more at `now`: revocations of what has run out, and keys and logins that ended
    /// long ago.
    fn purge(&self, now: SystemTime) -> Pending<'_, ()>;
}

/// Everything that a relay holds in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// All keys, revoked ones among them.
    pub keys: Vec<StoredKey>,
    /// Single tokens.
    pub tokens: Vec<RevokedToken>,
    /// Users, and devices of users.
    pub not_before: Vec<NotBefore>,
}

/// A key, and when it was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// The key.
    pub record: KeyRecord,
    /// To about a minute.
    pub last_used_at: Option<SystemTime>,
}

/// One token that counts no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedToken {
    /// Whose token it is: the issuer.
    pub issuer: Arc<str>,
    /// Whose token it is: the name.
    pub subject: Arc<str>,
    /// Its `jti`, or a fingerprint where it has none.
    pub token_id: Arc<str>,
    /// When the token runs out by itself, and the revocation can be forgotten.
    pub until: SystemTime,
}

/// A machine that was connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownDevice {
    /// Whose it is: the issuer.
    pub issuer: Arc<str>,
    /// Whose it is: the name.
    pub subject: Arc<str>,
    /// What it is called by itself.
    pub device: DeviceName,
    /// What its user calls it.
    pub label: Option<String>,
    /// When it was last connected, to about a minute.
    pub seen_at: SystemTime,
}

/// Tokens and logins of this user, or of one device of theirs, count only if issued at this time or later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotBefore {
    /// The user's issuer.
    pub issuer: Arc<str>,
    /// The user's name.
    pub subject: Arc<str>,
    /// The one device meant; all when `None`.
    pub device: Option<DeviceName>,
    /// The time, in whole milliseconds.
    pub time: SystemTime,
}

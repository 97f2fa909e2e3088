//! What users do with their own keys, tokens and devices.
//!
//! Invariant: every change is of one `UserId`, and names nothing of anybody else: a foreign id is one that does not
//! exist. What takes something back acts in memory even where it could not be stored, and then says so.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use c2l_auth::{
    DeviceName, KeyError, KeyId, KeyRecord, KeyRequest, MAX_LIFETIME, Pepper, Secret, UserId,
};
use c2l_store::{Database, NotBefore, RevokedToken, Storage, StoreError, StoredKey};
use c2l_tunnel::{Fault, Kind as FaultKind, Origin};

use super::{
    Identities, Listed,
    keys::{MAX_KEYS, MAX_KEYS_OF_USER},
    revocations::{MAX_DEVICES_OF_USER, MAX_TOKENS_OF_USER},
};
use crate::{audit::CredentialName, error::invalid};

/// Where a relay keeps keys and revocations, and the secret under which keys are hashed.
#[derive(Clone)]
pub struct Accounts {
    /// The secret. It is not in the store.
    pub pepper: Arc<Pepper>,
    /// The store.
    pub store: Arc<dyn Storage>,
}

impl Accounts {
    /// Ones that end with the process.
    ///
    /// # Errors
    /// When there are no random numbers or there is no memory.
    pub fn in_memory() -> Result<Self, crate::Error> {
        Ok(Self {
            pepper: Arc::new(Pepper::ephemeral().map_err(crate::Error::Pepper)?),
            store: Arc::new(Database::in_memory().map_err(crate::Error::Store)?),
        })
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Accounts")
    }
}

/// A new key: its text, which is not kept, and what is.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) text: Secret,
    pub(crate) record: KeyRecord,
}

/// By what a token is named that shall count no longer.
#[derive(Debug)]
pub(crate) enum TokenName {
    /// Its `jti`.
    Id(String),
    /// Itself.
    Whole(Secret),
}

/// What went with a device.
#[derive(Debug)]
pub(crate) struct Removed {
    pub(crate) keys: usize,
    pub(crate) logins: usize,
}

impl Identities {
    /// This user's keys that have neither ended nor been revoked.
    pub(crate) fn keys_of(&self, user: &UserId) -> Vec<Listed> {
        self.read_keys().live_of(user, SystemTime::now())
    }

    /// Makes a key of this user. Answers in a later millisecond than the one that the key is of: who makes one after
    /// another finds them listed in that order, and so does whoever reads them from the database later.
    ///
    /// # Errors
    /// `InvalidRequest`, `UserOverLimit`, or `Internal` when it could not be stored; then there is none.
    pub(crate) async fn make_key(
        &self,
        user: &UserId,
        request: &KeyRequest,
    ) -> Result<Made, Fault> {
        let now = whole_milliseconds(SystemTime::now());
        self.has_room_for_key(user, now)?;
        let made = self.make(user, request, now, None).await?;
        until_after(now).await;
        Ok(made)
    }

    /// Makes a key like that one, which itself ends after `overlap`.
    ///
    /// # Errors
    /// As [`Self::make_key`]; `RouteUnknown` when this user has no such key.
    pub(crate) async fn rotate_key(
        &self,
        user: &UserId,
        id: &str,
        overlap: Duration,
    ) -> Result<Made, Fault> {
        let now = whole_milliseconds(SystemTime::now());
        let old = self.own_key(user, id)?;
        if !old.is_live(now) {
            return Err(no_such_key());
        }
        let lifetime = |end: SystemTime| end.duration_since(old.created_at).unwrap_or_default();
        let request = KeyRequest {
            name: old.name.clone(),
            kind: old.kind,
            scopes: old.scopes,
            device: old.device.clone(),
            models: old.models.to_vec(),
            requests_per_minute: old.requests_per_minute,
            ttl: old.expires_at.map(lifetime),
        };
        let end = Some(overlap)
            .filter(|overlap| *overlap <= MAX_LIFETIME)
            .and_then(|overlap| now.checked_add(overlap));
        let end = end.ok_or_else(|| invalid("the overlap is too long"))?;
        self.has_room_for_key(user, now)?;
        let made = self
            .make(user, &request, now, Some((old.id.clone(), end)))
            .await?;
        self.write_keys().change(&old.id, |old| {
            old.expires_at = Some(old.expires_at.map_or(end, |before| before.min(end)));
        });
        self.begin_epoch();
        until_after(now).await;
        Ok(made)
    }

    async fn make(
        &self,
        user: &UserId,
        request: &KeyRequest,
        now: SystemTime,
        replaces: Option<(KeyId, SystemTime)>,
    ) -> Result<Made, Fault> {
        let made = self.pepper.make(user, request, now);
        let (text, record) = made.map_err(|error| match error {
            KeyError::InvalidKey(_) => invalid(error.to_string()),
            other => broken(&other),
        })?;
        let stored = self.store.add_key(record.clone(), replaces).await;
        stored.map_err(|error| broken(&error))?;
        self.write_keys().join(StoredKey {
            record: record.clone(),
            last_used_at: None,
        });
        Ok(Made { text, record })
    }

    fn has_room_for_key(&self, user: &UserId, now: SystemTime) -> Result<(), Fault> {
        let keys = self.read_keys();
        let own = keys.live_of(user, now).len();
        if own >= MAX_KEYS_OF_USER {
            return Err(too_many(format!(
                "{own} keys of this user are there already; revoke some"
            )));
        }
        if keys.len() >= MAX_KEYS {
            return Err(too_many(
                "the relay has as many keys as it keeps".to_owned(),
            ));
        }
        Ok(())
    }

    fn own_key(&self, user: &UserId, id: &str) -> Result<KeyRecord, Fault> {
        let found = KeyId::parse(id)
            .ok()
            .and_then(|id| self.read_keys().held(&id));
        found
            .map(|held| held.record.clone())
            .filter(|record| *record.issuer == *user.issuer() && *record.subject == *user.subject())
            .filter(|record| record.revoked_at.is_none())
            .ok_or_else(no_such_key)
    }

    /// Revokes a key of this user: from when this answers on, and also for what is under way.
    ///
    /// # Errors
    /// `RouteUnknown` when this user has no such key. `Internal` when it is revoked, but only until the relay ends.
    pub(crate) async fn revoke_key(&self, user: &UserId, id: &str) -> Result<KeyRecord, Fault> {
        let now = whole_milliseconds(SystemTime::now());
        // Also one whose time is over: it may have something open.
        let record = self.own_key(user, id)?;
        self.revoke_keys(vec![record.id.clone()], now).await?;
        Ok(record)
    }

    async fn revoke_keys(&self, ids: Vec<KeyId>, now: SystemTime) -> Result<(), Fault> {
        if ids.is_empty() {
            return Ok(());
        }
        let stored = self.store.revoke_keys(ids.clone(), now).await;
        {
            let mut keys = self.write_keys();
            for id in &ids {
                keys.change(id, |key| {
                    key.revoked_at.get_or_insert(now);
                });
            }
        }
        self.begin_epoch();
        stored.map_err(|error| unstored(&error))
    }

    /// Revokes a token of this user; answers with the id that it is known by.
    ///
    /// # Errors
    /// `RouteUnknown` for a token that is not this user's, `InvalidRequest` for a text that is none, `UserOverLimit`.
    /// `Internal` when it is revoked, but only until the relay ends.
    pub(crate) async fn revoke_token(
        &self,
        user: &UserId,
        name: TokenName,
    ) -> Result<Arc<str>, Fault> {
        let now = SystemTime::now();
        let (token_id, until) = match name {
            TokenName::Id(id) => {
                let is_plain = (1..=c2l_auth::MAX_TOKEN_ID_BYTES).contains(&id.len())
                    && !id.chars().any(char::is_control);
                if !is_plain {
                    return Err(invalid("that is no id of a token (jti)"));
                }
                (id.into(), now + MAX_LIFETIME)
            }
            TokenName::Whole(token) => self.read_token(user, &token).await?,
        };
        let (issuer, subject) = texts(user);
        if !self
            .read_revocations()
            .has_room_for_token(&issuer, &subject)
        {
            return Err(too_many(format!(
                "{MAX_TOKENS_OF_USER} tokens of this user are revoked already; sign out everywhere instead"
            )));
        }
        let entry = RevokedToken {
            issuer,
            subject,
            token_id: Arc::clone(&token_id),
            until: whole_milliseconds(until) + Duration::from_secs(60),
        };
        let stored = self.store.revoke_token(entry.clone()).await;
        self.write_revocations().add_token(&entry);
        self.begin_epoch();
        stored.map_err(|error| unstored(&error))?;
        Ok(token_id)
    }

    /// The id of a token that was given whole, and its end. One that is revoked already is still this user's.
    async fn read_token(
        &self,
        user: &UserId,
        token: &Secret,
    ) -> Result<(Arc<str>, SystemTime), Fault> {
        let caller = self
            .verify(token.expose())
            .await
            .map_err(|error| invalid(format!("the token in the body: {error}")))?;
        if caller.user != *user {
            return Err(no_such_token());
        }
        match caller.credential {
            CredentialName::Key(_) => Err(invalid("that is a key: revoke it by its id")),
            CredentialName::Token(_) | CredentialName::Hash(_) => {
                Ok((caller.token_id(), caller.grant.expires_at))
            }
        }
    }

    /// Ends every token and device login of this user that was issued before now; with `keys`, every key as well.
    /// What is issued once this has answered counts.
    ///
    /// # Errors
    /// `Internal` when it is done, but only until the relay ends.
    pub(crate) async fn sign_out(&self, user: &UserId, keys: bool) -> Result<SystemTime, Fault> {
        let ended = self.end_before_now(user, None).await;
        if keys {
            // Also where the first could not be stored: each acts in memory.
            let own = self.keys_of(user);
            let ids = own.into_iter().map(|listed| listed.record.id).collect();
            let now = whole_milliseconds(SystemTime::now());
            let revoked = self.revoke_keys(ids, now).await;
            if ended.is_ok() {
                revoked?;
            }
        }
        ended
    }

    /// Ends every token, key and login of this user that is bound to this device, and its session.
    ///
    /// # Errors
    /// `UserOverLimit`. `Internal` when it is done, but only until the relay ends.
    pub(crate) async fn remove_device(
        &self,
        user: &UserId,
        device: &DeviceName,
    ) -> Result<Removed, Fault> {
        let (issuer, subject) = texts(user);
        let has_room = self
            .read_revocations()
            .has_room_for_device(&issuer, &subject, device);
        if !has_room {
            return Err(too_many(format!(
                "{MAX_DEVICES_OF_USER} devices of this user are removed already; sign out everywhere instead"
            )));
        }
        let now = SystemTime::now();
        // Only to be counted; what ends them is below, and acts where this fails.
        let logins = self.store.families_of(issuer, subject, now).await;
        let logins = logins
            .unwrap_or_default()
            .iter()
            .filter(|login| login.device == *device)
            .count();
        let ended = self.end_before_now(user, Some(device)).await;
        let own = self.keys_of(user).into_iter();
        let bound = own.filter(|listed| listed.record.device.as_ref() == Some(device));
        let ids: Vec<_> = bound.map(|listed| listed.record.id).collect();
        let keys = ids.len();
        let revoked = self.revoke_keys(ids, whole_milliseconds(now)).await;
        self.forget_device(user, device).await;
        ended?;
        revoked?;
        Ok(Removed { keys, logins })
    }

    /// Answers in a later millisecond than the one named, so that a token has a time on one side of it or the other.
    pub(super) async fn end_before_now(
        &self,
        user: &UserId,
        device: Option<&DeviceName>,
    ) -> Result<SystemTime, Fault> {
        let (issuer, subject) = texts(user);
        let now = whole_milliseconds(SystemTime::now());
        let time = now + Duration::from_millis(1);
        let entry = NotBefore {
            issuer,
            subject,
            device: device.cloned(),
            time,
        };
        let stored = self.store.set_not_before(entry.clone()).await;
        self.write_revocations().add_not_before(&entry);
        self.begin_epoch();
        until_after(now).await;
        stored.map_err(|error| unstored(&error))?;
        Ok(time)
    }

    /// A user by name, for the operator.
    ///
    /// # Errors
    /// `InvalidRequest` when nobody can be called that.
    pub(crate) fn name_user(&self, issuer: &str, subject: &str) -> Result<UserId, Fault> {
        let user = self.pepper.name_user(issuer, subject);
        user.map_err(|error| invalid(error.to_string()))
    }
}

pub(super) fn texts(user: &UserId) -> (Arc<str>, Arc<str>) {
    (user.issuer().into(), user.subject().into())
}

/// As the database keeps it.
pub(super) fn whole_milliseconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Waits until this whole millisecond is over; no longer than one, also where the clock was set back.
async fn until_after(millisecond: SystemTime) {
    let end = millisecond + Duration::from_millis(1);
    if let Ok(left) = end.duration_since(SystemTime::now()) {
        tokio::time::sleep(left.min(Duration::from_millis(1))).await;
    }
}

fn no_such_key() -> Fault {
    let message = "no such key of this user";
    Fault::new(FaultKind::RouteUnknown, Origin::Caller, message).retry_safe()
}

fn no_such_token() -> Fault {
    let message = "no such token of this user";
    Fault::new(FaultKind::RouteUnknown, Origin::Caller, message).retry_safe()
}

pub(super) fn too_many(message: String) -> Fault {
    Fault::new(FaultKind::UserOverLimit, Origin::Caller, message).retry_safe()
}

pub(super) fn broken(error: &dyn std::error::Error) -> Fault {
    let cause = error.source().map(ToString::to_string);
    tracing::error!(%error, cause, "keys or revocations could not be changed");
    let message = "the relay's database failed; nothing was changed";
    Fault::new(FaultKind::Internal, Origin::Relay, message)
}

pub(super) fn unstored(error: &StoreError) -> Fault {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(%error, cause, "a revocation could not be stored: it holds until this relay ends");
    let message = "revoked until this relay ends, but not stored: its database failed; try again";
    Fault::new(FaultKind::Internal, Origin::Relay, message).retry_safe()
}

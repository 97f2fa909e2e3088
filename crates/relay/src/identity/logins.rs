//! The logins of devices, once somebody has said yes: their refresh tokens, and how they end.
//!
//! Invariant: a refresh token is answered once, or again to whoever names the attempt in which it was used; by any other
//! use of an old one the login ends, and with it every token that came from it, what is under way among it. The store
//! decides between two that come at once.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use c2l_auth::{
    Attempt, AuthError, DeviceName, Family, KeyId, MAX_LIFETIME, PresentedRefresh, Refresh, Secret,
    UserId,
};
use c2l_store::RevokedToken;
use c2l_tunnel::Fault;

use super::{
    Identities,
    accounts::{broken, texts, too_many, unstored, whole_milliseconds},
};

/// How long a token may live that comes from a login: so long it has to be known when one has ended.
pub(crate) const MAX_TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Most logins of one user at once.
const MAX_LOGINS_OF_USER: usize = 256;

/// A login, and the refresh token that is good from now on.
#[derive(Debug)]
pub(crate) struct Going {
    pub(crate) user: UserId,
    pub(crate) device: DeviceName,
    pub(crate) id: KeyId,
    pub(crate) began: SystemTime,
    pub(crate) refresh: Secret,
}

/// A refresh token brought nothing.
#[derive(Debug)]
pub(crate) enum NotRefreshed {
    /// It is not good, or not any more.
    Refused(AuthError),
    /// It had been used before. Its login was ended.
    Reused { user: UserId, id: KeyId },
    /// The database failed.
    Broken(Fault),
}

impl Identities {
    /// Begins a login of this user's device; `began` is a time at which whoever said yes was still let in. One that the device had before ends: it is this one that it uses now.
    ///
    /// # Errors
    /// `UserOverLimit`, or `Internal` when it could not be stored; then there is none.
    pub(crate) async fn begin_login(
        &self,
        user: &UserId,
        device: &DeviceName,
        began: SystemTime,
        idle: Duration,
    ) -> Result<Going, Fault> {
        let now = whole_milliseconds(began);
        let (issuer, subject) = texts(user);
        let others = self
            .store
            .families_of(Arc::clone(&issuer), Arc::clone(&subject), now);
        let others = others.await.map_err(|error| broken(&error))?;
        let (same, others): (Vec<_>, Vec<_>) = others
            .into_iter()
            .partition(|login| login.device == *device);
        if others.len() >= MAX_LOGINS_OF_USER {
            return Err(too_many(format!(
                "{} devices of this user are logged in already; log some out",
                others.len()
            )));
        }
        let family = Family {
            id: self.pepper.family_id().map_err(|error| broken(&error))?,
            issuer,
            subject,
            device: device.clone(),
            generation: 1,
            attempt: None,
            created_at: now,
            used_at: now,
            expires_at: now + idle.min(MAX_LIFETIME),
            revoked_at: None,
        };
        let stored = self.store.add_family(family.clone()).await;
        stored.map_err(|error| broken(&error))?;
        for login in same {
            self.end_family(user, &login).await?;
        }
        Ok(self.going(user.clone(), &family))
    }

    /// Exchanges a refresh token for the next one. The login lasts `idle` from now, unless it is used before.
    ///
    /// # Errors
    /// See [`NotRefreshed`].
    pub(crate) async fn refresh_login(
        &self,
        token: &str,
        attempt: Option<Attempt>,
        idle: Duration,
    ) -> Result<Going, NotRefreshed> {
        let token =
            PresentedRefresh::parse(token).ok_or(NotRefreshed::Refused(AuthError::MalformedKey))?;
        let now = whole_milliseconds(SystemTime::now());
        // Twice: somebody else may use the same token at the same time, and then it is another one's by now.
        for _ in 0..2 {
            let family = self.family(token.family()).await?;
            let judged = self
                .pepper
                .verify_refresh(&token, family.as_ref(), attempt, now);
            let refresh = judged.map_err(NotRefreshed::Refused)?;
            let Some(mut family) = family else {
                break;
            };
            match refresh {
                Refresh::Repeated { user, .. } => return Ok(self.going(user, &family)),
                Refresh::Reused => {
                    let user = self.name_user(&family.issuer, &family.subject);
                    let user = user.map_err(NotRefreshed::Broken)?;
                    let ended = self.end_family(&user, &family).await;
                    ended.map_err(NotRefreshed::Broken)?;
                    return Err(NotRefreshed::Reused {
                        user,
                        id: family.id,
                    });
                }
                Refresh::Current { user, .. } => {
                    let advanced = self.store.advance_family(
                        family.id.clone(),
                        family.generation,
                        attempt,
                        now,
                        now + idle.min(MAX_LIFETIME),
                    );
                    let advanced = advanced.await.map_err(|error| broken(&error));
                    if advanced.map_err(NotRefreshed::Broken)? {
                        family.generation += 1;
                        return Ok(self.going(user, &family));
                    }
                }
            }
        }
        Err(NotRefreshed::Refused(AuthError::BadKey))
    }

    /// Ends the login that this refresh token is of, or was of. `None` where there is no such login.
    ///
    /// # Errors
    /// `Internal` when it ended, but only until the relay ends.
    pub(crate) async fn end_login(
        &self,
        token: &str,
    ) -> Result<Option<(UserId, DeviceName)>, Fault> {
        let Some(token) = PresentedRefresh::parse(token) else {
            return Ok(None);
        };
        let family = self.store.family(token.family().clone()).await;
        let family = family.map_err(|error| broken(&error))?;
        let now = SystemTime::now();
        // Also one that is old, or has run out: whoever had it may end it.
        let judged = self
            .pepper
            .verify_refresh(&token, family.as_ref(), None, now);
        let Some(family) = family else {
            return Ok(None);
        };
        match judged {
            Ok(_) | Err(AuthError::KeyExpired) => {
                let user = self.name_user(&family.issuer, &family.subject)?;
                self.end_family(&user, &family).await?;
                Ok(Some((user, family.device)))
            }
            Err(_) => Ok(None),
        }
    }

    /// Ends the login in the store, and every token that came from it in memory and in the store.
    async fn end_family(&self, user: &UserId, family: &Family) -> Result<(), Fault> {
        let now = SystemTime::now();
        let revoked = self.store.revoke_family(family.id.clone(), now).await;
        let (issuer, subject) = texts(user);
        let (has_room, has_room_for_device) = {
            let entered = self.read_revocations();
            let device = &family.device;
            let for_device = entered.has_room_for_device(&issuer, &subject, device);
            (entered.has_room_for_token(&issuer, &subject), for_device)
        };
        if !has_room {
            // Who ends so many of them ends more with each, rather than nothing.
            let device = Some(&family.device).filter(|_| has_room_for_device);
            self.end_before_now(user, device).await?;
            return revoked.map_err(|error| unstored(&error));
        }
        let entry = RevokedToken {
            issuer,
            subject,
            token_id: name_of_login(&family.id),
            until: whole_milliseconds(now) + MAX_TOKEN_LIFE + 2 * c2l_auth::LEEWAY,
        };
        let stored = self.store.revoke_token(entry.clone()).await;
        self.write_revocations().add_token(&entry);
        self.begin_epoch();
        revoked.and(stored).map_err(|error| unstored(&error))
    }

    async fn family(&self, id: &KeyId) -> Result<Option<Family>, NotRefreshed> {
        let family = self.store.family(id.clone()).await;
        family.map_err(|error| NotRefreshed::Broken(broken(&error)))
    }

    fn going(&self, user: UserId, family: &Family) -> Going {
        Going {
            user,
            device: family.device.clone(),
            id: family.id.clone(),
            began: family.created_at,
            refresh: self.pepper.refresh_token(family),
        }
    }
}

/// What stands for a login among the revoked tokens of its user. No `jti` of ours has a colon.
pub(super) fn name_of_login(id: &KeyId) -> Arc<str> {
    format!("login:{id}").into()
}

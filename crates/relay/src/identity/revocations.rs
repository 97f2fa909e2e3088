//! Which tokens count no longer: one by one, all of a user from before some time, all of a device.
//!
//! Invariant: an entry is only ever added or made stricter, so what is read from the database later can be joined with
//! what was entered meanwhile, in any order. Each entry is one user's, and means nothing to anybody else's tokens.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use c2l_auth::{DeviceName, MAX_LIFETIME};
use c2l_store::{NotBefore, RevokedToken};

use super::{Caller, logins::name_of_login};
use crate::audit::CredentialName;

/// Most single tokens that one user may have revoked at once; more are ended together, by a sign-out.
pub(super) const MAX_TOKENS_OF_USER: usize = 1024;
/// Most devices that one user may have removed at once.
pub(super) const MAX_DEVICES_OF_USER: usize = 256;

/// What was revoked of each user, by issuer and name.
#[derive(Debug, Default)]
pub(super) struct Revocations {
    issuers: HashMap<Arc<str>, HashMap<Arc<str>, OfUser>>,
}

#[derive(Debug, Default)]
struct OfUser {
    /// Each until it runs out by itself.
    tokens: HashMap<Arc<str>, SystemTime>,
    not_before: Option<SystemTime>,
    devices: HashMap<DeviceName, SystemTime>,
}

impl Revocations {
    /// Whether this caller's token was revoked, or the device that it is bound to, or the one whose session it opened.
    pub(super) fn covers(&self, caller: &Caller, device: Option<&DeviceName>) -> bool {
        let user = &caller.user;
        let Some(own) = self.of(user.issuer(), user.subject()) else {
            return false;
        };
        let issued = caller.grant.issued_at.map(to_milliseconds);
        // Who does not say when it was issued may have been before.
        let is_before = |limit: SystemTime| issued.is_none_or(|issued| issued < limit);
        let is_token_revoked = match &caller.credential {
            CredentialName::Key(_) => false,
            CredentialName::Token(_) | CredentialName::Hash(_) => {
                let login = caller.grant.login.as_ref().map(name_of_login);
                own.not_before.is_some_and(is_before)
                    || own.tokens.contains_key(&caller.token_id())
                    || login.is_some_and(|login| own.tokens.contains_key(&login))
            }
        };
        let mut devices = caller.grant.device.iter().chain(device);
        is_token_revoked
            || devices.any(|device| {
                own.devices
                    .get(device)
                    .is_some_and(|limit| is_before(*limit))
            })
    }

    fn of(&self, issuer: &str, subject: &str) -> Option<&OfUser> {
        self.issuers.get(issuer)?.get(subject)
    }

    fn of_mut(&mut self, issuer: &Arc<str>, subject: &Arc<str>) -> &mut OfUser {
        let users = self.issuers.entry(Arc::clone(issuer)).or_default();
        users.entry(Arc::clone(subject)).or_default()
    }

    pub(super) fn has_room_for_token(&self, issuer: &str, subject: &str) -> bool {
        self.of(issuer, subject)
            .is_none_or(|own| own.tokens.len() < MAX_TOKENS_OF_USER)
    }

    pub(super) fn has_room_for_device(
        &self,
        issuer: &str,
        subject: &str,
        device: &DeviceName,
    ) -> bool {
        self.of(issuer, subject).is_none_or(|own| {
            own.devices.len() < MAX_DEVICES_OF_USER || own.devices.contains_key(device)
        })
    }

    pub(super) fn add_token(&mut self, token: &RevokedToken) {
        let own = self.of_mut(&token.issuer, &token.subject);
        let until = own.tokens.entry(Arc::clone(&token.token_id));
        let until = until.or_insert(token.until);
        *until = token.until.max(*until);
    }

    pub(super) fn add_not_before(&mut self, entry: &NotBefore) {
        let own = self.of_mut(&entry.issuer, &entry.subject);
        match &entry.device {
            None => own.not_before = own.not_before.max(Some(entry.time)),
            Some(device) => {
                let time = own.devices.entry(device.clone()).or_insert(entry.time);
                *time = entry.time.max(*time);
            }
        }
    }

    /// Forgets what cannot matter any more: a token that ran out, a time so long ago that no token is from before it.
    pub(super) fn purge(&mut self, now: SystemTime) {
        let matters = |time: &SystemTime| *time + MAX_LIFETIME + Duration::from_secs(3600) > now;
        for users in self.issuers.values_mut() {
            users.retain(|_, own| {
                own.tokens.retain(|_, until| *until >= now);
                own.devices.retain(|_, time| matters(time));
                own.not_before = own.not_before.filter(matters);
                !own.tokens.is_empty() || !own.devices.is_empty() || own.not_before.is_some()
            });
        }
        self.issuers.retain(|_, users| !users.is_empty());
    }
}

/// The nearest whole millisecond. Issuers write fractions as binary ones, a hair beside what they mean.
fn to_milliseconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default() + Duration::from_micros(500);
    UNIX_EPOCH + Duration::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

//! Which machines a user had connected, and what they call them.
//!
//! Invariant: nothing here lets anybody in or keeps anybody out; a machine that is in no list may connect all the same. No
//! session waits for the disk: when a machine was last here is written now and then, in one go.

use std::{
    collections::HashMap,
    sync::{MutexGuard, PoisonError},
    time::SystemTime,
};

use c2l_auth::{DeviceName, UserId};
use c2l_store::{KnownDevice, StoreError};
use c2l_tunnel::{Fault, Kind, Origin};

use super::{
    Identities,
    accounts::{broken, texts, whole_milliseconds},
};
use crate::{error::invalid, registry::Registry};

/// Most ends of sessions that wait to be written; of more nobody is told.
const MAX_UNWRITTEN: usize = 8192;
/// Most bytes of a label.
const MAX_LABEL_BYTES: usize = 64;

/// Ends of sessions that are not written yet: the last one of each machine.
pub(super) type Unwritten = HashMap<(UserId, DeviceName), SystemTime>;

impl Identities {
    /// The machines of this user that were connected, those that are among them.
    ///
    /// # Errors
    /// `Internal` when the database fails.
    pub(crate) async fn devices_of(&self, user: &UserId) -> Result<Vec<KnownDevice>, Fault> {
        let (issuer, subject) = texts(user);
        let stored = self.store.devices_of(issuer, subject).await;
        let mut devices = stored.map_err(|error| unread(&error))?;
        let unwritten = self.lock_unwritten();
        for ((_, name), seen_at) in unwritten.iter().filter(|((owner, _), _)| owner == user) {
            match devices.iter_mut().find(|device| device.device == *name) {
                Some(device) => device.seen_at = device.seen_at.max(*seen_at),
                None => devices.push(seen(user, name, *seen_at)),
            }
        }
        drop(unwritten);
        devices.sort_by(|one, other| one.device.as_str().cmp(other.device.as_str()));
        Ok(devices)
    }

    /// This machine was connected until now.
    pub(crate) fn note_seen(&self, user: &UserId, device: &DeviceName) {
        let mut unwritten = self.lock_unwritten();
        let key = (user.clone(), device.clone());
        if unwritten.len() < MAX_UNWRITTEN || unwritten.contains_key(&key) {
            unwritten.insert(key, SystemTime::now());
        }
    }

    /// Says what this user calls a machine, which is connected or was; `None` takes that away.
    ///
    /// # Errors
    /// `InvalidRequest` for what is no label, `RouteUnknown` for a machine that this user does not have, `Internal` when the
    /// database failed; then nothing was changed.
    pub(crate) async fn label_device(
        &self,
        user: &UserId,
        device: &DeviceName,
        label: Option<&str>,
        is_connected: bool,
    ) -> Result<(), Fault> {
        let label = label.map(checked_label).transpose()?;
        let known = self.devices_of(user).await?;
        let known = known.into_iter().find(|known| known.device == *device);
        let now = whole_milliseconds(SystemTime::now());
        let before = match known {
            Some(known) => known,
            None if is_connected => seen(user, device, now),
            None => return Err(no_such_device()),
        };
        let stored = self.store.label_device(KnownDevice { label, ..before });
        stored.await.map_err(|error| broken(&error))
    }

    /// Forgets a machine, and what it was called.
    pub(super) async fn forget_device(&self, user: &UserId, device: &DeviceName) {
        self.lock_unwritten()
            .remove(&(user.clone(), device.clone()));
        let (issuer, subject) = texts(user);
        let forgotten = self.store.forget_device(issuer, subject, device.clone());
        if let Err(error) = forgotten.await {
            // What ends with it has ended; only a list says too much.
            tracing::error!(%error, "a removed device could not be forgotten");
        }
    }

    /// Writes which machines were here since this was asked last, and which are now.
    pub(super) async fn write_seen(&self, registry: &Registry) -> Result<(), StoreError> {
        let mut ended = std::mem::take(&mut *self.lock_unwritten());
        let now = SystemTime::now();
        let connected = registry.all().into_iter();
        let connected = connected.filter(|session| session.link.is_open());
        ended
            .extend(connected.map(|session| ((session.user.clone(), session.device.clone()), now)));
        if ended.is_empty() {
            return Ok(());
        }
        let rows = ended.iter();
        let rows = rows.map(|((user, device), at)| seen(user, device, *at));
        let written = self.store.note_seen(rows.collect()).await;
        if written.is_err() {
            let mut unwritten = self.lock_unwritten();
            for (key, at) in ended.into_iter().take(MAX_UNWRITTEN) {
                unwritten.entry(key).or_insert(at);
            }
        }
        written
    }

    fn lock_unwritten(&self) -> MutexGuard<'_, Unwritten> {
        self.unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn seen(user: &UserId, device: &DeviceName, at: SystemTime) -> KnownDevice {
    let (issuer, subject) = texts(user);
    KnownDevice {
        issuer,
        subject,
        device: device.clone(),
        label: None,
        seen_at: whole_milliseconds(at),
    }
}

/// What stands in a list, in a table and in the audit log.
fn checked_label(label: &str) -> Result<String, Fault> {
    let is_plain = (1..=MAX_LABEL_BYTES).contains(&label.len())
        && !label.chars().any(char::is_control)
        && label.trim() == label;
    if is_plain {
        return Ok(label.to_owned());
    }
    let message = "a label has 1 to 64 bytes, no control characters, and no space at its ends";
    Err(invalid(message))
}

/// The same whether it is somebody else's or nobody's.
pub(crate) fn no_such_device() -> Fault {
    let message = "no such device of this user";
    Fault::new(Kind::RouteUnknown, Origin::Caller, message).retry_safe()
}

fn unread(error: &StoreError) -> Fault {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(%error, cause, "the devices of a user could not be read");
    let message = "the relay's database failed";
    Fault::new(Kind::Internal, Origin::Relay, message).retry_safe()
}

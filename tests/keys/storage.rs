//! A storage that counts, and breaks down when it is told to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use c2l_auth::{Attempt, DeviceName, Family, KeyId, KeyRecord};
use c2l_store::{
    Database, KnownDevice, NotBefore, Pending, RevokedToken, Snapshot, Storage, StoreError,
};

#[derive(Debug)]
pub(super) struct Watched {
    inner: Database,
    uses_written: AtomicUsize,
    is_broken: AtomicBool,
}

impl Watched {
    pub(super) fn new() -> Self {
        Self {
            inner: Database::in_memory().expect("memory"),
            uses_written: AtomicUsize::new(0),
            is_broken: AtomicBool::new(false),
        }
    }

    /// How many writes of last uses there were.
    pub(super) fn uses_written(&self) -> usize {
        self.uses_written.load(Ordering::Relaxed)
    }

    /// From here on nothing can be written.
    pub(super) fn break_down(&self) {
        self.is_broken.store(true, Ordering::Relaxed);
    }

    fn unless_broken<'a>(&self, pending: Pending<'a, ()>) -> Pending<'a, ()> {
        if self.is_broken.load(Ordering::Relaxed) {
            return Box::pin(async { Err(StoreError::Closed) });
        }
        pending
    }
}

impl Storage for Watched {
    fn load(&self) -> Pending<'_, Snapshot> {
        self.inner.load()
    }

    fn version(&self) -> Pending<'_, i64> {
        self.inner.version()
    }

    fn add_key(&self, key: KeyRecord, replaces: Option<(KeyId, SystemTime)>) -> Pending<'_, ()> {
        self.unless_broken(self.inner.add_key(key, replaces))
    }

    fn revoke_keys(&self, ids: Vec<KeyId>, at: SystemTime) -> Pending<'_, ()> {
        self.unless_broken(self.inner.revoke_keys(ids, at))
    }

    fn note_used(&self, used: Vec<(KeyId, SystemTime)>) -> Pending<'_, ()> {
        self.uses_written.fetch_add(1, Ordering::Relaxed);
        self.inner.note_used(used)
    }

    fn revoke_token(&self, token: RevokedToken) -> Pending<'_, ()> {
        self.unless_broken(self.inner.revoke_token(token))
    }

    fn set_not_before(&self, entry: NotBefore) -> Pending<'_, ()> {
        self.unless_broken(self.inner.set_not_before(entry))
    }

    fn add_family(&self, family: Family) -> Pending<'_, ()> {
        self.inner.add_family(family)
    }

    fn family(&self, id: KeyId) -> Pending<'_, Option<Family>> {
        self.inner.family(id)
    }

    fn families_of(
        &self,
        issuer: Arc<str>,
        subject: Arc<str>,
        now: SystemTime,
    ) -> Pending<'_, Vec<Family>> {
        self.inner.families_of(issuer, subject, now)
    }

    fn advance_family(
        &self,
        id: KeyId,
        from_generation: u32,
        attempt: Option<Attempt>,
        now: SystemTime,
        expires_at: SystemTime,
    ) -> Pending<'_, bool> {
        self.inner
            .advance_family(id, from_generation, attempt, now, expires_at)
    }

    fn revoke_family(&self, id: KeyId, at: SystemTime) -> Pending<'_, ()> {
        self.inner.revoke_family(id, at)
    }

    fn devices_of(&self, issuer: Arc<str>, subject: Arc<str>) -> Pending<'_, Vec<KnownDevice>> {
        self.inner.devices_of(issuer, subject)
    }

    fn note_seen(&self, seen: Vec<KnownDevice>) -> Pending<'_, ()> {
        self.inner.note_seen(seen)
    }

    fn label_device(&self, device: KnownDevice) -> Pending<'_, ()> {
        self.unless_broken(self.inner.label_device(device))
    }

    fn forget_device(
        &self,
        issuer: Arc<str>,
        subject: Arc<str>,
        device: DeviceName,
    ) -> Pending<'_, ()> {
        self.inner.forget_device(issuer, subject, device)
    }

    fn purge(&self, now: SystemTime) -> Pending<'_, ()> {
        self.inner.purge(now)
    }
}

//! [`Storage`] in a file of SQLite, or in memory.
//!
//! Invariant: every write is synced before it is answered (`synchronous=FULL`), and whoever else has the file open, as
//! the command line does, is waited for.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use c2l_auth::{Attempt, DeviceName, Family, KeyId, KeyRecord};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::{
    DATABASE_FILE_NAME, KnownDevice, NotBefore, Pending, RevokedToken, Snapshot, Storage,
    StoreError, devices, families, file, keys, revocations, schema, thread::Worker,
};

/// How long one who writes is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The database of one data directory. Dropping it finishes what was asked, and blocks for as long as that takes.
#[derive(Debug)]
pub struct Database {
    worker: Worker,
}

impl Database {
    /// Opens the database in `data_dir`; on the first start, makes it: the file with mode 0600, and the directory,
    /// where it has to be made, with mode 0700. Several programs may have it open at once.
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    /// When others may use file or directory, when it is damaged, or when a newer version of this program has written
    /// it. It is never replaced.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        file::prepare(data_dir)?;
        let path = data_dir.join(DATABASE_FILE_NAME);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(&path, flags).map_err(StoreError::from);
        let opened = opened.and_then(|connection| prepare(connection, true));
        let connection = opened.map_err(|error| match error {
            StoreError::Sqlite(source) if is_damage(&source) => {
                StoreError::Damaged { path, source }
            }
            other => other,
        })?;
        Self::around(connection)
    }

    /// A database that ends with the process. For tests and development.
    ///
    /// # Errors
    /// When SQLite has no memory, or no thread can be started.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::around(prepare(Connection::open_in_memory()?, false)?)
    }

    fn around(connection: Connection) -> Result<Self, StoreError> {
        let worker = Worker::start(connection).map_err(StoreError::Thread)?;
        Ok(Self { worker })
    }
}

fn prepare(mut connection: Connection, is_file: bool) -> Result<Connection, StoreError> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    if is_file {
        // Readers do not wait for the one who writes.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
    }
    // Names and hashes of what was deleted are overwritten; nothing in a schema may call functions of ours.
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    schema::migrate(&mut connection)?;
    if is_file {
        let verdict: String =
            connection.pragma_query_value(None, "quick_check", |row| row.get(0))?;
        if verdict != "ok" {
            return Err(corrupt().into());
        }
    }
    Ok(connection)
}

fn corrupt() -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, None)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(
        code,
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
    )
}

impl Storage for Database {
    fn load(&self) -> Pending<'_, Snapshot> {
        self.worker.run(revocations::load)
    }

    fn version(&self) -> Pending<'_, i64> {
        // Counts what other connections have committed, not what this one has.
        self.worker.run(|connection| {
            let version = connection.pragma_query_value(None, "data_version", |row| row.get(0))?;
            Ok(version)
        })
    }

    fn add_key(&self, key: KeyRecord, replaces: Option<(KeyId, SystemTime)>) -> Pending<'_, ()> {
        self.worker
            .run(move |connection| keys::add(connection, &key, replaces.as_ref()))
    }

    fn revoke_keys(&self, ids: Vec<KeyId>, at: SystemTime) -> Pending<'_, ()> {
        self.worker
            .run(move |connection| keys::revoke(connection, &ids, at))
    }

    fn note_used(&self, used: Vec<(KeyId, SystemTime)>) -> Pending<'_, ()> {
        self.worker
            .run(move |connection| keys::note_used(connection, &used))
    }

    fn revoke_token(&self, token: RevokedToken) -> Pending<'_, ()> {
        self.worker
            .run(move |connection| revocations::revoke_token(connection, &token))
    }

    fn set_not_before(&self, entry: NotBefore) -> Pending<'_, ()> {
        self.worker
            .run(move |connection| revocations::set_not_before(connection, &entry))
    }

    fn add_family(&self, family: Family) -> Pending<'_, ()> {
        self.worker
            .run(move |connection| families::add(connection, &family))
    }

    fn family(&self, id: KeyId) -> Pending<'_, Option<Family>> {
        self.worker
            .run(move |connection| families::find(connection, &id))
    }

    fn families_of(
        &self,
        issuer: Arc<str>,
        subject: Arc<str>,
        now: SystemTime,
    ) -> Pending<'_, Vec<Family>> {
        self.worker
            .run(move |connection| families::of_user(connection, &issuer, &subject, now))
    }

    fn advance_family(
        &self,
        id: KeyId,
        from_generation: u32,
        attempt: Option<Attempt>,
        now: SystemTime,
        expires_at: SystemTime,
    ) -> Pending<'_, bool> {
        self.worker.run(move |connection| {
            families::advance(connection, &id, from_generation, attempt, now, expires_at)
        })
    }

    fn revoke_family(&self, id: KeyId, at: SystemTime) -> Pending<'_, ()> {
        self.worker
            .run(move |connection| families::revoke(connection, &id, at))
    }

    fn devices_of(&self, issuer: Arc<str>, subject: Arc<str>) -> Pending<'_, Vec<KnownDevice>> {
        self.worker
            .run(move |connection| devices::of_user(connection, &issuer, &subject))
    }

    fn note_seen(&self, seen: Vec<KnownDevice>) -> Pending<'_, ()> {
        self.worker
            .run(move |connection| devices::note_seen(connection, &seen))
    }

    fn label_device(&self, device: KnownDevice) -> Pending<'_, ()> {
        self.worker
            .run(move |connection| devices::label(connection, &device))
    }

    fn forget_device(
        &self,
        issuer: Arc<str>,
        subject: Arc<str>,
        device: DeviceName,
    ) -> Pending<'_, ()> {
        self.worker
            .run(move |connection| devices::forget(connection, &issuer, &subject, &device))
    }

    fn purge(&self, now: SystemTime) -> Pending<'_, ()> {
        self.worker
            .run(move |connection| revocations::purge(connection, now))
    }
}

//! What can go wrong with the database.
//!
//! Invariant: shown to the operator, so it names files; never what is in them.

use std::{io, path::PathBuf};

/// Why the database did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data directory or the database's file cannot be made or looked at.
    #[error("cannot use the database {path:?}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read or write the file.
    #[error("the database {path:?} may be used by others (mode {mode:03o}): run `chmod 600` on it")]
    FilePermissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others may write to the data directory, and so replace the database.
    #[error(
        "the data directory {path:?} may be written by others (mode {mode:03o}): run `chmod 700` on it"
    )]
    DirectoryPermissions {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is no database of ours, or is damaged.
    #[error(
        "the database {path:?} is damaged or is none: restore it from a copy, or move it away to start with no keys and no revocations"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A newer version of this program has changed its tables.
    #[error(
        "the database has tables of version {found}, and this program knows {known}: update it"
    )]
    TooNew {
        /// The version of the tables.
        found: u32,
        /// The newest that is known here.
        known: u32,
    },
    /// SQLite failed: the disk is full, the file is locked for long, the disk broke.
    #[error("the database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// A row holds what no version of this program writes there.
    #[error("the database holds an impossible {0}")]
    Row(&'static str),
    /// The thread of the database could not be started.
    #[error("cannot start the thread of the database")]
    Thread(#[source] io::Error),
    /// The database was closed.
    #[error("the database is closed")]
    Closed,
}

//! What a relay remembers across restarts: keys, revocations and device logins, in one embedded database.
//!
//! Invariant: nothing here is a secret. Keys are kept as hashes under a pepper that is not in the database, and whose
//! key a record is counts only once that hash was checked: a record makes no `UserId`. An answer without an error
//! means that the change is on the disk.
//!
//! 1. [`Storage`] is what a relay asks for; [`Database`] answers, from SQLite.
//! 2. `thread` is where all that blocks happens: one thread, one bounded queue.
//! 3. `schema` makes the tables and brings older ones up to date; `file` opens them for their owner alone.
//! 4. `keys`, `revocations`, `families` and `devices` are the questions themselves, `rows` what a row is in our types.

mod database;
mod devices;
mod error;
mod families;
mod file;
mod keys;
mod revocations;
mod rows;
mod schema;
mod storage;
mod thread;

#[cfg(test)]
mod tests;

pub use database::Database;
pub use error::StoreError;
pub use file::DATABASE_FILE_NAME;
pub use storage::{KnownDevice, NotBefore, Pending, RevokedToken, Snapshot, Storage, StoredKey};

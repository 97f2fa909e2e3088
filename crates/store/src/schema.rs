//! The tables, and how older ones become these.
//!
//! Invariant: a step that was released is never changed; what is new is another step. All that are missing run in one
//! transaction, so a crash between two leaves the old tables whole.

use rusqlite::{Connection, TransactionBehavior};

use crate::StoreError;

/// "c2l" and a zero: other programs' databases are not taken for ours.
const APPLICATION_ID: i32 = 0x6332_6c00;

/// Each brings the tables from the version of its place to the next one.
const STEPS: &[&str] = &["
    -- Times are milliseconds since 1970. A user is an issuer and a subject. Sets and lists are texts, see `rows`.
    CREATE TABLE keys (
        id TEXT PRIMARY KEY,
        mac BLOB NOT NULL CHECK (length(mac) = 32),
        issuer TEXT NOT NULL,
        subject TEXT NOT NULL,
        kind TEXT NOT NULL,
        scopes TEXT NOT NULL,
        device TEXT,
        models TEXT NOT NULL,
        requests_per_minute INTEGER,
        name TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER,
        revoked_at INTEGER,
        last_used_at INTEGER
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE revoked_tokens (
        issuer TEXT NOT NULL,
        subject TEXT NOT NULL,
        token_id TEXT NOT NULL,
        until INTEGER NOT NULL,
        PRIMARY KEY (issuer, subject, token_id)
    ) STRICT, WITHOUT ROWID;

    -- A device of the empty name stands for all of the user's.
    CREATE TABLE not_before (
        issuer TEXT NOT NULL,
        subject TEXT NOT NULL,
        device TEXT NOT NULL,
        time INTEGER NOT NULL,
        PRIMARY KEY (issuer, subject, device)
    ) STRICT, WITHOUT ROWID;

    -- The logins of devices: each a family of refresh tokens, of which the one of this generation is good.
    CREATE TABLE families (
        id TEXT PRIMARY KEY,
        issuer TEXT NOT NULL,
        subject TEXT NOT NULL,
        device TEXT NOT NULL,
        generation INTEGER NOT NULL,
        attempt BLOB CHECK (length(attempt) = 32),
        created_at INTEGER NOT NULL,
        used_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        revoked_at INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX families_of_user ON families (issuer, subject, device);
", "
    -- Machines that were connected, and what their users call them.
    CREATE TABLE devices (
        issuer TEXT NOT NULL,
        subject TEXT NOT NULL,
        device TEXT NOT NULL,
        label TEXT,
        seen_at INTEGER NOT NULL,
        PRIMARY KEY (issuer, subject, device)
    ) STRICT, WITHOUT ROWID;
"];

/// Brings the tables to the present version.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    // Takes the lock first: of two programs that open the file at once, one waits for the other's steps.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let owner: i32 = transaction.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let known = u32::try_from(STEPS.len()).unwrap_or(u32::MAX);
    if found > 0 && owner != APPLICATION_ID {
        return Err(StoreError::Row("mark of another program"));
    }
    if found > known {
        return Err(StoreError::TooNew { found, known });
    }
    for step in STEPS.iter().skip(found as usize) {
        transaction.execute_batch(step)?;
    }
    if found < known {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", known)?;
    }
    Ok(transaction.commit()?)
}

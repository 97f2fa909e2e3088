//! Revocations of tokens: one by one, by user, by device; and what may be forgotten.
//!
//! Invariant: a "not before" only ever moves forward, and with it end the device logins that it means.

use std::time::{Duration, SystemTime};

use c2l_auth::MAX_LIFETIME;
use rusqlite::{Connection, params};

use crate::{NotBefore, RevokedToken, Snapshot, StoreError, rows, rows::milliseconds};

/// How long a key or a login that has ended is still known, so that its holder is told "revoked" and not "unknown".
const KNOWN_AFTER_END: Duration = Duration::from_secs(90 * 24 * 60 * 60);

pub(crate) fn load(connection: &mut Connection) -> Result<Snapshot, StoreError> {
    // One transaction: all of it is of one moment.
    let transaction = connection.transaction()?;
    let snapshot = Snapshot {
        keys: all(&transaction, "SELECT * FROM keys", rows::key)?,
        tokens: all(
            &transaction,
            "SELECT * FROM revoked_tokens",
            rows::revoked_token,
        )?,
        not_before: all(&transaction, "SELECT * FROM not_before", rows::not_before)?,
    };
    transaction.commit()?;
    Ok(snapshot)
}

fn all<T>(
    connection: &Connection,
    sql: &str,
    read: fn(&rusqlite::Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_and_then([], read)?;
    rows.collect()
}

pub(crate) fn revoke_token(
    connection: &mut Connection,
    token: &RevokedToken,
) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO revoked_tokens (issuer, subject, token_id, until) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET until = max(until, excluded.until)",
        params![
            token.issuer,
            token.subject,
            token.token_id,
            milliseconds(token.until)
        ],
    )?;
    Ok(())
}

pub(crate) fn set_not_before(
    connection: &mut Connection,
    entry: &NotBefore,
) -> Result<(), StoreError> {
    let device = entry.device.as_ref().map_or("", |device| device.as_str());
    let values = params![
        entry.issuer,
        entry.subject,
        device,
        milliseconds(entry.time)
    ];
    let transaction = connection.transaction()?;
    transaction.execute(
        "INSERT INTO not_before (issuer, subject, device, time) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET time = max(time, excluded.time)",
        values,
    )?;
    transaction.execute(
        "UPDATE families SET revoked_at = ?4
         WHERE issuer = ?1 AND subject = ?2 AND ?3 IN ('', device) AND revoked_at IS NULL AND created_at < ?4",
        values,
    )?;
    Ok(transaction.commit()?)
}

pub(crate) fn purge(connection: &mut Connection, now: SystemTime) -> Result<(), StoreError> {
    let long_ago = now.checked_sub(KNOWN_AFTER_END).map_or(0, milliseconds);
    let transaction = connection.transaction()?;
    transaction.execute(
        "DELETE FROM revoked_tokens WHERE until < ?1",
        [milliseconds(now)],
    )?;
    // Nothing that was issued before such a time can still be in force.
    let oldest = now
        .checked_sub(MAX_LIFETIME + Duration::from_secs(24 * 60 * 60))
        .map_or(0, milliseconds);
    transaction.execute("DELETE FROM not_before WHERE time < ?1", [oldest])?;
    transaction.execute(
        "DELETE FROM devices WHERE label IS NULL AND seen_at < ?1",
        [long_ago],
    )?;
    for table in ["keys", "families"] {
        let sql = format!(
            "DELETE FROM {table} WHERE min(ifnull(revoked_at, expires_at), ifnull(expires_at, revoked_at)) < ?1"
        );
        transaction.execute(&sql, [long_ago])?;
    }
    Ok(transaction.commit()?)
}

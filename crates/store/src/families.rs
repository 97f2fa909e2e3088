//! The logins of devices: families of refresh tokens.
//!
//! Invariant: a family moves on from one generation once; of two who use the same token, one is told no.

use std::time::SystemTime;

use c2l_auth::{Attempt, Family, KeyId};
use rusqlite::{Connection, OptionalExtension as _, named_params, params};

use crate::{StoreError, rows, rows::milliseconds};

pub(crate) fn add(connection: &mut Connection, family: &Family) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO families (id, issuer, subject, device, generation, attempt, created_at, used_at, expires_at, revoked_at)
         VALUES (:id, :issuer, :subject, :device, :generation, :attempt, :created_at, :used_at, :expires_at, :revoked_at)",
        named_params! {
            ":id": family.id.as_str(),
            ":issuer": family.issuer,
            ":subject": family.subject,
            ":device": family.device.as_str(),
            ":generation": family.generation,
            ":attempt": family.attempt.as_ref().map(Attempt::as_bytes),
            ":created_at": milliseconds(family.created_at),
            ":used_at": milliseconds(family.used_at),
            ":expires_at": milliseconds(family.expires_at),
            ":revoked_at": family.revoked_at.map(milliseconds),
        },
    )?;
    Ok(())
}

pub(crate) fn find(connection: &mut Connection, id: &KeyId) -> Result<Option<Family>, StoreError> {
    let sql = "SELECT * FROM families WHERE id = ?1";
    let found = connection
        .query_row(sql, [id.as_str()], |row| Ok(rows::family(row)))
        .optional()?;
    found.transpose()
}

pub(crate) fn of_user(
    connection: &mut Connection,
    issuer: &str,
    subject: &str,
    now: SystemTime,
) -> Result<Vec<Family>, StoreError> {
    let mut statement = connection.prepare(
        "SELECT * FROM families
         WHERE issuer = ?1 AND subject = ?2 AND revoked_at IS NULL AND expires_at > ?3
         ORDER BY created_at, id",
    )?;
    let found =
        statement.query_and_then(params![issuer, subject, milliseconds(now)], rows::family)?;
    found.collect()
}

pub(crate) fn advance(
    connection: &mut Connection,
    id: &KeyId,
    from_generation: u32,
    attempt: Option<Attempt>,
    now: SystemTime,
    expires_at: SystemTime,
) -> Result<bool, StoreError> {
    let changed = connection.execute(
        "UPDATE families SET generation = generation + 1, used_at = ?3, expires_at = ?4, attempt = ?5
         WHERE id = ?1 AND generation = ?2 AND revoked_at IS NULL",
        params![
            id.as_str(),
            from_generation,
            milliseconds(now),
            milliseconds(expires_at),
            attempt.as_ref().map(Attempt::as_bytes)
        ],
    )?;
    Ok(changed == 1)
}

pub(crate) fn revoke(
    connection: &mut Connection,
    id: &KeyId,
    at: SystemTime,
) -> Result<(), StoreError> {
    connection.execute(
        "UPDATE families SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL",
        params![id.as_str(), milliseconds(at)],
    )?;
    Ok(())
}

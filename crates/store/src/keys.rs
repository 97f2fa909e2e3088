//! Keys: kept, replaced, revoked, and when they were last used.
//!
//! Invariant: a revoked key stays revoked, and a key's end is only ever moved nearer.

use std::time::SystemTime;

use c2l_auth::{KeyId, KeyRecord};
use rusqlite::{Connection, Transaction, named_params, params};

use crate::{
    StoreError,
    rows::{BETWEEN_MODELS, milliseconds},
};

pub(crate) fn add(
    connection: &mut Connection,
    key: &KeyRecord,
    replaces: Option<&(KeyId, SystemTime)>,
) -> Result<(), StoreError> {
    let transaction = connection.transaction()?;
    insert(&transaction, key)?;
    if let Some((id, end)) = replaces {
        transaction.execute(
            "UPDATE keys SET expires_at = min(ifnull(expires_at, ?2), ?2) WHERE id = ?1",
            params![id.as_str(), milliseconds(*end)],
        )?;
    }
    Ok(transaction.commit()?)
}

fn insert(transaction: &Transaction<'_>, key: &KeyRecord) -> Result<(), StoreError> {
    transaction.execute(
        "INSERT INTO keys (id, mac, issuer, subject, kind, scopes, device, models, requests_per_minute, name,
             created_at, expires_at, revoked_at)
         VALUES (:id, :mac, :issuer, :subject, :kind, :scopes, :device, :models, :rate, :name,
             :created_at, :expires_at, :revoked_at)",
        named_params! {
            ":id": key.id.as_str(),
            ":mac": key.mac.as_bytes(),
            ":issuer": key.issuer,
            ":subject": key.subject,
            ":kind": key.kind.as_str(),
            ":scopes": key.scopes.to_string(),
            ":device": key.device.as_ref().map(|device| device.as_str()),
            ":models": key.models.join(BETWEEN_MODELS),
            ":rate": key.requests_per_minute.map(u32::from),
            ":name": key.name,
            ":created_at": milliseconds(key.created_at),
            ":expires_at": key.expires_at.map(milliseconds),
            ":revoked_at": key.revoked_at.map(milliseconds),
        },
    )?;
    Ok(())
}

pub(crate) fn revoke(
    connection: &mut Connection,
    ids: &[KeyId],
    at: SystemTime,
) -> Result<(), StoreError> {
    let sql = "UPDATE keys SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL";
    for_each(connection, sql, ids.iter().map(|id| (id, at)))
}

pub(crate) fn note_used(
    connection: &mut Connection,
    used: &[(KeyId, SystemTime)],
) -> Result<(), StoreError> {
    let sql = "UPDATE keys SET last_used_at = max(ifnull(last_used_at, 0), ?2) WHERE id = ?1";
    for_each(connection, sql, used.iter().map(|(id, at)| (id, *at)))
}

/// One transaction, whatever their number.
fn for_each<'a>(
    connection: &mut Connection,
    sql: &str,
    entries: impl Iterator<Item = (&'a KeyId, SystemTime)>,
) -> Result<(), StoreError> {
    let transaction = connection.transaction()?;
    {
        let mut statement = transaction.prepare(sql)?;
        for (id, at) in entries {
            statement.execute(params![id.as_str(), milliseconds(at)])?;
        }
    }
    Ok(transaction.commit()?)
}

//! What a row is in our types.
//!
//! Invariant: a row that says what cannot be is an error, never a guess: a key with an unknown scope is not one with
//! fewer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use c2l_auth::{Attempt, DeviceName, Family, KeyId, KeyMac, KeyRecord, Scopes};
use rusqlite::Row;

use crate::{KnownDevice, NotBefore, RevokedToken, StoreError, StoredKey};

/// Between two patterns of models: no pattern has control characters.
pub(crate) const BETWEEN_MODELS: &str = "\n";

pub(crate) fn key(row: &Row<'_>) -> Result<StoredKey, StoreError> {
    let models: String = row.get("models")?;
    let models = models.split(BETWEEN_MODELS).filter(|one| !one.is_empty());
    let rate: Option<u32> = row.get("requests_per_minute")?;
    let record = KeyRecord {
        id: id(row)?,
        mac: KeyMac::from_bytes(row.get("mac")?),
        issuer: row.get("issuer")?,
        subject: row.get("subject")?,
        kind: parsed(row, "kind", |word| word.parse().ok())?,
        scopes: parsed(row, "scopes", |words| Scopes::parse(words).ok())?,
        device: device(row)?,
        models: models.map(str::to_owned).collect(),
        requests_per_minute: rate.and_then(|rate| rate.try_into().ok()),
        name: row.get("name")?,
        created_at: time(row, "created_at")?,
        expires_at: optional_time(row, "expires_at")?,
        revoked_at: optional_time(row, "revoked_at")?,
    };
    Ok(StoredKey {
        record,
        last_used_at: optional_time(row, "last_used_at")?,
    })
}

pub(crate) fn revoked_token(row: &Row<'_>) -> Result<RevokedToken, StoreError> {
    Ok(RevokedToken {
        issuer: row.get("issuer")?,
        subject: row.get("subject")?,
        token_id: row.get("token_id")?,
        until: time(row, "until")?,
    })
}

pub(crate) fn not_before(row: &Row<'_>) -> Result<NotBefore, StoreError> {
    Ok(NotBefore {
        issuer: row.get("issuer")?,
        subject: row.get("subject")?,
        device: device(row)?,
        time: time(row, "time")?,
    })
}

pub(crate) fn family(row: &Row<'_>) -> Result<Family, StoreError> {
    Ok(Family {
        id: id(row)?,
        issuer: row.get("issuer")?,
        subject: row.get("subject")?,
        device: device(row)?.ok_or(StoreError::Row("device"))?,
        generation: row.get("generation")?,
        attempt: row
            .get::<_, Option<[u8; 32]>>("attempt")?
            .map(Attempt::from_bytes),
        created_at: time(row, "created_at")?,
        used_at: time(row, "used_at")?,
        expires_at: time(row, "expires_at")?,
        revoked_at: optional_time(row, "revoked_at")?,
    })
}

pub(crate) fn known_device(row: &Row<'_>) -> Result<KnownDevice, StoreError> {
    Ok(KnownDevice {
        issuer: row.get("issuer")?,
        subject: row.get("subject")?,
        device: device(row)?.ok_or(StoreError::Row("device"))?,
        label: row.get("label")?,
        seen_at: time(row, "seen_at")?,
    })
}

/// A time as it is kept: whole milliseconds since 1970, what is earlier as 0.
pub(crate) fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn optional_time(row: &Row<'_>, column: &'static str) -> Result<Option<SystemTime>, StoreError> {
    let kept: Option<i64> = row.get(column)?;
    kept.map(|kept| {
        let since = u64::try_from(kept).ok().map(Duration::from_millis);
        let time = since.and_then(|since| UNIX_EPOCH.checked_add(since));
        time.ok_or(StoreError::Row(column))
    })
    .transpose()
}

fn time(row: &Row<'_>, column: &'static str) -> Result<SystemTime, StoreError> {
    optional_time(row, column)?.ok_or(StoreError::Row(column))
}

fn id(row: &Row<'_>) -> Result<KeyId, StoreError> {
    parsed(row, "id", |text| KeyId::parse(text).ok())
}

fn device(row: &Row<'_>) -> Result<Option<DeviceName>, StoreError> {
    let kept: Option<String> = row.get("device")?;
    kept.filter(|name| !name.is_empty())
        .map(|name| DeviceName::parse(&name).map_err(|_| StoreError::Row("device")))
        .transpose()
}

fn parsed<T>(
    row: &Row<'_>,
    column: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, StoreError> {
    let kept: String = row.get(column)?;
    parse(&kept).ok_or(StoreError::Row(column))
}

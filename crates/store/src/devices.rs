//! The machines that were connected, and what their users call them.
//!
//! Invariant: of one user so many are kept, however many names their agents think up; what has a label goes last.

use c2l_auth::DeviceName;
use rusqlite::{Connection, Transaction, params};

use crate::{KnownDevice, StoreError, rows, rows::milliseconds};

/// Most machines of one user.
const MAX_OF_USER: u32 = 256;

pub(crate) fn of_user(
    connection: &mut Connection,
    issuer: &str,
    subject: &str,
) -> Result<Vec<KnownDevice>, StoreError> {
    let mut statement = connection
        .prepare("SELECT * FROM devices WHERE issuer = ?1 AND subject = ?2 ORDER BY device")?;
    let found = statement.query_and_then([issuer, subject], rows::known_device)?;
    found.collect()
}

pub(crate) fn note_seen(
    connection: &mut Connection,
    seen: &[KnownDevice],
) -> Result<(), StoreError> {
    let transaction = connection.transaction()?;
    for device in seen {
        transaction.execute(
            "INSERT INTO devices (issuer, subject, device, seen_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET seen_at = max(seen_at, excluded.seen_at)",
            params![
                device.issuer,
                device.subject,
                device.device.as_str(),
                milliseconds(device.seen_at)
            ],
        )?;
        keep_few(&transaction, device)?;
    }
    Ok(transaction.commit()?)
}

pub(crate) fn label(connection: &mut Connection, device: &KnownDevice) -> Result<(), StoreError> {
    let transaction = connection.transaction()?;
    transaction.execute(
        "INSERT INTO devices (issuer, subject, device, label, seen_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET label = excluded.label, seen_at = max(seen_at, excluded.seen_at)",
        params![
            device.issuer,
            device.subject,
            device.device.as_str(),
            device.label,
            milliseconds(device.seen_at)
        ],
    )?;
    keep_few(&transaction, device)?;
    Ok(transaction.commit()?)
}

/// Forgets those of the user of `device` that are too many.
fn keep_few(transaction: &Transaction<'_>, device: &KnownDevice) -> Result<(), StoreError> {
    transaction.execute(
        "DELETE FROM devices WHERE issuer = ?1 AND subject = ?2 AND device IN (
             SELECT device FROM devices WHERE issuer = ?1 AND subject = ?2
             ORDER BY label IS NULL, seen_at DESC, device LIMIT -1 OFFSET ?3
         )",
        params![device.issuer, device.subject, MAX_OF_USER],
    )?;
    Ok(())
}

pub(crate) fn forget(
    connection: &mut Connection,
    issuer: &str,
    subject: &str,
    device: &DeviceName,
) -> Result<(), StoreError> {
    connection.execute(
        "DELETE FROM devices WHERE issuer = ?1 AND subject = ?2 AND device = ?3",
        params![issuer, subject, device.as_str()],
    )?;
    Ok(())
}

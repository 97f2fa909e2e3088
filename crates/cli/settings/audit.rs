//! The settings of the audit log.

use std::path::PathBuf;

use super::{Setting, Table, Values, parse};

pub(crate) static TABLE: Table = Table {
    section: "audit",
    settings: &[
        Setting::one(
            "audit-log",
            "DIR",
            "Keep a record there of who did what with which credential: audit.jsonl, and the files before it",
        ),
        Setting::one(
            "audit-log-max-bytes",
            "SIZE",
            "Begin a new file when one would be longer; a new day begins one anyway",
        )
        .or("64MiB")
        .rare(),
        Setting::one(
            "audit-log-keep",
            "N",
            "How many files are kept beside the one in use",
        )
        .or("30")
        .rare(),
    ],
};

/// Where the audit log goes.
#[derive(Clone, Debug)]
pub(crate) struct AuditSettings {
    pub(crate) folder: PathBuf,
    pub(crate) max_bytes: u64,
    pub(crate) keep: usize,
}

/// Of a command that has such a log; `None` when nobody wants one.
pub(crate) fn read(values: &mut Values) -> Option<AuditSettings> {
    if !values.has("audit-log") {
        return None;
    }
    let folder = values.path("audit-log");
    let max_bytes = values.get("audit-log-max-bytes", parse::size);
    let keep = values.get("audit-log-keep", parse::count);
    Some(AuditSettings {
        folder: folder?,
        max_bytes,
        keep,
    })
}

//! One request, while it runs and after.
//!
//! Invariant: what it is never changes; how far it is only grows, and after its end nothing does.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use c2l_auth::DeviceName;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::audit::CredentialName;

/// What is known of a request when its caller is.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request_id: Arc<str>,
    pub(crate) method: http::Method,
    /// The upstream's path, without a credential or a query.
    pub(crate) route: String,
    pub(crate) credential: CredentialName,
    pub(crate) started: Instant,
    /// The same moment, for people.
    pub(crate) started_at: SystemTime,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) duration: Duration,
    /// What its caller was told, and who is at fault; `None` for a whole answer.
    pub(crate) error: Option<(&'static str, &'static str)>,
}

/// How an answer began.
#[derive(Debug)]
struct Beginning {
    status: StatusCode,
    after: Duration,
}

/// One request of a user.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its place among this user's.
    pub(super) seq: u64,
    /// Its number among everybody's, which nobody is told.
    pub(super) number: u64,
    asked: Asked,
    device: OnceLock<DeviceName>,
    model: OnceLock<String>,
    beginning: OnceLock<Beginning>,
    /// The status of an answer that the relay gave by itself; 0 before.
    own_status: AtomicU16,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
    chunks: AtomicU64,
    outcome: OnceLock<Outcome>,
    /// What the numbers of its user stood at when it ended.
    pub(super) ended_at: AtomicU64,
}

impl Entry {
    pub(super) fn new(seq: u64, number: u64, asked: Asked) -> Self {
        Self {
            seq,
            number,
            asked,
            device: OnceLock::new(),
            model: OnceLock::new(),
            beginning: OnceLock::new(),
            own_status: AtomicU16::new(0),
            bytes_up: AtomicU64::new(0),
            bytes_down: AtomicU64::new(0),
            chunks: AtomicU64::new(0),
            outcome: OnceLock::new(),
            ended_at: AtomicU64::new(0),
        }
    }

    pub(crate) fn started(&self) -> Instant {
        self.asked.started
    }

    pub(super) fn is_running(&self) -> bool {
        self.outcome.get().is_none()
    }

    /// It goes to this device.
    pub(crate) fn reaches(&self, device: &DeviceName) {
        // A request has one device; a second word would be a defect that hurts nobody.
        drop(self.device.set(device.clone()));
    }

    /// It names this model, as its agent says.
    pub(crate) fn names(&self, model: String) {
        drop(self.model.set(model));
    }

    /// Its answer has begun.
    pub(crate) fn begins(&self, status: StatusCode, after: Duration) {
        drop(self.beginning.set(Beginning { status, after }));
    }

    /// The relay has answered by itself.
    pub(crate) fn is_answered(&self, status: StatusCode) {
        self.own_status.store(status.as_u16(), Ordering::Relaxed);
    }

    /// So many bytes of its body have come by now.
    pub(crate) fn moved_up(&self, bytes: u64) {
        self.bytes_up.store(bytes, Ordering::Relaxed);
    }

    /// So many bytes and pieces of its answer have left by now.
    pub(crate) fn moved_down(&self, bytes: u64, chunks: u64) {
        self.bytes_down.store(bytes, Ordering::Relaxed);
        self.chunks.store(chunks, Ordering::Relaxed);
    }

    pub(super) fn ends(&self, outcome: Outcome) {
        drop(self.outcome.set(outcome));
    }

    /// As its user reads it.
    pub(super) fn describe(&self) -> Value {
        let outcome = self.outcome.get();
        let error = outcome.and_then(|outcome| outcome.error);
        let beginning = self.beginning.get();
        let own_status = self.own_status.load(Ordering::Relaxed);
        let status = beginning.map(|beginning| beginning.status.as_u16());
        let chunks = self.chunks.load(Ordering::Relaxed);
        json!({
            "seq": self.seq,
            "id": &*self.asked.request_id,
            "started_unix_ms": milliseconds(self.asked.started_at),
            "device": self.device.get().map(DeviceName::as_str),
            "route": self.asked.route,
            "method": self.asked.method.as_str(),
            "model": self.model.get(),
            "status": status.or((own_status != 0).then_some(own_status)),
            "error": error.map(|(kind, _)| kind),
            "origin": error.map(|(_, origin)| origin),
            "first_byte_ms": beginning.map(|beginning| whole_milliseconds(beginning.after)),
            "duration_ms": outcome.map(|outcome| whole_milliseconds(outcome.duration)),
            "bytes_up": self.bytes_up.load(Ordering::Relaxed),
            "bytes_down": self.bytes_down.load(Ordering::Relaxed),
            "chunks": beginning.map(|_| chunks),
            "credential": self.asked.credential.to_string(),
        })
    }
}

pub(super) fn milliseconds(time: SystemTime) -> u64 {
    whole_milliseconds(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn whole_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

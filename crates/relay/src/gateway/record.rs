//! What is logged and counted of an exchange, once, whichever way it ends.
//!
//! Invariant: a record is written when it is dropped, so a caller who left, or a defect of ours, cannot pass unsaid.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use c2l_auth::{DeviceName, UserId};
use c2l_tunnel::{Fault, Kind, Origin};
use http::{StatusCode, uri::PathAndQuery};
use tokio::time::Instant;
use tracing::Level;

use crate::{
    audit::{CredentialName, Event, Who},
    gateway::route,
    identity::Caller,
    limits::Asker,
    metrics::Metrics,
    recent::{Asked, Entry, Listing, Recent},
};

/// What is logged when the exchange ends.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) request_id: Arc<str>,
    asker: Asker,
    is_of_stranger: bool,
    caller: Option<(UserId, CredentialName)>,
    device: String,
    listing: Option<Listing>,
    pub(crate) method: http::Method,
    target: Target,
    pub(crate) started: Instant,
    started_at: SystemTime,
    pub(crate) metrics: Arc<Metrics>,
    status: Option<StatusCode>,
    first_byte: Option<Duration>,
    pub(crate) bytes_toward_upstream: u64,
    pub(crate) bytes_toward_caller: u64,
    pieces_toward_caller: u64,
    outcome: Option<Result<(), (Kind, Origin)>>,
}

/// The path that was asked for, credential included: a copy, since a part of the head would keep all of what was read
/// with it for as long as the answer streams. Whoever shows it shows the path for the log, which is made only then: most
/// exchanges that go well are not written.
struct Target(Option<Box<str>>);

impl Target {
    fn of(target: &PathAndQuery) -> Self {
        Self(Some(target.path().into()))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&route::redact(self.0.as_deref().unwrap_or_default()))
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Record {
    pub(crate) fn new(
        asker: Asker,
        method: http::Method,
        target: Option<&PathAndQuery>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            request_id: Arc::clone(&asker.request_id),
            asker,
            is_of_stranger: false,
            caller: None,
            device: String::new(),
            listing: None,
            method,
            target: target.map_or(Target(None), Target::of),
            started: Instant::now(),
            started_at: SystemTime::now(),
            metrics,
            status: None,
            first_byte: None,
            bytes_toward_upstream: 0,
            bytes_toward_caller: 0,
            pieces_toward_caller: 0,
            outcome: None,
        }
    }

    /// Refused before any credential was looked at. Strangers can cause that at will, so it is not recorded one by one.
    pub(crate) fn of_stranger(&mut self) {
        self.is_of_stranger = true;
    }

    /// It is this caller's, and from now on among their recent requests; `path` is the upstream's.
    pub(crate) fn caller(&mut self, caller: &Caller, recent: &Arc<Recent>, path: &str) {
        self.caller = Some((caller.user.clone(), caller.credential.clone()));
        let asked = Asked {
            request_id: Arc::clone(&self.request_id),
            method: self.method.clone(),
            route: route::redact(path),
            credential: caller.credential.clone(),
            started: self.started,
            started_at: self.started_at,
        };
        self.listing = Some(recent.begin(&caller.user, asked));
    }

    /// It goes to this device.
    pub(crate) fn device(&mut self, device: &DeviceName) {
        self.device = device.to_string();
        self.list(|entry| entry.reaches(device));
    }

    /// The answer has begun.
    pub(crate) fn begin(&mut self, status: StatusCode) {
        let after = self.started.elapsed();
        self.first_byte = Some(after);
        self.status = Some(status);
        self.list(|entry| entry.begins(status, after));
    }

    /// It names this model, as the agent says; an empty name says nothing.
    pub(crate) fn model(&mut self, model: String) {
        if !model.is_empty() {
            self.list(|entry| entry.names(model));
        }
    }

    /// The relay answered by itself, with this status.
    pub(crate) fn end_with(&mut self, status: StatusCode) {
        self.status = Some(status);
        self.list(|entry| entry.is_answered(status));
        self.complete();
    }

    /// A piece of the caller's body has come, and with it so many bytes in all.
    pub(crate) fn moved_toward_upstream(&mut self, total: u64) {
        self.bytes_toward_upstream = total;
        self.list(|entry| entry.moved_up(total));
    }

    /// A piece of the answer leaves.
    pub(crate) fn moved_toward_caller(&mut self, bytes: usize) {
        self.bytes_toward_caller += bytes as u64;
        self.pieces_toward_caller += 1;
        let (bytes, pieces) = (self.bytes_toward_caller, self.pieces_toward_caller);
        self.list(|entry| entry.moved_down(bytes, pieces));
    }

    fn list(&self, write: impl FnOnce(&Entry)) {
        if let Some(listing) = &self.listing {
            write(&listing.entry);
        }
    }

    /// The answer is whole; what comes after that changes nothing.
    pub(crate) fn complete(&mut self) {
        self.outcome.get_or_insert(Ok(()));
    }

    /// This is what the caller is told, instead of an answer or in the middle of one. What comes after changes nothing.
    pub(crate) fn fail(&mut self, fault: &Fault) {
        self.outcome.get_or_insert(Err((fault.kind, fault.origin)));
        self.model(fault.model.clone());
    }
}

impl Record {
    /// The user for the log.
    fn user(&self) -> String {
        let user = self.caller.as_ref();
        user.map_or_else(String::new, |(user, _)| user.log_id().to_string())
    }

    /// A refusal by policy is for the operator's own record as well.
    fn audit(&self, origin: Origin) {
        let who = Who {
            user: self.caller.as_ref().map(|(user, _)| user),
            credential: self.caller.as_ref().map(|(_, credential)| credential),
            ..self.asker.who()
        };
        who.did(Event::PolicyRefused {
            origin: origin.as_str(),
            route: &self.target.to_string(),
        });
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // Dropped before anyone said how it ended: by a panic of ours, else by a caller who left.
        let unsaid = if std::thread::panicking() {
            (Kind::Internal, Origin::Relay)
        } else {
            (Kind::CallerGone, Origin::Caller)
        };
        let outcome = self.outcome.unwrap_or(Err(unsaid));
        let metrics = &self.metrics;
        metrics
            .bytes_toward_upstream
            .fetch_add(self.bytes_toward_upstream, Ordering::Relaxed);
        metrics
            .bytes_toward_caller
            .fetch_add(self.bytes_toward_caller, Ordering::Relaxed);
        let (name, origin) = match outcome {
            Ok(()) => {
                metrics.exchanges_whole.fetch_add(1, Ordering::Relaxed);
                ("whole", "")
            }
            Err((kind, origin)) => {
                metrics.count_fault(kind);
                (kind.as_str(), origin.as_str())
            }
        };
        if let Err((Kind::Forbidden, origin)) = outcome
            && !self.is_of_stranger
        {
            self.audit(origin);
        }
        if let Some(listing) = self.listing.take() {
            listing.end(
                outcome
                    .err()
                    .map(|(kind, origin)| (kind.as_str(), origin.as_str())),
            );
        }
        // What went well, or wrong at the caller's, is of interest one by one only to who debugs.
        let is_notable =
            !self.is_of_stranger && outcome.is_err_and(|(_, origin)| origin != Origin::Caller);
        let level = if is_notable {
            Level::INFO
        } else {
            Level::DEBUG
        };
        event_at!(
            level,
            request_id = %self.request_id,
            user = %self.user(),
            device = %self.device,
            method = %self.method,
            route = %self.target,
            status = self.status.map_or(0, |status| status.as_u16()),
            outcome = name,
            origin,
            bytes_toward_upstream = self.bytes_toward_upstream,
            bytes_toward_caller = self.bytes_toward_caller,
            first_byte_ms = self.first_byte.map(milliseconds),
            duration_ms = milliseconds(self.started.elapsed()),
            "exchange ended"
        );
    }
}

/// An event whose level is known only when it happens; the macros of `tracing` want a constant.
macro_rules! event_at {
    ($level:expr, $($fields:tt)*) => {
        if $level == Level::INFO { tracing::info!($($fields)*) } else { tracing::debug!($($fields)*) }
    };
}
use event_at;

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_record_does_not_keep_the_head_that_it_is_of() {
        let head = Bytes::from(b"/k/c2l_secret/api/chat?x=y".to_vec());
        let target = PathAndQuery::from_maybe_shared(head.clone()).expect("a target");
        let kept = Target::of(&target);
        drop(target);
        assert!(head.is_unique());
        assert_eq!(kept.to_string(), "/k/…/api/chat");
    }
}

//! Audit events that strangers can cause at will, thinned out.
//!
//! Invariant: of one kind and source at most one a second is written, of all of them a bounded number a second, and
//! every event is either written or counted in one that is. So a flood cannot push out of the record what it is to hide.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    audit::{Event, Who},
    limits::{Limit, address::Source},
};

const PAUSE: Duration = Duration::from_secs(1);
/// Most sources that are told apart within a pause; what the others do is counted together.
const MAX_SOURCES: usize = 1024;

/// What is thinned out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Limit(Limit),
    Refused,
}

impl Kind {
    fn event(self, reason: &str, suppressed: u64) -> Event<'_> {
        match self {
            Self::Limit(limit) => Event::LimitHit {
                limit: limit.as_str(),
                suppressed,
            },
            Self::Refused => Event::CredentialRefused { reason, suppressed },
        }
    }
}

/// `None` stands for all sources that found no place of their own.
type Key = (Kind, Option<Source>);

#[derive(Debug)]
struct Seen {
    written_at: Instant,
    suppressed: u64,
}

/// What was written lately, and what was not.
#[derive(Debug, Default)]
pub(crate) struct Samples(Mutex<HashMap<Key, Seen>>);

impl Samples {
    /// Writes the event, or counts it. `reason` is what is wrong with a credential.
    pub(crate) fn note(&self, kind: Kind, who: &Who<'_>, reason: &str, now: Instant) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = (kind, who.address.map(Source::of));
        let key = if seen.contains_key(&own) || seen.len() < MAX_SOURCES {
            own
        } else {
            (kind, None)
        };
        let before = seen.get_mut(&key);
        let suppressed = match before {
            Some(before) if now.saturating_duration_since(before.written_at) < PAUSE => {
                before.suppressed += 1;
                return;
            }
            before => before.map_or(0, |before| before.suppressed),
        };
        let fresh = Seen {
            written_at: now,
            suppressed: 0,
        };
        seen.insert(key, fresh);
        drop(seen);
        who.did(kind.event(reason, suppressed));
    }

    /// Writes what was counted and not said since, and forgets sources that are quiet. Called about once a second, and
    /// at the end with `is_last`.
    pub(crate) fn flush(&self, now: Instant, is_last: bool) {
        let mut due = Vec::new();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|key, seen| {
            if !is_last && now.saturating_duration_since(seen.written_at) < PAUSE {
                return true;
            }
            if seen.suppressed > 0 {
                due.push((*key, seen.suppressed));
            }
            seen.written_at = now;
            std::mem::take(&mut seen.suppressed) > 0
        });
        drop(seen);
        for ((kind, source), suppressed) in due {
            let who = Who {
                address: source.map(Source::address),
                ..Who::default()
            };
            who.did(kind.event("several, not written one by one", suppressed));
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn who(address: u32) -> Who<'static> {
        Who {
            address: Some(IpAddr::V4(Ipv4Addr::from_bits(address))),
            ..Who::default()
        }
    }

    fn suppressed(samples: &Samples) -> u64 {
        let seen = samples.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.values().map(|seen| seen.suppressed).sum()
    }

    #[test]
    fn one_a_second_of_each_source_and_the_rest_is_counted() {
        let (samples, start) = (Samples::default(), Instant::now());
        for _ in 0..10 {
            samples.note(Kind::Refused, &who(1), "bad", start);
            samples.note(Kind::Refused, &who(2), "bad", start);
        }
        assert_eq!(suppressed(&samples), 18);
        samples.note(Kind::Refused, &who(1), "bad", start + PAUSE);
        assert_eq!(suppressed(&samples), 9, "said with the one just written");
        samples.flush(start + PAUSE, false);
        assert_eq!(suppressed(&samples), 0);
        samples.flush(start + 3 * PAUSE, false);
        assert_eq!(samples.len(), 0, "quiet ones are forgotten");
    }

    #[test]
    fn a_million_sources_cost_no_more_than_a_thousand() {
        let (samples, start) = (Samples::default(), Instant::now());
        for address in 0..1_000_000 {
            samples.note(Kind::Refused, &who(address), "bad", start);
        }
        assert_eq!(samples.len(), MAX_SOURCES + 1);
        let written = samples.len() as u64;
        assert_eq!(suppressed(&samples), 1_000_000 - written);
    }
}

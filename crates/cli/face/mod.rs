//! What a running agent shows of itself: one status line, and one JSON object for whoever asks over the local socket.
//!
//! Invariant: no secret is in either. A proxy is named without its password, an error by its sentence; control characters
//! of what others said are escaped.
//!
//! Read next: [`socket`], and `screen` for how the line shares the terminal with the log.

#[cfg(unix)]
pub(crate) mod socket;

use std::{
    convert::Infallible,
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use c2l_agent::{Activity, Agent, Status};
use humantime::{format_duration, format_rfc3339_seconds};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::{build_info, logging::escaped, screen::Screen};

/// How often the line is drawn at least, for the time in it, and at most.
const REDRAW: Duration = Duration::from_secs(1);
const REST: Duration = Duration::from_millis(100);
/// Most characters of an error that are told.
const MAX_ERROR: usize = 300;

/// What does not change while an agent runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) device: String,
    pub(crate) relay: String,
    pub(crate) upstream: String,
    /// Without its password.
    pub(crate) proxy: Option<String>,
}

/// Where to look when somebody wants to know.
#[derive(Clone, Debug)]
pub(crate) struct Face {
    about: About,
    status: watch::Receiver<Status>,
    activity: watch::Receiver<Activity>,
}

impl Face {
    pub(crate) fn of(agent: &Agent, status: watch::Receiver<Status>, about: About) -> Self {
        let activity = agent.activity();
        Self {
            about,
            status,
            activity,
        }
    }

    fn report(&self) -> Report {
        Report {
            about: self.about.clone(),
            status: self.status.borrow().clone(),
            activity: self.activity.borrow().clone(),
            now: Instant::now().into_std(),
            clock: SystemTime::now(),
        }
    }

    /// Keeps the status line of `screen` true, where it has one. Dropping the future takes the line away.
    pub(crate) async fn draw(mut self, screen: &Screen) -> Infallible {
        if !screen.is_terminal() {
            return std::future::pending().await;
        }
        let _taken_away = Cleared(screen);
        loop {
            screen.show(&self.report().line());
            let changed = async {
                tokio::select! {
                    changed = self.status.changed() => changed,
                    changed = self.activity.changed() => changed,
                }
            };
            // Whether it changed, the time was over, or the agent has gone: it is drawn again, after a rest.
            drop(timeout(REDRAW, changed).await);
            sleep(REST).await;
        }
    }
}

struct Cleared<'a>(&'a Screen);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        self.0.show("");
    }
}

/// An agent at one moment.
struct Report {
    about: About,
    status: Status,
    activity: Activity,
    now: std::time::Instant,
    clock: SystemTime,
}

impl Report {
    fn state(&self) -> &'static str {
        match &self.status {
            Status::Connecting { .. } => "connecting",
            Status::Open { .. } => "connected",
            Status::BackingOff { .. } => "waiting",
            Status::Draining => "draining",
            Status::Closed => "closed",
        }
    }

    /// Session, way and time of the connection, while there is one.
    fn connection(&self) -> Option<(&str, String, Duration)> {
        match &self.status {
            Status::Open {
                session_id,
                since,
                way,
            } => {
                let lasted = self.now.saturating_duration_since(*since);
                Some((session_id, way.to_string(), lasted))
            }
            Status::Connecting { .. }
            | Status::BackingOff { .. }
            | Status::Draining
            | Status::Closed => None,
        }
    }

    fn last_error(&self) -> Option<(String, SystemTime)> {
        let error = self.activity.last_error.as_ref()?;
        let message = escaped(&error.message).chars().take(MAX_ERROR).collect();
        Some((message, error.at))
    }

    /// For the terminal; the parts that matter most come first, since the end may be cut off.
    fn line(&self) -> String {
        let mut line = match &self.status {
            Status::Connecting { attempt: 1 } => "connecting".to_owned(),
            Status::Connecting { attempt } => format!("connecting, attempt {attempt}"),
            Status::Open { .. } => match self.connection() {
                Some((_, way, lasted)) => {
                    let lasted = format_duration(whole_seconds(lasted));
                    format!("connected for {lasted} through {way}")
                }
                None => "connected".to_owned(),
            },
            Status::BackingOff { until, .. } => {
                let wait = until.saturating_duration_since(self.now);
                let wait = whole_seconds(wait + Duration::from_millis(999));
                format!("not connected, next try in {}", format_duration(wait))
            }
            Status::Draining => "leaving, running requests may finish".to_owned(),
            Status::Closed => "closed".to_owned(),
        };
        if let Some(proxy) = &self.about.proxy {
            push(&mut line, format_args!(", proxy {proxy}"));
        }
        let (now, total) = (self.activity.requests_now, self.activity.requests_total);
        push(
            &mut line,
            format_args!(" | requests {now} now, {total} in all"),
        );
        if let Some((message, at)) = self.last_error() {
            let ago = self.clock.duration_since(at).unwrap_or_default();
            let ago = format_duration(whole_seconds(ago));
            push(
                &mut line,
                format_args!(" | last error {ago} ago: {message}"),
            );
        }
        line
    }

    /// For the socket.
    #[cfg_attr(not(unix), allow(dead_code, reason = "there is no socket yet"))]
    fn json(&self) -> Value {
        let connection = self.connection();
        let since = connection
            .as_ref()
            .and_then(|(_, _, lasted)| self.clock.checked_sub(*lasted))
            .map(|since| format_rfc3339_seconds(since).to_string());
        let last_error = self.last_error().map(|(message, at)| {
            let at = format_rfc3339_seconds(at).to_string();
            json!({ "message": message, "at": at })
        });
        let (session_id, way) = match &connection {
            Some((session_id, way, _)) => (Some(escaped(session_id)), Some(way)),
            None => (None, None),
        };
        json!({
            "state": self.state(),
            "since": since,
            "way": way,
            "proxy": self.about.proxy,
            "session_id": session_id,
            "device": self.about.device,
            "relay": self.about.relay,
            "upstream": self.about.upstream,
            "requests_now": self.activity.requests_now,
            "requests_total": self.activity.requests_total,
            "last_error": last_error,
            "version": build_info::build(),
        })
    }
}

/// A `String` takes everything.
fn push(line: &mut String, more: std::fmt::Arguments<'_>) {
    line.write_fmt(more).expect("a string has room");
}

fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs())
}

#[cfg(test)]
mod tests {
    use c2l_agent::{LastError, Way};

    use super::*;

    fn report(status: Status) -> Report {
        Report {
            about: About {
                device: "desk".to_owned(),
                relay: "https://relay.example".to_owned(),
                upstream: "http://127.0.0.1:11434".to_owned(),
                proxy: None,
            },
            status,
            activity: Activity {
                requests_now: 2,
                requests_total: 17,
                last_error: None,
            },
            now: Instant::now().into_std(),
            clock: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000),
        }
    }

    fn open(lasted: Duration) -> Report {
        let mut report = report(Status::Closed);
        let since = report.now;
        report.now = since + lasted;
        report.status = Status::Open {
            session_id: "s-1".to_owned(),
            since,
            way: Way::WebSocket,
        };
        report
    }

    #[test]
    fn the_line_says_since_when_through_what_and_how_much() {
        let mut report = open(Duration::from_millis(312_900));
        assert_eq!(
            report.line(),
            "connected for 5m 12s through websocket | requests 2 now, 17 in all"
        );
        report.about.proxy = Some("http://proxy:3128".to_owned());
        report.activity.last_error = Some(LastError {
            message: "the relay is away\x1b[2J".into(),
            at: report.clock - Duration::from_secs(320),
        });
        assert_eq!(
            report.line(),
            "connected for 5m 12s through websocket, proxy http://proxy:3128 \
             | requests 2 now, 17 in all | last error 5m 20s ago: the relay is away\\u{1b}[2J"
        );
    }

    #[test]
    fn the_line_says_what_is_under_way_without_a_connection() {
        let mut waiting = report(Status::Closed);
        waiting.status = Status::BackingOff {
            until: waiting.now + Duration::from_millis(3200),
            last_error: String::new(),
        };
        for (report, beginning) in [
            (waiting, "not connected, next try in 4s | "),
            (report(Status::Connecting { attempt: 1 }), "connecting | "),
            (
                report(Status::Connecting { attempt: 7 }),
                "connecting, attempt 7 | ",
            ),
            (report(Status::Draining), "leaving, "),
        ] {
            let line = report.line();
            assert!(line.starts_with(beginning), "{line}");
        }
    }

    #[test]
    fn the_object_has_the_same_keys_in_every_state() {
        let object = open(Duration::from_secs(400_000)).json();
        assert_eq!(object["state"], "connected");
        assert_eq!(object["since"], "1970-01-07T22:40:00Z");
        assert_eq!(object["way"], "websocket");
        assert_eq!(object["session_id"], "s-1");
        assert_eq!(object["requests_total"], 17);
        let keys = |object: &Value| object.as_object().unwrap().keys().cloned().collect();
        let expected: Vec<String> = keys(&object);
        for status in [
            Status::Connecting { attempt: 1 },
            Status::Draining,
            Status::Closed,
        ] {
            let object = report(status).json();
            assert_eq!(object["since"], Value::Null);
            let found: Vec<String> = keys(&object);
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_long_error_is_cut() {
        let mut report = open(Duration::ZERO);
        report.activity.last_error = Some(LastError {
            message: "x".repeat(5000).into(),
            at: report.clock,
        });
        let object = report.json();
        let message = object["last_error"]["message"].as_str().unwrap();
        assert_eq!(message.len(), MAX_ERROR);
        assert!(report.line().len() < 500);
    }
}

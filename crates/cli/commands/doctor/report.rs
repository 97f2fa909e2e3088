//! What the doctor found, check by check, and how it is told.
//!
//! Invariant: whatever a check saw goes through [`Report::add`], which takes out every secret that is known and writes
//! out control characters; part of it may come from a relay.

use std::fmt;

use serde_json::{Value, json};

use crate::{commands::config_show::HIDDEN, logging::escaped, output};

/// How wide a column is, in characters.
const STATUS_WIDTH: usize = 8;
const NAME_WIDTH: usize = 11;

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    Warning,
    Failed,
    Skipped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        })
    }
}

/// One check, done or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) status: Status,
    /// One sentence each.
    pub(super) seen: Vec<String>,
    /// What to do about it.
    pub(super) fix: Option<String>,
    /// What depends on it cannot be tried.
    pub(super) is_obstacle: bool,
}

impl Check {
    fn new(name: &'static str, status: Status, seen: impl Into<String>) -> Self {
        Self {
            name,
            status,
            seen: vec![seen.into()],
            fix: None,
            is_obstacle: false,
        }
    }

    pub(super) fn ok(name: &'static str, seen: impl Into<String>) -> Self {
        Self::new(name, Status::Ok, seen)
    }

    pub(super) fn warning(
        name: &'static str,
        seen: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let fix = Some(fix.into());
        Self {
            fix,
            ..Self::new(name, Status::Warning, seen)
        }
    }

    pub(super) fn failed(
        name: &'static str,
        seen: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            fix: Some(fix.into()),
            is_obstacle: true,
            ..Self::new(name, Status::Failed, seen)
        }
    }

    /// There is nothing to check.
    pub(super) fn needless(name: &'static str, why: impl Into<String>) -> Self {
        Self::new(name, Status::Skipped, why)
    }

    /// It cannot be tried.
    pub(super) fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Self {
            is_obstacle: true,
            ..Self::needless(name, why)
        }
    }

    /// One more sentence.
    pub(super) fn and(mut self, seen: impl Into<String>) -> Self {
        self.seen.push(seen.into());
        self
    }

    /// The same, worth a warning unless it is worse already.
    pub(super) fn but(mut self, seen: impl Into<String>, fix: impl Into<String>) -> Self {
        if self.status == Status::Ok {
            self.status = Status::Warning;
        }
        self.fix.get_or_insert(fix.into());
        self.and(seen)
    }

    fn text(&self) -> String {
        let (status, name) = (self.status, self.name);
        let mut text = String::new();
        for (at, line) in self.seen.iter().enumerate() {
            text += &match at {
                0 => format!("{status:STATUS_WIDTH$} {name:NAME_WIDTH$} {line}\n"),
                _ => format!("{:STATUS_WIDTH$} {:NAME_WIDTH$} {line}\n", "", ""),
            };
        }
        if let Some(fix) = &self.fix {
            text += &format!("{:STATUS_WIDTH$} {:NAME_WIDTH$} → {fix}\n", "", "");
        }
        text
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "status": self.status.to_string(),
            "seen": self.seen,
            "fix": self.fix,
        })
    }
}

/// Every check so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    checks: Vec<Check>,
    secrets: Vec<String>,
    /// Each check is printed as it comes.
    is_printed: bool,
}

impl Report {
    pub(super) fn new(is_printed: bool) -> Self {
        Self {
            is_printed,
            ..Self::default()
        }
    }

    /// Never shows this text from here on. A short one would take ordinary words out.
    pub(super) fn hide(&mut self, secret: &str) {
        if secret.len() >= 4 {
            self.secrets.push(secret.to_owned());
        }
    }

    /// Takes in a check.
    pub(super) fn add(&mut self, mut check: Check) {
        for line in check.seen.iter_mut().chain(&mut check.fix) {
            for secret in &self.secrets {
                *line = line.replace(secret, HIDDEN);
            }
            *line = escaped(line).into_owned();
        }
        if self.is_printed {
            // Nobody is left to tell when stdout is closed; the exit code still says it.
            drop(output::print(&check.text()));
        }
        self.checks.push(check);
    }

    /// True when `name` can be tried after all of these; else it is noted as skipped.
    pub(super) fn may_try(&mut self, name: &'static str, after: &[&str]) -> bool {
        let mut before = self.checks.iter();
        let Some(obstacle) = before.find(|check| check.is_obstacle && after.contains(&check.name))
        else {
            return true;
        };
        let how = match obstacle.status {
            Status::Skipped => "was skipped",
            Status::Ok | Status::Warning | Status::Failed => "failed",
        };
        self.add(Check::skipped(
            name,
            format!("it needs {}, which {how}", obstacle.name),
        ));
        false
    }

    fn count(&self, status: Status) -> usize {
        self.checks
            .iter()
            .filter(|check| check.status == status)
            .count()
    }

    pub(super) fn failures(&self) -> usize {
        self.count(Status::Failed)
    }

    /// The last line.
    pub(super) fn summary(&self) -> String {
        let (failed, warnings) = (self.failures(), self.count(Status::Warning));
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        match (failed, warnings) {
            (0, 0) => "all is well".to_owned(),
            (0, _) => format!("nothing failed, {warnings} warning{}", plural(warnings)),
            (_, 0) => format!("{failed} check{} failed", plural(failed)),
            _ => format!(
                "{failed} check{} failed, {warnings} warning{}",
                plural(failed),
                plural(warnings)
            ),
        }
    }

    /// The whole list as one object.
    pub(super) fn json(&self) -> Value {
        json!({
            "ok": self.failures() == 0,
            "summary": self.summary(),
            "checks": self.checks.iter().map(Check::json).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_reads_like_this() {
        let check = Check::failed("tcp", "no connection within 5s", "start the relay");
        assert_eq!(
            check.and("at 127.0.0.1:1").text(),
            "failed   tcp         no connection within 5s\n\
             \x20                    at 127.0.0.1:1\n\
             \x20                    → start the relay\n"
        );
    }

    #[test]
    fn what_depends_on_a_failure_is_skipped_and_says_on_which() {
        let mut report = Report::default();
        report.add(Check::failed("dns", "nobody knows it", "mend the name"));
        report.add(Check::needless("proxy", "none is set"));
        assert!(!report.may_try("tcp", &["config", "dns"]));
        assert!(!report.may_try("tls", &["tcp"]));
        assert!(report.may_try("upstream", &["config", "proxy"]));
        let json = report.json();
        assert_eq!(json["checks"][2]["seen"][0], "it needs dns, which failed");
        assert_eq!(
            json["checks"][3]["seen"][0],
            "it needs tcp, which was skipped"
        );
        assert_eq!((json["ok"].clone(), report.failures()), (false.into(), 1));
        assert_eq!(report.summary(), "1 check failed");
    }

    #[test]
    fn secrets_and_control_characters_are_taken_out() {
        let mut report = Report::default();
        report.hide("hunter2");
        report.hide("ab");
        let warning = Check::warning(
            "http2",
            "said \"hunter2\x1b[2J\u{202e}\"",
            "ask hunter2 about it",
        );
        report.add(warning);
        let text = report.json().to_string();
        assert!(!text.contains("hunter2") && text.contains("(hidden)") && text.contains("about"));
        assert!(!text.contains(['\x1b', '\u{202e}']), "{text}");
        assert_eq!(report.summary(), "nothing failed, 1 warning");
    }

    #[test]
    fn a_warning_never_hides_a_failure() {
        let check = Check::failed("token", "it ran out", "get another").but("shared", "chmod");
        assert_eq!(
            (check.status, check.fix.as_deref()),
            (Status::Failed, Some("get another"))
        );
        let check = Check::ok("token", "fine").but("shared", "chmod");
        assert_eq!((check.status, check.is_obstacle), (Status::Warning, false));
    }
}

//! The model name and the switches in it.
//!
//! A switch has to reach the server through every client and every tunnel, unchanged and per request. The model name
//! does: it is in the body of each inference request, and no one between may touch it. So `tiny+first=35s+gap=50ms`
//! is a model. The table of all switches is at [`Switches::read`]; whatever is not in it is refused.

use std::time::Duration;

use http::StatusCode;

use crate::text::LARGEST_PIECE;

/// The one model there is, without switches.
pub const MODEL: &str = "tiny";

/// A parsed model name.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    /// As the caller wrote it; answers repeat it.
    pub(crate) name: String,
    pub(crate) switches: Switches,
}

/// Why a model name is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ModelError {
    /// There is no name at all.
    Missing,
    /// It is not `tiny`.
    NotFound(String),
    /// It is `tiny`, with a switch that makes no sense; the text says which.
    BadSwitch(String),
}

/// How one answer is to be spoiled, and after how many lines or pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) after: u64,
    pub(crate) kind: FaultKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// Connection reset (RST).
    Cut,
    /// Connection closed (FIN) without the end of the body.
    Tear,
    /// An error inside the stream, then a clean end.
    Error,
    /// Nothing more, for ever.
    Silent,
}

/// What a model name asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Switches {
    pub(crate) first: Duration,
    pub(crate) gap: Option<Duration>,
    pub(crate) lines: Option<u64>,
    pub(crate) burst: Option<u64>,
    pub(crate) fault: Option<Fault>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) early: Option<StatusCode>,
    pub(crate) load: Option<Duration>,
    pub(crate) queue: bool,
    pub(crate) echo: bool,
    pub(crate) trailers: bool,
    pub(crate) bytes: Option<u64>,
    pub(crate) pieces: Option<u64>,
    pub(crate) piece: Option<(u64, u64)>,
}

impl Model {
    /// Reads `tiny`, `tiny:latest`, or either followed by switches (`:latest` may also stand at the very end).
    pub(crate) fn parse(name: &str) -> Result<Self, ModelError> {
        if name.is_empty() {
            return Err(ModelError::Missing);
        }
        let bare = name.strip_suffix(":latest").unwrap_or(name);
        let (base, switches) = bare.split_once('+').unwrap_or((bare, ""));
        if base != MODEL && base != "tiny:latest" {
            return Err(ModelError::NotFound(name.to_owned()));
        }
        let mut read = Switches::default();
        let mut seen: Vec<&str> = Vec::new();
        if bare.contains('+') {
            for switch in switches.split('+') {
                let (key, value) = switch
                    .split_once('=')
                    .map_or((switch, None), |(key, value)| (key, Some(value)));
                if seen.contains(&key) {
                    return Err(ModelError::BadSwitch(format!(
                        "switch {key:?} is given twice"
                    )));
                }
                seen.push(key);
                read.read(key, value).map_err(ModelError::BadSwitch)?;
            }
        }
        read.check().map_err(ModelError::BadSwitch)?;
        Ok(Self {
            name: name.to_owned(),
            switches: read,
        })
    }
}

impl Switches {
    /// The table of switches.
    fn read(&mut self, key: &str, value: Option<&str>) -> Result<(), String> {
        match (key, value) {
            // Time.
            ("first", Some(value)) => self.first = duration(value)?, // silence before the head of the answer
            ("gap", Some(value)) => self.gap = Some(duration(value)?), // between two flushes
            ("nodelay", None) if self.gap.is_none() => self.gap = Some(Duration::ZERO),
            ("load", Some(value)) => self.load = Some(duration(value)?), // silent load, unless the model is warm
            ("queue", None) => self.queue = true, // one request at a time for this very name
            // Amount.
            ("lines", Some(value)) => self.lines = Some(number(value)?), // tokens before the last line
            ("burst", Some(value)) => self.burst = Some(number(value)?.max(1)), // lines in one flush
            ("bytes", Some(value)) => self.bytes = Some(number(value)?), // a raw body this large
            ("pieces", Some(value)) => self.pieces = Some(number(value)?), // a raw body of this many chunks
            ("piece", Some(value)) => self.piece = Some(range(value)?), // of this size, or between two sizes
            ("echo", None) => self.echo = true, // say the owner's name and the prompt
            ("trailers", None) => self.trailers = true, // after the body, if the request has `te: trailers`
            // Faults.
            ("cut", Some(value)) => self.fault(FaultKind::Cut, value)?,
            ("tear", Some(value)) => self.fault(FaultKind::Tear, value)?,
            ("error", Some(value)) => self.fault(FaultKind::Error, value)?,
            ("silent", Some(value)) => self.fault(FaultKind::Silent, value)?,
            ("status", Some(value)) => self.status = Some(status(value)?), // an error instead of the first line
            ("early", Some(value)) => self.early = Some(status(value)?), // the same, with most of the request body unread
            _ => {
                return Err(format!(
                    "unknown switch {key:?} or value {:?}",
                    value.unwrap_or_default()
                ));
            }
        }
        Ok(())
    }

    fn fault(&mut self, kind: FaultKind, after: &str) -> Result<(), String> {
        let fault = Fault {
            after: number(after)?,
            kind,
        };
        match self.fault.replace(fault) {
            None => Ok(()),
            Some(_) => Err("at most one of cut, tear, error, silent".to_owned()),
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.piece.is_some() && !self.is_raw() {
            return Err("piece needs pieces or bytes".to_owned());
        }
        if self.is_raw()
            && self
                .fault
                .is_some_and(|fault| fault.kind == FaultKind::Error)
        {
            return Err("raw bytes have no error line".to_owned());
        }
        Ok(())
    }

    /// Whether the answer is raw bytes instead of text.
    pub(crate) fn is_raw(&self) -> bool {
        self.bytes.is_some() || self.pieces.is_some()
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a number"))
}

fn status(text: &str) -> Result<StatusCode, String> {
    match text.parse() {
        Ok(code) if (400..600).contains(&code) => {
            StatusCode::from_u16(code).map_err(|error| error.to_string())
        }
        _ => Err(format!("{text:?} is not an error status")),
    }
}

/// `7` or `1-60`, in bytes.
fn range(text: &str) -> Result<(u64, u64), String> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (number(low)?, number(high)?);
    if low == 0 || low > high || high > LARGEST_PIECE as u64 {
        return Err(format!(
            "{text:?} is not a size between 1 and {LARGEST_PIECE}, or two of them"
        ));
    }
    Ok((low, high))
}

/// `0`, `200us`, `50ms`, `35s` or `2m`; at most a day.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (amount, unit) = text.split_at(digits);
    let amount: u32 = amount
        .parse()
        .map_err(|_| format!("{text:?} is not a duration"))?;
    let duration = match unit {
        "" if amount == 0 => Some(Duration::ZERO),
        "us" => Some(Duration::from_micros(amount.into())),
        "ms" => Some(Duration::from_millis(amount.into())),
        "s" => Some(Duration::from_secs(amount.into())),
        "m" => Duration::from_secs(60).checked_mul(amount),
        _ => None,
    };
    duration
        .filter(|duration| *duration <= Duration::from_secs(86_400))
        .ok_or_else(|| {
            format!("{text:?} is not a duration such as 50ms, 35s or 2m, or is longer than a day")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn switches(name: &str) -> Switches {
        Model::parse(name).unwrap().switches
    }

    #[test]
    fn names_with_switches_are_read() {
        let read = switches("tiny+first=35s+gap=50ms+lines=2000+queue+echo");
        assert_eq!(read.first, Duration::from_secs(35));
        assert_eq!(read.gap, Some(Duration::from_millis(50)));
        assert_eq!(read.lines, Some(2000));
        assert!(read.queue && read.echo && !read.trailers);
        assert_eq!(
            switches("tiny+cut=10").fault,
            Some(Fault {
                after: 10,
                kind: FaultKind::Cut
            })
        );
        assert_eq!(
            switches("tiny+pieces=200000+piece=1-60").piece,
            Some((1, 60))
        );
        assert_eq!(switches("tiny+nodelay").gap, Some(Duration::ZERO));
        for name in [
            "tiny",
            "tiny:latest",
            "tiny:latest+lines=1",
            "tiny+lines=1:latest",
        ] {
            assert_eq!(Model::parse(name).unwrap().name, name);
        }
    }

    #[test]
    fn whatever_is_not_in_the_table_is_refused() {
        for name in [
            "tiny+",
            "tiny+what",
            "tiny+lines",
            "tiny+lines=",
            "tiny+lines=-1",
            "tiny+echo=1",
            "tiny+first=5",
            "tiny+first=5h",
            "tiny+first=1500m",
            "tiny+cut=1+error=2",
            "tiny+cut=1+cut=1",
            "tiny+status=200",
            "tiny+piece=4",
            "tiny+pieces=4+piece=0",
            "tiny+pieces=4+piece=5-3",
            "tiny+pieces=4+piece=1-70000",
            "tiny+bytes=4+error=1",
            "tiny+gap=1ms+nodelay",
            "tiny+lines=1++echo",
        ] {
            assert!(
                matches!(Model::parse(name), Err(ModelError::BadSwitch(_))),
                "{name}"
            );
        }
        assert_eq!(Model::parse("").unwrap_err(), ModelError::Missing);
        for name in ["tinyish", "llama3", "tiny:8b", "Tiny", "+tiny"] {
            assert_eq!(
                Model::parse(name).unwrap_err(),
                ModelError::NotFound(name.to_owned())
            );
        }
    }
}

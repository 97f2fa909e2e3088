//! The log, on stderr: one event is one line, whatever is in it.
//!
//! Invariant: no control character of any value reaches the terminal or the collector raw. A line end would forge an
//! event, an escape sequence could do worse.

use std::{
    any::Any,
    borrow::Cow,
    fmt,
    io::{self, IsTerminal as _},
    panic, thread,
};

use anyhow::Context as _;
use c2l_relay::audit;
use tracing::{Event, Subscriber, error};
use tracing_subscriber::{
    Layer as _,
    field::RecordFields,
    filter::{FilterExt as _, LevelFilter, filter_fn},
    fmt::{
        FmtContext, FormatEvent, FormatFields, MakeWriter,
        format::{DefaultFields, Format, Json, JsonFields, Writer},
    },
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use crate::{
    audit_log::{self, AuditLog},
    screen::Screen,
    settings::general::{LogFormat, LogSettings},
};

/// What was started.
#[derive(Debug)]
pub(crate) struct Log {
    /// Where the log goes, for a status line beside it.
    pub(crate) screen: Screen,
    /// To be kept until the end, so that the last events are written, too.
    pub(crate) audit: Option<AuditLog>,
}

/// Starts logging for the whole process, panics included. Call it once.
///
/// # Errors
/// When it runs already, or the audit log cannot be opened.
pub(crate) fn start(settings: LogSettings) -> anyhow::Result<Log> {
    let screen = Screen::stderr();
    let has_colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (layer, audit) = match &settings.audit {
        Some(wanted) => {
            let started = audit_log::start(wanted)
                .with_context(|| format!("no audit log in {}", wanted.folder.display()))?;
            (Some(started.0), Some(started.1))
        }
        None => (None, None),
    };
    let log = subscriber(settings, has_colour, screen.clone());
    match layer {
        Some(layer) => log.with(layer).try_init()?,
        // A layer that is none, put on top, would have every event of every library asked about each time.
        None => log.try_init()?,
    }
    panic::set_hook(Box::new(log_panic));
    Ok(Log { screen, audit })
}

fn subscriber<W>(
    settings: LogSettings,
    has_colour: bool,
    writer: W,
) -> impl Subscriber + for<'a> LookupSpan<'a> + Send + Sync + 'static
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = match settings.format {
        LogFormat::Text => tracing_subscriber::fmt::layer()
            .fmt_fields(OneLine(DefaultFields::new()))
            .with_ansi(has_colour)
            .with_writer(writer)
            .boxed(),
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .fmt_fields(JsonFields::new())
            .event_format(PlainJson(Format::default().json().flatten_event(true)))
            .with_ansi(false)
            .with_writer(writer)
            .boxed(),
    };
    // The audit log names users: only who asks for it by its name has it here as well.
    let shows_audit = settings.shows_audit;
    // Without a hint of its own a filter of two is taken to want everything, and what libraries trace on every frame
    // is made before it is thrown away: two thirds of all work that a transfer took.
    let others = filter_fn(move |of| shows_audit || of.target() != audit::TARGET)
        .with_max_level_hint(LevelFilter::TRACE);
    tracing_subscriber::registry().with(layer.with_filter(settings.filter.and(others)))
}

/// Says where, and not what: the text of a panic may quote a value that was at hand, and values can be secrets. The
/// place leads to the text in the source.
fn log_panic(info: &panic::PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string);
    let place = place.as_deref().unwrap_or("an unknown place");
    error!(
        at = place,
        thread = thread::current().name().unwrap_or("unnamed"),
        literal = literal(info.payload()),
        "a task panicked: this is a defect of ours, please report it"
    );
}

/// The message of a panic where it is a literal: that holds no value.
fn literal(payload: &(dyn Any + Send)) -> Option<&'static str> {
    payload.downcast_ref::<&'static str>().copied()
}

/// `text` with its control characters written out: `\n`, `\u{1b}`.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_hostile) {
        let mut plain = String::with_capacity(text.len() + 8);
        for c in text.chars() {
            push(&mut plain, c);
        }
        Cow::Owned(plain)
    } else {
        Cow::Borrowed(text)
    }
}

fn push(to: &mut String, c: char) {
    if is_hostile(c) {
        to.extend(c.escape_default());
    } else {
        to.push(c);
    }
}

/// Control characters, and what changes the order or the lines of text around it: the separators of lines and
/// paragraphs, and the marks of writing direction.
fn is_hostile(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Escapes everything that is written through it.
struct Escaping<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(&escaped(text))
    }
}

/// The fields of an event in one line of text.
struct OneLine(DefaultFields);

impl<'w> FormatFields<'w> for OneLine {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        // A writer of its own, without colours: their escape sequences would be escaped with the rest.
        self.0
            .format_fields(Writer::new(&mut Escaping(&mut writer)), fields)
    }
}

/// JSON, which escapes the older half of the control characters by itself.
struct PlainJson(Format<Json>);

impl<S, N> FormatEvent<S, N> for PlainJson
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0
            .format_event(context, Writer::new(&mut line), event)?;
        writeln!(writer, "{}", escaped_json(line.trim_end_matches('\n')))
    }
}

/// JSON in one line. Of hostile characters it still has only such as stand inside strings, where four digits spell them.
pub(crate) fn escaped_json(line: &str) -> String {
    let mut plain = String::with_capacity(line.len() + 1);
    for c in line.chars() {
        if is_hostile(c) {
            plain.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, has_colour: bool, act: impl FnOnce()) -> String {
        let log = Log::default();
        let writer = log.clone();
        let settings = LogSettings {
            format,
            filter: "info".parse().unwrap(),
            shows_audit: format == LogFormat::Json,
            audit: None,
        };
        let subscriber = subscriber(settings, has_colour, move || writer.clone());
        tracing::subscriber::with_default(subscriber, act);
        let bytes = log.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn hostile_values_stay_in_one_escaped_line() {
        let hostile = "/x\n2026 ERROR forged\r\x1b[31mred\x1b]0;title\x07\u{9b}2J\u{202e}";
        for (format, has_colour) in [
            (LogFormat::Text, false),
            (LogFormat::Text, true),
            (LogFormat::Json, false),
        ] {
            let text = logged(format, has_colour, || {
                let span = tracing::info_span!("session", device = %hostile, other = hostile);
                let _inside = span.enter();
                tracing::info!(path = %hostile, debug = ?hostile, plain = hostile, "{hostile}");
            });
            assert_eq!(text.matches('\n').count(), 1, "{format:?}: {text:?}");
            assert!(text.ends_with('\n'), "{format:?}: {text:?}");
            // What colours the level is ours; nothing of the value's own may be left.
            for raw in ["\x1b[31mred", "\x1b]", "\r", "\x07", "\u{9b}", "\u{202e}"] {
                assert!(!text.contains(raw), "{format:?}: {raw:?} in {text:?}");
            }
            assert!(text.contains("forged"), "{format:?}: {text:?}");
        }
    }

    #[test]
    fn the_audit_log_is_in_the_ordinary_one_only_for_who_asks() {
        let act = || tracing::info!(target: audit::TARGET, event = "said");
        assert_eq!(logged(LogFormat::Text, false, act), "");
        assert!(logged(LogFormat::Json, false, act).contains("said"));
    }

    #[test]
    fn what_is_not_logged_is_not_made() {
        let settings = |audit| LogSettings {
            format: LogFormat::Text,
            filter: "warn".parse().unwrap(),
            shows_audit: false,
            audit,
        };
        let log = subscriber(settings(None), false, io::sink);
        assert_eq!(log.max_level_hint(), Some(LevelFilter::WARN));
        let folder = tempfile::tempdir().unwrap();
        let wanted = audit_log::tests::settings(&folder);
        let (layer, _audit) = audit_log::start(&wanted).unwrap();
        let log = subscriber(settings(None), false, io::sink).with(layer);
        assert_eq!(log.max_level_hint(), Some(LevelFilter::INFO));
    }

    #[test]
    fn json_lines_are_json() {
        let text = logged(LogFormat::Json, false, || {
            tracing::info!(path = "a\u{9b}\n\"b", "said");
        });
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["path"], "a\u{9b}\n\"b");
        assert_eq!(value["message"], "said");
    }

    #[test]
    fn what_a_panic_formats_is_not_logged() {
        let payload = panic::catch_unwind(|| panic!("a literal")).unwrap_err();
        assert_eq!(literal(payload.as_ref()), Some("a literal"));
        let secret = "hunter2";
        let payload = panic::catch_unwind(|| panic!("formatted {secret}")).unwrap_err();
        assert_eq!(literal(payload.as_ref()), None);
    }

    #[test]
    fn plain_text_is_left_as_it_is() {
        assert!(matches!(escaped("plain, ä, 日本"), Cow::Borrowed(_)));
        assert_eq!(escaped("a\x1bb"), "a\\u{1b}b");
    }
}

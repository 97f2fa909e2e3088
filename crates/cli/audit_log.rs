//! The audit log's own files: one JSON object a line, for their owner's eyes, rotated.
//!
//! Events go through a bounded queue to a thread that writes, so no request waits for a disk. Invariant: what could not
//! be queued or written is counted, and the file says how many there were before it goes on; a line is whole or not
//! there.

mod file;

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use c2l_relay::audit::TARGET;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, filter_fn},
    layer::Context,
    registry::LookupSpan,
};

use self::file::AuditFile;
use crate::{logging::escaped_json, settings::audit::AuditSettings};

/// Events that may wait for the disk: some seconds of a busy relay.
const QUEUE: usize = 8192;
/// How long a disk may hold up the exit.
const LAST_WAIT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(10);
/// Between two complaints in the ordinary log about a disk that takes nothing.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);

/// Opens the file in use, and starts the thread that writes to it.
///
/// # Errors
/// When there is no file that can be written.
pub(crate) fn start<S>(settings: &AuditSettings) -> io::Result<(impl Layer<S> + use<S>, AuditLog)>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let file = AuditFile::open(settings, SystemTime::now())?;
    let (sender, receiver) = mpsc::sync_channel(QUEUE);
    let lost = Arc::<AtomicU64>::default();
    let writer = Writer {
        file,
        receiver,
        lost: Arc::clone(&lost),
        complained_at: None,
    };
    let thread = thread::Builder::new().name("audit".to_owned());
    let thread = thread.spawn(move || writer.run())?;
    let layer = AuditLayer {
        sender: sender.clone(),
        lost,
    };
    let log = AuditLog {
        sender,
        thread: Some(thread),
    };
    Ok((
        // The hint keeps what is below away from every filter.
        layer.with_filter(
            filter_fn(|of| of.target() == TARGET).with_max_level_hint(LevelFilter::INFO),
        ),
        log,
    ))
}

/// Turns events into lines.
struct AuditLayer {
    sender: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

enum Message {
    Line(String),
    End,
}

impl<S: Subscriber> Layer<S> for AuditLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut line = Line::begin(SystemTime::now());
        event.record(&mut line);
        if self.sender.try_send(Message::Line(line.end())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One event as a JSON object, its fields in their order.
struct Line(String);

impl Line {
    fn begin(now: SystemTime) -> Self {
        let time = humantime::format_rfc3339_micros(now);
        Self(format!("{{\"time\":\"{time}\""))
    }

    fn add(&mut self, name: &str, value: impl Into<serde_json::Value>) {
        let value: serde_json::Value = value.into();
        self.0.push_str(&format!(",\"{name}\":{value}"));
    }

    fn end(mut self) -> String {
        self.0.push('}');
        let mut line = escaped_json(&self.0);
        line.push('\n');
        line
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field.name(), format!("{value:?}"));
    }
}

/// The running log. Dropping it waits, for a while, until what was said is written.
#[derive(Debug)]
pub(crate) struct AuditLog {
    sender: SyncSender<Message>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        // A place to wait at: nothing is ever said there.
        let (_open, silence) = mpsc::channel::<()>();
        let mut polls = LAST_WAIT.as_millis() / POLL.as_millis();
        let mut is_told = false;
        while polls > 0
            && self
                .thread
                .as_ref()
                .is_some_and(|thread| !thread.is_finished())
        {
            if !is_told {
                is_told = !matches!(
                    self.sender.try_send(Message::End),
                    Err(TrySendError::Full(_))
                );
            }
            silence.recv_timeout(POLL).unwrap_or_default();
            polls -= 1;
        }
        if let Some(thread) = self.thread.take_if(|thread| thread.is_finished())
            && thread.join().is_err()
        {
            tracing::error!("the audit log ended with a defect of ours");
        }
    }
}

/// The thread's side.
struct Writer {
    file: AuditFile,
    receiver: Receiver<Message>,
    lost: Arc<AtomicU64>,
    complained_at: Option<SystemTime>,
}

impl Writer {
    fn run(mut self) {
        loop {
            // What was lost is said soon, even when nothing else happens.
            match self.receiver.recv_timeout(Duration::from_secs(1)) {
                Ok(Message::Line(line)) => self.write(&line),
                Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => {
                    self.say_lost();
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.say_lost();
                }
            }
        }
    }

    fn write(&mut self, line: &str) {
        if !self.say_lost() || !self.try_write(line) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Says how many events are missing at this place. False when that could not be said either.
    fn say_lost(&mut self) -> bool {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost == 0 {
            return true;
        }
        let mut line = Line::begin(SystemTime::now());
        line.add("event", "audit_events_lost");
        line.add("outcome", "failed");
        line.add("count", lost);
        let is_said = self.try_write(&line.end());
        if !is_said {
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
        is_said
    }

    fn try_write(&mut self, line: &str) -> bool {
        let now = SystemTime::now();
        let Err(error) = self.file.write(line, now) else {
            return true;
        };
        let is_time = self.complained_at.is_none_or(|at| {
            let since = now.duration_since(at).unwrap_or(COMPLAINT_PAUSE);
            since >= COMPLAINT_PAUSE
        });
        if is_time {
            self.complained_at = Some(now);
            let path = self.file.path().display();
            tracing::error!(%path, %error, "the audit log cannot be written; what is missing will be counted there");
        }
        false
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use tempfile::TempDir;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    pub(crate) fn settings(folder: &TempDir) -> AuditSettings {
        AuditSettings {
            folder: folder.path().join("audit"),
            max_bytes: 1 << 20,
            keep: 3,
        }
    }

    fn lines(settings: &AuditSettings) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(settings.folder.join("audit.jsonl")).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn every_event_is_one_whole_line_and_nothing_else_is_in_it() {
        let folder = TempDir::new().unwrap();
        let settings = settings(&folder);
        let (layer, log) = start(&settings).unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..100_u64 {
                tracing::info!(target: TARGET, event = "x", none = None::<u64>, number, hostile = "a\n\u{9b}\"b", "ignored by nobody");
                tracing::info!(number, "something else");
            }
        });
        drop(log);
        let lines = lines(&settings);
        assert_eq!(lines.len(), 100);
        for (number, line) in lines.iter().enumerate() {
            assert_eq!(line["number"], number);
            assert_eq!(line["hostile"], "a\n\u{9b}\"b");
            assert!(line.get("none").is_none());
            let time = line["time"].as_str().unwrap();
            assert!(humantime::parse_rfc3339(time).is_ok(), "{time}");
        }
        let text = fs::read_to_string(settings.folder.join("audit.jsonl")).unwrap();
        assert!(!text.contains('\u{9b}'));
    }

    #[test]
    fn what_was_lost_is_counted_in_the_file() {
        let folder = TempDir::new().unwrap();
        let settings = settings(&folder);
        let (_sender, receiver) = mpsc::sync_channel(1);
        let mut writer = Writer {
            file: AuditFile::open(&settings, SystemTime::now()).unwrap(),
            receiver,
            lost: Arc::default(),
            complained_at: None,
        };
        writer.write("{\"event\":\"a\"}\n");
        // No queue has room for ever, and no disk has.
        let layer = AuditLayer {
            sender: mpsc::sync_channel(0).0,
            lost: Arc::clone(&writer.lost),
        };
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..7 {
                tracing::info!(target: TARGET, event = "lost");
            }
        });
        writer.write("{\"event\":\"b\"}\n");
        let lines = lines(&settings);
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[1]["event"], "audit_events_lost");
        assert_eq!(lines[1]["count"], 7);
        assert_eq!(lines[2]["event"], "b");
    }
}

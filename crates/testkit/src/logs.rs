//! The log of one test, every event of every crate, for tests of what must never be in it.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use tracing::{Dispatch, dispatcher::DefaultGuard, level_filters::LevelFilter};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Everything that this thread logs while this value lives. A test on a current-thread runtime has its relay, agents
/// and upstreams on that thread, so nothing of other tests is in it.
#[derive(Debug)]
pub struct CapturedLog {
    written: Written,
    /// While there is but one in the process, `tracing` asks only the thread that comes first to an event whether anybody
    /// wants it, and remembers the answer for all: a test beside this one would switch the event off here.
    _second: Dispatch,
    _guard: DefaultGuard,
}

impl CapturedLog {
    /// Begins, at the level `TRACE`.
    #[must_use]
    pub fn start() -> Self {
        let written = Written::default();
        let writer = written.clone();
        let guard = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .set_default();
        let second = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE);
        Self {
            written,
            _second: Dispatch::new(second.with_writer(io::sink).finish()),
            _guard: guard,
        }
    }

    /// All of it so far.
    #[must_use]
    pub fn text(&self) -> String {
        let bytes = self
            .written
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Fails when one of these is in it.
    ///
    /// # Panics
    /// Then, with the line.
    pub fn assert_without<'a>(&self, secrets: impl IntoIterator<Item = &'a str>) {
        let text = self.text();
        for secret in secrets {
            let line = text.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "logged: {secret:?} in {line:?}");
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

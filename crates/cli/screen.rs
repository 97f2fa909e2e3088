//! stderr, which log lines and one status line share.
//!
//! Invariant: the status line is always the last one, and a log line is always whole: whoever writes one takes the
//! status line away first and puts it back behind, in a single write. Where stderr is no terminal there is no status line
//! and every byte is that of a log line.

use std::{
    fmt,
    io::{self, IsTerminal as _, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tracing_subscriber::fmt::MakeWriter;

/// Back to the first column, and nothing is left of what stood there.
const TAKE_AWAY: &[u8] = b"\r\x1b[K";
/// A line that is wider than the terminal is cut there and not wrapped: a wrapped one could not be taken away again.
const WITHOUT_WRAP: &[u8] = b"\x1b[?7l";
const WITH_WRAP: &[u8] = b"\x1b[?7h";

/// Where lines go; clones write to the same place.
#[derive(Clone)]
pub(crate) struct Screen {
    is_terminal: bool,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    out: Box<dyn Write + Send>,
    /// What is shown now, with its control sequences; empty for nothing.
    line: Vec<u8>,
    /// How many want it gone for a while.
    hidden: usize,
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screen")
            .field("is_terminal", &self.is_terminal)
            .finish_non_exhaustive()
    }
}

impl Screen {
    /// The process's own. A terminal that says it is dumb, or one of Windows, which may not take control sequences, has no
    /// status line.
    pub(crate) fn stderr() -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|name| name == "dumb");
        let is_terminal = cfg!(unix) && !is_dumb && io::stderr().is_terminal();
        Self::new(Box::new(io::stderr()), is_terminal)
    }

    fn new(out: Box<dyn Write + Send>, is_terminal: bool) -> Self {
        let shared = Shared {
            out,
            line: Vec::new(),
            hidden: 0,
        };
        Self {
            is_terminal,
            shared: Arc::new(Mutex::new(shared)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a status line can be shown.
    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Shows `text`, which has no control characters, as the status line, in place of the one before; empty for none.
    pub(crate) fn show(&self, text: &str) {
        if !self.is_terminal {
            return;
        }
        let line = match text {
            "" => Vec::new(),
            text => [WITHOUT_WRAP, text.as_bytes(), WITH_WRAP].concat(),
        };
        let mut shared = self.lock();
        if shared.line == line {
            return;
        }
        let before = std::mem::replace(&mut shared.line, line);
        if shared.hidden == 0 {
            shared.redraw(&before, b"");
        }
    }

    /// Takes the status line away until the guard is dropped: somebody else writes to the terminal, or reads from it.
    pub(crate) fn hide(&self) -> Hidden {
        let mut shared = self.lock();
        if shared.hidden == 0 {
            let line = std::mem::take(&mut shared.line);
            shared.redraw(&line, b"");
            shared.line = line;
        }
        shared.hidden += 1;
        drop(shared);
        Hidden(self.clone())
    }
}

impl Shared {
    /// Replaces `before`, which stands on the terminal, by `text` and the present status line. Nobody is left to tell when
    /// stderr is closed.
    fn redraw(&mut self, before: &[u8], text: &[u8]) {
        let take_away = if before.is_empty() { b"" } else { TAKE_AWAY };
        let whole = [take_away, text, &self.line].concat();
        drop(self.out.write_all(&whole).and_then(|()| self.out.flush()));
    }
}

/// While it lives there is no status line.
#[derive(Debug)]
pub(crate) struct Hidden(Screen);

impl Drop for Hidden {
    fn drop(&mut self) {
        let mut shared = self.0.lock();
        shared.hidden -= 1;
        if shared.hidden == 0 {
            shared.redraw(b"", b"");
        }
    }
}

/// Writes log lines, each whole.
#[derive(Debug)]
pub(crate) struct LogLines<'a>(&'a Screen);

impl<'a> MakeWriter<'a> for Screen {
    type Writer = LogLines<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LogLines(self)
    }
}

impl Write for LogLines<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut shared = self.0.lock();
        if shared.line.is_empty() || shared.hidden > 0 {
            shared.out.write_all(bytes)?;
        } else {
            let line = shared.line.clone();
            shared.redraw(&line, bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        /// The rows of a terminal that understands what we use, wide enough for `width` characters.
        fn rows(&self, width: usize) -> Vec<String> {
            let bytes = self.0.lock().unwrap().clone();
            let text = String::from_utf8(bytes).unwrap();
            let text = text
                .replace("\x1b[?7l", "\u{1}")
                .replace("\x1b[?7h", "\u{2}");
            let (mut rows, mut wraps) = (vec![String::new()], true);
            let mut rest = text.as_str();
            while let Some(c) = rest.chars().next() {
                let row = rows.last_mut().unwrap();
                match c {
                    '\u{1}' => wraps = false,
                    '\u{2}' => wraps = true,
                    '\n' => rows.push(String::new()),
                    '\r' => {
                        assert!(rest.starts_with("\r\x1b[K"), "{rest:?}");
                        row.clear();
                        rest = &rest["\x1b[K".len()..];
                    }
                    c if row.chars().count() < width => row.push(c),
                    c if wraps => rows.push(c.to_string()),
                    _ => {}
                }
                rest = &rest[c.len_utf8()..];
            }
            rows
        }
    }

    fn screen(is_terminal: bool) -> (Screen, Written) {
        let written = Written::default();
        (Screen::new(Box::new(written.clone()), is_terminal), written)
    }

    fn log(screen: &Screen, line: &str) {
        screen.make_writer().write_all(line.as_bytes()).unwrap();
    }

    #[test]
    fn log_lines_stay_whole_above_the_status_line() {
        let (screen, written) = screen(true);
        log(&screen, "first\n");
        screen.show("connected 1s");
        log(&screen, "second\n");
        screen.show("connected 2s");
        log(&screen, "third\n");
        let expected = ["first", "second", "third", "connected 2s"];
        assert_eq!(written.rows(80), expected);
        screen.show("");
        assert_eq!(written.rows(80), ["first", "second", "third", ""]);
    }

    #[test]
    fn a_status_line_that_is_too_wide_is_cut_and_not_wrapped() {
        let (screen, written) = screen(true);
        screen.show("connected, and so much more to say");
        screen.show("connected, and even more than that to say");
        log(&screen, "a log\n");
        assert_eq!(written.rows(9), ["a log", "connected"]);
    }

    #[test]
    fn it_gives_way_while_somebody_else_uses_the_terminal() {
        let (screen, written) = screen(true);
        screen.show("connected 1s");
        let (first, second) = (screen.hide(), screen.hide());
        screen.show("connected 2s");
        log(&screen, "asked\n");
        drop(first);
        assert_eq!(written.rows(80), ["asked", ""]);
        drop(second);
        assert_eq!(written.rows(80), ["asked", "connected 2s"]);
    }

    #[test]
    fn what_is_no_terminal_gets_log_lines_and_nothing_else() {
        let (screen, written) = screen(false);
        screen.show("connected 1s");
        log(&screen, "first\n");
        drop(screen.hide());
        screen.show("");
        assert_eq!(*written.0.lock().unwrap(), b"first\n");
    }
}

//! What a command answers, on stdout. Logs go to stderr, so that this can be piped.

use std::io::{self, ErrorKind, Write as _};

/// Prints `text` as it is. A reader that has gone (`| head`) is no failure.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

//! The wish to stop: the first signal asks for an orderly end, the second ends at once.

use std::{io, process};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// What a shell reports of a program that Ctrl-C ended (128 + SIGINT).
const INTERRUPTED: i32 = 130;

/// A token that is cancelled by the first SIGINT or SIGTERM. Call it inside the runtime, once.
///
/// # Errors
///
/// When the system does not let signals be caught.
pub(crate) fn shutdown() -> io::Result<CancellationToken> {
    let mut signals = Signals::new()?;
    let asked = CancellationToken::new();
    let token = asked.clone();
    // Belongs to the process and ends with it: there is no time at which a signal should go unheard.
    drop(tokio::spawn(async move {
        let name = signals.next().await;
        info!(signal = name, "stopping; once more ends at once");
        asked.cancel();
        let name = signals.next().await;
        warn!(signal = name, "ended at once, with work unfinished");
        at_once();
    }));
    Ok(token)
}

#[expect(
    clippy::exit,
    reason = "the second signal must not wait for anything that still runs"
)]
fn at_once() -> ! {
    process::exit(INTERRUPTED)
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

#[cfg(windows)]
struct Signals {
    interrupt: tokio::signal::windows::CtrlC,
    close: tokio::signal::windows::CtrlClose,
}

#[cfg(windows)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::windows::{ctrl_c, ctrl_close};
        Ok(Self {
            interrupt: ctrl_c()?,
            close: ctrl_close()?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.close.recv() => "close",
        }
    }
}

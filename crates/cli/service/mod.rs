//! An agent that the system starts by itself: what each kind of system wants to be told, as text.
//!
//! Invariant: nothing here is a secret. What the service is told is where the program and its configuration file are; the
//! token stays in its own file, and the password of a proxy in the configuration, which only its owner may read.
//!
//! Each system's text is made and tested on every system; only `commands/service` looks where it runs.

pub(crate) mod launchd;
pub(crate) mod systemd;
pub(crate) mod windows;

use std::{path::Path, time::Duration};

use anyhow::bail;

/// What a service is called, everywhere.
pub(crate) const NAME: &str = "c2l-agent";

/// What the system must know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service<'a> {
    program: &'a str,
    config: &'a str,
    /// How long it may take to end.
    stop_within: Duration,
}

impl<'a> Service<'a> {
    /// Both paths are absolute.
    ///
    /// # Errors
    /// When a path cannot stand in a text.
    pub(crate) fn new(
        program: &'a Path,
        config: &'a Path,
        drain_grace: Duration,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            program: plain(program)?,
            config: plain(config)?,
            // What it takes beside the requests that may finish.
            stop_within: drain_grace + Duration::from_secs(10),
        })
    }
}

fn plain(path: &Path) -> anyhow::Result<&str> {
    match path.to_str() {
        Some(text) if !text.chars().any(char::is_control) => Ok(text),
        _ => bail!(
            "{} cannot be named in a service: the path has characters that are no text",
            path.display()
        ),
    }
}

/// For XML, in text and in attributes.
fn xml(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_would_end_the_line_is_refused() {
        let plain = Path::new("/usr/bin/c2l");
        for hostile in ["/a\nExecStart=/bin/sh", "/a\u{7f}"] {
            let grace = Duration::ZERO;
            assert!(Service::new(Path::new(hostile), plain, grace).is_err());
            assert!(Service::new(plain, Path::new(hostile), grace).is_err());
        }
    }
}

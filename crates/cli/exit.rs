//! How the program ends: one code for each reason that a script could act on, and one place that says why.
//!
//! Invariant: what is printed has its control characters escaped; part of it may come from a relay.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use c2l_agent::{Error, Refusal};

use crate::{logging::escaped, settings::Mistakes};

/// For `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    ended as asked
  1    failed; the last line on stderr says why
  2    a mistake in flags, environment or file; nothing was started
  3    token refused: the relay does not take it, or there is none to be had
  4    replaced: another agent with this device name has connected
  5    incompatible: relay and agent speak no common version of the protocol
  130  ended at once by a second signal, with work unfinished";

const FAILED: u8 = 1;
const CONFIGURATION: u8 = 2;
const TOKEN_REFUSED: u8 = 3;
const REPLACED: u8 = 4;
const INCOMPATIBLE: u8 = 5;

/// Says why on stderr, and gives the code for it.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let chain: Vec<String> = error
        .chain()
        .map(|cause| lines(&cause.to_string()))
        .collect();
    // Nobody is left to tell when stderr is closed.
    drop(writeln!(io::stderr(), "c2l: {}", chain.join(": ")));
    ExitCode::from(code(error))
}

/// Mistakes stand on lines of their own; within a line nothing is left raw.
fn lines(text: &str) -> String {
    let lines: Vec<_> = text
        .lines()
        .map(|line| escaped(line).into_owned())
        .collect();
    lines.join("\n")
}

fn code(error: &anyhow::Error) -> u8 {
    if error.is::<Mistakes>() {
        return CONFIGURATION;
    }
    match error.downcast_ref() {
        Some(Error::Config { .. } | Error::Roots { .. }) => CONFIGURATION,
        Some(Error::Token(_)) => TOKEN_REFUSED,
        Some(Error::Refused { refusal, .. }) => match refusal {
            Refusal::Unauthenticated | Refusal::Forbidden => TOKEN_REFUSED,
            Refusal::ProtocolVersion => INCOMPATIBLE,
        },
        Some(Error::Replaced) => REPLACED,
        None => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn each_reason_has_its_code() {
        let refused = |refusal| Error::Refused {
            refusal,
            message: String::new(),
        };
        for (error, expected) in [
            (refused(Refusal::Unauthenticated), 3),
            (refused(Refusal::ProtocolVersion), 5),
            (Error::Replaced, 4),
        ] {
            assert_eq!(code(&error.into()), expected);
        }
        let error = anyhow::Error::from(Error::Replaced);
        assert_eq!(
            code(&error.context("the agent ended")),
            4,
            "context hides no reason"
        );
        assert_eq!(code(&Mistakes(Vec::new()).into()), 2);
        let failed: anyhow::Result<()> = Err(io::Error::other("no")).context("cannot listen");
        assert_eq!(code(&failed.unwrap_err()), 1);
    }

    #[test]
    fn what_a_relay_says_is_printed_without_control_characters() {
        assert_eq!(lines("refused:\x1b[2J\nx\ry"), "refused:\\u{1b}[2J\nx\\ry");
    }
}

//! The user unit for systemd.

use anyhow::bail;

use super::Service;

/// Name of the file.
pub(crate) const UNIT: &str = "c2l-agent.service";

/// Its text. A refused token is tried again, slowly: the file or the command may give a better one later. What no retry
/// can mend is not: a mistake in the configuration (2), a newer agent of the same name (4), an incompatible relay (5).
///
/// # Errors
/// When systemd would not take the path of the program: it allows no quotes and no backslashes there, however escaped.
pub(crate) fn unit(service: &Service<'_>) -> anyhow::Result<String> {
    if service.program.contains(['"', '\'', '\\']) {
        bail!(
            "systemd starts no program whose path has quotes or backslashes: {}",
            service.program
        );
    }
    let program = escaped(service.program);
    // Variables are put into arguments, and not into the name of the program.
    let config = escaped(service.config).replace('$', "$$");
    let stop_within = service.stop_within.as_secs();
    Ok(format!(
        "\
# Written by `c2l agent install`; `c2l agent uninstall` takes it away.
[Unit]
Description=c2l agent: this machine's models, through a relay
StartLimitIntervalSec=0

[Service]
ExecStart=\"{program}\" agent --config \"{config}\"
Restart=on-failure
RestartSec=30
RestartPreventExitStatus=2 4 5
TimeoutStopSec={stop_within}

[Install]
WantedBy=default.target
"
    ))
}

/// Inside double quotes: backslashes and quotes are escaped, and percent signs are no specifiers.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::*;

    #[test]
    fn the_unit_reads_like_this() {
        let service = Service::new(
            Path::new("/home/ada/my bin/c2l"),
            Path::new("/home/ada/.config/c2l/agent-service.toml"),
            Duration::from_secs(30),
        );
        let unit = unit(&service.unwrap()).unwrap();
        for line in [
            "[Service]",
            "ExecStart=\"/home/ada/my bin/c2l\" agent --config \"/home/ada/.config/c2l/agent-service.toml\"",
            "Restart=on-failure",
            "TimeoutStopSec=40",
            "WantedBy=default.target",
        ] {
            assert!(unit.lines().any(|found| found == line), "{line} in\n{unit}");
        }
        assert!(!unit.contains("Environment"), "nothing secret has a place");
    }

    #[test]
    fn what_systemd_would_read_is_escaped() {
        let (program, config) = (Path::new("/a %d$e"), Path::new("/a \"b\\c%d$e"));
        let service = Service::new(program, config, Duration::ZERO).unwrap();
        let text = unit(&service).unwrap();
        let line = r#"ExecStart="/a %%d$e" agent --config "/a \"b\\c%%d$$e""#;
        assert!(text.lines().any(|found| found == line), "{text}");
        for refused in ["/a\"", "/it's", "/a\\b"] {
            let service = Service::new(Path::new(refused), config, Duration::ZERO).unwrap();
            assert!(unit(&service).is_err(), "{refused}");
        }
    }
}

//! `c2l agent install` and `uninstall`: an agent that the system starts for this user.
//!
//! Invariant: `--print` changes nothing and shows no secret. On Linux the rest is done here where systemd is; elsewhere
//! the files are written, and the one command that is left is told.

use std::{
    fmt::Write as _,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use directories::BaseDirs;

use crate::{
    files, output,
    service::{NAME, Service, launchd, systemd, windows},
    settings::{agent::ServiceSettings, general},
};

/// Begins the configuration file.
const HEADER: &str =
    "# Written by `c2l agent install`, which replaces it; `c2l agent uninstall` takes it away.\n";

/// Where everything lies, and what is run.
struct Layout {
    /// The configuration, for its owner alone.
    config: PathBuf,
    /// What the system reads.
    entry: PathBuf,
    /// Run after the files are written, and before they are taken away.
    to_start: &'static [&'static [&'static str]],
    to_stop: &'static [&'static [&'static str]],
    /// Run after they are taken away.
    at_last: &'static [&'static [&'static str]],
    /// Whether those are run by us.
    is_run: bool,
    /// What else there is to know.
    hint: &'static str,
}

fn layout() -> anyhow::Result<Layout> {
    let base = BaseDirs::new().context("this user has no home directory")?;
    let config = general::config_dir().context("this user has no configuration directory")?;
    let config = config.join("agent-service.toml");
    if cfg!(target_os = "macos") {
        return Ok(Layout {
            config,
            entry: base
                .home_dir()
                .join("Library/LaunchAgents")
                .join(launchd::PLIST),
            to_start: &[&[
                "launchctl",
                "load",
                "-w",
                "~/Library/LaunchAgents/c2l-agent.plist",
            ]],
            to_stop: &[&[
                "launchctl",
                "unload",
                "-w",
                "~/Library/LaunchAgents/c2l-agent.plist",
            ]],
            at_last: &[],
            is_run: false,
            hint: "The log is in ~/Library/Logs/c2l-agent.log.",
        });
    }
    if cfg!(windows) {
        let entry = config.with_file_name(windows::TASK);
        return Ok(Layout {
            config,
            entry,
            to_start: &[&[
                "schtasks",
                "/Create",
                "/TN",
                NAME,
                "/XML",
                "(the .xml above)",
            ]],
            to_stop: &[&["schtasks", "/Delete", "/TN", NAME]],
            at_last: &[],
            is_run: false,
            hint: "",
        });
    }
    Ok(Layout {
        config,
        entry: base.config_dir().join("systemd/user").join(systemd::UNIT),
        to_start: &[
            &["systemctl", "--user", "daemon-reload"],
            &["systemctl", "--user", "enable", "--now", systemd::UNIT],
            // One that ran already goes on with the new configuration.
            &["systemctl", "--user", "restart", systemd::UNIT],
        ],
        to_stop: &[&["systemctl", "--user", "disable", "--now", systemd::UNIT]],
        at_last: &[&["systemctl", "--user", "daemon-reload"]],
        is_run: true,
        hint: "`loginctl enable-linger` lets it run also while you are not logged in; \
               `journalctl --user -u c2l-agent` shows its log.",
    })
}

/// Writes the files and has the system start the agent; with `is_printed` shows what would be written and run.
///
/// # Errors
/// When a file cannot be written, or the system does not take it.
pub(crate) fn install(settings: &ServiceSettings, is_printed: bool) -> anyhow::Result<()> {
    let layout = layout()?;
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let service = Service::new(&program, &layout.config, settings.drain_grace)?;
    let entry = entry(&service)?;
    if is_printed {
        let config = format!("{HEADER}{}", settings.shown_file);
        let mut text = String::new();
        for (path, content) in [(&layout.config, &config), (&layout.entry, &entry)] {
            writeln!(text, "# {}\n{content}", path.display())?;
        }
        for command in layout.to_start {
            writeln!(text, "# run: {}", command.join(" "))?;
        }
        return print(&text);
    }
    let config = format!("{HEADER}{}", settings.file);
    for (path, content) in [(&layout.config, &config), (&layout.entry, &entry)] {
        write(path, content).with_context(|| format!("cannot write {}", path.display()))?;
        print(&format!("wrote {}\n", path.display()))?;
    }
    if carry_out(layout.to_start, layout.is_run)? {
        print(
            "The agent runs now, and each time you log in. `c2l agent status` tells how it is.\n",
        )?;
    }
    print(&format!("{}\n", layout.hint))
}

/// Has the system end the agent and takes the files away; the token's own file stays.
///
/// # Errors
/// When a file cannot be taken away.
pub(crate) fn uninstall(is_printed: bool) -> anyhow::Result<()> {
    let layout = layout()?;
    let files = [&layout.entry, &layout.config];
    if is_printed {
        let mut text = String::new();
        for command in layout.to_stop {
            writeln!(text, "# run: {}", command.join(" "))?;
        }
        for path in files {
            writeln!(text, "# remove: {}", path.display())?;
        }
        for command in layout.at_last {
            writeln!(text, "# run: {}", command.join(" "))?;
        }
        return print(&text);
    }
    if !files.iter().any(|path| path.exists()) {
        return print("The agent is not installed as a service.\n");
    }
    carry_out(layout.to_stop, layout.is_run)?;
    for path in files {
        match fs::remove_file(path) {
            Ok(()) => print(&format!("removed {}\n", path.display()))?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                let what = format!("cannot remove {}", path.display());
                return Err(error).context(what);
            }
        }
    }
    carry_out(layout.at_last, layout.is_run)?;
    Ok(())
}

fn entry(service: &Service<'_>) -> anyhow::Result<String> {
    if cfg!(target_os = "macos") {
        let base = BaseDirs::new().context("this user has no home directory")?;
        let log = base.home_dir().join("Library/Logs/c2l-agent.log");
        return Ok(launchd::plist(service, &log.to_string_lossy()));
    }
    if cfg!(windows) {
        return Ok(windows::task(service));
    }
    systemd::unit(service)
}

fn write(path: &Path, content: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        files::create_private_directory(folder)?;
    }
    files::replace_private_file(path, content.as_bytes())
}

/// Runs the commands, or says that they are to be run; true when all have been run.
fn carry_out(commands: &[&[&str]], is_run: bool) -> anyhow::Result<bool> {
    for (index, command) in commands.iter().enumerate() {
        let [program, arguments @ ..] = command else {
            continue;
        };
        let rest = || {
            let lines: Vec<_> = commands[index..]
                .iter()
                .map(|command| format!("  {}\n", command.join(" ")))
                .collect();
            lines.concat()
        };
        if !is_run {
            print(&format!("To finish, run:\n{}", rest()))?;
            return Ok(false);
        }
        match Command::new(program).args(arguments).status() {
            Ok(status) if status.success() => {}
            Ok(status) => bail!(
                "`{}` failed ({status}); when it works again, run:\n{}",
                command.join(" "),
                rest().trim_end()
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                print(&format!(
                    "There is no {program} here. Where there is, run:\n{}",
                    rest()
                ))?;
                return Ok(false);
            }
            Err(error) => return Err(error).with_context(|| format!("cannot run {program}")),
        }
    }
    Ok(true)
}

fn print(text: &str) -> anyhow::Result<()> {
    output::print(text).context("cannot print")
}

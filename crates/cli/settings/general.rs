//! The settings that every command has: which file, what is logged, and where things are kept.

use std::{ffi::OsStr, path::PathBuf, str::FromStr};

use directories::ProjectDirs;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use super::{
    ConfigFile, Environment, Flags, Setting, Table, Values,
    audit::{self, AuditSettings},
};

/// Settings of every command but `dev` and `doctor`.
pub(crate) static TABLE: Table = Table {
    section: "log",
    settings: &[CONFIG, FORMAT, LEVEL.or("info"), CORES],
};

/// The same for `dev`, whose terminal belongs to the block that it prints, and to a line for each request after that.
pub(crate) static DEV_TABLE: Table = Table {
    section: "log",
    settings: &[
        CONFIG,
        FORMAT,
        LEVEL.or("warn,c2l=info,c2l_relay::gateway::record=debug"),
        CORES,
    ],
};

/// The same for `doctor`, which says itself what goes wrong.
pub(crate) static DOCTOR_TABLE: Table = Table {
    section: "log",
    settings: &[CONFIG, FORMAT, LEVEL.or("error"), CORES],
};

const CONFIG: Setting = Setting::one(
    "config",
    "FILE",
    "Read settings from this TOML file; else from config.toml in the user's configuration directory, if it exists",
)
.not_in_file();

const FORMAT: Setting = Setting::one(
    "log-format",
    "text|json",
    "How log lines are written, on stderr",
)
.or("text");

const LEVEL: Setting = Setting::one(
    "log-level",
    "LEVEL",
    "What is logged: error, warn, info, debug, trace, or a list like warn,c2l_relay=debug; debug alone is c2l's own, warn,c2l=debug (dev: c2l's own info, and each request; doctor: error)",
);

const CORES: Setting = Setting::switch(
    "allow-core-dumps",
    "For developers: let a crash leave a core file, which holds every secret of the process, and debuggers in",
)
.not_in_file()
.rare();

/// The setting of every command that keeps something.
pub(crate) static DATA: Table = Table {
    section: "",
    settings: &[Setting::one(
        "data-dir",
        "DIR",
        "Where keys and the device's identity are kept",
    )
    .or_found("the user's data directory", data_dir)],
};

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("{other:?} is neither text nor json")),
        }
    }
}

/// What is logged, and how.
#[derive(Debug)]
pub(crate) struct LogSettings {
    pub(crate) format: LogFormat,
    pub(crate) filter: EnvFilter,
    /// Whether the filter names the events of the audit log.
    pub(crate) shows_audit: bool,
    /// The files that these go to.
    pub(crate) audit: Option<AuditSettings>,
}

pub(crate) fn read_log(values: &mut Values) -> LogSettings {
    LogSettings {
        format: values.get("log-format", str::parse),
        filter: values.get("log-level", filter),
        shows_audit: values.get("log-level", |text| {
            Ok(text.contains(c2l_relay::audit::TARGET))
        }),
        audit: audit::read(values),
    }
}

/// Whether a crash may leave a core file.
pub(crate) fn allows_core_dumps(values: &mut Values) -> bool {
    values.switch(CORES.name)
}

/// A bare `debug` is ours alone: the libraries' own would drown it. `trace` is everything.
fn filter(text: &str) -> Result<EnvFilter, String> {
    let is_bare = !text.contains(['=', ',']);
    if is_bare && text.parse::<LevelFilter>().is_err() {
        return Err(format!(
            "{text:?} is not a log level: error, warn, info, debug, trace, off, or a list like warn,c2l_relay=debug"
        ));
    }
    let text = if text.eq_ignore_ascii_case("debug") {
        "warn,c2l=debug"
    } else {
        text
    };
    EnvFilter::builder()
        .parse(text)
        .map_err(|error| format!("{text:?} is not a log level: {error}"))
}

pub(super) fn read_data_dir(values: &mut Values) -> Option<PathBuf> {
    let path = values.path("data-dir");
    if path.is_none() {
        values.mistake("--data-dir is missing, and this user has no data directory of their own");
    }
    path
}

/// The file to read: the one that was asked for, or the user's own where there is one.
pub(crate) fn config_file(flags: &Flags, environment: Environment<'_>) -> Option<ConfigFile> {
    let typed = flags.get(CONFIG.name).and_then(|texts| texts.first());
    let asked = typed.map(PathBuf::from).or_else(|| {
        environment(&CONFIG.variable())
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
    });
    let own = || {
        config_dir()
            .map(|folder| folder.join("config.toml"))
            .filter(|path| path.exists())
    };
    asked.or_else(own).map(|path| ConfigFile::load(&path))
}

/// Where this user's configuration is kept.
pub(crate) fn config_dir() -> Option<PathBuf> {
    directories().map(|directories| directories.config_dir().to_owned())
}

fn directories() -> Option<ProjectDirs> {
    ProjectDirs::from("", "", "c2l")
}

fn data_dir() -> Option<String> {
    directories()?.data_dir().to_str().map(ToOwned::to_owned)
}

/// What a device is called when nobody says: the name of the host, without what a device name may not have.
pub(super) fn host_name() -> Option<String> {
    Some(device_name_from(&gethostname::gethostname()))
}

fn device_name_from(host: &OsStr) -> String {
    let host = host.to_string_lossy();
    let name: String = host
        .chars()
        .map(|c| match c {
            'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | '_' | '-' => c,
            _ => '-',
        })
        .take(c2l_auth::DeviceName::MAX_BYTES)
        .collect();
    match name.trim_matches(['-', '.']) {
        "" => "device".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_level_that_is_none_is_a_mistake_and_a_bare_debug_is_ours_alone() {
        for text in ["verbose", "c2l", "debugg"] {
            assert!(filter(text).is_err(), "{text:?}");
        }
        for text in ["error", "info", "trace", "off", "h2=debug,c2l=trace"] {
            assert!(filter(text).is_ok(), "{text:?}");
        }
        let shown = filter("debug").unwrap().to_string();
        let mut directives: Vec<_> = shown.split(',').collect();
        directives.sort_unstable();
        assert_eq!(directives, ["c2l=debug", "warn"]);
    }

    #[test]
    fn any_host_name_becomes_a_device_name() {
        for (host, name) in [
            ("desk.home", "desk.home"),
            ("Ada’s Mac", "Ada-s-Mac"),
            ("", "device"),
            ("...", "device"),
            ("日本", "device"),
        ] {
            assert_eq!(device_name_from(OsStr::new(host)), name);
        }
        let long = device_name_from(OsStr::new(&"x".repeat(300)));
        assert!(c2l_auth::DeviceName::parse(&long).is_ok(), "{long}");
        let own = host_name().unwrap();
        assert!(c2l_auth::DeviceName::parse(&own).is_ok(), "{own}");
    }
}

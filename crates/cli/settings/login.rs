//! The settings of `c2l login` and `c2l logout` beside those that it shares with `c2l agent`.

use super::{Setting, Table, Values, agent, agent::WaySettings, general};
use crate::login::{Login, vault::Kept};

pub(crate) static TABLE: Table = Table {
    section: "login",
    settings: &[
        Setting::switch("open", "Also open the relay's page in this machine's browser"),
        Setting::one(
            "login-store",
            "auto|keyring|file",
            "Where the login's secrets are kept: in the system's keyring, in a file for this user alone, or in the keyring where there is one",
        )
        .or("auto"),
    ],
};

/// What `c2l login` is started with.
#[derive(Debug)]
pub(crate) struct LoginSettings {
    pub(crate) way: WaySettings,
    pub(crate) opens_browser: bool,
    /// `None` for wherever it is better.
    pub(crate) kept: Option<Kept>,
}

pub(crate) fn read(values: &mut Values) -> Option<LoginSettings> {
    let way = agent::read_way(values);
    let opens_browser = values.switch("open");
    let kept = values.get("login-store", kept);
    Some(LoginSettings {
        way: way?,
        opens_browser,
        kept,
    })
}

/// How `c2l logout` reaches the relay, if there is a login at all.
#[derive(Debug)]
pub(crate) struct LogoutSettings {
    pub(crate) way: Option<WaySettings>,
}

pub(crate) fn read_logout(values: &mut Values) -> Option<LogoutSettings> {
    let data_dir = general::read_data_dir(values)?;
    let is_said = values.is_said("relay");
    if !is_said && !Login::any(&data_dir) {
        return Some(LogoutSettings { way: None });
    }
    let way = agent::read_way(values)?;
    Some(LogoutSettings { way: Some(way) })
}

fn kept(text: &str) -> Result<Option<Kept>, String> {
    match text {
        "auto" => Ok(None),
        "keyring" => Ok(Some(Kept::InKeyring)),
        "file" => Ok(Some(Kept::InFile)),
        other => Err(format!("{other:?} is not auto, keyring or file")),
    }
}

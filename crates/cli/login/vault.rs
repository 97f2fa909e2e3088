//! The file of a login, and its secrets, which may lie in the system's keyring instead.
//!
//! Invariant: at every moment there is one whole record or none. It is synced to the disk before the write returns.

use std::{
    fmt,
    fs::{self, File},
    io::{self, ErrorKind},
    path::Path,
};

use c2l_auth::Secret;
use serde_json::{Value, json};

use super::{Place, keyring};
use crate::files;

/// No record is longer.
const MOST_BYTES: u64 = 64 * 1024;

/// Where the secrets of a login are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    InFile,
    InKeyring,
}

impl Kept {
    fn as_str(self) -> &'static str {
        match self {
            Self::InFile => "file",
            Self::InKeyring => "keyring",
        }
    }
}

/// What the file says, without the secrets.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) relay: String,
    pub(crate) device: String,
    pub(crate) kept: Kept,
}

/// What a login is worth.
#[derive(Clone)]
pub(crate) struct Secrets {
    /// Gives the next token.
    pub(crate) refresh: Secret,
    /// Proves to the relay that asking again is the same asking: written down before, and sent with, each refresh. A
    /// refresh whose answer was lost is repeated with it; somebody who copied the token alone cannot.
    pub(crate) attempt: Option<Secret>,
    /// The agent's token, and when it runs out, in seconds since 1970, and how long it holds as a whole.
    pub(crate) access: Option<(Secret, u64, u64)>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

impl Record {
    /// Reads the file.
    pub(super) fn read(file: &Path) -> io::Result<Self> {
        Self::parse(&whole(file)?).ok_or_else(|| damaged("not a login; remove it and log in again"))
    }

    fn parse(value: &Value) -> Option<Self> {
        Some(Self {
            relay: value["relay"].as_str()?.to_owned(),
            device: value["device"].as_str()?.to_owned(),
            kept: match value["kept"].as_str()? {
                "file" => Kept::InFile,
                "keyring" => Kept::InKeyring,
                _ => return None,
            },
        })
    }
}

/// Reads the login at this place. Blocks.
///
/// # Errors
/// [`ErrorKind::NotFound`] where there is none; what the disk or the keyring say.
pub(crate) fn load(place: &Place) -> io::Result<(Record, Secrets)> {
    let value = whole(&place.file)?;
    let record = Record::parse(&value).ok_or_else(|| damaged("not a login"))?;
    let secrets = match record.kept {
        Kept::InFile => Secrets::parse(&value["secrets"]),
        Kept::InKeyring => {
            let text = keyring::load(&place.account())?;
            let value = serde_json::from_str(text.expose()).unwrap_or_default();
            Secrets::parse(&value)
        }
    };
    let secrets = secrets.ok_or_else(|| damaged("its secrets cannot be read"))?;
    Ok((record, secrets))
}

/// Writes the login at this place, instead of one that may be there. Blocks; when it returns, it is on the disk.
///
/// # Errors
/// What the disk or the keyring say. What was there before is there still.
pub(crate) fn save(place: &Place, record: &Record, secrets: &Secrets) -> io::Result<()> {
    let mut value = json!({
        "relay": record.relay,
        "device": record.device,
        "kept": record.kept.as_str(),
    });
    match record.kept {
        Kept::InFile => value["secrets"] = secrets.to_json(),
        Kept::InKeyring => {
            let text = Secret::from(secrets.to_json().to_string());
            keyring::save(&place.account(), &text)?;
        }
    }
    if let Some(folder) = place.file.parent() {
        files::create_private_directory(folder)?;
    }
    files::replace_private_file(&place.file, format!("{value:#}\n").as_bytes())?;
    sync_folder(&place.file)
}

/// Takes away what is kept. Blocks.
///
/// # Errors
/// What the disk or the keyring say; the file goes whatever the keyring says.
pub(crate) fn forget(place: &Place) -> io::Result<()> {
    let kept = Record::read(&place.file).map(|record| record.kept);
    let forgotten = match kept {
        Ok(Kept::InKeyring) => keyring::forget(&place.account()),
        Ok(Kept::InFile) | Err(_) => Ok(()),
    };
    match fs::remove_file(&place.file) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    sync_folder(&place.file)?;
    forgotten
}

impl Secrets {
    fn parse(value: &Value) -> Option<Self> {
        let text = |name: &str| value[name].as_str().map(Secret::new);
        let number = |name: &str| value[name].as_u64();
        let access = text("access").zip(number("until")).zip(number("life"));
        Some(Self {
            refresh: text("refresh")?,
            attempt: text("attempt"),
            access: access.map(|((token, until), life)| (token, until, life)),
        })
    }

    fn to_json(&self) -> Value {
        let mut value = json!({ "refresh": self.refresh.expose() });
        if let Some(attempt) = &self.attempt {
            value["attempt"] = attempt.expose().into();
        }
        if let Some((token, until, life)) = &self.access {
            value["access"] = token.expose().into();
            value["until"] = (*until).into();
            value["life"] = (*life).into();
        }
        value
    }
}

fn whole(file: &Path) -> io::Result<Value> {
    let text = files::read_small(file, MOST_BYTES)?;
    serde_json::from_str(&text).map_err(|_| damaged("not a login; remove it and log in again"))
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why.to_owned())
}

/// A new name in a folder is on the disk only when the folder is.
fn sync_folder(file: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(folder) = file.parent() {
        File::open(folder)?.sync_all()?;
    }
    #[cfg(not(unix))]
    drop(file.parent().map(File::open));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::of(folder.path(), &"https://relay.example".parse().unwrap());
        assert_eq!(load(&place).unwrap_err().kind(), ErrorKind::NotFound);
        let record = Record {
            relay: "https://relay.example".to_owned(),
            device: "desk".to_owned(),
            kept: Kept::InFile,
        };
        let mut secrets = Secrets {
            refresh: Secret::new("r1"),
            attempt: None,
            access: Some((Secret::new("a.b.c"), 1_000, 900)),
        };
        save(&place, &record, &secrets).unwrap();
        secrets.refresh = Secret::new("r2");
        secrets.attempt = Some(Secret::new("again"));
        save(&place, &record, &secrets).unwrap();
        let (read, loaded) = load(&place).unwrap();
        assert_eq!((read.device.as_str(), read.kept), ("desk", Kept::InFile));
        assert_eq!(loaded.refresh, Secret::new("r2"));
        assert_eq!(loaded.attempt, Some(Secret::new("again")));
        assert_eq!(loaded.access, Some((Secret::new("a.b.c"), 1_000, 900)));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&place.file), 0o600);
            assert_eq!(mode(place.file.parent().unwrap()), 0o700);
        }
        assert!(!format!("{loaded:?}").contains("r2"));
        forget(&place).unwrap();
        assert_eq!(load(&place).unwrap_err().kind(), ErrorKind::NotFound);
        forget(&place).unwrap();
    }
}

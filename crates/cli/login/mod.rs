//! What this machine keeps of its login at a relay, and the token that comes from it.
//!
//! Invariant: what is kept is written down whole before anything is done with it, by one program at a time, and it is for
//! its owner alone. So a crash at any moment costs no login, and two programs never use a refresh token twice.
//!
//! 1. [`Login`] finds what is kept for a relay: a file of mode 0600 in the data directory.
//! 2. [`vault`] keeps the secrets of it, in the system's keyring where that was chosen, else in the file.
//! 3. [`oauth`] speaks with the relay: the device login of RFC 8628, the refreshing and revoking of RFC 6749 and 7009.
//! 4. [`source`] is the agent's source of tokens.

pub(crate) mod keyring;
pub(crate) mod oauth;
pub(crate) mod source;
pub(crate) mod vault;

use std::{
    fs::{self, File, TryLockError},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use c2l_auth::DeviceName;
use http::Uri;
use tokio::{task::spawn_blocking, time::sleep};

use crate::files;
use vault::Record;

/// Where logins lie in the data directory.
const FOLDER: &str = "logins";
/// Between two tries to be the one program.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The login at one relay, as far as it can be known without its secrets.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) relay: String,
    /// Whose token it gives.
    pub(crate) device: DeviceName,
    pub(crate) place: Place,
}

impl Login {
    /// What is kept for this relay, if anything is.
    pub(crate) fn find(data_dir: &Path, relay: &Uri) -> Option<Self> {
        let place = Place::of(data_dir, relay);
        let record = Record::read(&place.file).ok()?;
        Some(Self {
            relay: record.relay,
            device: DeviceName::parse(&record.device).ok()?,
            place,
        })
    }

    /// The one login that there is; `None` when there are several.
    pub(crate) fn only(data_dir: &Path) -> Option<Self> {
        let files = logins(data_dir);
        let [file] = files.as_slice() else {
            return None;
        };
        let relay = Record::read(file).ok()?.relay.parse().ok()?;
        Self::find(data_dir, &relay)
    }

    /// Its relay.
    pub(crate) fn only_relay(data_dir: &Path) -> Option<Uri> {
        Self::only(data_dir)?.relay.parse().ok()
    }

    /// Whether this machine is logged in anywhere.
    pub(crate) fn any(data_dir: &Path) -> bool {
        !logins(data_dir).is_empty()
    }
}

/// The files of all logins.
fn logins(data_dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data_dir.join(FOLDER)).into_iter().flatten();
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_login = |path: &PathBuf| path.extension().is_some_and(|end| end == "json");
    files.filter(is_login).collect()
}

/// Where the login at one relay lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: PathBuf,
}

impl Place {
    /// One file for each scheme, host and port.
    pub(crate) fn of(data_dir: &Path, relay: &Uri) -> Self {
        let mut name = String::new();
        for byte in spelled(relay).bytes() {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' => name.push(char::from(byte)),
                other => name.push_str(&format!("_{other:02x}")),
            }
        }
        let file = data_dir.join(FOLDER).join(format!("{name}.json"));
        Self { file }
    }

    /// What the keyring calls it.
    pub(crate) fn account(&self) -> String {
        let path = std::path::absolute(&self.file).unwrap_or_else(|_| self.file.clone());
        path.to_string_lossy().into_owned()
    }

    /// Waits until no other program is at it, and keeps others away until the guard is dropped. Dropping the future gives
    /// up.
    ///
    /// # Errors
    /// When the lock's file cannot be had.
    pub(crate) async fn lock(&self) -> io::Result<Arc<Locked>> {
        if let Some(folder) = self.file.parent() {
            files::create_private_directory(folder)?;
        }
        let path = self.file.with_extension("lock");
        let file = match files::create_private_file(&path, b"") {
            Ok(()) => File::open(&path)?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => File::open(&path)?,
            Err(error) => return Err(error),
        };
        loop {
            match file.try_lock() {
                Ok(()) => {
                    return Ok(Arc::new(Locked {
                        place: self.clone(),
                        _file: file,
                    }));
                }
                Err(TryLockError::WouldBlock) => sleep(LOOK_AGAIN).await,
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }
}

/// While this lives, no other program touches the login.
#[derive(Debug)]
pub(crate) struct Locked {
    place: Place,
    _file: File,
}

impl Locked {
    /// Does work that blocks. It is done also when the future is dropped, and others are kept away until it is: a write
    /// that came late would undo what they wrote.
    ///
    /// # Errors
    /// What the work says.
    pub(crate) async fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Place) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let locked = Arc::clone(self);
        let done = spawn_blocking(move || work(&locked.place)).await;
        done.map_err(io::Error::other)?
    }
}

/// An address as it is kept: in one spelling, without a slash at the end.
pub(crate) fn spelled(relay: &Uri) -> String {
    let scheme = relay.scheme_str().unwrap_or("https");
    let implied = if scheme == "http" { 80 } else { 443 };
    let host = relay.host().unwrap_or_default().to_ascii_lowercase();
    match relay.port_u16() {
        Some(port) if port != implied => format!("{scheme}://{host}:{port}"),
        _ => format!("{scheme}://{host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(relay: &str) -> Place {
        Place::of(Path::new("/d"), &relay.parse().unwrap())
    }

    #[test]
    fn each_relay_has_a_file_of_its_own_however_it_is_spelled() {
        let same = place("https://Relay.example:443/");
        assert_eq!(same, place("https://relay.example"));
        assert_eq!(
            same.file,
            Path::new("/d/logins/https_3a_2f_2frelay.example.json")
        );
        for other in [
            "http://relay.example",
            "https://relay.example:8443",
            "https://relay-example",
            "https://[::1]:8080",
        ] {
            assert_ne!(same, place(other));
        }
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_any_more_still_keeps_others_away() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::of(folder.path(), &"https://relay.example".parse().unwrap());
        let locked = place.lock().await.unwrap();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let (began, has_begun) = tokio::sync::oneshot::channel();
        let work = locked.on_disk(move |_| {
            began.send(()).unwrap_or_default();
            wait.recv().map_err(io::Error::other)
        });
        tokio::select! {
            _done = work => panic!("it was not told to end"),
            begun = has_begun => begun.unwrap(),
        }
        drop(locked);
        let limit = Duration::from_millis(200);
        let second = tokio::time::timeout(limit, place.lock()).await;
        assert!(second.is_err(), "it is still at it");
        go.send(()).unwrap();
        place.lock().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn one_program_at_a_time_is_at_a_login() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::of(folder.path(), &"https://relay.example".parse().unwrap());
        let held = place.lock().await.unwrap();
        let second = tokio::time::timeout(Duration::from_secs(60), place.lock()).await;
        assert!(second.is_err(), "it waits");
        drop(held);
        place.lock().await.unwrap();
    }
}

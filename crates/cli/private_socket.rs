//! A socket in the file system for the owner alone: how it gets to its place, and when it leaves it.
//!
//! Invariant: it lies in a directory of mode 0700, and has mode 0600 itself before it has its name. Whoever binds last has
//! the place; who had it before takes nothing away that is not its own.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process,
};

use tokio::net::UnixListener;

use crate::files;

/// The socket's name. Dropped, it goes, unless another lies there by then.
#[derive(Debug)]
pub(crate) struct Name {
    place: PathBuf,
    /// Device and inode: what lies there later may be another's.
    identity: (u64, u64),
}

impl Name {
    pub(crate) fn place(&self) -> &Path {
        &self.place
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if identity(&self.place).is_ok_and(|found| found == self.identity) {
            drop(fs::remove_file(&self.place));
        }
    }
}

/// Listens at this place, instead of one that was left behind, or of another process.
///
/// # Errors
/// When the directory is not ours, or the path is longer than a socket's may be.
pub(crate) fn listen(place: &Path) -> io::Result<(UnixListener, Name)> {
    let folder = place.parent().ok_or(ErrorKind::InvalidInput)?;
    files::create_private_directory(folder)?;
    // Also one that was there: this fails unless it is ours.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    // Made beside and moved over: there is no moment in which it lies there for others, nor one without a socket.
    let beside = place.with_extension(process::id().to_string());
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&beside)?;
    let moved = fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))
        .and_then(|()| identity(&beside))
        .and_then(|identity| fs::rename(&beside, place).map(|()| identity));
    if moved.is_err() {
        drop(fs::remove_file(&beside)); // the first error is the one to tell
    }
    let place = place.to_path_buf();
    moved.map(|identity| (listener, Name { place, identity }))
}

/// Whether this error of connecting means that nobody listens: nothing lies there, or what one left behind that has gone.
pub(crate) fn is_nobody(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::ConnectionRefused
    )
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ops_05_it_is_for_its_owner_alone_and_whoever_binds_last_has_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("run").join("one.sock");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        fs::create_dir(place.parent().unwrap()).unwrap();
        drop(std::os::unix::net::UnixListener::bind(&place).unwrap()); // the file stays
        let (_first, older) = listen(&place).unwrap();
        assert_eq!(
            (mode(&place), mode(place.parent().unwrap())),
            (0o600, 0o700)
        );
        let (_second, newer) = listen(&place).unwrap();
        drop(older);
        assert!(place.exists(), "it is the newer one's");
        drop(newer);
        let left = fs::read_dir(place.parent().unwrap()).unwrap().count();
        assert_eq!(left, 0);
    }
}

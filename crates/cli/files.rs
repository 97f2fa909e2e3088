//! Files that are for their owner alone.
//!
//! Invariant: what is made here is readable by its owner only, from its first byte on.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::Path,
};

/// What to say in the log when others may read `path`; nothing where it is private, or cannot be looked at.
#[cfg(unix)]
pub(crate) fn warning_if_shared(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let mode = fs::metadata(path).ok()?.mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        format!(
            "{} may be read by others on this machine (mode {mode:03o}): run `chmod 600` on it",
            path.display()
        )
    })
}

/// Elsewhere access is inherited from the user's profile, and there are no bits to judge.
#[cfg(not(unix))]
pub(crate) fn warning_if_shared(_path: &Path) -> Option<String> {
    None
}

/// Makes the directory and those above it, for their owner alone. One that is there stays as it is.
pub(crate) fn create_private_directory(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Writes a new file for its owner alone; [`io::ErrorKind::AlreadyExists`] where there is one.
pub(crate) fn create_private_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Writes a file for its owner alone, in place of the one that is there, if any: at no moment is half of it to be seen.
pub(crate) fn replace_private_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    create_private_file(&beside, content)?;
    fs::rename(&beside, path)
}

/// Reads a file of at most `most` bytes.
pub(crate) fn read_small(path: &Path, most: u64) -> io::Result<String> {
    let mut text = String::new();
    let length = File::open(path)?.take(most + 1).read_to_string(&mut text)?;
    if u64::try_from(length).is_ok_and(|length| length > most) {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("longer than {most} bytes"),
        ));
    }
    Ok(text)
}

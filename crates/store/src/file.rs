//! Opens the database's file, for its owner alone.
//!
//! Invariant: the file has mode 0600 before SQLite writes the first byte, and SQLite gives the files it makes beside
//! it the same. A file or directory that others could use is refused, not mended: what was read stays read.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io,
    path::Path,
};

use crate::StoreError;

/// The name of the database in the data directory. SQLite keeps two more beside it, ending in `-wal` and `-shm`.
pub const DATABASE_FILE_NAME: &str = "c2l.db";

/// Makes the directory and an empty file where there is none, and judges who may use them.
pub(crate) fn prepare(data_dir: &Path) -> Result<(), StoreError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(data_dir).map_err(failed(data_dir))?;
    let path = data_dir.join(DATABASE_FILE_NAME);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed(&path)(error));
        }
        Ok(_) | Err(_) => {} // an empty file is an empty database
    }
    judge(data_dir, &path)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    |source| StoreError::File { path, source }
}

#[cfg(unix)]
fn judge(data_dir: &Path, file: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::MetadataExt as _;
    let mode = |path: &Path| {
        let metadata = fs::metadata(path).map_err(failed(path))?;
        Ok::<_, StoreError>(metadata.mode() & 0o777)
    };
    let (file_mode, directory_mode) = (mode(file)?, mode(data_dir)?);
    if file_mode & 0o077 != 0 {
        return Err(StoreError::FilePermissions {
            path: file.to_owned(),
            mode: file_mode,
        });
    }
    // As for the signing key: one that others may list gives nothing away, one they may write to does.
    if directory_mode & 0o022 != 0 {
        return Err(StoreError::DirectoryPermissions {
            path: data_dir.to_owned(),
            mode: directory_mode,
        });
    }
    Ok(())
}

/// Elsewhere access is inherited from the user's profile, and there are no bits to judge.
#[cfg(not(unix))]
fn judge(_data_dir: &Path, file: &Path) -> Result<(), StoreError> {
    fs::metadata(file).map(drop).map_err(failed(file))
}

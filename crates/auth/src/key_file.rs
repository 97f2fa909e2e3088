//! Keeps the relay's secrets in its data directory: the signing key, and the pepper of keys for programs.
//!
//! Invariant: a secret is never on disk with more access than its owner's, and never half written: it is complete and
//! synced under a temporary name before it appears under its own. A secret that others could read is not used.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::KeyError;

/// The name of the key file in the data directory: an Ed25519 private key in PKCS#8 PEM form, as OpenSSL writes one.
pub const KEY_FILE_NAME: &str = "signing-key.pem";

/// Such a file has some 100 bytes. More than this is something else.
const MAX_FILE_BYTES: u64 = 16 * 1024;

/// One secret in a file of its own.
pub(crate) struct SecretFile {
    pub(crate) name: &'static str,
    /// What to say when it holds something else.
    pub(crate) damaged: fn(PathBuf) -> KeyError,
}

/// The signing key's.
pub(crate) const SIGNING_KEY: SecretFile = SecretFile {
    name: KEY_FILE_NAME,
    damaged: |path| KeyError::NotAKey { path },
};

impl SecretFile {
    /// Reads the file's text.
    pub(crate) fn load(&self, data_dir: &Path) -> Result<String, KeyError> {
        let path = data_dir.join(self.name);
        let mut text = String::new();
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, file) = opened.map_err(|source| KeyError::Read {
            path: path.clone(),
            source,
        })?;
        // Judged on the open file, not on the name, so what is judged is what is read.
        if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
            return Err((self.damaged)(path));
        }
        access::check_file(&path, &metadata)?;
        access::check_directory(data_dir)?;
        match file.take(MAX_FILE_BYTES).read_to_string(&mut text) {
            Ok(_) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err((self.damaged)(path)),
            Err(source) => Err(KeyError::Read { path, source }),
        }
    }

    /// Writes `text` as the file unless there is one by now: of two relays that start at once, the first wins and the
    /// other must [`Self::load`] what it wrote.
    pub(crate) fn create(&self, data_dir: &Path, text: &str) -> Result<(), KeyError> {
        create_directory(data_dir)?;
        access::check_directory(data_dir)?;
        let path = data_dir.join(self.name);
        let failed = |source| KeyError::Write {
            path: path.clone(),
            source,
        };
        let mut suffix = [0; 8];
        getrandom::fill(&mut suffix).map_err(|_| KeyError::Random)?;
        let temporary = data_dir.join(format!(
            ".{}.{:016x}",
            self.name,
            u64::from_be_bytes(suffix)
        ));
        let written = write_synced(&temporary, text).and_then(|()| publish(&temporary, &path));
        // After a rename it is gone already; any other failure leaves a file that only its owner can read.
        drop(fs::remove_file(&temporary));
        written.map_err(failed)?;
        sync_directory(data_dir).map_err(failed)
    }
}

/// `-----BEGIN …-----`, lines of 64, `-----END …-----`.
pub(crate) fn to_pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for (place, letter) in encoded.chars().enumerate() {
        if place > 0 && place % 64 == 0 {
            pem.push('\n');
        }
        pem.push(letter);
    }
    pem.push_str(&format!("\n-----END {label}-----\n"));
    pem
}

fn create_directory(path: &Path) -> Result<(), KeyError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    access::for_owner_only_directory(&mut builder);
    builder
        .create(path)
        .map_err(|source| KeyError::CreateDirectory {
            path: path.to_owned(),
            source,
        })
}

fn write_synced(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    access::for_owner_only_file(&mut options);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Gives the finished file its name. A link never replaces a file, which a rename would; some network and FAT file
/// systems have no links, and there a rename has to do.
fn publish(temporary: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(temporary, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(_) => fs::rename(temporary, path),
        Ok(()) => Ok(()),
    }
}

#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(()) // a directory cannot be opened as a file there
}

#[cfg(unix)]
mod access {
    //! Who else may read or write, in the permission bits.

    use std::fs::Metadata;
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};

    use super::{DirBuilder, KeyError, OpenOptions, Path, PathBuf, fs};

    const GROUP_AND_OTHERS: u32 = 0o077;
    const WRITE_OF_GROUP_AND_OTHERS: u32 = 0o022;

    pub(super) fn for_owner_only_directory(builder: &mut DirBuilder) {
        builder.mode(0o700);
    }

    pub(super) fn for_owner_only_file(options: &mut OpenOptions) {
        options.mode(0o600);
    }

    pub(super) fn check_file(path: &Path, metadata: &Metadata) -> Result<(), KeyError> {
        let mode = metadata.mode() & 0o777;
        if mode & GROUP_AND_OTHERS != 0 {
            return Err(KeyError::FilePermissions {
                path: path.to_owned(),
                mode,
            });
        }
        Ok(())
    }

    /// A directory that others may list is common (0755) and gives nothing away; one they may write to does.
    pub(super) fn check_directory(path: &Path) -> Result<(), KeyError> {
        // A bare file name has the empty parent, which means here.
        let path = if path.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            path.to_owned()
        };
        match fs::metadata(&path) {
            Ok(metadata) if metadata.mode() & WRITE_OF_GROUP_AND_OTHERS != 0 => {
                Err(KeyError::DirectoryPermissions {
                    path,
                    mode: metadata.mode() & 0o777,
                })
            }
            Ok(_) => Ok(()),
            Err(source) => Err(KeyError::Read { path, source }),
        }
    }
}

#[cfg(not(unix))]
mod access {
    //! Elsewhere access is inherited from the user's own profile directory, and there are no permission bits to judge.

    use std::fs::Metadata;

    use super::{DirBuilder, KeyError, OpenOptions, Path};

    pub(super) fn for_owner_only_directory(_builder: &mut DirBuilder) {}

    pub(super) fn for_owner_only_file(_options: &mut OpenOptions) {}

    pub(super) fn check_file(_path: &Path, _metadata: &Metadata) -> Result<(), KeyError> {
        Ok(())
    }

    pub(super) fn check_directory(_path: &Path) -> Result<(), KeyError> {
        Ok(())
    }
}

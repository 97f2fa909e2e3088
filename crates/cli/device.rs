//! The identity of this installation, toward relays.
//!
//! Invariant: made once, kept in the data directory, and never more than an identity: it opens nothing.

use std::{
    io::{self, ErrorKind},
    path::Path,
};

use anyhow::Context as _;

use crate::files;

const FILE_NAME: &str = "device-id";

/// The device's id, made on the first start.
pub(crate) fn load_or_create(data_dir: &Path) -> anyhow::Result<[u8; 16]> {
    let path = data_dir.join(FILE_NAME);
    let context = || format!("cannot keep the device's identity in {}", path.display());
    match load(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        other => return other.with_context(context),
    }
    let mut id = [0; 16];
    getrandom::fill(&mut id).context("the system gives no random bytes")?;
    let text: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    files::create_private_directory(data_dir).with_context(context)?;
    match files::create_private_file(&path, format!("{text}\n").as_bytes()) {
        Ok(()) => Ok(id),
        // Another start was first; what it wrote counts.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => load(&path).with_context(context),
        Err(error) => Err(error).with_context(context),
    }
}

fn load(path: &Path) -> io::Result<[u8; 16]> {
    let text = files::read_small(path, 64)?;
    parse(text.trim()).ok_or_else(|| {
        io::Error::new(
            ErrorKind::InvalidData,
            "not 32 hex digits; delete the file to get a new identity",
        )
    })
}

fn parse(text: &str) -> Option<[u8; 16]> {
    let is_id = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok()?;
    is_id.then(|| number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("a/b");
        let id = load_or_create(&data_dir).unwrap();
        assert_eq!(load_or_create(&data_dir).unwrap(), id);
        assert_ne!(id, [0; 16]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&data_dir), 0o700);
            assert_eq!(mode(&data_dir.join(FILE_NAME)), 0o600);
        }
        std::fs::write(data_dir.join(FILE_NAME), "+".repeat(32)).unwrap();
        assert!(load_or_create(&data_dir).is_err());
    }
}

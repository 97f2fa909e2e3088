//! The signing key on disk.

use std::fs;
use std::path::Path;

use super::support::*;
use crate::{KEY_FILE_NAME, KeyError, Kind, SigningKey, Verifier};

#[test]
fn the_key_outlives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("deep/data");
    let first = SigningKey::load_or_create(&data_dir).unwrap();
    let token = first.issue(&request(Kind::Api), now()).unwrap();
    let second = SigningKey::load_or_create(&data_dir).unwrap();
    assert_eq!(first.key_id(), second.key_id());
    assert_eq!(
        second.key_id(),
        SigningKey::load(&data_dir).unwrap().key_id()
    );
    let verifier = Verifier::new(vec![second.issuer()]).unwrap();
    assert!(verifier.verify(token.expose(), Kind::Api, now()).is_ok());
}

#[test]
fn nothing_but_the_key_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    SigningKey::load_or_create(dir.path()).unwrap();
    let names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, [KEY_FILE_NAME]);
}

#[test]
fn load_says_when_there_is_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let error = SigningKey::load(dir.path()).unwrap_err();
    assert!(
        matches!(&error, KeyError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    );
    assert!(
        error.to_string().starts_with("cannot read the secret file"),
        "{error}"
    );
    assert!(
        fs::read_dir(dir.path()).unwrap().next().is_none(),
        "and makes none"
    );
}

#[test]
fn relays_that_start_at_once_end_up_with_one_key() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let ids: Vec<String> = std::thread::scope(|scope| {
        let start = || {
            SigningKey::load_or_create(&data_dir)
                .unwrap()
                .key_id()
                .to_owned()
        };
        let starts: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap())
            .collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn a_damaged_key_is_reported_and_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    SigningKey::load_or_create(dir.path()).unwrap();
    let path = dir.path().join(KEY_FILE_NAME);
    let good = fs::read(&path).unwrap();
    let public = crate::key_file::to_pem("PUBLIC KEY", &any_signer().public_der).into_bytes();
    let huge = vec![b'x'; 100_000];
    for bad in [
        Vec::new(),
        good[..60].to_vec(),
        b"\xff\xfe".to_vec(),
        public,
        huge,
    ] {
        fs::write(&path, &bad).unwrap();
        let error = SigningKey::load_or_create(dir.path()).unwrap_err();
        assert!(matches!(error, KeyError::NotAKey { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bad);
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(
        SigningKey::load_or_create(dir.path()),
        Err(KeyError::NotAKey { .. } | KeyError::Read { .. })
    ));
}

#[test]
fn a_data_directory_that_cannot_be_made_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(SigningKey::load_or_create(&file).is_err());
    assert!(SigningKey::load_or_create(&file.join("data")).is_err());
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(unix)]
#[test]
fn ops_05_the_key_is_its_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    SigningKey::load_or_create(&data_dir).unwrap();
    assert_eq!(mode(&data_dir), 0o700);
    assert_eq!(mode(&data_dir.join(KEY_FILE_NAME)), 0o600);
}

#[cfg(unix)]
#[test]
fn ops_05_a_key_that_others_may_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    SigningKey::load_or_create(dir.path()).unwrap();
    let path = dir.path().join(KEY_FILE_NAME);
    for open in [0o640, 0o604, 0o644, 0o620, 0o602, 0o610] {
        set_mode(&path, open);
        let error = SigningKey::load_or_create(dir.path()).unwrap_err();
        assert!(
            matches!(error, KeyError::FilePermissions { mode, .. } if mode == open),
            "{error}"
        );
        assert!(error.to_string().contains("chmod 600"), "{error}");
        assert!(SigningKey::load(dir.path()).is_err());
    }
    for closed in [0o600, 0o400] {
        set_mode(&path, closed);
        SigningKey::load(dir.path()).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn ops_05_a_directory_where_others_may_write_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for open in [0o770, 0o702, 0o1777] {
        set_mode(dir.path(), open);
        let error = SigningKey::load_or_create(dir.path()).unwrap_err();
        assert!(
            matches!(error, KeyError::DirectoryPermissions { .. }),
            "{error}"
        );
        assert!(
            fs::read_dir(dir.path()).unwrap().next().is_none(),
            "no key is written there"
        );
    }
    set_mode(dir.path(), 0o755);
    SigningKey::load_or_create(dir.path()).unwrap();
    set_mode(dir.path(), 0o775);
    assert!(matches!(
        SigningKey::load(dir.path()),
        Err(KeyError::DirectoryPermissions { .. })
    ));
}

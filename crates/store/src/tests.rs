//! Through the public face, over real files: what was answered is there again, for its owner alone.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use c2l_auth::{Attempt, DeviceName, Family, KeyId, KeyMac, KeyRecord, Kind, Scope, Scopes};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

fn id(letter: char) -> KeyId {
    KeyId::parse(&letter.to_string().repeat(10)).unwrap()
}

fn key(letter: char, subject: &str) -> KeyRecord {
    KeyRecord {
        id: id(letter),
        mac: KeyMac::from_bytes([7; 32]),
        issuer: "c2l".into(),
        subject: subject.into(),
        kind: Kind::Api,
        scopes: Scopes::INFER.with(Scope::Manage),
        device: DeviceName::parse("desk").ok(),
        models: vec!["llama3*".to_owned(), "qwen3:0.6b".to_owned()].into(),
        requests_per_minute: 60.try_into().ok(),
        name: "a container".to_owned(),
        created_at: at(0),
        expires_at: Some(at(1000)),
        revoked_at: None,
    }
}

fn family(letter: char, subject: &str, device: &str) -> Family {
    Family {
        id: id(letter),
        issuer: "c2l".into(),
        subject: subject.into(),
        device: DeviceName::parse(device).unwrap(),
        generation: 1,
        attempt: None,
        created_at: at(0),
        used_at: at(0),
        expires_at: at(0) + DAY,
        revoked_at: None,
    }
}

fn not_before(subject: &str, device: Option<&str>, seconds: u64) -> NotBefore {
    NotBefore {
        issuer: "c2l".into(),
        subject: subject.into(),
        device: device.map(|name| DeviceName::parse(name).unwrap()),
        time: at(seconds),
    }
}

fn open(data_dir: &Path) -> Database {
    Database::open(data_dir).unwrap()
}

#[tokio::test]
async fn what_was_kept_is_there_again() {
    let folder = tempfile::tempdir().unwrap();
    let plain = KeyRecord {
        device: None,
        models: Vec::new().into(),
        requests_per_minute: None,
        expires_at: None,
        scopes: Scopes::NONE,
        kind: Kind::Agent,
        ..key('b', "bob")
    };
    let token = RevokedToken {
        issuer: "c2l".into(),
        subject: "ada".into(),
        token_id: "jti".into(),
        until: at(5),
    };
    let first = open(folder.path());
    first.add_key(key('a', "ada"), None).await.unwrap();
    first.add_key(plain.clone(), None).await.unwrap();
    first.note_used(vec![(id('a'), at(9))]).await.unwrap();
    first.revoke_token(token.clone()).await.unwrap();
    first.revoke_token(token.clone()).await.unwrap();
    first
        .set_not_before(not_before("ada", None, 3))
        .await
        .unwrap();
    first
        .set_not_before(not_before("ada", Some("desk"), 4))
        .await
        .unwrap();
    first
        .set_not_before(not_before("ada", Some("desk"), 2))
        .await
        .unwrap();
    drop(first);
    let mut again = open(folder.path()).load().await.unwrap();
    again.keys.sort_by(|a, b| a.record.id.cmp(&b.record.id));
    let stored = |record, last_used_at| StoredKey {
        record,
        last_used_at,
    };
    assert_eq!(
        again,
        Snapshot {
            keys: vec![stored(key('a', "ada"), Some(at(9))), stored(plain, None)],
            tokens: vec![token],
            not_before: vec![
                not_before("ada", None, 3),
                not_before("ada", Some("desk"), 4)
            ],
        }
    );
}

#[tokio::test]
async fn a_revoked_key_stays_revoked_and_an_end_only_comes_nearer() {
    let store = Database::in_memory().unwrap();
    store.add_key(key('a', "ada"), None).await.unwrap();
    store
        .revoke_keys(vec![id('a'), id('z')], at(1))
        .await
        .unwrap();
    store.revoke_keys(vec![id('a')], at(2)).await.unwrap();
    for (letter, old, end) in [('b', 'a', 500), ('c', 'b', 5000), ('d', 'c', 0)] {
        let replaces = Some((id(old), at(end)));
        store.add_key(key(letter, "ada"), replaces).await.unwrap();
    }
    assert!(
        store.add_key(key('d', "bob"), None).await.is_err(),
        "an id is one key's"
    );
    let mut keys = store.load().await.unwrap().keys;
    keys.sort_by(|a, b| a.record.id.cmp(&b.record.id));
    let ends: Vec<_> = keys
        .iter()
        .map(|key| key.record.expires_at.unwrap())
        .collect();
    assert_eq!(ends, [at(500), at(1000), at(0), at(1000)]);
    assert_eq!(keys[0].record.revoked_at, Some(at(1)));
    assert_eq!(keys[3].record.subject.as_ref(), "ada");
}

#[tokio::test]
async fn a_login_moves_on_once_and_ends_with_its_device_or_user() {
    let store = Database::in_memory().unwrap();
    for (letter, subject, device) in [
        ('a', "ada", "desk"),
        ('b', "ada", "lap"),
        ('c', "bob", "desk"),
        ('d', "bob", "lap"),
    ] {
        store
            .add_family(family(letter, subject, device))
            .await
            .unwrap();
    }
    let attempt = Attempt::of("a secret of the device's");
    let advance = |from| store.advance_family(id('a'), from, attempt, at(1), at(1) + DAY);
    assert!(advance(1).await.unwrap());
    assert!(!advance(1).await.unwrap(), "of two, one");
    let moved = store.family(id('a')).await.unwrap().unwrap();
    let expected = Family {
        generation: 2,
        attempt,
        used_at: at(1),
        expires_at: at(1) + DAY,
        ..family('a', "ada", "desk")
    };
    assert_eq!(moved, expected);
    assert_eq!(store.family(id('z')).await.unwrap(), None);

    store
        .set_not_before(not_before("ada", Some("desk"), 2))
        .await
        .unwrap();
    let of = async |subject: &str, now| {
        let found = store
            .families_of("c2l".into(), subject.into(), now)
            .await
            .unwrap();
        found
            .iter()
            .map(|family| family.id.to_string().remove(0))
            .collect::<String>()
    };
    assert_eq!(of("ada", at(2)).await, "b");
    assert_eq!(of("bob", at(2)).await, "cd");
    assert!(!advance(2).await.unwrap(), "a revoked one does not move");
    store
        .set_not_before(not_before("bob", None, 0))
        .await
        .unwrap();
    assert_eq!(of("bob", at(2)).await, "cd", "they began then, not before");
    store
        .set_not_before(not_before("bob", None, 3))
        .await
        .unwrap();
    assert_eq!(of("bob", at(2)).await, "");
    store.revoke_family(id('b'), at(4)).await.unwrap();
    assert_eq!(of("ada", at(4)).await, "");
    assert_eq!(
        store.family(id('b')).await.unwrap().unwrap().revoked_at,
        Some(at(4))
    );
}

#[tokio::test]
async fn what_cannot_matter_any_more_is_forgotten() {
    let store = Database::in_memory().unwrap();
    store.add_key(key('a', "ada"), None).await.unwrap();
    let endless = KeyRecord {
        expires_at: None,
        ..key('b', "ada")
    };
    store.add_key(endless.clone(), None).await.unwrap();
    store
        .add_key(
            KeyRecord {
                id: id('c'),
                ..endless
            },
            None,
        )
        .await
        .unwrap();
    store.revoke_keys(vec![id('c')], at(1)).await.unwrap();
    store.add_family(family('f', "ada", "desk")).await.unwrap();
    let token = RevokedToken {
        issuer: "c2l".into(),
        subject: "ada".into(),
        token_id: "jti".into(),
        until: at(5),
    };
    store.revoke_token(token).await.unwrap();
    store.purge(at(5)).await.unwrap();
    let known = store.load().await.unwrap();
    assert_eq!((known.keys.len(), known.tokens.len()), (3, 1));
    store.purge(at(6)).await.unwrap();
    assert_eq!(store.load().await.unwrap().tokens, []);
    store
        .set_not_before(not_before("ada", None, 0))
        .await
        .unwrap();
    store.purge(at(0) + 365 * DAY).await.unwrap();
    let left = store.load().await.unwrap();
    assert_eq!(left.not_before.len(), 1, "a token may live longer");
    store.purge(at(1) + 401 * DAY).await.unwrap();
    assert_eq!(store.load().await.unwrap().not_before, []);
    let left = left.keys;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].record.id, id('b'), "it has no end");
    assert_eq!(store.family(id('f')).await.unwrap(), None);
}

#[tokio::test]
async fn two_programs_have_it_open_at_once_and_see_each_others_writes() {
    let folder = tempfile::tempdir().unwrap();
    let (relay, command) = (open(folder.path()), open(folder.path()));
    let before = relay.version().await.unwrap();
    relay.add_key(key('a', "ada"), None).await.unwrap();
    assert_eq!(
        relay.version().await.unwrap(),
        before,
        "one's own are no news"
    );
    command.revoke_keys(vec![id('a')], at(1)).await.unwrap();
    assert_ne!(relay.version().await.unwrap(), before);
    let keys = relay.load().await.unwrap().keys;
    assert_eq!(keys[0].record.revoked_at, Some(at(1)));
    // Both write at once, many times: each waits for the other.
    let (letters, others) = ("bcdefghijklm", "nopqrstuvwxy");
    let write = async |store: &Database, letters: &str| {
        for letter in letters.chars() {
            store.add_key(key(letter, "ada"), None).await.unwrap();
        }
    };
    tokio::join!(write(&relay, letters), write(&command, others));
    assert_eq!(relay.load().await.unwrap().keys.len(), 25);
}

#[tokio::test]
async fn what_was_answered_outlives_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let running = open(folder.path());
    running.add_key(key('a', "ada"), None).await.unwrap();
    // As after a crash: the files as they are, the log of SQLite not folded in, nothing closed.
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "c2l.db-shm" {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    assert!(copy.path().join("c2l.db-wal").metadata().unwrap().len() > 0);
    let after = open(copy.path()).load().await.unwrap();
    assert_eq!(after.keys[0].record, key('a', "ada"));
}

#[test]
fn what_is_no_database_of_ours_is_said_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(DATABASE_FILE_NAME);
    drop(open(folder.path()));
    let refused = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        let error = Database::open(folder.path()).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), content, "{error}");
        error
    };
    let whole = fs::read(&path).unwrap();
    let text = b"not a database at all, but some text that is as long as a header would be; and a bit longer than that, too";
    let error = refused(text);
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(
        error.to_string().contains("restore it from a copy"),
        "{error}"
    );
    let mut torn = whole.clone();
    torn[4096..12288].fill(0xa5);
    let error = refused(&torn);
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    let mut newer = whole.clone();
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes()); // `user_version`
    let error = refused(&newer);
    assert!(
        matches!(
            error,
            StoreError::TooNew {
                found: 99,
                known: 2
            }
        ),
        "{error}"
    );
    let mut foreign = whole;
    foreign[68..72].fill(0); // `application_id`
    assert!(matches!(refused(&foreign), StoreError::Row(_)));
}

fn known(subject: &str, device: &str, label: Option<&str>, seconds: u64) -> KnownDevice {
    KnownDevice {
        issuer: "c2l".into(),
        subject: subject.into(),
        device: DeviceName::parse(device).unwrap(),
        label: label.map(str::to_owned),
        seen_at: at(seconds),
    }
}

async fn devices_of(database: &Database, subject: &str) -> Vec<KnownDevice> {
    let found = database.devices_of("c2l".into(), subject.into()).await;
    found.unwrap()
}

#[tokio::test]
async fn a_machine_keeps_its_label_until_it_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(folder.path());
    let seen = vec![known("ada", "desk", None, 5), known("bob", "desk", None, 7)];
    database.note_seen(seen).await.unwrap();
    let labelled = known("ada", "desk", Some("upstairs"), 3);
    database.label_device(labelled).await.unwrap();
    let later = vec![known("ada", "desk", Some("of no account"), 9)];
    database.note_seen(later).await.unwrap();
    drop(database);
    let database = open(folder.path());
    let wanted = [known("ada", "desk", Some("upstairs"), 9)];
    assert_eq!(devices_of(&database, "ada").await, wanted);
    assert_eq!(
        devices_of(&database, "bob").await,
        [known("bob", "desk", None, 7)]
    );
    let unlabelled = known("ada", "desk", None, 9);
    database.label_device(unlabelled.clone()).await.unwrap();
    assert_eq!(devices_of(&database, "ada").await, [unlabelled]);
    let desk = DeviceName::parse("desk").unwrap();
    let forgotten = database.forget_device("c2l".into(), "ada".into(), desk);
    forgotten.await.unwrap();
    assert_eq!(devices_of(&database, "ada").await, []);
    assert_eq!(devices_of(&database, "bob").await.len(), 1);
}

#[tokio::test]
async fn of_one_user_the_last_machines_are_kept_and_those_with_a_label_first() {
    let database = Database::in_memory().unwrap();
    database
        .label_device(known("ada", "oldest", Some("x"), 0))
        .await
        .unwrap();
    let many = (1..=300).map(|number| known("ada", &format!("m{number}"), None, number));
    database.note_seen(many.collect()).await.unwrap();
    let kept = devices_of(&database, "ada").await;
    assert_eq!(kept.len(), 256);
    let has = |name: &str| kept.iter().any(|device| device.device.as_str() == name);
    assert!(has("oldest") && has("m300") && has("m46") && !has("m45"));
}

#[tokio::test]
async fn a_machine_without_a_label_is_forgotten_when_it_was_long_away() {
    let database = Database::in_memory().unwrap();
    let seen = vec![known("ada", "old", None, 0), known("ada", "new", None, 60)];
    database.note_seen(seen).await.unwrap();
    let named = known("ada", "named", Some("x"), 0);
    database.label_device(named).await.unwrap();
    database.purge(at(30) + 90 * DAY).await.unwrap();
    let kept = devices_of(&database, "ada").await;
    let names: Vec<_> = kept.iter().map(|device| device.device.as_str()).collect();
    assert_eq!(names, ["named", "new"]);
}

#[cfg(unix)]
#[tokio::test]
async fn ops_05_the_database_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("deep/data");
    let running = open(&data_dir);
    running.add_key(key('a', "ada"), None).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data_dir), 0o700);
    let files: Vec<_> = fs::read_dir(&data_dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(
        files.len(),
        3,
        "the database, its log, its index: {files:?}"
    );
    for file in &files {
        assert_eq!(mode(file), 0o600, "{file:?}");
    }
    drop(running);
    let database = data_dir.join(DATABASE_FILE_NAME);
    for open in [0o640, 0o604, 0o666] {
        fs::set_permissions(&database, fs::Permissions::from_mode(open)).unwrap();
        let error = Database::open(&data_dir).unwrap_err();
        assert!(
            matches!(error, StoreError::FilePermissions { mode, .. } if mode == open),
            "{error}"
        );
    }
    fs::set_permissions(&database, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(&data_dir, fs::Permissions::from_mode(0o777)).unwrap();
    let error = Database::open(&data_dir).unwrap_err();
    assert!(
        matches!(error, StoreError::DirectoryPermissions { mode: 0o777, .. }),
        "{error}"
    );
}

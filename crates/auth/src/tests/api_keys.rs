//! Keys for programs and refresh tokens: made, checked, and never good for anybody else.

use std::fs;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::support::*;
use crate::{
    Attempt, AuthError, DeviceName, Family, Issuer, KEY_PREFIX, Key, KeyError, KeyRecord,
    KeyRequest, Kind, PEPPER_FILE_NAME, Pepper, PresentedKey, PresentedRefresh, Refresh, Scope,
    Scopes, Secret, SigningKey, Verifier,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn asked() -> KeyRequest {
    KeyRequest {
        name: "a container".to_owned(),
        kind: Kind::Api,
        scopes: Scopes::INFER,
        device: None,
        models: vec!["llama3*".to_owned()],
        requests_per_minute: 60.try_into().ok(),
        ttl: Some(DAY),
    }
}

fn made(pepper: &Pepper, request: &KeyRequest) -> (Secret, KeyRecord) {
    let ada = pepper.name_user("c2l", "ada").unwrap();
    pepper.make(&ada, request, now()).unwrap()
}

fn try_key(
    pepper: &Pepper,
    text: &str,
    record: Option<&KeyRecord>,
    now: SystemTime,
) -> Result<crate::KeyGrant, AuthError> {
    let key = PresentedKey::parse(text).ok_or(AuthError::MalformedKey)?;
    pepper.verify(&key, record, &[Kind::Api], now)
}

#[test]
fn a_key_grants_what_it_was_made_for() {
    let pepper = Pepper::ephemeral().unwrap();
    let (key, record) = made(&pepper, &asked());
    let text = key.expose();
    assert!(text.starts_with(KEY_PREFIX) && text.len() == 44, "{text}");
    assert!(text.starts_with(&format!("{KEY_PREFIX}{}", record.id)));
    let granted = try_key(&pepper, text, Some(&record), now()).unwrap();
    assert_eq!(granted.grant.user.subject(), "ada");
    assert_eq!(granted.grant.user.issuer(), "c2l");
    assert_eq!(granted.grant.kind, Kind::Api);
    assert_eq!(granted.grant.scopes, Scopes::INFER);
    assert_eq!(granted.grant.issued_at, Some(now()));
    assert_eq!(granted.grant.expires_at, now() + DAY);
    assert_eq!(granted.id, record.id);
    assert_eq!(*granted.models, ["llama3*".to_owned()]);
    assert_eq!(granted.requests_per_minute.map(u32::from), Some(60));
    let shown = format!("{key:?} {record:?} {pepper:?} {granted:?}");
    assert!(!shown.contains(&text[14..]), "{shown}");
}

#[test]
fn jwt_21_unknown_and_wrong_are_told_the_same_and_a_mistyped_key_says_so() {
    let pepper = Pepper::ephemeral().unwrap();
    let (key, record) = made(&pepper, &asked());
    let (other, _) = made(&pepper, &asked());
    let text = key.expose();
    let try_text = |text: &str, record| try_key(&pepper, text, record, now()).unwrap_err();
    assert_eq!(try_text(text, None), AuthError::BadKey);
    assert_eq!(try_text(other.expose(), Some(&record)), AuthError::BadKey);
    let mut changed = text.to_owned();
    let last = changed.pop().unwrap();
    changed.push(if last == 'a' { 'b' } else { 'a' });
    assert_eq!(try_text(&changed, Some(&record)), AuthError::MalformedKey);
    let hash: String = record
        .mac
        .as_bytes()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    for text in [hash.clone(), format!("{KEY_PREFIX}{hash}")] {
        assert_eq!(try_text(&text, Some(&record)), AuthError::MalformedKey);
    }
    let end = now() + DAY;
    let at = |time| try_key(&pepper, text, Some(&record), time).map(|_| ());
    assert_eq!(at(end - Duration::from_secs(1)), Ok(()));
    assert_eq!(
        at(end),
        Err(AuthError::KeyExpired),
        "without a leeway: the clock is one"
    );
}

#[test]
fn what_is_wrong_with_a_key_is_said_only_to_who_has_it() {
    let pepper = Pepper::ephemeral().unwrap();
    let (key, mut record) = made(&pepper, &asked());
    let (other, _) = made(&pepper, &asked());
    record.revoked_at = Some(now());
    let late = now() + 2 * DAY;
    for time in [now(), late] {
        let refused = try_key(&pepper, key.expose(), Some(&record), time);
        assert_eq!(refused, Err(AuthError::Revoked));
        let refused = try_key(&pepper, other.expose(), Some(&record), time);
        assert_eq!(refused, Err(AuthError::BadKey));
    }
    let agent = KeyRequest {
        kind: Kind::Agent,
        ..asked()
    };
    let (key, record) = made(&pepper, &agent);
    assert_eq!(
        try_key(&pepper, key.expose(), Some(&record), now()),
        Err(AuthError::WrongKind { found: Kind::Agent })
    );
}

#[test]
fn iso_11_a_record_that_was_moved_or_widened_opens_nothing() {
    let pepper = Pepper::ephemeral().unwrap();
    let (key, record) = made(&pepper, &asked());
    let changes: [fn(&mut KeyRecord); 7] = [
        |record| record.subject = "bob".into(),
        |record| record.issuer = "https://id.example".into(),
        |record| record.kind = Kind::Agent,
        |record| record.scopes = Scopes::INFER.with(Scope::Manage),
        |record| record.device = DeviceName::parse("desk").ok(),
        |record| record.models = Vec::new().into(),
        |record| record.models = vec!["llama3".to_owned(), "*".to_owned()].into(),
    ];
    for (place, change) in changes.into_iter().enumerate() {
        let mut changed = record.clone();
        change(&mut changed);
        let refused = try_key(&pepper, key.expose(), Some(&changed), now());
        assert_eq!(refused, Err(AuthError::BadKey), "change {place}");
    }
    let elsewhere = Pepper::ephemeral().unwrap();
    let refused = try_key(&elsewhere, key.expose(), Some(&record), now());
    assert_eq!(refused, Err(AuthError::BadKey), "another relay's");
    assert!(try_key(&pepper, key.expose(), Some(&record), now()).is_ok());
}

#[test]
fn a_key_never_manages_the_account_and_impossible_ones_are_not_made() {
    let pepper = Pepper::ephemeral().unwrap();
    let ada = pepper.name_user("c2l", "ada").unwrap();
    let changes: [fn(&mut KeyRequest); 9] = [
        |asked| asked.scopes = Scopes::INFER.with(Scope::Account),
        |asked| asked.kind = Kind::Web,
        |asked| asked.name = String::new(),
        |asked| asked.name = "x".repeat(65),
        |asked| asked.name = "a\nb".to_owned(),
        |asked| asked.models = vec![String::new()],
        |asked| asked.models = vec!["*".to_owned(); 65],
        |asked| asked.models = vec!["\u{1b}[2J".to_owned()],
        |asked| asked.ttl = Some(Duration::ZERO),
    ];
    for (place, change) in changes.into_iter().enumerate() {
        let mut asked = asked();
        change(&mut asked);
        let refused = pepper.make(&ada, &asked, now());
        assert!(
            matches!(refused, Err(KeyError::InvalidKey(_))),
            "change {place}"
        );
    }
    for (issuer, subject) in [("", "ada"), ("c2l", ""), ("c2l", "a\0b")] {
        assert!(
            pepper.name_user(issuer, subject).is_err(),
            "{issuer:?} {subject:?}"
        );
    }
}

#[test]
fn ops_05_the_pepper_outlives_a_restart_and_a_shared_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let (key, record) = made(&Pepper::load_or_create(&data_dir).unwrap(), &asked());
    let again = Pepper::load_or_create(&data_dir).unwrap();
    assert!(try_key(&again, key.expose(), Some(&record), now()).is_ok());
    let file = data_dir.join(PEPPER_FILE_NAME);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&data_dir), mode(&file)), (0o700, 0o600));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = Pepper::load_or_create(&data_dir);
        assert!(matches!(
            refused,
            Err(KeyError::FilePermissions { mode: 0o644, .. })
        ));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::write(&file, "c2hvcnQ\n").unwrap();
    let refused = Pepper::load_or_create(&data_dir);
    assert!(matches!(refused, Err(KeyError::NotASecret { .. })));
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        "c2hvcnQ\n",
        "never replaced"
    );
}

fn family(pepper: &Pepper) -> Family {
    Family {
        id: pepper.family_id().unwrap(),
        issuer: "c2l".into(),
        subject: "ada".into(),
        device: DeviceName::parse("desk").unwrap(),
        generation: 1,
        attempt: None,
        created_at: now(),
        used_at: now(),
        expires_at: now() + DAY,
        revoked_at: None,
    }
}

#[test]
fn a_refresh_token_is_good_once_and_an_old_one_betrays_a_copy() {
    let pepper = Pepper::ephemeral().unwrap();
    let mut family = family(&pepper);
    let first = pepper.refresh_token(&family);
    let try_token = |text: &str, family: &Family| {
        let token = PresentedRefresh::parse(text).expect("the shape of one");
        assert_eq!(*token.family(), family.id);
        pepper.verify_refresh(&token, Some(family), None, now())
    };
    let current = Refresh::Current {
        user: pepper.name_user("c2l", "ada").unwrap(),
        device: family.device.clone(),
    };
    assert_eq!(try_token(first.expose(), &family), Ok(current.clone()));
    family.generation = 2;
    let second = pepper.refresh_token(&family);
    assert_eq!(try_token(second.expose(), &family), Ok(current));
    assert_eq!(try_token(first.expose(), &family), Ok(Refresh::Reused));
    // One that was not given out yet is a guess, however right.
    family.generation = 1;
    assert_eq!(try_token(second.expose(), &family), Err(AuthError::BadKey));
    family.revoked_at = Some(now());
    assert_eq!(try_token(first.expose(), &family), Err(AuthError::Revoked));
    family.revoked_at = None;
    family.expires_at = now();
    assert_eq!(
        try_token(first.expose(), &family),
        Err(AuthError::KeyExpired)
    );
    family.subject = "bob".into();
    assert_eq!(try_token(first.expose(), &family), Err(AuthError::BadKey));
}

#[test]
fn an_old_refresh_token_is_answered_again_only_in_the_attempt_that_used_it() {
    let pepper = Pepper::ephemeral().unwrap();
    let mut family = family(&pepper);
    let first = pepper.refresh_token(&family);
    let attempt = |letter: &str| Attempt::of(&letter.repeat(22));
    let again = |text: &str, family: &Family, attempt| {
        let token = PresentedRefresh::parse(text).expect("the shape of one");
        pepper.verify_refresh(&token, Some(family), attempt, now())
    };
    family.generation = 2;
    family.attempt = attempt("a");
    let repeated = Refresh::Repeated {
        user: pepper.name_user("c2l", "ada").unwrap(),
        device: family.device.clone(),
    };
    assert_eq!(again(first.expose(), &family, attempt("a")), Ok(repeated));
    for other in [None, attempt("b"), Attempt::of("a"), Attempt::of("")] {
        let tried = again(first.expose(), &family, other);
        assert_eq!(tried, Ok(Refresh::Reused), "{other:?}");
    }
    family.generation = 3; // the answer arrived, and was used
    let late = again(first.expose(), &family, attempt("a"));
    assert_eq!(late, Ok(Refresh::Reused));
}

#[test]
fn a_device_token_is_its_users_whoever_vouched_for_them() {
    let key = SigningKey::ephemeral().unwrap();
    let pepper = Pepper::ephemeral().unwrap();
    let elsewhere =
        Issuer::new("https://id.example", "c2l").with_key(Key::hs256(&[7; 32]).unwrap());
    let verifier = Verifier::new(vec![key.issuer(), elsewhere]).unwrap();
    let desk = DeviceName::parse("desk").unwrap();
    let login = pepper.family_id().unwrap();
    let began = now() - DAY;
    let token = |issuer: &str| {
        let user = pepper.name_user(issuer, "ada").unwrap();
        let token = key
            .issue_for_login(&user, &desk, (&login, began), DAY, now())
            .unwrap();
        (user, verifier.verify(token.expose(), Kind::Agent, now()))
    };
    for issuer in ["c2l", "https://id.example"] {
        let (user, grant) = token(issuer);
        let grant = grant.unwrap();
        assert_eq!((grant.user, grant.device), (user, Some(desk.clone())));
        assert_eq!(grant.login, Some(login.clone()));
        // Whoever signs out means the login, however fresh its token.
        assert_eq!(grant.issued_at, Some(began));
    }
    let (_, of_nobody) = token("https://gone.example");
    assert_eq!(of_nobody, Err(AuthError::UnknownIssuer));
}

proptest! {
    #[test]
    fn only_the_very_key_is_good(letters in "[0-9A-Za-z]{24}") {
        let pepper = Pepper::ephemeral().unwrap();
        let (key, record) = made(&pepper, &asked());
        let guess = crate::opaque::assemble(KEY_PREFIX, &format!("{}{letters}", record.id));
        prop_assume!(guess != key.expose());
        prop_assert_eq!(try_key(&pepper, &guess, Some(&record), now()), Err(AuthError::BadKey));
    }

    #[test]
    fn any_refresh_token_is_read_without_panic(text in "(c2lr_)?[0-9A-Za-z]{0,50}") {
        prop_assert!(PresentedRefresh::parse(&text).is_none());
    }
}

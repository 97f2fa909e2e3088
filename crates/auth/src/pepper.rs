//! The relay's secret under which keys and refresh tokens are hashed, and the checking of them.
//!
//! Invariant: a hash is made over the secret part **and** over whose it is and what it allows, so a record that was
//! changed in the database opens nothing. An unknown id costs the same work as a wrong secret, and is told the same.
//! The pepper is not in the database: whoever has that alone can neither make nor try a key.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::{hkdf, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::api_key::{KeyGrant, KeyId, KeyMac, KeyRecord, KeyRequest, PresentedKey};
use crate::key_file::SecretFile;
use crate::opaque::{self, ID_LETTERS, SECRET_LETTERS};
use crate::{AuthError, Grant, KEY_PREFIX, KeyError, Kind, Scopes, Secret, UserId, claims};

/// The name of the pepper's file in the data directory: 32 random bytes as base64url.
pub const PEPPER_FILE_NAME: &str = "key-secret";

const SECRET_BYTES: usize = 32;

const FILE: SecretFile = SecretFile {
    name: PEPPER_FILE_NAME,
    damaged: |path| KeyError::NotASecret { path },
};

/// Makes and checks what is kept as a keyed hash. Made once, shared by reference.
pub struct Pepper {
    keys: hmac::Key,
    pub(crate) refresh: hmac::Key,
    /// What an unknown key is compared with.
    nobody: KeyRecord,
}

impl Pepper {
    /// The pepper in `data_dir`; on the first start, a new one: the file with mode 0600. Safe when two processes start
    /// at once: both end up with the same.
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when it cannot be read or written, is damaged, may be read by group or others, or lies in a
    /// directory where they may write. A pepper that is there is never replaced.
    pub fn load_or_create(data_dir: &Path) -> Result<Self, KeyError> {
        let text = match FILE.load(data_dir) {
            Err(KeyError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                FILE.create(
                    data_dir,
                    &format!("{}\n", URL_SAFE_NO_PAD.encode(random()?)),
                )?;
                FILE.load(data_dir)?
            }
            other => other?,
        };
        let secret = URL_SAFE_NO_PAD.decode(text.trim_end()).unwrap_or_default();
        if secret.len() != SECRET_BYTES {
            return Err((FILE.damaged)(data_dir.join(PEPPER_FILE_NAME)));
        }
        Self::new(&secret)
    }

    /// A new pepper that is kept nowhere: keys made with it end with the process. For tests and development.
    ///
    /// # Errors
    ///
    /// [`KeyError::Random`] when the system gives no random bytes.
    pub fn ephemeral() -> Result<Self, KeyError> {
        Self::new(&random()?)
    }

    fn new(secret: &[u8]) -> Result<Self, KeyError> {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"c2l").extract(secret);
        // A key of its own for each use, so that no hash of one can stand for another (RFC 5869 §3.2).
        let derive = |purpose: &[u8]| {
            let info = [purpose];
            let derived = root.expand(&info, hmac::HMAC_SHA256);
            derived.map(hmac::Key::from).map_err(|_| KeyError::Random)
        };
        Ok(Self {
            keys: derive(b"keys for programs, 1")?,
            refresh: derive(b"refresh tokens, 1")?,
            nobody: nobody()?,
        })
    }

    /// Makes a key of this user. The text is handed out once and kept nowhere; the record is for the database.
    ///
    /// # Errors
    ///
    /// [`KeyError::InvalidKey`] for a request that does not pass [`KeyRequest::check`], [`KeyError::Random`].
    pub fn make(
        &self,
        user: &UserId,
        request: &KeyRequest,
        now: SystemTime,
    ) -> Result<(Secret, KeyRecord), KeyError> {
        request.check()?;
        let id = opaque::random_letters(ID_LETTERS)?;
        let secret = opaque::random_letters(SECRET_LETTERS)?;
        let text = opaque::assemble(KEY_PREFIX, &format!("{id}{secret}"));
        let far = UNIX_EPOCH + claims::MAX_TIME;
        let mut record = KeyRecord {
            id: KeyId::parse(&id).map_err(|_| KeyError::Random)?,
            mac: KeyMac::from_bytes([0; 32]),
            issuer: user.issuer().into(),
            subject: user.subject().into(),
            kind: request.kind,
            scopes: request.scopes,
            device: request.device.clone(),
            models: request.models.clone().into(),
            requests_per_minute: request.requests_per_minute,
            name: request.name.clone(),
            created_at: now,
            // An end that no clock can count to is as far as one can.
            expires_at: request
                .ttl
                .map(|ttl| now.checked_add(ttl).map_or(far, |end| end.min(far))),
            revoked_at: None,
        };
        record.mac = self.mac_of(&record, &secret);
        Ok((Secret::new(text), record))
    }

    /// What the presented key allows at `now`, if `record` is what was kept of it and its kind is accepted here.
    ///
    /// # Errors
    ///
    /// [`AuthError::BadKey`] for a wrong secret, and, after the same work, where there is no record. That it was
    /// revoked, has expired or is of the wrong kind is said only of a key whose secret is right.
    pub fn verify(
        &self,
        key: &PresentedKey<'_>,
        record: Option<&KeyRecord>,
        kinds: &[Kind],
        now: SystemTime,
    ) -> Result<KeyGrant, AuthError> {
        let compared = record.unwrap_or(&self.nobody);
        let is_right = self.mac_of(compared, key.secret) == compared.mac;
        let Some(record) = record.filter(|record| is_right && record.id == key.id) else {
            return Err(AuthError::BadKey);
        };
        if record.revoked_at.is_some() {
            return Err(AuthError::Revoked);
        }
        if !record.is_live(now) {
            return Err(AuthError::KeyExpired);
        }
        if !kinds.contains(&record.kind) {
            return Err(AuthError::WrongKind { found: record.kind });
        }
        Ok(grant_of(record))
    }

    /// A user by name, for the operator: who holds the pepper could make any user's key.
    ///
    /// # Errors
    ///
    /// [`KeyError::InvalidUser`] when no token could have this `sub`, or the issuer has no name.
    pub fn name_user(&self, issuer: &str, subject: &str) -> Result<UserId, KeyError> {
        let is_valid = |text| claims::is_valid_subject(text);
        if !is_valid(subject) || !is_valid(issuer) {
            return Err(KeyError::InvalidUser);
        }
        Ok(UserId::new(issuer.into(), subject.into()))
    }

    fn mac_of(&self, record: &KeyRecord, secret: &str) -> KeyMac {
        let scopes = record.scopes.to_string();
        let device = record.device.as_ref().map_or("", |device| device.as_str());
        let fixed = [
            record.id.as_str(),
            secret,
            &record.issuer,
            &record.subject,
            record.kind.as_str(),
            &scopes,
            device,
        ];
        let models = record.models.iter().map(String::as_str);
        KeyMac::from_bytes(mac(&self.keys, fixed.into_iter().chain(models)))
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(redacted)")
    }
}

/// The hash over these texts, each with its length before it: no two lists are the same bytes.
pub(crate) fn mac<'a>(key: &hmac::Key, texts: impl Iterator<Item = &'a str>) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    for text in texts {
        context.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(text.as_bytes());
    }
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(context.sign().as_ref()) {
        *to = *from;
    }
    bytes
}

fn grant_of(record: &KeyRecord) -> KeyGrant {
    let user = UserId::new(Arc::clone(&record.issuer), Arc::clone(&record.subject));
    let far = UNIX_EPOCH + claims::MAX_TIME;
    KeyGrant {
        grant: Grant {
            user,
            kind: record.kind,
            scopes: record.scopes,
            expires_at: record.expires_at.map_or(far, |end| end.min(far)),
            issued_at: Some(record.created_at),
            token_id: None,
            device: record.device.clone(),
            login: None,
        },
        id: record.id.clone(),
        models: Arc::clone(&record.models),
        requests_per_minute: record.requests_per_minute,
    }
}

/// As long as an honest record, so that hashing it takes as long. Its hash is random: nothing gives it.
fn nobody() -> Result<KeyRecord, KeyError> {
    let id = opaque::random_letters(ID_LETTERS)?;
    Ok(KeyRecord {
        id: KeyId::parse(&id).map_err(|_| KeyError::Random)?,
        mac: KeyMac::from_bytes(random()?),
        issuer: "c2l".into(),
        subject: "nobody".into(),
        kind: Kind::Api,
        scopes: Scopes::INFER,
        device: None,
        models: Vec::new().into(),
        requests_per_minute: None,
        name: String::new(),
        created_at: UNIX_EPOCH,
        expires_at: None,
        revoked_at: None,
    })
}

fn random() -> Result<[u8; SECRET_BYTES], KeyError> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(|_| KeyError::Random)?;
    Ok(bytes)
}

//! The relay's own key, and the tokens made with it.
//!
//! Invariant: the private key leaves this type only as its own file. All relays issue under the same name, so it is the
//! key alone, and its id in the header, that keeps their tokens apart.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use crate::claims::{self, MAX_LIFETIME};
use crate::key_file::SIGNING_KEY;
use crate::{DeviceName, Issuer, Key, KeyError, KeyId, Kind, Scopes, Secret, UserId, key_file};

/// What the relay's own tokens say as `iss`.
pub const OWN_ISSUER: &str = "c2l";

/// What the relay's own tokens say as `aud`, and the audience to ask other issuers for.
pub const OWN_AUDIENCE: &str = "c2l";

/// The Ed25519 key with which one relay (or one group of relays that share it) signs its tokens.
pub struct SigningKey {
    id: String,
    encoding: EncodingKey,
    public_key: Vec<u8>,
}

impl SigningKey {
    /// The key in `data_dir`; on the first start, a new one: the file with mode 0600, and the directory, where it has
    /// to be made, with mode 0700. Safe when two processes start at once: both end up with the same key.
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    ///
    /// As [`Self::load`], and when directory or file cannot be written. A key that is there is never replaced.
    pub fn load_or_create(data_dir: &Path) -> Result<Self, KeyError> {
        match Self::load(data_dir) {
            Err(KeyError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                SIGNING_KEY.create(data_dir, &generate()?)?;
                Self::load(data_dir)
            }
            other => other,
        }
    }

    /// The key in `data_dir`, which must be there. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when it cannot be read, is no Ed25519 key, may be read by group or others, or lies in a directory
    /// where they may write.
    pub fn load(data_dir: &Path) -> Result<Self, KeyError> {
        let text = SIGNING_KEY.load(data_dir)?;
        Self::from_pem(&text).ok_or_else(|| (SIGNING_KEY.damaged)(data_dir.join(SIGNING_KEY.name)))
    }

    /// A new key that is kept nowhere: tokens made with it end with the process. For tests and development.
    ///
    /// # Errors
    ///
    /// [`KeyError::Random`] when the system gives no random bytes.
    pub fn ephemeral() -> Result<Self, KeyError> {
        Self::from_pem(&generate()?).ok_or(KeyError::Random)
    }

    fn from_pem(text: &str) -> Option<Self> {
        let encoding = EncodingKey::from_ed_pem(text.as_bytes()).ok()?;
        let pair = Ed25519KeyPair::from_pkcs8(encoding.as_bytes()).ok()?;
        let public_key = pair.public_key().as_ref().to_vec();
        Some(Self {
            id: thumbprint(&public_key),
            encoding,
            public_key,
        })
    }

    /// The key's id: its RFC 7638 thumbprint, so the same key has the same id everywhere. It is public.
    pub fn key_id(&self) -> &str {
        &self.id
    }

    /// This relay as an issuer, for its own [`Verifier`](crate::Verifier).
    pub fn issuer(&self) -> Issuer {
        let own = Issuer {
            is_own: true,
            ..Issuer::new(OWN_ISSUER, OWN_AUDIENCE)
        };
        own.with_key(Key::own(&self.id, &self.public_key))
    }

    /// Makes a token for what `request` asks, valid from `now` on.
    ///
    /// # Errors
    ///
    /// [`KeyError::InvalidUser`] or [`KeyError::InvalidLifetime`] for a request that no verifier would accept;
    /// otherwise [`KeyError::Random`], [`KeyError::Clock`] or [`KeyError::Sign`].
    pub fn issue(&self, request: &TokenRequest, now: SystemTime) -> Result<Secret, KeyError> {
        self.sign(request, None, None, now)
    }

    /// Makes an agent's token for one device login of a user whom the verifier knows, whoever vouched for them. `login`
    /// is its id, and when it began.
    ///
    /// # Errors
    ///
    /// As [`Self::issue`].
    pub fn issue_for_login(
        &self,
        user: &UserId,
        device: &DeviceName,
        login: (&KeyId, SystemTime),
        ttl: Duration,
        now: SystemTime,
    ) -> Result<Secret, KeyError> {
        let request = TokenRequest {
            user: user.subject().to_owned(),
            kind: Kind::Agent,
            scopes: Scopes::NONE,
            ttl,
            device: Some(device.clone()),
        };
        self.sign(&request, issuer_of(user), Some(login), now)
    }

    /// Makes the token of a browser in which such a user has signed in. `login` is the id of that, and when it was: the
    /// tokens that follow one another in one browser have it in common, and are revoked together by it.
    ///
    /// # Errors
    ///
    /// As [`Self::issue`].
    pub fn issue_for_browser(
        &self,
        user: &UserId,
        login: (&KeyId, SystemTime),
        ttl: Duration,
        now: SystemTime,
    ) -> Result<Secret, KeyError> {
        let request = TokenRequest {
            user: user.subject().to_owned(),
            kind: Kind::Web,
            scopes: Scopes::INFER,
            ttl,
            device: None,
        };
        self.sign(&request, issuer_of(user), Some(login), now)
    }

    fn sign(
        &self,
        request: &TokenRequest,
        user_issuer: Option<&str>,
        login: Option<(&KeyId, SystemTime)>,
        now: SystemTime,
    ) -> Result<Secret, KeyError> {
        if !claims::is_valid_subject(&request.user) {
            return Err(KeyError::InvalidUser);
        }
        if request.ttl < Duration::from_secs(1) || request.ttl > MAX_LIFETIME {
            return Err(KeyError::InvalidLifetime);
        }
        let now = claims::since_epoch(now);
        let issued = now.as_secs();
        if issued == 0 {
            return Err(KeyError::Clock);
        }
        let mut token_id = [0; 16];
        getrandom::fill(&mut token_id).map_err(|_| KeyError::Random)?;
        let claims = OwnClaims {
            iss: OWN_ISSUER,
            aud: OWN_AUDIENCE,
            sub: &request.user,
            iat: seconds(now),
            nbf: issued,
            exp: issued.saturating_add(request.ttl.as_secs()),
            jti: URL_SAFE_NO_PAD.encode(token_id),
            c2l_kind: request.kind.as_str(),
            scope: request.scopes.to_string(),
            c2l_device: request.device.as_ref().map(DeviceName::as_str),
            c2l_user_issuer: user_issuer,
            c2l_login: login.map(|(id, _)| id.as_str()),
            c2l_login_at: login.map(|(_, began)| seconds(claims::since_epoch(began))),
        };
        let header = Header {
            kid: Some(self.id.clone()),
            ..Header::new(Algorithm::EdDSA)
        };
        jsonwebtoken::encode(&header, &claims, &self.encoding)
            .map(Secret::from)
            .map_err(KeyError::Sign)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Who vouches for this user, where that is not the relay itself.
fn issuer_of(user: &UserId) -> Option<&str> {
    Some(user.issuer()).filter(|issuer| *issuer != OWN_ISSUER)
}

/// What a token shall say.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// Whose token: `sub`, 1 to [`MAX_SUBJECT_BYTES`](crate::MAX_SUBJECT_BYTES) bytes without control characters.
    pub user: String,
    /// What it may be used for.
    pub kind: Kind,
    /// What it allows there.
    pub scopes: Scopes,
    /// How long it is valid: from one second to [`MAX_LIFETIME`]; fractions of a second are dropped.
    pub ttl: Duration,
    /// The one device it is bound to, if any.
    pub device: Option<DeviceName>,
}

/// The claims of our own tokens. The names of ours are those of [`KIND_CLAIM`](crate::KIND_CLAIM) and its siblings.
#[derive(Serialize)]
struct OwnClaims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    /// To the millisecond (RFC 7519 §2 allows it): whether a token is older than a sign-out must be plain.
    iat: f64,
    nbf: u64,
    exp: u64,
    jti: String,
    c2l_kind: &'a str,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    c2l_device: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    c2l_user_issuer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    c2l_login: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    c2l_login_at: Option<f64>,
}

/// As a NumericDate, to the millisecond.
fn seconds(since: Duration) -> f64 {
    f64::from(since.subsec_millis()).mul_add(1e-3, since.as_secs() as f64)
}

/// A new private key as the text of its file. Version 1 of PKCS#8, which OpenSSL's tools read too.
fn generate() -> Result<String, KeyError> {
    let document = Ed25519KeyPair::generate()
        .and_then(|pair| pair.to_pkcs8v1())
        .map_err(|_| KeyError::Random)?;
    Ok(key_file::to_pem("PRIVATE KEY", document.as_ref()))
}

/// RFC 7638 §3 with the members of RFC 8037 §2, in the order and spelling that they fix.
fn thumbprint(public_key: &[u8]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public_key);
    let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, jwk.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_id_is_the_published_thumbprint() {
        // RFC 8037 appendix A.3.
        let x = URL_SAFE_NO_PAD
            .decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
            .unwrap();
        assert_eq!(
            thumbprint(&x),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }
}

//! The claims we read, their types and their limits.
//!
//! Invariant: a claim that is there has the right type, or the token is refused. "Skip what does not parse" is how an
//! `exp` written as text came to mean "never expires" elsewhere.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::json::Object;
use crate::{AuthError, DeviceName, KeyId, Kind, Mapping, Scopes};

/// How far the issuer's clock and ours may differ: `exp` counts this much longer, `nbf` and `iat` this much earlier.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// The longest time for which a token may be valid. Whatever needs to live longer needs to be revocable instead.
pub const MAX_LIFETIME: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// The longest user name (`sub`), in bytes.
pub const MAX_SUBJECT_BYTES: usize = 256;

/// The longest token id (`jti`), in bytes.
pub const MAX_TOKEN_ID_BYTES: usize = 256;

/// The claim that says what a token is for: `agent`, `api` or `web`, see [`Kind`].
pub const KIND_CLAIM: &str = "c2l_kind";

/// The claim that lists what a token allows, as words separated by spaces (RFC 8693 §4.2), see [`Scopes`].
pub const SCOPE_CLAIM: &str = "scope";

/// The claim that binds a token to one device, see [`DeviceName`].
pub const DEVICE_CLAIM: &str = "c2l_device";

/// The claim of the relay's own tokens that names the issuer of the user, where that is another one: the relay gives a
/// device a token for somebody who was signed in elsewhere. Nobody else's token is asked for it.
pub const USER_ISSUER_CLAIM: &str = "c2l_user_issuer";

/// The claim of the relay's own tokens that names the device login that a token comes from; it ends with that login.
pub const LOGIN_CLAIM: &str = "c2l_login";

/// The claim of such a token that says when its login began. Whoever ends all that is from before a time means the login,
/// however fresh its token.
pub const LOGIN_TIME_CLAIM: &str = "c2l_login_at";

/// The last second of the year 9999. Later times are mistakes (milliseconds, mostly), and no sum with one can overflow.
pub(crate) const MAX_TIME: Duration = Duration::from_secs(253_402_300_799);

/// What a token claims, in our types. Nothing about it depends on when it is looked at.
#[derive(Debug, Clone)]
pub(crate) struct Claims {
    pub(crate) subject: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) scopes: Scopes,
    pub(crate) device: Option<DeviceName>,
    pub(crate) token_id: Option<Arc<str>>,
    pub(crate) user_issuer: Option<Arc<str>>,
    pub(crate) login: Option<KeyId>,
    login_began: Option<Duration>,
    expires: Duration,
    not_before: Option<Duration>,
    issued: Option<Duration>,
    max_lifetime: Duration,
}

impl Claims {
    pub(crate) fn read(payload: &Object, mapping: &Mapping) -> Result<Self, AuthError> {
        check_audience_type(payload)?;
        Ok(Self {
            subject: mapping.user(payload)?.into(),
            kind: mapping.kind(payload)?,
            scopes: mapping.scopes(payload)?,
            device: parsed(payload, DEVICE_CLAIM, |name| DeviceName::parse(name).ok())?,
            token_id: parsed(payload, "jti", |id| {
                is_plain(id, MAX_TOKEN_ID_BYTES).then(|| id.into())
            })?,
            user_issuer: parsed(payload, USER_ISSUER_CLAIM, |name| {
                is_plain(name, MAX_SUBJECT_BYTES).then(|| name.into())
            })?,
            login: parsed(payload, LOGIN_CLAIM, |id| KeyId::parse(id).ok())?,
            login_began: time(payload, LOGIN_TIME_CLAIM)?,
            expires: time(payload, "exp")?.ok_or(AuthError::MissingClaim("exp"))?,
            not_before: time(payload, "nbf")?,
            issued: time(payload, "iat")?,
            max_lifetime: mapping.max_lifetime,
        })
    }

    /// The time after which the token is no longer valid, without leeway.
    pub(crate) fn expires_at(&self) -> SystemTime {
        UNIX_EPOCH + self.expires
    }

    /// When it was made, where it says so; of a login's token, when the login was.
    pub(crate) fn issued_at(&self) -> Option<SystemTime> {
        let began = self.login_began.filter(|_| self.login.is_some());
        began.or(self.issued).map(|issued| UNIX_EPOCH + issued)
    }

    /// Whether the token is in force at `now`, give or take [`LEEWAY`].
    ///
    /// The lifetime counts from `now`, and from `iat` where there is one: either way no token is good for longer.
    pub(crate) fn check_times(&self, now: SystemTime) -> Result<(), AuthError> {
        let now = since_epoch(now);
        let latest_start = self.not_before.max(self.issued).unwrap_or_default();
        if now >= self.expires + LEEWAY {
            return Err(AuthError::Expired);
        }
        if latest_start > now + LEEWAY {
            return Err(AuthError::NotYetValid);
        }
        let from_issue = self
            .issued
            .map_or(Duration::ZERO, |issued| self.expires.saturating_sub(issued));
        if from_issue > self.max_lifetime || self.expires > now + LEEWAY + self.max_lifetime {
            return Err(AuthError::LifetimeTooLong);
        }
        Ok(())
    }
}

/// The issuer that a payload names: the one claim read before it is known whose rules apply.
pub(crate) fn issuer(payload: &Object) -> Result<&str, AuthError> {
    text(payload, "iss")?.ok_or(AuthError::MissingClaim("iss"))
}

/// Whether a text can be the name of a user.
pub(crate) fn is_valid_subject(subject: &str) -> bool {
    !subject.is_empty() && is_plain(subject, MAX_SUBJECT_BYTES)
}

/// The time since 1970; what is earlier counts as 1970, what is later than [`MAX_TIME`] as that.
pub(crate) fn since_epoch(now: SystemTime) -> Duration {
    now.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .min(MAX_TIME)
}

fn is_plain(text: &str, max_bytes: usize) -> bool {
    text.len() <= max_bytes && !text.chars().any(char::is_control)
}

/// One text or a list of texts (RFC 7519 §4.1.3). Whether it names us is decided together with the signature.
fn check_audience_type(payload: &Object) -> Result<(), AuthError> {
    match payload.get("aud") {
        None => Err(AuthError::MissingClaim("aud")),
        Some(Value::String(_)) => Ok(()),
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => Ok(()),
        Some(_) => Err(AuthError::MalformedClaim("aud")),
    }
}

fn text<'a>(payload: &'a Object, name: &'static str) -> Result<Option<&'a str>, AuthError> {
    match payload.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(AuthError::MalformedClaim(name)),
    }
}

fn parsed<T>(
    payload: &Object,
    name: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, AuthError> {
    let Some(text) = text(payload, name)? else {
        return Ok(None);
    };
    parse(text).map(Some).ok_or(AuthError::MalformedClaim(name))
}

/// Seconds since 1970, with or without a fraction (RFC 7519 §2, "NumericDate").
fn time(payload: &Object, name: &'static str) -> Result<Option<Duration>, AuthError> {
    let Some(value) = payload.get(name) else {
        return Ok(None);
    };
    let time = match (value.as_u64(), value.as_f64()) {
        (Some(seconds), _) => Some(Duration::from_secs(seconds)),
        (None, Some(seconds)) => Duration::try_from_secs_f64(seconds).ok(),
        (None, None) => None,
    };
    match time {
        Some(time) if time <= MAX_TIME => Ok(Some(time)),
        _ => Err(AuthError::MalformedClaim(name)),
    }
}

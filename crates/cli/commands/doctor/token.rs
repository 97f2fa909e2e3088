//! What the agent's token says of itself, and who else may read it.
//!
//! Invariant: nothing here is verified; only the relay can say whether a token is good.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use c2l_auth::{DEVICE_CLAIM, KIND_CLAIM};
use serde_json::Value;

use super::report::Check;
use crate::{files, token_source::TokenOrigin};

pub(super) const NAME: &str = "token";

/// A token that runs out sooner is worth a word.
const SOON: Duration = Duration::from_secs(10 * 60);

const ANOTHER: &str = "get another one (`c2l token issue --kind agent` on the relay's machine) and put it where this one is";

/// What a payload claims, as far as it can be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Claimed {
    kind: Option<String>,
    expires: Option<SystemTime>,
    /// The one device that it is bound to.
    pub(super) device: Option<String>,
}

/// `None` for what is no JWT.
pub(super) fn claimed(token: &str) -> Option<Claimed> {
    let parts: Vec<&str> = token.split('.').collect();
    let [_, payload, _] = parts[..] else {
        return None;
    };
    let payload: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    let text = |name: &str| payload[name].as_str().map(str::to_owned);
    let expires = payload["exp"].as_f64();
    let expires = expires.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Some(Claimed {
        kind: text(KIND_CLAIM),
        expires: expires.and_then(|since| UNIX_EPOCH.checked_add(since)),
        device: text(DEVICE_CLAIM),
    })
}

/// Judges a token that was fetched.
pub(super) fn check(claimed: Option<&Claimed>, origin: &TokenOrigin, now: SystemTime) -> Check {
    let check = match claimed {
        None => Check::warning(
            NAME,
            format!("the text from {} is not a JWT", origin.name()),
            ANOTHER,
        ),
        Some(claimed) => judge(claimed, origin, now),
    };
    let shared = match origin {
        TokenOrigin::File(path) => files::warning_if_shared(path),
        TokenOrigin::Login(login) => files::warning_if_shared(&login.place.file),
        TokenOrigin::Text(_) | TokenOrigin::Command(_) => None,
    };
    match shared {
        Some(warning) => check.but(warning, "run `chmod 600` on the token's file"),
        None => check,
    }
}

fn judge(claimed: &Claimed, origin: &TokenOrigin, now: SystemTime) -> Check {
    let kind = claimed.kind.as_deref().unwrap_or("(not said)");
    let source = format!("from {}, of kind {kind}", origin.name());
    if !matches!(kind, "agent" | "(not said)") {
        let seen = format!("{source}; an agent needs one of kind agent");
        return Check::failed(NAME, seen, ANOTHER);
    }
    let Some(expires) = claimed.expires else {
        return Check::ok(NAME, format!("{source}; it does not say when it runs out"));
    };
    match expires.duration_since(now) {
        Err(ago) => Check::failed(
            NAME,
            format!("{source}; it ran out {} ago", rounded(ago.duration())),
            ANOTHER,
        ),
        Ok(left) if left < SOON => Check::warning(
            NAME,
            format!("{source}; it runs out in {}", rounded(left)),
            ANOTHER,
        ),
        Ok(left) => Check::ok(NAME, format!("{source}; it holds for {}", rounded(left))),
    }
}

/// A length of time in at most two units.
pub(super) fn rounded(time: Duration) -> String {
    let unit = match time.as_secs() {
        0..60 => 1,
        60..3600 => 60,
        3600..86_400 => 3600,
        _ => 86_400,
    };
    let whole = Duration::from_secs(time.as_secs() / unit * unit);
    humantime::format_duration(whole).to_string()
}

#[cfg(test)]
mod tests {
    use c2l_auth::Secret;
    use serde_json::json;

    use super::{super::report::Status, *};

    fn token(payload: &Value) -> String {
        format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(payload.to_string()))
    }

    fn judged(payload: &Value) -> Check {
        let origin = TokenOrigin::Text(Secret::new("x"));
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        check(claimed(&token(payload)).as_ref(), &origin, now)
    }

    #[test]
    fn a_token_is_judged_by_what_it_says_of_itself() {
        for (payload, status, seen) in [
            (
                json!({"exp": 8200, "c2l_kind": "agent"}),
                Status::Ok,
                "it holds for 2h",
            ),
            (
                json!({"exp": 1100, "c2l_kind": "agent"}),
                Status::Warning,
                "it runs out in 1m",
            ),
            (
                json!({"exp": 400.5, "c2l_kind": "agent"}),
                Status::Failed,
                "it ran out 9m ago",
            ),
            (
                json!({"exp": 8200, "c2l_kind": "api"}),
                Status::Failed,
                "needs one of kind agent",
            ),
            (json!({"exp": "never"}), Status::Ok, "does not say when"),
            (json!([]), Status::Ok, "(not said)"),
        ] {
            let check = judged(&payload);
            assert_eq!(check.status, status, "{payload}: {check:?}");
            assert!(check.seen[0].contains(seen), "{payload}: {check:?}");
            assert_eq!(check.fix.is_some(), status != Status::Ok, "{payload}");
        }
        for text in ["nonsense", "a.b.c", "..", "a.b.c.d"] {
            assert_eq!(claimed(text), None, "{text}");
        }
    }
}

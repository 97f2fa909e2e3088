//! What is said to the relay for a login: RFC 8628 to begin one, RFC 6749 §6 to go on with it, RFC 7009 to end it.
//!
//! Invariant: what the relay says is foreign; only what has the expected shape is taken, and secrets go into forms, never
//! into an address.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use c2l_agent::{Errands, Said, probe::Failure};
use c2l_auth::{DeviceName, MAX_TOKEN_BYTES, Secret};
use serde_json::Value;

const DEVICE_PATH: &str = "/relay/v1/login/device";
const TOKEN_PATH: &str = "/relay/v1/login/token";
const REVOKE_PATH: &str = "/relay/v1/login/revoke";
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// How this program calls itself; it has no secret that would prove it.
const CLIENT: &str = "c2l";
/// No message of the relay's is shown beyond this.
const MOST_CHARACTERS: usize = 300;

/// Why the relay gives nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// It was not reached.
    #[error("{0}")]
    Unreached(#[from] Failure),
    /// It says no, in one of the words of OAuth.
    #[error("{said}")]
    Word { word: String, said: String },
    /// It is in trouble, or no relay that knows of logins.
    #[error("the relay answered {status}: {said}")]
    Trouble { status: u16, said: String },
}

impl Refused {
    /// Whether it is this word.
    pub(crate) fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Word { word, .. } if word == wanted)
    }
}

/// A login that waits for somebody's word.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) device_code: Secret,
    /// To be shown.
    pub(crate) user_code: String,
    pub(crate) interval: Duration,
    pub(crate) lifetime: Duration,
}

/// Tokens that the relay gave.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) access: Secret,
    pub(crate) refresh: Secret,
    pub(crate) life: Duration,
}

/// Begins a login.
pub(crate) async fn start(errands: &Errands, device: &DeviceName) -> Result<Started, Refused> {
    let fields = [("client_id", CLIENT), ("device_name", device.as_str())];
    let said = errands.post_form(DEVICE_PATH, form(&fields)).await?;
    let said = accepted(said)?;
    let code = said["user_code"].as_str().filter(|code| is_code(code));
    let seconds =
        |name: &str, least: u64, most: u64| said[name].as_u64().map(|s| s.clamp(least, most));
    let started = (|| {
        Some(Started {
            device_code: word(&said["device_code"])?,
            user_code: code?.to_owned(),
            interval: Duration::from_secs(seconds("interval", 1, 60).unwrap_or(5)),
            lifetime: Duration::from_secs(seconds("expires_in", 1, 3600)?),
        })
    })();
    started.ok_or_else(|| no_answer(200))
}

/// Asks whether the login was approved.
pub(crate) async fn poll(errands: &Errands, started: &Started) -> Result<Tokens, Refused> {
    let fields = [
        ("client_id", CLIENT),
        ("grant_type", DEVICE_GRANT),
        ("device_code", started.device_code.expose()),
    ];
    tokens(errands, &fields).await
}

/// Gives the refresh token for the next one and an agent's token. Asking again with the same `attempt` is the same asking.
pub(crate) async fn refresh(
    errands: &Errands,
    refresh: &Secret,
    attempt: &Secret,
) -> Result<Tokens, Refused> {
    let fields = [
        ("client_id", CLIENT),
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh.expose()),
        ("attempt", attempt.expose()),
    ];
    tokens(errands, &fields).await
}

/// Ends the login at the relay. One that it does not know is ended as well.
pub(crate) async fn revoke(errands: &Errands, refresh: &Secret) -> Result<(), Refused> {
    let fields = [
        ("client_id", CLIENT),
        ("token", refresh.expose()),
        ("token_type_hint", "refresh_token"),
    ];
    let said = errands.post_form(REVOKE_PATH, form(&fields)).await?;
    accepted(said).map(drop)
}

/// Something that nobody guesses; `None` without random bytes.
pub(crate) fn new_attempt() -> Option<Secret> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).ok()?;
    Some(Secret::from(URL_SAFE_NO_PAD.encode(bytes)))
}

async fn tokens(errands: &Errands, fields: &[(&str, &str)]) -> Result<Tokens, Refused> {
    let said = errands.post_form(TOKEN_PATH, form(fields)).await?;
    let said = accepted(said)?;
    let tokens = (|| {
        Some(Tokens {
            access: word(&said["access_token"])?,
            refresh: word(&said["refresh_token"])?,
            life: Duration::from_secs(said["expires_in"].as_u64()?),
        })
    })();
    tokens.ok_or_else(|| no_answer(200))
}

fn accepted(said: Said) -> Result<Value, Refused> {
    if said.status.is_success() {
        return Ok(said.body);
    }
    let status = said.status.as_u16();
    let text = |name: &str| said.body[name].as_str().map(shown);
    let error = text("error");
    match (error, text("error_description")) {
        (Some(word), Some(said)) if (400..500).contains(&status) && status != 429 => {
            Err(Refused::Word { word, said })
        }
        (error, description) => Err(Refused::Trouble {
            status,
            said: description
                .or(error)
                .unwrap_or_else(|| "nothing more".to_owned()),
        }),
    }
}

fn no_answer(status: u16) -> Refused {
    let said = "not what a relay says to a login".to_owned();
    Refused::Trouble { status, said }
}

/// A token or a code: one word of plain characters.
fn word(value: &Value) -> Option<Secret> {
    let text = value.as_str()?;
    let is_word = (1..=MAX_TOKEN_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_word.then(|| Secret::new(text))
}

/// What a terminal shows and a person types.
fn is_code(code: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-';
    (4..=20).contains(&code.len()) && code.bytes().all(is_plain)
}

fn shown(text: &str) -> String {
    let plain = text.chars().filter(|c| !c.is_control());
    plain.take(MOST_CHARACTERS).collect()
}

/// `application/x-www-form-urlencoded`.
fn form(fields: &[(&str, &str)]) -> String {
    let mut form = String::new();
    for (name, value) in fields {
        if !form.is_empty() {
            form.push('&');
        }
        form.push_str(name);
        form.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                    form.push(char::from(byte));
                }
                other => form.push_str(&format!("%{other:02X}")),
            }
        }
    }
    form
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_form_says_exactly_what_was_given() {
        let fields = [("a", "x.y_z-1"), ("grant_type", "urn:x y&=%ä")];
        assert_eq!(
            form(&fields),
            "a=x.y_z-1&grant_type=urn%3Ax%20y%26%3D%25%C3%A4"
        );
    }

    #[test]
    fn a_refusal_is_told_in_the_relays_words_without_control_characters() {
        let refused = |status, body| {
            let status = StatusCode::from_u16(status).unwrap();
            accepted(Said { status, body }).unwrap_err()
        };
        let gone = refused(
            400,
            json!({"error": "invalid_grant", "error_description": "gone\u{1b}[2J"}),
        );
        assert!(gone.is("invalid_grant"));
        assert_eq!(gone.to_string(), "gone[2J");
        for (status, body) in [
            (
                503,
                json!({"error": "invalid_grant", "error_description": "x"}),
            ),
            (429, json!({"error": "slow_down", "error_description": "x"})),
            (
                404,
                json!({"error": "no such path", "code": "route_unknown"}),
            ),
            (400, json!({})),
        ] {
            assert!(matches!(refused(status, body), Refused::Trouble { .. }));
        }
    }
}

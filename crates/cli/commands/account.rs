//! `c2l key`, `c2l token revoke`, `c2l user`, `c2l device`: the operator's hand on a user's account.
//!
//! Invariant: a key or a link is printed once, on stdout, by the command that was asked to make it, and nowhere else.

use std::{io::Read as _, path::Path};

use anyhow::Context as _;
use http::Method;
use humantime::format_rfc3339_seconds;
use serde_json::{Map, Value, json};

use crate::{
    args::{NewKey, TokenName},
    control::{Question, ask},
    files,
    logging::escaped,
    output,
    settings::{Mistakes, parse, token::Account},
};

/// No token is longer.
const MOST_TOKEN_BYTES: u64 = 64 * 1024;

/// Makes a key and prints it.
pub(crate) async fn create_key(
    account: Account,
    asked: NewKey,
    is_json: bool,
) -> anyhow::Result<()> {
    let question = Question::new(Method::POST, "keys", Some(new_key(asked)?));
    let made = ask(&account, &question).await?;
    show(&made, is_json, |made| new_key_text(&account, made))
}

/// Prints the keys that have neither ended nor been revoked.
pub(crate) async fn list_keys(account: Account, is_json: bool) -> anyhow::Result<()> {
    let listed = ask(&account, &Question::new(Method::GET, "keys", None)).await?;
    show(&listed, is_json, |listed| list_text(&account, listed))
}

/// Revokes a key, for what is under way, too.
pub(crate) async fn revoke_key(account: Account, id: &str, is_json: bool) -> anyhow::Result<()> {
    let path = format!("keys/{}", segment(id)?);
    let revoked = ask(&account, &Question::new(Method::DELETE, path, None)).await?;
    show(&revoked, is_json, |revoked| {
        format!(
            "Key {} opens nothing any more.\n",
            word(&revoked["revoked"])
        )
    })
}

/// Makes a key like this one, which ends after `overlap`, and prints it.
pub(crate) async fn rotate_key(
    account: Account,
    id: &str,
    overlap: Option<&str>,
    is_json: bool,
) -> anyhow::Result<()> {
    let overlap = seconds("--overlap", overlap)?.unwrap_or_default();
    let body = json!({ "overlap_seconds": overlap });
    let path = format!("keys/{}/rotate", segment(id)?);
    let made = ask(&account, &Question::new(Method::POST, path, Some(body))).await?;
    show(&made, is_json, |made| {
        let end = if overlap == 0 {
            "has ended"
        } else {
            "goes on for the overlap"
        };
        let before = format!("Key {} {end}.\n", word(&made["replaces"]));
        format!("{before}{}", new_key_text(&account, made))
    })
}

/// Revokes a token, by its id or by itself.
pub(crate) async fn revoke_token(
    account: Account,
    name: TokenName,
    is_json: bool,
) -> anyhow::Result<()> {
    let body = match name {
        TokenName { id: Some(id), .. } => json!({ "token_id": id }),
        TokenName { file, .. } => json!({ "token": read_token(file.as_deref())?.trim() }),
    };
    let question = Question::new(Method::POST, "tokens/revoke", Some(body));
    let revoked = ask(&account, &question).await?;
    show(&revoked, is_json, |revoked| {
        format!(
            "Token {} opens nothing any more.\n",
            word(&revoked["revoked"])
        )
    })
}

/// Ends every token and login of the user, and every key if asked.
pub(crate) async fn sign_out(account: Account, keys: bool, is_json: bool) -> anyhow::Result<()> {
    let question = Question::new(Method::POST, "sign-out", Some(json!({ "keys": keys })));
    let done = ask(&account, &question).await?;
    show(&done, is_json, |_| {
        let what = if keys {
            "tokens, logins and keys"
        } else {
            "tokens and logins"
        };
        format!(
            "All {what} of {} from before now have ended.\n",
            escaped(&account.user)
        )
    })
}

/// Prints a one-time link to the relay's page.
pub(crate) async fn make_link(account: Account, is_json: bool) -> anyhow::Result<()> {
    let made = ask(&account, &Question::new(Method::POST, "links", None)).await?;
    show(&made, is_json, |made| {
        let (user, relay) = (escaped(&account.user), &account.public_url);
        let target = word(&made["target"]);
        format!("Signs one browser in as {user}, once, within 15 minutes:\n\n  {relay}{target}\n")
    })
}

/// Says yes to the device that shows this code, and makes a key if asked.
pub(crate) async fn approve_device(
    account: Account,
    code: &str,
    key: Option<String>,
    is_json: bool,
) -> anyhow::Result<()> {
    let approved = ask(&account, &about_code("approve", code)).await?;
    show(&approved, is_json, |approved| {
        let user = escaped(&account.user);
        format!(
            "{} is logged in now, as a device of {user}.\n",
            asker(approved)
        )
    })?;
    let Some(name) = key else {
        return Ok(());
    };
    let question = Question::new(Method::POST, "keys", Some(json!({ "name": name })));
    let made = ask(&account, &question).await?;
    show(&made, is_json, |made| new_key_text(&account, made))
}

/// Says no to it.
pub(crate) async fn deny_device(account: Account, code: &str, is_json: bool) -> anyhow::Result<()> {
    let denied = ask(&account, &about_code("deny", code)).await?;
    show(&denied, is_json, |denied| {
        format!("{} is not let in.\n", asker(denied))
    })
}

/// Prints the devices that wait, and those of the user.
pub(crate) async fn list_devices(account: Account, is_json: bool) -> anyhow::Result<()> {
    let mut listed = ask(&account, &Question::new(Method::GET, "devices", None)).await?;
    // Devices wait at a relay that runs and logs some in; where there is none, that is what `null` says.
    let waiting = ask(&account, &Question::new(Method::GET, "logins", None)).await;
    listed["logins"] = waiting.map_or(Value::Null, |mut waiting| waiting["logins"].take());
    show(&listed, is_json, devices_text)
}

fn devices_text(listed: &Value) -> String {
    let of = |list: &str| listed[list].as_array().map_or(&[][..], Vec::as_slice);
    let mut text = String::new();
    for login in of("logins") {
        let asker = asker(login);
        let asker = asker.trim_end_matches(',');
        text += &format!("{}  {asker}\n", word(&login["user_code"]));
    }
    if listed["logins"].as_array().is_some_and(Vec::is_empty) {
        text += "No device waits. `c2l login` there shows a code.\n";
    }
    for device in of("devices") {
        let since = time(&device["connected_unix_seconds"]).unwrap_or_default();
        text += &format!(
            "{}  connected since {since} from {} by {} · {} · {} requests now, {} in all\n",
            called(device),
            word(&device["address"]),
            word(&device["transport"]),
            word(&device["build"]),
            device["active_streams"],
            device["total_streams"],
        );
    }
    for device in of("offline") {
        let last = time(&device["last_seen_unix_seconds"]).unwrap_or_default();
        text += &format!("{}  not connected, last seen {last}\n", called(device));
    }
    text
}

/// The name of a device, and what its user calls it.
fn called(device: &Value) -> String {
    match device["label"].as_str() {
        Some(label) => format!("{} \"{}\"", word(&device["name"]), escaped(label)),
        None => word(&device["name"]),
    }
}

/// Says what the user calls a device.
pub(crate) async fn label_device(
    account: Account,
    name: &str,
    label: Option<String>,
    is_json: bool,
) -> anyhow::Result<()> {
    let path = format!("devices/{}/label", segment(name)?);
    let body = json!({ "label": label });
    let labelled = ask(&account, &Question::new(Method::PUT, path, Some(body))).await?;
    show(&labelled, is_json, |labelled| match labelled["label"] {
        Value::Null => format!("Device {} has no label.\n", word(&labelled["device"])),
        _ => format!(
            "Device {} is called \"{}\".\n",
            word(&labelled["device"]),
            word(&labelled["label"])
        ),
    })
}

/// Ends a device's connection.
pub(crate) async fn disconnect_device(
    account: Account,
    name: &str,
    is_json: bool,
) -> anyhow::Result<()> {
    let path = format!("devices/{}/disconnect", segment(name)?);
    let ended = ask(&account, &Question::new(Method::POST, path, None)).await?;
    show(&ended, is_json, |ended| {
        format!(
            "Device {} was disconnected. Its agent connects again by itself; `c2l device remove` keeps it out.\n",
            word(&ended["device"])
        )
    })
}

fn about_code(what: &str, code: &str) -> Question {
    let body = json!({ "user_code": code });
    Question::new(Method::POST, format!("logins/{what}"), Some(body))
}

/// Who asks to be let in, from where and since when.
fn asker(login: &Value) -> String {
    let since = time(&login["asked_unix_seconds"]).unwrap_or_default();
    let (device, address) = (word(&login["device"]), word(&login["address"]));
    format!("{device}, which asked from {address} at {since},")
}

/// Ends what is bound to one device of the user.
pub(crate) async fn remove_device(
    account: Account,
    name: &str,
    is_json: bool,
) -> anyhow::Result<()> {
    let path = format!("devices/{}", segment(name)?);
    let removed = ask(&account, &Question::new(Method::DELETE, path, None)).await?;
    show(&removed, is_json, |removed| {
        format!(
            "Device {} is out: {} sessions, {} keys and {} logins ended. A token issued from now on lets it in again.\n",
            word(&removed["removed"]),
            removed["sessions"],
            removed["keys"],
            removed["logins"]
        )
    })
}

/// As one JSON object, or for a person.
fn show(answer: &Value, is_json: bool, text: impl FnOnce(&Value) -> String) -> anyhow::Result<()> {
    let text = if is_json {
        format!("{answer}\n")
    } else {
        text(answer)
    };
    output::print(&text).context("cannot print")
}

fn new_key(asked: NewKey) -> anyhow::Result<Value> {
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
    put("name", asked.name.into());
    if let Some(kind) = asked.kind {
        put("kind", kind.into());
    }
    if !asked.scope.is_empty() {
        put("scopes", asked.scope.into());
    }
    if !asked.model.is_empty() {
        put("models", asked.model.into());
    }
    if let Some(device) = asked.bound_device {
        put("device", device.into());
    }
    if let Some(seconds) = seconds("--expires", asked.expires.as_deref())? {
        put("expires_in_seconds", seconds.into());
    }
    if let Some(rate) = asked.requests_per_minute {
        let rate = parse::count_u32(&rate);
        let rate = rate.map_err(|why| mistake(format!("--requests-per-minute: {why}")))?;
        put("requests_per_minute", rate.into());
    }
    Ok(body.into())
}

fn seconds(flag: &str, text: Option<&str>) -> anyhow::Result<Option<u64>> {
    let parsed = text.map(parse::duration).transpose();
    let parsed = parsed.map_err(|why| mistake(format!("{flag}: {why}")))?;
    Ok(parsed.map(|duration| duration.as_secs()))
}

/// What stands in a path between two slashes; everything that has a name there is made of such letters.
fn segment(text: &str) -> anyhow::Result<&str> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if !text.is_empty() && text.bytes().all(is_plain) {
        return Ok(text);
    }
    Err(mistake(
        "an id or a name has only the characters A-Z a-z 0-9 . _ -".to_owned(),
    ))
}

fn mistake(text: String) -> anyhow::Error {
    Mistakes(vec![text]).into()
}

/// From the file, or from stdin: a token on the command line is seen by everyone on the machine.
fn read_token(file: Option<&Path>) -> anyhow::Result<String> {
    match file {
        Some(path) => files::read_small(path, MOST_TOKEN_BYTES)
            .with_context(|| format!("cannot read {}", path.display())),
        None => {
            let mut text = String::new();
            let mut stdin = std::io::stdin().take(MOST_TOKEN_BYTES);
            stdin
                .read_to_string(&mut text)
                .context("cannot read the token on stdin")?;
            Ok(text)
        }
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => escaped(text).into_owned(),
        other => escaped(&other.to_string()).into_owned(),
    }
}

fn words(value: &Value) -> String {
    let all: Vec<_> = value.as_array().into_iter().flatten().map(word).collect();
    all.join(", ")
}

fn time(value: &Value) -> Option<String> {
    let seconds = value.as_u64()?;
    let time = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds))?;
    Some(format_rfc3339_seconds(time).to_string())
}

/// What the key may do, in a few words.
fn allows(key: &Value) -> String {
    let mut parts = vec![match word(&key["kind"]).as_str() {
        "agent" => "opens an agent's session".to_owned(),
        _ => format!("allows {}", words(&key["scopes"])),
    }];
    let models = words(&key["models"]);
    if !models.is_empty() {
        parts.push(format!("models {models}"));
    }
    if let Some(device) = key["device"].as_str() {
        parts.push(format!("device {}", escaped(device)));
    }
    if let Some(rate) = key["requests_per_minute"].as_u64() {
        parts.push(format!("{rate} requests a minute"));
    }
    match time(&key["expires_unix_seconds"]) {
        Some(end) => parts.push(format!("until {end}")),
        None => parts.push("until revoked".to_owned()),
    }
    parts.join(" · ")
}

fn new_key_text(account: &Account, made: &Value) -> String {
    let key = word(&made["key"]);
    let relay = &account.public_url;
    let head = format!(
        "Key {}, {:?} of {}: {}.\nIt is not kept: this is the only time that it is shown.\n\n",
        word(&made["id"]),
        word(&made["name"]),
        escaped(&account.user),
        allows(made)
    );
    if made["kind"] == "agent" {
        return format!(
            "{head}  {key}\n\n  c2l agent --relay {relay} --token-file FILE    # with the key in that file\n"
        );
    }
    format!(
        "{head}  {key}\n\n  # any Ollama client, any container\n  export OLLAMA_HOST={relay}/k/{key}\n\n  # any OpenAI client\n  export OPENAI_BASE_URL={relay}/v1 OPENAI_API_KEY={key}\n"
    )
}

fn list_text(account: &Account, listed: &Value) -> String {
    let keys = listed["keys"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if keys.is_empty() {
        return format!(
            "{} has no keys. `c2l key create NAME` makes one.\n",
            escaped(&account.user)
        );
    }
    let line = |key: &Value| {
        let used = time(&key["last_used_unix_seconds"]);
        let used = used.map_or("never used".to_owned(), |at| format!("last used {at}"));
        format!(
            "{}  {}  {} · {used}\n",
            word(&key["id"]),
            word(&key["name"]),
            allows(key)
        )
    };
    keys.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account {
            data_dir: "d".into(),
            user: "owner".to_owned(),
            issuer: "c2l".to_owned(),
            public_url: "https://relay.example".to_owned(),
        }
    }

    #[test]
    fn a_new_key_is_shown_with_lines_to_copy() {
        let made = json!({
            "id": "0123456789", "name": "a job", "kind": "api", "scopes": ["infer"], "models": ["qwen3:*"],
            "device": null, "requests_per_minute": 60, "created_unix_seconds": 0, "expires_unix_seconds": 86_400,
            "key": "c2l_secret",
        });
        let shown = new_key_text(&account(), &made);
        for line in [
            "Key 0123456789, \"a job\" of owner: allows infer · models qwen3:* · 60 requests a minute · until 1970-01-02T00:00:00Z.",
            "  export OLLAMA_HOST=https://relay.example/k/c2l_secret",
            "  export OPENAI_BASE_URL=https://relay.example/v1 OPENAI_API_KEY=c2l_secret",
        ] {
            assert!(
                shown.lines().any(|shown| shown == line),
                "{line} is missing in:\n{shown}"
            );
        }
    }

    #[test]
    fn a_list_of_devices_tells_labels_and_what_is_away() {
        let listed = json!({
            "logins": [],
            "devices": [{
                "name": "desk", "label": "up\u{1b}[2Jstairs", "connected_unix_seconds": 0, "address": "203.0.113.9",
                "transport": "websocket", "build": "1.0", "active_streams": 1, "total_streams": 7,
            }],
            "offline": [{ "name": "lap", "label": null, "last_seen_unix_seconds": 86_400 }],
        });
        let shown = devices_text(&listed);
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
        let lines: Vec<_> = shown.lines().collect();
        assert!(lines[0].starts_with("No device waits."), "{shown}");
        assert!(
            lines[1].ends_with(
                "connected since 1970-01-01T00:00:00Z from 203.0.113.9 by websocket · 1.0 · 1 requests now, 7 in all"
            ),
            "{shown}"
        );
        assert_eq!(
            lines[2],
            "lap  not connected, last seen 1970-01-02T00:00:00Z"
        );
        let unknown = json!({ "logins": null, "devices": [], "offline": [] });
        assert_eq!(devices_text(&unknown), "");
    }

    #[test]
    fn a_list_says_when_each_was_used_and_escapes_what_others_wrote() {
        let key = |name: &str, used: Value| {
            json!({
                "id": "0123456789", "name": name, "kind": "agent", "scopes": [], "models": [], "device": "desk",
                "requests_per_minute": null, "created_unix_seconds": 0, "expires_unix_seconds": null,
                "last_used_unix_seconds": used,
            })
        };
        let listed = json!({ "keys": [key("a\u{1b}[2J", Value::Null), key("b", json!(0))] });
        let shown = list_text(&account(), &listed);
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
        let lines: Vec<_> = shown.lines().collect();
        assert!(
            lines[0]
                .ends_with("opens an agent's session · device desk · until revoked · never used"),
            "{shown}"
        );
        assert!(
            lines[1].ends_with("last used 1970-01-01T00:00:00Z"),
            "{shown}"
        );
        assert!(list_text(&account(), &json!({ "keys": [] })).contains("c2l key create"));
    }
}

//! `c2l agent status`: asks the agent that runs on this machine.

#[cfg(unix)]
use serde_json::Value;

use crate::settings::agent::StatusSettings;
#[cfg(unix)]
use crate::{face::socket, logging::escaped, output};

/// Prints how the agent is, for a person or as the object that it answered with.
///
/// # Errors
/// When no agent of that name runs here.
#[cfg(unix)]
pub(crate) async fn run(settings: StatusSettings, is_json: bool) -> anyhow::Result<()> {
    use anyhow::Context as _;
    let device = settings.device.as_str();
    let places = socket::places(device, settings.runtime_dir.as_deref(), &settings.data_dir);
    let answer = socket::ask(&places)
        .await
        .context("the agent does not answer")?;
    let Some(answer) = answer else {
        let looked: Vec<_> = places
            .iter()
            .map(|place| place.display().to_string())
            .collect();
        anyhow::bail!(
            "no agent called {device} runs here (--device names another); nobody answers at {}",
            looked.join(" or ")
        );
    };
    let text = if is_json {
        format!("{answer}\n")
    } else {
        render(&answer)
    };
    output::print(&text).context("cannot print")
}

/// The socket is a Unix socket.
///
/// # Errors
/// Always.
#[cfg(not(unix))]
pub(crate) async fn run(_settings: StatusSettings, _is_json: bool) -> anyhow::Result<()> {
    anyhow::bail!("a running agent cannot be asked on Windows yet: its log tells how it is")
}

/// One line for each thing there is to say.
#[cfg(unix)]
fn render(answer: &Value) -> String {
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => escaped(text).into_owned(),
        other => escaped(&other.to_string()).into_owned(),
    };
    let of = |key: &str| text(&answer[key]);
    let (now, total) = (of("requests_now"), of("requests_total"));
    let error = &answer["last_error"];
    let rows = [
        ("state", of("state")),
        ("since", of("since")),
        ("through", of("way")),
        ("proxy", of("proxy")),
        ("session", of("session_id")),
        ("device", of("device")),
        ("relay", of("relay")),
        ("upstream", of("upstream")),
        ("requests", format!("{now} now, {total} in all")),
        ("last error", text(&error["message"])),
        ("seen", text(&error["at"])),
        ("version", of("version")),
    ];
    rows.iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name:10}  {value}\n"))
        .collect()
}

#[cfg(all(test, unix))]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_there_is_not_printed() {
        let answer = json!({
            "state": "connecting", "since": null, "way": null, "proxy": null, "session_id": null,
            "device": "desk", "relay": "https://relay.example/", "upstream": "http://127.0.0.1:11434/",
            "requests_now": 0, "requests_total": 3,
            "last_error": { "message": "no\u{9b}2J", "at": "2026-01-01T00:00:00Z" }, "version": "0.1.0+x",
        });
        assert_eq!(
            render(&answer),
            "state       connecting\n\
             device      desk\n\
             relay       https://relay.example/\n\
             upstream    http://127.0.0.1:11434/\n\
             requests    0 now, 3 in all\n\
             last error  no\\u{9b}2J\n\
             seen        2026-01-01T00:00:00Z\n\
             version     0.1.0+x\n"
        );
    }
}

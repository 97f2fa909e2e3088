//! The session itself, and one request through the whole loop.
//!
//! Invariant: the sessions are of a device of their own, or of one that no agent uses now, so that no other one is replaced.

use c2l_agent::{
    Way,
    probe::{Cause, Opened, Probe},
};
use c2l_auth::{DeviceName, Secret};
use serde_json::json;

use super::{advice, report::Check};
use crate::commands::probe::{self, Model};

/// A name that no agent of this device uses: `desk-doctor-3fa9`.
pub(super) fn device_name(device: &DeviceName, random: u16) -> String {
    let mark = format!("-doctor-{random:04x}");
    let device = device.as_str();
    // Device names are ASCII.
    let kept = device.len().min(DeviceName::MAX_BYTES - mark.len());
    format!("{}{mark}", &device[..kept])
}

/// Opens a session and leaves it.
pub(super) async fn session(probe: &Probe, way: Way, token: &str, device: &str) -> Check {
    match probe.session(way, token, async {}).await {
        Err(failure) => Check::failed("session", failure.to_string(), advice::on(&failure)),
        Ok(visit) => {
            let opened = visit.opened_after.as_millis();
            Check::ok(
                "session",
                format!("opened as {device} over {way} in {opened} ms, and closed"),
            )
        }
    }
}

/// Asks `model` for one word, through the relay and a session of our own.
pub(super) async fn first_token(
    probe: &Probe,
    way: Way,
    token: &str,
    api_token: &Secret,
    model: &Model,
) -> Check {
    let name = "first token";
    let (path, model, body) = question(model);
    let call = probe.call(api_token.expose(), path, body);
    let called = match probe.session(way, token, call).await {
        Err(failure) => return Check::failed(name, failure.to_string(), advice::on(&failure)),
        Ok(visit) => visit.brought,
    };
    match called {
        Err(failure) if failure.cause == Cause::Timeout => Check::warning(
            name,
            format!("{failure}: {model} may not be loaded yet"),
            format!("load it with `ollama run {model}`, then try again"),
        ),
        Err(failure) => Check::failed(name, failure.to_string(), advice::on(&failure)),
        Ok(opened) => answered(name, model, &opened),
    }
}

fn question(model: &Model) -> (&'static str, &str, String) {
    let messages = json!([{ "role": "user", "content": "Say hello." }]);
    match model {
        Model::Ollama(model) => {
            let options = json!({ "num_predict": 1 });
            let body = json!({ "model": model, "messages": messages, "options": options });
            ("/api/chat", model, body.to_string())
        }
        Model::OpenAi(model) => {
            let body =
                json!({ "model": model, "messages": messages, "max_tokens": 1, "stream": true });
            ("/v1/chat/completions", model, body.to_string())
        }
    }
}

fn answered(name: &'static str, model: &str, opened: &Opened) -> Check {
    let said = probe::json(&opened.said);
    let error = said["error"].as_str().or(said["error"]["message"].as_str());
    let after = opened.first_piece.as_millis();
    if opened.status.is_success() && error.is_none() && !opened.said.is_empty() {
        let seen = format!("{model} began to answer after {after} ms, through relay and agent");
        return Check::ok(name, seen);
    }
    let status = opened.status.as_u16();
    let seen = format!("{status}: {}", error.unwrap_or("the answer is empty"));
    let fix = match status {
        401 => "get an api token from this very relay: `c2l token issue --kind api`",
        403 => "get an api token with the scope infer: `c2l token issue --kind api --scope infer`",
        404 => {
            "use an api token of the same user as the agent's, and check that the model is still there"
        }
        429 | 503 => "try again when the relay has less to do",
        _ => "look into the upstream's log; the request went the whole way",
    };
    Check::failed(name, seen, fix)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::StatusCode;

    use super::{super::report::Status, *};

    #[test]
    fn the_doctors_device_is_nobodys() {
        for device in ["desk", &"x".repeat(DeviceName::MAX_BYTES)] {
            let device = DeviceName::parse(device).unwrap();
            let name = device_name(&device, 0xa);
            assert!(name.ends_with("-doctor-000a"), "{name}");
            assert!(DeviceName::parse(&name).is_ok_and(|name| name != device));
        }
    }

    #[test]
    fn an_answer_that_says_no_is_a_failure() {
        let check = |status: u16, said: &'static str| {
            let opened = Opened {
                status: StatusCode::from_u16(status).unwrap(),
                first_piece: Duration::from_millis(7),
                said: Bytes::from(said),
            };
            answered("first token", "tiny", &opened)
        };
        assert!(check(200, "{\"message\":{}}\n").seen[0].contains("after 7 ms"));
        assert_eq!(check(200, "data: {}\n\n").status, Status::Ok);
        for (status, said, seen) in [
            (200, "{\"error\":\"no memory\"}\n", "200: no memory"),
            (200, "", "200: the answer is empty"),
            (
                404,
                "{\"error\":{\"message\":\"no such model\"}}",
                "404: no such model",
            ),
        ] {
            let check = check(status, said);
            assert_eq!(
                (check.status, check.seen[0].as_str()),
                (Status::Failed, seen)
            );
        }
    }
}

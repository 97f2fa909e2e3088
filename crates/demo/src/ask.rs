//! Reading what the caller asks: the body, bounded, and the few members of it that matter here.
//!
//! All APIs share one set of members; each route takes the ones it knows. Members without a meaning for a fixed text
//! (temperature, tools, images …) are accepted and ignored, as unknown ones are by Ollama.

use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::Value;

use crate::answer::Refusal;
use crate::recorder::{Ended, Exchange, Stage};
use crate::switches::Model;

/// How far into a body a model name with `+early` is looked for.
const EARLY_LOOK_BYTES: usize = 4096;

/// The members of a request body, of whichever API.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Ask {
    pub(crate) model: Option<String>,
    /// The old name of `model`, which Ollama still takes.
    pub(crate) name: Option<String>,
    pub(crate) prompt: Option<Value>,
    pub(crate) input: Option<Value>,
    pub(crate) messages: Option<Vec<Message>>,
    pub(crate) stream: Option<bool>,
    pub(crate) stream_options: Option<StreamOptions>,
    pub(crate) options: Option<Options>,
    pub(crate) max_tokens: Option<i64>,
    pub(crate) max_completion_tokens: Option<i64>,
    pub(crate) max_output_tokens: Option<i64>,
    pub(crate) keep_alive: Option<Value>,
    pub(crate) dimensions: Option<usize>,
    pub(crate) encoding_format: Option<String>,
    pub(crate) verbose: Option<bool>,
    pub(crate) source: Option<String>,
    pub(crate) destination: Option<String>,
    pub(crate) from: Option<String>,
    pub(crate) files: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Message {
    #[serde(default)]
    role: String,
    #[serde(default)]
    content: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StreamOptions {
    pub(crate) include_usage: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Options {
    num_predict: Option<i64>,
}

impl Ask {
    pub(crate) fn model(&self) -> Result<Model, Refusal> {
        // The command line sends an empty `model` beside an older `name`.
        let is_said = |name: &&str| !name.is_empty();
        let model = self.model.as_deref().filter(is_said);
        let name = model.or(self.name.as_deref()).unwrap_or_default();
        Ok(Model::parse(name)?)
    }

    /// The most tokens the caller wants.
    pub(crate) fn limit(&self) -> Option<u64> {
        let native = self
            .options
            .as_ref()
            .and_then(|options| options.num_predict);
        [
            native,
            self.max_tokens,
            self.max_completion_tokens,
            self.max_output_tokens,
        ]
        .into_iter()
        .flatten()
        .find_map(|limit| u64::try_from(limit).ok().filter(|limit| *limit > 0))
    }

    /// What the caller says: the prompt, the input, or the last message of the user.
    pub(crate) fn said(&self) -> String {
        if let Some(messages) = &self.messages {
            let last = messages
                .iter()
                .rfind(|message| message.role == "user")
                .or(messages.last());
            return last
                .map(|message| text_of(&message.content))
                .unwrap_or_default();
        }
        self.prompt
            .as_ref()
            .or(self.input.as_ref())
            .map(text_of)
            .unwrap_or_default()
    }

    pub(crate) fn has_no_messages(&self) -> bool {
        self.messages.as_ref().is_none_or(Vec::is_empty)
    }

    /// `keep_alive: 0`, which unloads a model.
    pub(crate) fn unloads(&self) -> bool {
        match &self.keep_alive {
            Some(Value::Number(number)) => number.as_f64() == Some(0.0),
            Some(Value::String(text)) => matches!(text.as_str(), "0" | "0s" | "0m" | "0h"),
            _ => false,
        }
    }

    /// The texts to embed.
    pub(crate) fn inputs(&self) -> Vec<String> {
        match self.input.as_ref().or(self.prompt.as_ref()) {
            None | Some(Value::Null) => Vec::new(),
            // A list of numbers is one input, in tokens.
            Some(Value::Array(items)) if !items.iter().all(Value::is_number) => {
                items.iter().map(text_of).collect()
            }
            Some(Value::Array(items)) if items.is_empty() => Vec::new(),
            Some(other) => vec![text_of(other)],
        }
    }
}

/// The text in a string, in content parts (`{"type":"text","text":…}`), or in messages among input items.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .map(text_of)
            .filter(|text| !text.is_empty())
            .collect::<Vec<_>>()
            .join(" "),
        Value::Object(members) => members
            .get("text")
            .or_else(|| members.get("content"))
            .map(text_of)
            .unwrap_or_default(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) => String::new(),
    }
}

/// Why there is no [`Ask`].
#[derive(Debug)]
pub(crate) enum Unread {
    /// The caller is told so.
    Refused(Refusal),
    /// `+early`: answered with this while the rest of the body is still coming.
    Early(StatusCode),
    /// The body broke off; there is nobody to tell.
    Gone,
}

/// Reads and parses the whole body.
pub(crate) async fn ask(
    exchange: &mut Exchange,
    request: Request<Incoming>,
    limit_bytes: usize,
) -> Result<Ask, Unread> {
    let body = bytes(exchange, request.into_body(), limit_bytes, true).await?;
    if body.is_empty() {
        return Err(Unread::Refused(Refusal::bad_request(
            "missing request body",
        )));
    }
    serde_json::from_slice(&body)
        .map_err(|error| Unread::Refused(Refusal::bad_request(error.to_string())))
}

/// Reads the whole body.
pub(crate) async fn bytes(
    exchange: &mut Exchange,
    mut body: Incoming,
    limit_bytes: usize,
    looks_early: bool,
) -> Result<Vec<u8>, Unread> {
    exchange.enter(Stage::Reading);
    let mut whole = Vec::new();
    let mut looked = !looks_early;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            exchange.ended(Ended::CallerLeft);
            return Err(Unread::Gone);
        };
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        exchange.body_piece(&piece);
        whole.extend_from_slice(&piece);
        if !looked {
            let model = early_model(&whole[..whole.len().min(EARLY_LOOK_BYTES)]);
            if let Some(status) = model.as_ref().and_then(|model| model.switches.early) {
                exchange.enter(Stage::Answering);
                return Err(Unread::Early(status));
            }
            looked = model.is_some() || whole.len() >= EARLY_LOOK_BYTES;
        }
        if whole.len() > limit_bytes {
            exchange.enter(Stage::Answering);
            return Err(Unread::Early(StatusCode::PAYLOAD_TOO_LARGE));
        }
    }
    exchange.body_complete();
    Ok(whole)
}

/// The model named in the beginning of a body, if it is there already.
fn early_model(beginning: &[u8]) -> Option<Model> {
    let key = b"\"model\"";
    let at = beginning
        .windows(key.len())
        .position(|window| window == key)?;
    let value = beginning[at + key.len()..]
        .trim_ascii_start()
        .strip_prefix(b":")?
        .trim_ascii_start()
        .strip_prefix(b"\"")?;
    let end = value.iter().position(|byte| *byte == b'"')?;
    Model::parse(std::str::from_utf8(&value[..end]).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Ask {
        serde_json::from_str(body).unwrap()
    }

    #[test]
    fn the_last_thing_said_is_found_in_every_api() {
        for body in [
            r#"{"prompt":"two words"}"#,
            r#"{"prompt":["two words"]}"#,
            r#"{"messages":[{"role":"user","content":"old"},{"role":"assistant","content":"x"},{"role":"user","content":"two words"}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"two"},{"type":"image"},{"type":"text","text":"words"}]}]}"#,
            r#"{"input":"two words"}"#,
            r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"two words"}]}]}"#,
        ] {
            assert_eq!(read(body).said(), "two words", "{body}");
        }
    }

    #[test]
    fn limits_and_inputs_are_found() {
        assert_eq!(read(r#"{"options":{"num_predict":5}}"#).limit(), Some(5));
        assert_eq!(
            read(r#"{"options":{"num_predict":-1},"max_tokens":7}"#).limit(),
            Some(7)
        );
        assert_eq!(read(r#"{"input":["a","b"]}"#).inputs(), ["a", "b"]);
        assert_eq!(read(r#"{"input":[1,2]}"#).inputs(), ["1 2"]);
        assert!(read(r#"{"input":[]}"#).inputs().is_empty());
        assert!(read(r#"{"keep_alive":0}"#).unloads() && !read(r#"{"keep_alive":"5m"}"#).unloads());
        assert!(read(r#"{"stream":null,"messages":null}"#).has_no_messages());
    }

    #[test]
    fn an_early_model_is_seen_in_the_first_piece() {
        let model = early_model(br#"{ "model" : "tiny+early=413", "prompt": "and so o"#).unwrap();
        assert_eq!(model.switches.early.unwrap().as_u16(), 413);
        assert!(early_model(br#"{"model":"tiny+ear"#).is_none());
    }
}

//! OpenAI's API as Ollama speaks it: chat completions, completions, embeddings, and the list of models.

use bytes::BytesMut;

use crate::json::{base64, json};
use crate::native::prompt_tokens_of;
use crate::stream::Dialect;
use crate::text::{CREATED, embedding};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Completion {
    Chat,
    Text,
}

/// The event stream of both kinds of completion.
pub(crate) struct CompletionChunks {
    pub(crate) api: Completion,
    /// The number in the id.
    pub(crate) number: u64,
    pub(crate) model: String,
    pub(crate) prompt_tokens: u64,
    pub(crate) finish_reason: &'static str,
    pub(crate) include_usage: bool,
}

impl Dialect for CompletionChunks {
    fn token(&mut self, index: u64, token: &str, out: &mut BytesMut) {
        self.event(out, |api, out| match api {
            Completion::Chat if index == 0 => json!(out, [{"index": 0, "delta": {"role": "assistant", "content": token}, "finish_reason": null}]),
            Completion::Chat => json!(out, [{"index": 0, "delta": {"content": token}, "finish_reason": null}]),
            Completion::Text => json!(out, [{"text": token, "index": 0, "finish_reason": null}]),
        });
    }

    /// The finish, the usage and `[DONE]`, in one flush.
    fn close(&mut self, tokens: u64, out: &mut BytesMut) {
        let reason = self.finish_reason;
        self.event(out, |api, out| match api {
            Completion::Chat => json!(out, [{"index": 0, "delta": {}, "finish_reason": reason}]),
            Completion::Text => json!(out, [{"text": "", "index": 0, "finish_reason": reason}]),
        });
        if self.include_usage {
            let prompt = self.prompt_tokens;
            self.event(out, |_, out| {
                json!(out, []);
                out.extend_from_slice(b",\"usage\":");
                json!(out, {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": (prompt + tokens)});
            });
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    /// Ollama takes the error line of its own stream for a chunk without text: the message is lost, and so are the
    /// finish reason and `[DONE]`.
    fn error(&mut self, _: u64, out: &mut BytesMut) {
        self.event(out, |api, out| match api {
            Completion::Chat => json!(out, [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": null}]),
            Completion::Text => json!(out, [{"text": "", "index": 0, "finish_reason": null}]),
        });
    }

    fn content_type(&self) -> &'static str {
        "text/event-stream"
    }
}

impl CompletionChunks {
    fn event(&self, out: &mut BytesMut, choices: impl FnOnce(Completion, &mut BytesMut)) {
        out.extend_from_slice(b"data: ");
        self.head(true, out);
        choices(self.api, out);
        out.extend_from_slice(b"}\n\n");
    }

    /// Everything up to the value of `choices`.
    fn head(&self, is_chunk: bool, out: &mut BytesMut) {
        let (prefix, object) = match (self.api, is_chunk) {
            (Completion::Chat, true) => ("chatcmpl", "chat.completion.chunk"),
            (Completion::Chat, false) => ("chatcmpl", "chat.completion"),
            (Completion::Text, _) => ("cmpl", "text_completion"),
        };
        let model = &self.model;
        out.extend_from_slice(b"{\"id\":\"");
        out.extend_from_slice(prefix.as_bytes());
        out.extend_from_slice(b"-");
        json!(out, (self.number));
        out.extend_from_slice(b"\",\"object\":");
        json!(out, object);
        out.extend_from_slice(b",\"created\":");
        json!(out, CREATED);
        out.extend_from_slice(b",\"model\":");
        json!(out, model);
        out.extend_from_slice(b",\"system_fingerprint\":\"fp_ollama\",\"choices\":");
    }

    pub(crate) fn whole(&self, text: &str, tokens: u64, out: &mut BytesMut) {
        let (reason, prompt) = (self.finish_reason, self.prompt_tokens);
        self.head(false, out);
        match self.api {
            Completion::Chat => {
                json!(out, [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}])
            }
            Completion::Text => json!(out, [{"text": text, "index": 0, "finish_reason": reason}]),
        }
        out.extend_from_slice(b",\"usage\":");
        json!(out, {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": (prompt + tokens)});
        out.extend_from_slice(b"}");
    }
}

/// `/v1/embeddings`, as numbers or as base64 of little-endian floats.
pub(crate) fn embeddings(
    model: &str,
    inputs: &[String],
    dimensions: usize,
    as_base64: bool,
    out: &mut BytesMut,
) {
    out.extend_from_slice(b"{\"object\":\"list\",\"data\":[");
    for (index, input) in inputs.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b",");
        }
        let vector = embedding(input, dimensions);
        if as_base64 {
            let bytes: Vec<u8> = vector
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            json!(out, {"object": "embedding", "embedding": (base64(&bytes)), "index": index});
        } else {
            json!(out, {"object": "embedding", "embedding": vector, "index": index});
        }
    }
    let tokens = prompt_tokens_of(inputs);
    out.extend_from_slice(b"],\"model\":");
    json!(out, model);
    out.extend_from_slice(b",\"usage\":");
    json!(out, {"prompt_tokens": tokens, "total_tokens": tokens});
    out.extend_from_slice(b"}");
}

/// One entry of `/v1/models`, and the answer of `/v1/models/:model`.
pub(crate) fn model(name: &str, out: &mut BytesMut) {
    json!(out, {"id": name, "object": "model", "created": CREATED, "owned_by": "library"});
}

/// `/v1/models`.
pub(crate) fn models(name: &str, out: &mut BytesMut) {
    out.extend_from_slice(b"{\"object\":\"list\",\"data\":[");
    model(name, out);
    out.extend_from_slice(b"]}");
}

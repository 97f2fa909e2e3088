//! Ollama's own inference API: generate, chat, and the two embedding routes.

use bytes::BytesMut;

use crate::json::json;
use crate::stream::{Dialect, MID_STREAM_ERROR};
use crate::text::{CreatedAt, embedding};

/// The dimensions of the model, also said by `/api/tags`.
pub(crate) const DIMENSIONS: usize = 448;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Native {
    Generate,
    Chat,
}

/// The NDJSON lines of generate and chat.
pub(crate) struct NativeLines {
    pub(crate) api: Native,
    pub(crate) model: String,
    pub(crate) prompt_tokens: u64,
    pub(crate) done_reason: &'static str,
}

impl Dialect for NativeLines {
    fn token(&mut self, index: u64, token: &str, out: &mut BytesMut) {
        let model = &self.model;
        match self.api {
            Native::Generate => {
                json!(out, {"model": model, "created_at": (CreatedAt(index)), "response": token, "done": false})
            }
            Native::Chat => {
                json!(out, {"model": model, "created_at": (CreatedAt(index)), "message": {"role": "assistant", "content": token}, "done": false});
            }
        }
        out.extend_from_slice(b"\n");
    }

    fn close(&mut self, tokens: u64, out: &mut BytesMut) {
        self.whole("", tokens, out);
        out.extend_from_slice(b"\n");
    }

    fn error(&mut self, _: u64, out: &mut BytesMut) {
        json!(out, {"error": MID_STREAM_ERROR});
        out.extend_from_slice(b"\n");
    }

    fn content_type(&self) -> &'static str {
        "application/x-ndjson"
    }
}

impl NativeLines {
    /// The last line, and with the whole text the answer to `"stream":false`.
    pub(crate) fn whole(&self, text: &str, tokens: u64, out: &mut BytesMut) {
        let (model, reason, at) = (&self.model, self.done_reason, CreatedAt(tokens));
        match self.api {
            Native::Generate => {
                json!(out, {"model": model, "created_at": at, "response": text, "done": true, "done_reason": reason, "context": [1, 263, 412]});
            }
            Native::Chat => {
                json!(out, {"model": model, "created_at": at, "message": {"role": "assistant", "content": text}, "done": true, "done_reason": reason});
            }
        }
        out.truncate(out.len() - 1); // the numbers belong into the same object
        let (load, prompt, each) = (12_345_678_u64, 6_590_000_u64, 3_352_125_u64);
        let total = load + prompt + each * tokens;
        let mut member = |name: &[u8], value: u64| {
            if value > 0 {
                out.extend_from_slice(b",\"");
                out.extend_from_slice(name);
                out.extend_from_slice(b"\":");
                json!(out, value);
            }
        };
        member(b"total_duration", total);
        member(b"load_duration", load);
        member(b"prompt_eval_count", self.prompt_tokens);
        member(b"prompt_eval_duration", prompt);
        member(b"eval_count", tokens);
        member(b"eval_duration", each * tokens);
        out.extend_from_slice(b"}");
    }

    /// The answer to a request that only loads or unloads.
    pub(crate) fn only(&self, out: &mut BytesMut) {
        let (model, reason, at) = (&self.model, self.done_reason, CreatedAt(0));
        match self.api {
            Native::Generate => {
                json!(out, {"model": model, "created_at": at, "response": "", "done": true, "done_reason": reason})
            }
            Native::Chat => {
                json!(out, {"model": model, "created_at": at, "message": {"role": "assistant", "content": ""}, "done": true, "done_reason": reason});
            }
        }
    }
}

/// `/api/embed`.
pub(crate) fn embed(model: &str, inputs: &[String], dimensions: usize, out: &mut BytesMut) {
    let vectors: Vec<Vec<f32>> = inputs
        .iter()
        .map(|input| embedding(input, dimensions))
        .collect();
    let tokens = prompt_tokens_of(inputs);
    json!(out, {
        "model": model, "embeddings": vectors,
        "total_duration": 14143917, "load_duration": 1019500, "prompt_eval_count": tokens,
    });
}

/// `/api/embeddings`, the older form: one vector, and an empty one for an empty prompt.
pub(crate) fn embeddings(prompt: &str, dimensions: usize, out: &mut BytesMut) {
    let vector = if prompt.is_empty() {
        Vec::new()
    } else {
        embedding(prompt, dimensions)
    };
    json!(out, {"embedding": vector});
}

/// A word is a token; there is at least one.
pub(crate) fn prompt_tokens(text: &str) -> u64 {
    (text.split_whitespace().count() as u64).max(1)
}

pub(crate) fn prompt_tokens_of(texts: &[String]) -> u64 {
    texts.iter().map(|text| prompt_tokens(text)).sum()
}

//! Anthropic's API as Ollama speaks it: named events, the last of them `message_stop`.

use bytes::BytesMut;

use crate::json::json;
use crate::stream::Dialect;

pub(crate) struct MessageEvents {
    pub(crate) number: u64,
    pub(crate) model: String,
    pub(crate) prompt_tokens: u64,
    pub(crate) stop_reason: &'static str,
}

impl Dialect for MessageEvents {
    fn token(&mut self, index: u64, token: &str, out: &mut BytesMut) {
        if index == 0 {
            self.open(out);
            event("content_block_start", out, |out| {
                json!(out, {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
            });
        }
        event("content_block_delta", out, |out| {
            json!(out, {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": token}});
        });
    }

    fn close(&mut self, tokens: u64, out: &mut BytesMut) {
        if tokens == 0 {
            self.open(out);
        } else {
            event(
                "content_block_stop",
                out,
                |out| json!(out, {"type": "content_block_stop", "index": 0}),
            );
        }
        let (reason, prompt) = (self.stop_reason, self.prompt_tokens);
        event("message_delta", out, |out| {
            json!(out, {
                "type": "message_delta", "delta": {"stop_reason": reason},
                "usage": {"input_tokens": prompt, "output_tokens": tokens},
            });
        });
        event(
            "message_stop",
            out,
            |out| json!(out, {"type": "message_stop"}),
        );
    }

    /// Ollama's converter takes an error line for an empty chunk: nothing is written, the stream ends unfinished.
    fn error(&mut self, tokens: u64, out: &mut BytesMut) {
        if tokens == 0 {
            self.open(out);
        }
    }

    fn content_type(&self) -> &'static str {
        "text/event-stream"
    }

    fn forbids_caching(&self) -> bool {
        true
    }
}

impl MessageEvents {
    fn open(&self, out: &mut BytesMut) {
        let (id, model, prompt) = (self.id(), &self.model, self.prompt_tokens);
        event("message_start", out, |out| {
            json!(out, {
                "type": "message_start",
                "message": {
                    "id": id, "type": "message", "role": "assistant", "model": model, "content": [],
                    "usage": {"input_tokens": prompt, "output_tokens": 0},
                },
            });
        });
    }

    fn id(&self) -> String {
        format!("msg_{:024x}", self.number)
    }

    pub(crate) fn whole(&self, text: &str, tokens: u64, out: &mut BytesMut) {
        let (id, model, prompt, reason) =
            (self.id(), &self.model, self.prompt_tokens, self.stop_reason);
        json!(out, {
            "id": id, "type": "message", "role": "assistant", "model": model, "content": [{"type": "text", "text": text}],
            "stop_reason": reason, "usage": {"input_tokens": prompt, "output_tokens": tokens},
        });
    }
}

fn event(name: &str, out: &mut BytesMut, data: impl FnOnce(&mut BytesMut)) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    data(out);
    out.extend_from_slice(b"\n\n");
}

//! OpenAI's Responses API as Ollama speaks it: named events, numbered, and no `[DONE]`.
//!
//! Ollama writes these objects from maps, so the order of members means nothing; here it is alphabetical where that is no bother.

use bytes::{Bytes, BytesMut};

use crate::json::{Go, Raw, json, written};
use crate::stream::Dialect;
use crate::text::CREATED;

pub(crate) struct ResponseEvents {
    pub(crate) number: u64,
    pub(crate) model: String,
    pub(crate) prompt_tokens: u64,
    pub(crate) limit: Option<u64>,
    /// What has been said: the closing events repeat it.
    pub(crate) said: String,
    pub(crate) sequence: u64,
}

impl Dialect for ResponseEvents {
    fn token(&mut self, index: u64, token: &str, out: &mut BytesMut) {
        if index == 0 {
            self.open(out);
            let item = self.item("in_progress", None);
            self.event(
                "response.output_item.added",
                out,
                |out| member(out, "item", &Raw(&item)),
                &["output_index"],
            );
            let (id, part) = (self.item_id(), part(""));
            self.event(
                "response.content_part.added",
                out,
                |out| {
                    member(out, "item_id", &id);
                    member(out, "part", &Raw(&part));
                },
                &["content_index", "output_index"],
            );
        }
        self.said.push_str(token);
        let id = self.item_id();
        self.event(
            "response.output_text.delta",
            out,
            |out| {
                member(out, "delta", token);
                member(out, "item_id", &id);
                member(out, "logprobs", &Raw(b"[]"));
            },
            &["content_index", "output_index"],
        );
    }

    fn close(&mut self, tokens: u64, out: &mut BytesMut) {
        if tokens == 0 {
            self.open(out);
        } else {
            let (id, said) = (self.item_id(), std::mem::take(&mut self.said));
            self.event(
                "response.output_text.done",
                out,
                |out| {
                    member(out, "item_id", &id);
                    member(out, "logprobs", &Raw(b"[]"));
                    member(out, "text", &said);
                },
                &["content_index", "output_index"],
            );
            let part = part(&said);
            self.event(
                "response.content_part.done",
                out,
                |out| {
                    member(out, "item_id", &id);
                    member(out, "part", &Raw(&part));
                },
                &["content_index", "output_index"],
            );
            let item = self.item("completed", Some(&said));
            self.event(
                "response.output_item.done",
                out,
                |out| member(out, "item", &Raw(&item)),
                &["output_index"],
            );
            self.said = said;
        }
        let response = written(|out| self.response(Some(tokens), out));
        self.event(
            "response.completed",
            out,
            |out| member(out, "response", &Raw(&response)),
            &[],
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

impl ResponseEvents {
    fn open(&mut self, out: &mut BytesMut) {
        let response = written(|out| self.response(None, out));
        self.event(
            "response.created",
            out,
            |out| member(out, "response", &Raw(&response)),
            &[],
        );
        self.event(
            "response.in_progress",
            out,
            |out| member(out, "response", &Raw(&response)),
            &[],
        );
    }

    /// One event; `zeros` are the indices of the one item there is.
    fn event(
        &mut self,
        name: &str,
        out: &mut BytesMut,
        members: impl FnOnce(&mut BytesMut),
        zeros: &[&str],
    ) {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\ndata: {\"type\":\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\",\"sequence_number\":");
        json!(out, (self.sequence));
        for zero in zeros {
            member(out, zero, &0u64);
        }
        members(out);
        out.extend_from_slice(b"}\n\n");
        self.sequence += 1;
    }

    fn item_id(&self) -> String {
        format!("msg_{}", self.number)
    }

    fn item(&self, status: &str, said: Option<&str>) -> Bytes {
        let id = self.item_id();
        written(|out| match said.map(part) {
            None => {
                json!(out, {"content": [], "id": id, "role": "assistant", "status": status, "type": "message"})
            }
            Some(part) => {
                json!(out, {"content": [(Raw(&part))], "id": id, "role": "assistant", "status": status, "type": "message"})
            }
        })
    }

    /// The response object: in progress, or completed after that many tokens.
    fn response(&self, tokens: Option<u64>, out: &mut BytesMut) {
        let id = format!("resp_{}", self.number);
        let (model, limit, prompt) = (&self.model, self.limit, self.prompt_tokens);
        let status = if tokens.is_some() {
            "completed"
        } else {
            "in_progress"
        };
        let completed_at = tokens.map(|_| CREATED);
        let output = written(|out| match tokens {
            None | Some(0) => json!(out, []),
            Some(_) => json!(out, [(Raw(&self.item("completed", Some(&self.said))))]),
        });
        let usage = written(|out| match tokens {
            None => json!(out, null),
            Some(tokens) => json!(out, {
                "input_tokens": prompt, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": tokens,
                "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": (prompt + tokens),
            }),
        });
        json!(out, {
            "background": false, "completed_at": completed_at, "created_at": CREATED, "error": null, "frequency_penalty": 0, "id": id,
            "incomplete_details": null, "instructions": null, "max_output_tokens": limit, "max_tool_calls": null, "metadata": {},
            "model": model, "object": "response", "output": (Raw(&output)), "parallel_tool_calls": true, "presence_penalty": 0,
            "previous_response_id": null, "prompt_cache_key": null, "reasoning": null, "safety_identifier": null, "service_tier": "default",
            "status": status, "store": false, "temperature": 1, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [],
            "top_logprobs": 0, "top_p": 1, "truncation": "disabled", "usage": (Raw(&usage)),
        });
    }

    pub(crate) fn whole(&mut self, text: &str, tokens: u64, out: &mut BytesMut) {
        text.clone_into(&mut self.said);
        self.response(Some(tokens), out);
    }
}

fn part(text: &str) -> Bytes {
    written(
        |out| json!(out, {"annotations": [], "logprobs": [], "text": text, "type": "output_text"}),
    )
}

fn member<T: Go + ?Sized>(out: &mut BytesMut, name: &str, value: &T) {
    out.extend_from_slice(b",");
    name.write(out);
    out.extend_from_slice(b":");
    value.write(out);
}

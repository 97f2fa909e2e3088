//! The error record that a torn answer ends with, in the answer's own format.
//!
//! Invariant: it does not run into what was cut off, and where a format has no place for it, there is none.

use bytes::Bytes;
use c2l_tunnel::Fault;
use http::HeaderMap;

use crate::error::Dialect;

/// How a torn answer says so in its own format, if it has one.
#[derive(Debug)]
pub(crate) struct Tear {
    format: Option<Format>,
    tail: [u8; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Ndjson,
    OpenAiEvents,
    AnthropicEvents,
}

impl Tear {
    /// For an answer with these fields; `has_length` says that its length is announced.
    pub(crate) fn new(headers: &HeaderMap, dialect: Dialect, has_length: bool) -> Self {
        let content_type = headers
            .get(http::header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let format = match (
            content_type.split(';').next().unwrap_or_default().trim(),
            dialect,
        ) {
            // A record would not fit into a declared length, nor into a compressed body.
            _ if has_length || headers.contains_key(http::header::CONTENT_ENCODING) => None,
            ("application/x-ndjson", _) => Some(Format::Ndjson),
            ("text/event-stream", Dialect::Anthropic) => Some(Format::AnthropicEvents),
            ("text/event-stream", Dialect::OpenAi | Dialect::Ollama) => Some(Format::OpenAiEvents),
            _ => None,
        };
        Self {
            format,
            tail: *b"\n\n",
        }
    }

    /// Remembers how the answer stands at its end: inside a line, after one, after an event.
    pub(crate) fn passed(&mut self, piece: &[u8]) {
        self.tail = match piece {
            [.., before, last] => [*before, *last],
            [last] => [self.tail[1], *last],
            [] => self.tail,
        };
    }

    /// The error record, so begun that it does not run into what was cut off.
    pub(crate) fn record(&self, fault: &Fault, request_id: &str) -> Option<Bytes> {
        let format = self.format?;
        let is_inside_line = self.tail[1] != b'\n';
        let is_inside_event = is_inside_line || self.tail[0] != b'\n';
        let record = match format {
            Format::Ndjson => {
                let begin = if is_inside_line { "\n" } else { "" };
                format!("{begin}{}\n", Dialect::Ollama.error_body(fault, request_id))
            }
            Format::OpenAiEvents | Format::AnthropicEvents => {
                let begin = match (is_inside_line, is_inside_event) {
                    (true, _) => "\n\n",
                    (false, true) => "\n",
                    (false, false) => "",
                };
                if format == Format::OpenAiEvents {
                    format!(
                        "{begin}data: {}\n\n",
                        Dialect::OpenAi.error_body(fault, request_id)
                    )
                } else {
                    let body = Dialect::Anthropic.error_body(fault, request_id);
                    format!("{begin}event: error\ndata: {body}\n\n")
                }
            }
        };
        Some(Bytes::from(record))
    }
}

#[cfg(test)]
mod tests {
    use c2l_tunnel::{Kind, Origin};
    use http::HeaderValue;

    use super::*;

    fn tear(content_type: &'static str, dialect: Dialect, passed: &[u8]) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static(content_type));
        let mut tear = Tear::new(&headers, dialect, false);
        tear.passed(passed);
        let fault = Fault::new(Kind::AgentLost, Origin::Agent, "gone");
        tear.record(&fault, "r")
            .map(|bytes| String::from_utf8(bytes.to_vec()).expect("text"))
    }

    #[test]
    fn a_torn_answer_says_so_in_its_own_format() {
        let inside = tear("application/x-ndjson", Dialect::Ollama, b"{\"a\":").expect("a record");
        assert!(inside.starts_with("\n{") && inside.ends_with("}\n"));
        let after = tear("application/x-ndjson", Dialect::Ollama, b"{}\n").expect("a record");
        assert!(after.starts_with("{\"code\"") || after.starts_with("{\"error\""));
        let openai = tear("text/event-stream", Dialect::OpenAi, b"data: {\"x").expect("a record");
        assert!(openai.starts_with("\n\ndata: {") && openai.ends_with("\n\n"));
        let between = tear(
            "text/event-stream; charset=utf-8",
            Dialect::OpenAi,
            b"data: {}\n\n",
        )
        .expect("a record");
        assert!(between.starts_with("data: {"));
        let anthropic =
            tear("text/event-stream", Dialect::Anthropic, b"data: {}\n").expect("a record");
        assert!(anthropic.starts_with("\nevent: error\ndata: {\""));
        assert_eq!(
            tear("application/octet-stream", Dialect::Ollama, b"x"),
            None
        );
    }

    #[test]
    fn a_body_of_declared_length_is_only_cut() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "content-type",
            HeaderValue::from_static("application/x-ndjson"),
        );
        assert!(Tear::new(&headers, Dialect::Ollama, true).format.is_none());
    }
}

//! Finds the field `model` of a form (RFC 7578, `multipart/form-data`) while it passes.
//!
//! Invariant: only the plainest shape passes, the one that every client sends: a body that begins with its first
//! boundary, CR LF at each line's end, each part with one `Content-Disposition` that quotes its name. In that shape Go's
//! `mime/multipart` sees the same parts; anything that it or another reader could see otherwise is refused.
//!
//! ```text
//! Boundary ─▶ AfterBoundary ─CR LF─▶ Line … ─empty line─▶ Content ─CR LF boundary─▶ AfterBoundary ─ -- ─▶ Ended
//! ```

use crate::{json::Found, members::Holds, rules::Refusal};

/// The one field that names a model.
const MODEL: &str = "model";
/// Most bytes of a line in the head of a part.
const MAX_LINE_BYTES: usize = 1024;
/// Most lines in the head of a part.
const MAX_LINES: u8 = 8;
/// Most bytes of the value that is looked at.
const MAX_VALUE_BYTES: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the start: this many bytes of the first boundary have been seen.
    First(usize),
    /// Behind a boundary: CR LF, or two dashes.
    AfterBoundary,
    /// Behind a boundary and a CR.
    BeforeHead,
    /// Behind a boundary and a dash.
    BeforeEnd,
    /// In a line of a part's head.
    Line,
    /// Behind a CR in there.
    LineEnd,
    /// In a part, of which so many last bytes are the beginning of a delimiter.
    Content(usize),
    /// Behind the last boundary.
    Ended,
}

/// Reads one form, piece by piece.
#[derive(Debug)]
pub(crate) struct Scanner {
    /// CR, LF, two dashes and the boundary.
    delimiter: Vec<u8>,
    state: State,
    line: Vec<u8>,
    lines: u8,
    /// What the present part is called, once its head says so.
    part: Option<Part>,
    value: Vec<u8>,
    is_model_seen: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Model,
    Other,
}

impl Scanner {
    pub(crate) fn new(boundary: &str) -> Self {
        Self {
            delimiter: [b"\r\n--", boundary.as_bytes()].concat(),
            state: State::First(0),
            line: Vec::new(),
            lines: 0,
            part: None,
            value: Vec::new(),
            is_model_seen: false,
        }
    }

    /// True behind the last boundary.
    pub(crate) fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Reads on. Tells `judge` of the model, and returns from where on the form's end is held back, if that is in these
    /// bytes.
    ///
    /// # Errors
    /// What `judge` says, or that this is not a form which can be read in one way only.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        mut judge: impl FnMut(Found<'_>) -> Result<(), Refusal>,
    ) -> Result<Option<usize>, Refusal> {
        let mut end = None;
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if let State::Content(0) = self.state {
                let plain = bytes[at..]
                    .iter()
                    .take_while(|byte| **byte != b'\r')
                    .count();
                if plain > 0 {
                    self.keep(&bytes[at..at + plain]);
                    at += plain;
                    continue;
                }
            }
            self.state = match (self.state, byte) {
                (State::First(matched), _) if byte == self.delimiter[matched + 2] => {
                    if matched + 3 == self.delimiter.len() {
                        State::AfterBoundary
                    } else {
                        State::First(matched + 1)
                    }
                }
                (State::AfterBoundary, b'\r') => State::BeforeHead,
                (State::AfterBoundary, b'-') => {
                    end = Some(at);
                    State::BeforeEnd
                }
                (State::BeforeHead, b'\n') => {
                    self.begin_part();
                    State::Line
                }
                (State::BeforeEnd, b'-') => State::Ended,
                (State::Line, b'\r') => State::LineEnd,
                (State::Line, _) if self.line.len() < MAX_LINE_BYTES && byte != b'\n' => {
                    self.line.push(byte);
                    State::Line
                }
                (State::LineEnd, b'\n') => self.end_line()?,
                (State::Content(matched), _) => self.content(matched, byte, &mut judge)?,
                (State::Ended, b'\r' | b'\n') => State::Ended,
                _ => {
                    return Err(Refusal::of_request(
                        "the form cannot be read in one way only",
                    ));
                }
            };
            at += 1;
        }
        Ok(end)
    }

    fn begin_part(&mut self) {
        self.line.clear();
        self.lines = 0;
        self.part = None;
        self.value.clear();
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.part == Some(Part::Model) {
            let room = MAX_VALUE_BYTES.saturating_sub(self.value.len());
            self.value
                .extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// Takes a byte of a part's content, of which the last `matched` are the beginning of a delimiter.
    fn content(
        &mut self,
        matched: usize,
        byte: u8,
        judge: &mut impl FnMut(Found<'_>) -> Result<(), Refusal>,
    ) -> Result<State, Refusal> {
        if byte == self.delimiter[matched] {
            if matched + 1 < self.delimiter.len() {
                return Ok(State::Content(matched + 1));
            }
            if self.part == Some(Part::Model) {
                // As long as the room for it means that more may have been cut.
                let is_whole = self.value.len() < MAX_VALUE_BYTES;
                let text = str::from_utf8(&self.value).ok().filter(|_| is_whole);
                judge(Found {
                    holds: Holds::Model,
                    text: text.unwrap_or("\0"),
                })?;
            }
            return Ok(State::AfterBoundary);
        }
        // The delimiter has one CR, at its start: what matched so far cannot overlap another beginning of it.
        for at in 0..matched {
            let kept = self.delimiter[at];
            self.keep(&[kept]);
        }
        if byte == b'\r' {
            return Ok(State::Content(1));
        }
        self.keep(&[byte]);
        Ok(State::Content(0))
    }

    fn end_line(&mut self) -> Result<State, Refusal> {
        let bad =
            || Refusal::of_request("the head of a part of the form cannot be read in one way only");
        if self.line.is_empty() {
            return if self.part.is_some() {
                Ok(State::Content(0))
            } else {
                Err(bad())
            };
        }
        self.lines += 1;
        let line = std::mem::take(&mut self.line);
        let line = str::from_utf8(&line)
            .ok()
            .filter(|line| !line.contains(char::is_control));
        let (name, value) = line.and_then(|line| line.split_once(':')).ok_or_else(bad)?;
        match name.to_ascii_lowercase().as_str() {
            "content-disposition" if self.part.is_none() => {
                let part = part_of(value).ok_or_else(bad)?;
                if part == Part::Model && std::mem::replace(&mut self.is_model_seen, true) {
                    return Err(Refusal::of_request("the form says `model` more than once"));
                }
                self.part = Some(part);
            }
            "content-type" | "content-length" if self.lines <= MAX_LINES => {}
            _ => return Err(bad()),
        }
        Ok(State::Line)
    }
}

/// What a part is, by its `Content-Disposition`; `None` unless it is `form-data` with one quoted name and at most one
/// name of a file of each form.
fn part_of(value: &str) -> Option<Part> {
    let rest = value.trim().strip_prefix("form-data")?;
    let (mut name, mut file, mut extended_file) = (None, None, None);
    let mut rest = rest.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.strip_prefix(';')?.trim_start().split_once('=')?;
        let (text, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find(is_no_token).unwrap_or(after.len())),
        };
        let slot = match key {
            "name" => &mut name,
            "filename" => &mut file,
            "filename*" => &mut extended_file,
            _ => return None,
        };
        // An escape inside of quotation marks, read or not, would move their end.
        if text.contains('\\') || slot.replace(text).is_some() {
            return None;
        }
        rest = after.trim_start();
        // What is neither the end nor another parameter is caught above, by its missing semicolon.
    }
    let is_file = file.is_some() || extended_file.is_some();
    match name? {
        // Go compares names of fields as they are.
        MODEL if is_file => None,
        MODEL => Some(Part::Model),
        name if name.is_ascii() && !name.contains(['%', '=', '?']) => Some(Part::Other),
        _ => None,
    }
}

fn is_no_token(letter: char) -> bool {
    !letter.is_ascii_alphanumeric() && !"-_.!#$&+^'*%~".contains(letter)
}

/// The boundary that a `Content-Type` of `multipart/form-data` names; `None` unless it is said in the plain way.
#[must_use]
pub fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameter) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let (name, value) = parameter.trim().split_once('=')?;
    let quoted = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    let value = quoted.unwrap_or(value);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte);
    let is_good = name.eq_ignore_ascii_case("boundary")
        && (1..=70).contains(&value.len())
        && value.bytes().all(is_plain);
    is_good.then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Content-Disposition: form-data; name=";

    fn scan(body: &str, piece_bytes: usize) -> Result<(Vec<String>, bool), String> {
        let mut scanner = Scanner::new("b-1");
        let mut found = Vec::new();
        for piece in body.as_bytes().chunks(piece_bytes) {
            let fed = scanner.feed(piece, |model| {
                found.push(model.text.to_owned());
                Ok(())
            });
            fed.map_err(|refusal| refusal.message)?;
        }
        Ok((found, scanner.is_ended()))
    }

    #[test]
    fn the_model_is_found_in_what_clients_send() {
        let file = format!(
            "--b-1\r\n{HEAD}\"file\"; filename=\"a \u{e4}.wav\"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n--b-\r\r\n--b-2\r\n"
        );
        let model = format!("--b-1\r\n{HEAD}\"model\"\r\n\r\nwhisper:1b\r\n--b-1--\r\n");
        // What looks like a boundary in the file is none: another text follows.
        let body = file.replace("--b-2\r\n", "--b2\r\n") + &model;
        for piece_bytes in 1..=body.len() {
            let (found, is_ended) = scan(&body, piece_bytes).unwrap();
            assert_eq!((found, is_ended), (vec!["whisper:1b".to_owned()], true));
        }
    }

    #[test]
    fn what_could_be_read_otherwise_is_refused() {
        let part = |head: &str| format!("--b-1\r\n{head}\r\n\r\nx\r\n--b-1--");
        let model = format!("{HEAD}\"model\"");
        for body in [
            "preamble\r\n--b-1\r\n".to_owned(),
            "--b-1\nContent-Disposition: form-data; name=\"model\"\n\nx\n--b-1--".to_owned(),
            "--b-1 \r\n".to_owned(),
            part(""),
            part("Content-Type: text/plain"),
            part(&format!("{model}\r\n continued")),
            part(&format!("{model}\r\nContent-Transfer-Encoding: base64")),
            part(&format!("{model}\r\n{model}")),
            part(&format!("{model}; filename=\"\"")),
            part(&format!("{HEAD}\"file\"; name=\"model\"")),
            part(&format!("{HEAD}\"file\"; name*=utf-8''model")),
            part(&format!("{HEAD}\"fi\\\"le\"")),
            part(&format!("{HEAD}\"=?utf-8?q?model?=\"")),
            part("Content-Disposition: attachment; name=\"file\""),
            part("Content-Disposition: form-data"),
            part(&format!("{model} x")),
            part("Content-Disposition: form-data; name=model ; filename=x"),
            part("Content-Disposition: form-data; name=\u{a0}model"),
            part(&format!("X: y\r\n{HEAD}\"file\"")),
            format!("--b-1\r\n{model}\r\n\r\nx\r\n--b-1\r\n{model}\r\n\r\ny\r\n--b-1--"),
            format!("{}more", part(&model)),
        ] {
            assert!(scan(&body, 7).is_err(), "{body}");
        }
        let long = format!("--b-1\r\n{model}\r\n\r\n{}\r\n--b-1--", "x".repeat(5000));
        assert_eq!(scan(&long, 100).unwrap().0, ["\0"]);
        let torn = part(&model);
        assert!(!scan(&torn[..torn.len() - 1], 9).unwrap().1);
    }

    #[test]
    fn a_boundary_is_said_in_one_plain_way() {
        for (said, expected) in [
            ("multipart/form-data; boundary=b-1", Some("b-1")),
            ("Multipart/Form-Data;boundary=\"b:1\"", Some("b:1")),
            ("multipart/form-data", None),
            ("multipart/mixed; boundary=x", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data; boundary=a; boundary=b", None),
            ("multipart/form-data; charset=x; boundary=b", None),
            ("multipart/form-data; boundary=\"a", None),
            ("multipart/form-data; boundary*=a", None),
        ] {
            assert_eq!(boundary(said), expected, "{said}");
        }
    }
}

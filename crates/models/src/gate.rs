//! Lets a body through piece by piece, and holds its end back until it has been judged.
//!
//! Invariant: whoever reads what was let through has no whole body before the verdict, and after a bad one never. What
//! is held back is the object's closing brace, or the two dashes behind a form's last boundary, with what follows: a few
//! bytes.

use bytes::Bytes;

use crate::{
    form,
    json::{self, Found},
    members::{Holds, Member},
    rules::{Judge, Refusal},
};

/// Most bytes that may follow the end of what a body holds: white space, which nobody needs.
const MAX_HELD_BYTES: usize = 1024;

/// Stands in a body's way.
#[derive(Debug)]
pub struct Gate {
    scanner: Scanner,
    verdict: Verdict,
    held: Vec<u8>,
}

#[derive(Debug)]
enum Scanner {
    Json(Box<json::Scanner>),
    Form(Box<form::Scanner>),
}

/// What has been found, and what it may be.
#[derive(Debug)]
struct Verdict {
    judge: Judge,
    is_model_named: bool,
    /// The first one, until somebody takes it.
    model: Option<String>,
}

impl Verdict {
    fn on(&mut self, found: Found<'_>) -> Result<(), Refusal> {
        match found.holds {
            Holds::Model => {
                if !found.text.is_empty() && !self.is_model_named {
                    self.is_model_named = true;
                    self.model = Some(found.text.to_owned());
                }
                self.judge.name(found.text)
            }
            _ if found.text.is_empty() => Ok(()),
            Holds::RemoteHost => self.judge.elsewhere(),
            Holds::Outdated => Err(Refusal::of_request(
                "the body says what to make in a way that Ollama has given up, and that is not judged here; \
                 update the client",
            )),
        }
    }
}

impl Gate {
    /// For a JSON object with these members.
    #[must_use]
    pub fn for_json(members: &'static [Member], judge: Judge) -> Self {
        Self::new(Scanner::Json(Box::new(json::Scanner::new(members))), judge)
    }

    /// For a form (`multipart/form-data`) with this boundary, in which the field `model` names the model.
    #[must_use]
    pub fn for_form(boundary: &str, judge: Judge) -> Self {
        Self::new(Scanner::Form(Box::new(form::Scanner::new(boundary))), judge)
    }

    fn new(scanner: Scanner, judge: Judge) -> Self {
        Self {
            scanner,
            verdict: Verdict {
                judge,
                is_model_named: false,
                model: None,
            },
            held: Vec::new(),
        }
    }

    /// Takes the next piece and returns what may go on now, which may be nothing. `is_last` says that the body is known
    /// to end with this piece; then all that was left goes on, once it is judged.
    ///
    /// # Errors
    /// When the request is refused. Nothing more may go on then.
    pub fn pass(&mut self, piece: Bytes, is_last: bool) -> Result<Bytes, Refusal> {
        let verdict = &mut self.verdict;
        let end = match &mut self.scanner {
            Scanner::Json(scanner) => scanner.feed(&piece, |found| verdict.on(found))?,
            Scanner::Form(scanner) => scanner.feed(&piece, |found| verdict.on(found))?,
        };
        if is_last && self.held.is_empty() {
            self.judge_whole()?;
            return Ok(piece);
        }
        let mut piece = piece;
        let behind = match end {
            Some(at) => piece.split_off(at),
            None if self.held.is_empty() => Bytes::new(),
            None => std::mem::take(&mut piece),
        };
        if self.held.len() + behind.len() > MAX_HELD_BYTES {
            let why = "too much white space follows what the body holds";
            return Err(Refusal::of_request(why));
        }
        self.held.extend_from_slice(&behind);
        if is_last {
            return self.finish();
        }
        Ok(piece)
    }

    /// The first model that the body names, once, as it is spelled; also one that was refused.
    pub fn take_model(&mut self) -> Option<String> {
        self.verdict.model.take()
    }

    /// How much is held back now.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }

    /// The body has ended: returns what was held back.
    ///
    /// # Errors
    /// When the request is refused.
    pub fn finish(&mut self) -> Result<Bytes, Refusal> {
        self.judge_whole()?;
        Ok(std::mem::take(&mut self.held).into())
    }

    fn judge_whole(&self) -> Result<(), Refusal> {
        let is_ended = match &self.scanner {
            Scanner::Json(scanner) => scanner.is_ended(),
            Scanner::Form(scanner) => scanner.is_ended(),
        };
        if !is_ended {
            return Err(Refusal::of_request(
                "the body ends before what it holds does",
            ));
        }
        if self.verdict.is_model_named {
            return Ok(());
        }
        self.verdict.judge.no_name()
    }
}

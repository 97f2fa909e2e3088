//! Reads which model a JSON body names while it passes, for where every model is allowed.
//!
//! Invariant: nothing is held back, copied or refused. It looks at the beginning of a body alone, and no further than the
//! name; what cannot be read names no model.

use crate::{
    json::{Found, Scanner},
    members::{Holds, Member},
    rules::Refusal,
};

/// Most bytes of a body that are looked at. Clients write the model first, or behind the few members that are not long.
const MAX_LOOKED_AT_BYTES: usize = 64 * 1024;

/// Looks at a body as it passes.
#[derive(Debug)]
pub struct Glance(State);

#[derive(Debug)]
enum State {
    /// Nothing has come. Mostly the first piece has the name in it, and then nothing is kept between pieces.
    Before(&'static [Member]),
    Within {
        scanner: Box<Scanner>,
        left_bytes: usize,
    },
    /// It was named, or nobody will know.
    Over,
}

impl Glance {
    /// For a JSON object with these members.
    #[must_use]
    pub const fn for_json(members: &'static [Member]) -> Self {
        Self(State::Before(members))
    }

    /// Looks at the next piece. The first model that is named is given once, as it is spelled, escapes decoded; one that
    /// is too long for a name, or no Unicode, is given as something that is no name either.
    pub fn look(&mut self, piece: &[u8]) -> Option<String> {
        match std::mem::replace(&mut self.0, State::Over) {
            State::Over => None,
            State::Before(members) => {
                let mut scanner = Scanner::new(members);
                match see(&mut scanner, piece, MAX_LOOKED_AT_BYTES) {
                    Seen::All(model) => model,
                    Seen::NotYet { left_bytes } => {
                        let scanner = Box::new(scanner);
                        self.0 = State::Within {
                            scanner,
                            left_bytes,
                        };
                        None
                    }
                }
            }
            State::Within {
                mut scanner,
                left_bytes,
            } => match see(&mut scanner, piece, left_bytes) {
                Seen::All(model) => model,
                Seen::NotYet { left_bytes } => {
                    self.0 = State::Within {
                        scanner,
                        left_bytes,
                    };
                    None
                }
            },
        }
    }
}

enum Seen {
    /// All that there will be to know.
    All(Option<String>),
    NotYet {
        left_bytes: usize,
    },
}

fn see(scanner: &mut Scanner, piece: &[u8], left_bytes: usize) -> Seen {
    let looked_at = &piece[..piece.len().min(left_bytes)];
    let mut model = None;
    let fed = scanner.feed(looked_at, |found: Found<'_>| {
        if found.holds != Holds::Model || found.text.is_empty() {
            return Ok(());
        }
        model = Some(found.text.to_owned());
        Err(Refusal::of_request("")) // ends the scan; nobody sees it, and it allocates nothing
    });
    let left_bytes = left_bytes - looked_at.len();
    match (model, fed) {
        (None, Ok(None)) if left_bytes > 0 => Seen::NotYet { left_bytes },
        (model, _) => Seen::All(model),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::{MODEL, MODEL_OR_NAME};

    /// The model, in pieces of this many bytes, and that it is told once.
    fn named(members: &'static [Member], body: &str, piece_bytes: usize) -> Option<String> {
        let mut glance = Glance::for_json(members);
        let pieces = body.as_bytes().chunks(piece_bytes);
        let mut told = pieces.filter_map(|piece| glance.look(piece));
        let model = told.next();
        assert_eq!(told.next(), None, "{body}");
        model
    }

    #[test]
    fn the_first_model_is_told_however_the_body_is_cut() {
        for (body, expected) in [
            (r#"{"model":"x:1b","messages":[]}"#, Some("x:1b")),
            (
                r#"{"stream":true,"a":{"model":"no"},"Model":"\u0058"}"#,
                Some("X"),
            ),
            (r#"{"model":"","name":"y"}"#, Some("y")),
            (r#"{"model":null,"name":"y"}"#, Some("y")),
            (r#"{"model":"x","model":"y"}"#, Some("x")),
            (r#"{"model":"x" and then nonsense"#, Some("x")),
            (r#"{"model":"x"#, None),
            (r#"{"messages":[]}"#, None),
            (r#"{"model":5,"name":"y"}"#, None),
            ("no JSON", None),
            ("", None),
        ] {
            for piece_bytes in 1..=body.len().max(1) {
                let model = named(MODEL_OR_NAME, body, piece_bytes);
                assert_eq!(model.as_deref(), expected, "{piece_bytes}: {body}");
            }
        }
        assert_eq!(named(MODEL, r#"{"name":"y"}"#, 3), None);
    }

    #[test]
    fn only_the_beginning_is_looked_at() {
        let behind = |bytes: usize| {
            let prompt = "p".repeat(bytes);
            format!(r#"{{"prompt":"{prompt}","model":"x"}}"#)
        };
        let framing = r#"{"prompt":"","model":"x""#.len();
        let fits = behind(MAX_LOOKED_AT_BYTES - framing);
        let is_too_far = behind(MAX_LOOKED_AT_BYTES - framing + 1);
        for piece_bytes in [1000, MAX_LOOKED_AT_BYTES, 1 << 20] {
            assert_eq!(named(MODEL, &fits, piece_bytes).as_deref(), Some("x"));
            assert_eq!(named(MODEL, &is_too_far, piece_bytes), None);
        }
    }

    #[test]
    fn nothing_is_kept_once_it_is_known_that_nothing_comes() {
        let mut glance = Glance::for_json(MODEL);
        assert_eq!(glance.look(b"["), None);
        assert!(matches!(glance.0, State::Over));
    }
}

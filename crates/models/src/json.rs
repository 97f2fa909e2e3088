//! Finds members of a JSON object while it passes.
//!
//! Invariant: for every text that Go's `encoding/json` takes, the members found are those that it would read into a
//! struct: names compared with escapes decoded and case folded as it does. What it does not take may be refused at any
//! point, or not at all where the difference cannot hide a member. State has a fixed size; bytes are looked at once.
//!
//! ```text
//! Start ─{─▶ FirstName ─"─▶ Name ─"─▶ Colon ─:─▶ Value ─▶ Text │ Scalar │ Nested ─▶ Next ─}─▶ Ended
//!              └─────────────────────── } ────────────────────────────────────────────┴──────────▲
//! ```

use crate::{
    members::{Holds, Member},
    rules::Refusal,
};

/// Most levels of arrays and objects in one another. Ollama takes 10 000; nobody sends more than a few.
const MAX_DEPTH: usize = 1024;
/// Most bytes of a name or value that is looked at. Every name of a model is shorter.
const MAX_TEXT_BYTES: usize = 1024;

/// What the judge is told of a member's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found<'a> {
    pub(crate) holds: Holds,
    /// Escapes decoded. What is too long or no Unicode is told as something that is no name.
    pub(crate) text: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    /// Behind the `{`.
    FirstName,
    /// Behind a `,`.
    NextName,
    Name,
    Colon,
    Value,
    Text,
    Scalar,
    /// Inside an array or object that is a value.
    Nested,
    NestedText,
    /// Behind a value.
    Next,
    /// Behind the `}`.
    Ended,
}

/// Where in a string the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    None,
    Begun,
    /// Of `\uXXXX`: what was read, and how many digits are left.
    Unicode(u16, u8),
}

/// Reads one object, piece by piece.
#[derive(Debug)]
pub(crate) struct Scanner {
    members: &'static [Member],
    state: State,
    escape: Escape,
    /// The member whose value is next or being read.
    member: Option<Member>,
    /// One bit for each of `members` that has been there.
    seen: u8,
    /// One bit a level: set for an object.
    levels: [u64; MAX_DEPTH / 64],
    depth: usize,
    text: Text,
}

/// The string being read, if anybody wants to know it.
#[derive(Debug)]
struct Text {
    bytes: [u8; MAX_TEXT_BYTES],
    length: usize,
    is_wanted: bool,
    /// Longer than there is room for, or with an escape that no name of ours has.
    is_foreign: bool,
}

impl Text {
    fn begin(&mut self, is_wanted: bool) {
        self.length = 0;
        self.is_wanted = is_wanted;
        self.is_foreign = false;
    }

    fn push(&mut self, bytes: &[u8]) {
        if !self.is_wanted {
            return;
        }
        match self.bytes.get_mut(self.length..self.length + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.length += bytes.len();
            }
            None => self.is_foreign = true,
        }
    }

    fn push_unicode(&mut self, unit: u16) {
        match char::from_u32(u32::from(unit)) {
            Some(letter) => self.push(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            None => self.is_foreign = true, // half of a pair: not of the plane in which our letters are
        }
    }

    fn bytes(&self) -> Option<&[u8]> {
        (!self.is_foreign).then_some(&self.bytes[..self.length])
    }
}

impl Scanner {
    /// A scanner for these members, at most eight.
    pub(crate) fn new(members: &'static [Member]) -> Self {
        debug_assert!(members.len() <= 8, "there are eight bits");
        Self {
            members,
            state: State::Start,
            escape: Escape::None,
            member: None,
            seen: 0,
            levels: [0; MAX_DEPTH / 64],
            depth: 0,
            text: Text {
                bytes: [0; MAX_TEXT_BYTES],
                length: 0,
                is_wanted: false,
                is_foreign: false,
            },
        }
    }

    /// True behind the object's end.
    pub(crate) fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Reads on. Tells `judge` of each member found, and returns where the object ends if that is in these bytes.
    ///
    /// # Errors
    /// What `judge` says, or that this is not one object which can be read in one way only.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        mut judge: impl FnMut(Found<'_>) -> Result<(), Refusal>,
    ) -> Result<Option<usize>, Refusal> {
        let mut end = None;
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match self.state {
                State::Name | State::Text | State::NestedText => {
                    at += self.in_string(&bytes[at..], &mut judge)?;
                    continue;
                }
                State::Nested if IS_PLAIN_NESTED[usize::from(byte)] => {
                    let rest = bytes[at..].iter();
                    let is_plain = |byte: &&u8| IS_PLAIN_NESTED[usize::from(**byte)];
                    at += rest.take_while(is_plain).count();
                    continue;
                }
                State::Nested => self.nested(byte)?,
                State::Scalar if is_in_scalar(byte) => {}
                State::Start
                | State::FirstName
                | State::NextName
                | State::Colon
                | State::Value
                | State::Scalar
                | State::Next
                | State::Ended => {
                    if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                        self.between(byte)?;
                        if self.state == State::Ended {
                            end = Some(at);
                        }
                    } else if self.state == State::Scalar {
                        self.state = State::Next;
                    }
                }
            }
            at += 1;
        }
        Ok(end)
    }

    /// Takes a byte that is no white space, outside of strings, in the outer object.
    fn between(&mut self, byte: u8) -> Result<(), Refusal> {
        self.state = match (self.state, byte) {
            (State::Start, b'{') => State::FirstName,
            (State::FirstName | State::NextName, b'"') => {
                self.text.begin(true);
                State::Name
            }
            (State::Colon, b':') => State::Value,
            (State::Value, b'"') => {
                self.text.begin(self.member.is_some());
                State::Text
            }
            (State::Value, b'n') => State::Scalar, // null, which Go takes for nothing said
            (State::Value, b'[' | b'{') => {
                self.only_strings()?;
                self.open(byte)?;
                State::Nested
            }
            (State::Value, _) if is_in_scalar(byte) => {
                self.only_strings()?;
                State::Scalar
            }
            (State::Scalar | State::Next, b',') => State::NextName,
            (State::FirstName | State::Scalar | State::Next, b'}') => State::Ended,
            (State::Start, _) => return Err(not_json("the body is not a JSON object")),
            (State::Ended, _) => return Err(not_json("something follows the body's JSON object")),
            _ => return Err(not_json("the body is not valid JSON")),
        };
        Ok(())
    }

    fn only_strings(&self) -> Result<(), Refusal> {
        match self.member {
            Some(member) => {
                let why = format!("`{}` is not a string", member.name);
                Err(not_json(&why))
            }
            None => Ok(()),
        }
    }

    fn nested(&mut self, byte: u8) -> Result<(), Refusal> {
        match byte {
            b'"' => {
                self.text.begin(false);
                self.state = State::NestedText;
            }
            b'[' | b'{' => self.open(byte)?,
            b']' | b'}' => self.close(byte)?,
            // Nothing else may stand here: a comment, say, could hide a quotation mark from us or from the upstream.
            _ => return Err(not_json("the body is not valid JSON")),
        }
        Ok(())
    }

    fn open(&mut self, byte: u8) -> Result<(), Refusal> {
        if self.depth == MAX_DEPTH {
            return Err(not_json("the body's JSON is nested too deeply"));
        }
        let bit = 1 << (self.depth % 64);
        let level = &mut self.levels[self.depth / 64];
        *level = if byte == b'{' {
            *level | bit
        } else {
            *level & !bit
        };
        self.depth += 1;
        Ok(())
    }

    fn close(&mut self, byte: u8) -> Result<(), Refusal> {
        self.depth -= 1; // what is nested is at least one level deep
        let is_object = self.levels[self.depth / 64] >> (self.depth % 64) & 1 == 1;
        if is_object != (byte == b'}') {
            return Err(not_json("the body is not valid JSON"));
        }
        if self.depth == 0 {
            self.state = State::Next;
        }
        Ok(())
    }

    /// Reads on in a string; returns how many bytes were taken, at least one.
    fn in_string(
        &mut self,
        bytes: &[u8],
        judge: &mut impl FnMut(Found<'_>) -> Result<(), Refusal>,
    ) -> Result<usize, Refusal> {
        if self.escape != Escape::None {
            self.escaped(bytes[0])?;
            return Ok(1);
        }
        let plain = plain_run(bytes);
        self.text.push(&bytes[..plain]);
        match bytes.get(plain) {
            None => return Ok(plain),
            Some(b'\\') => self.escape = Escape::Begun,
            Some(b'"') => self.end_string(judge)?,
            Some(_) => return Err(not_json("the body is not valid JSON")), // a control character
        }
        Ok(plain + 1)
    }

    fn escaped(&mut self, byte: u8) -> Result<(), Refusal> {
        let bad = || not_json("the body is not valid JSON");
        let meant = match self.escape {
            Escape::Unicode(read, left) => {
                let digit = char::from(byte).to_digit(16).ok_or_else(bad)?;
                let digit = u16::try_from(digit).map_err(|_| bad())?;
                let read = read << 4 | digit;
                if left > 1 {
                    self.escape = Escape::Unicode(read, left - 1);
                } else {
                    self.escape = Escape::None;
                    self.text.push_unicode(read);
                }
                return Ok(());
            }
            Escape::None | Escape::Begun => match byte {
                b'u' => {
                    self.escape = Escape::Unicode(0, 4);
                    return Ok(());
                }
                b'"' | b'\\' | b'/' => byte,
                b'b' => 0x08,
                b'f' => 0x0C,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                _ => return Err(bad()),
            },
        };
        self.escape = Escape::None;
        self.text.push(&[meant]);
        Ok(())
    }

    fn end_string(
        &mut self,
        judge: &mut impl FnMut(Found<'_>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        match self.state {
            State::Name => {
                self.member = self.member_of_text()?;
                self.state = State::Colon;
            }
            State::Text => {
                self.state = State::Next;
                if let Some(member) = self.member {
                    let text = self
                        .text
                        .bytes()
                        .and_then(|bytes| str::from_utf8(bytes).ok());
                    judge(Found {
                        holds: member.holds,
                        text: text.unwrap_or("\0"), // said, and not a name
                    })?;
                }
            }
            _ => self.state = State::Nested,
        }
        Ok(())
    }

    /// The member of this name, if it is one of ours. A second one is refused: Go would take the last, others the
    /// first.
    fn member_of_text(&mut self) -> Result<Option<Member>, Refusal> {
        let Some(name) = self.text.bytes() else {
            return Ok(None);
        };
        let mut members = self.members.iter().enumerate();
        let Some((index, member)) = members.find(|(_, member)| is_folded(name, member.name)) else {
            return Ok(None);
        };
        if self.seen & 1 << index != 0 {
            let why = format!("the body says `{}` more than once", member.name);
            return Err(not_json(&why));
        }
        self.seen |= 1 << index;
        Ok(Some(*member))
    }
}

fn not_json(why: &str) -> Refusal {
    Refusal::of_request(why)
}

/// What numbers, `true`, `false` and `null` are made of.
const fn is_in_scalar(byte: u8) -> bool {
    matches!(
        byte,
        b'0'..=b'9'
            | b'+'
            | b'-'
            | b'.'
            | b'E'
            | b't'
            | b'r'
            | b'u'
            | b'e'
            | b'f'
            | b'a'
            | b'l'
            | b's'
            | b'n'
    )
}

/// What stands in nested values beside strings and brackets.
const IS_PLAIN_NESTED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        let is_between = matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b':');
        table[byte as usize] = is_between || is_in_scalar(byte);
        byte += 1;
    }
    table
};

/// How many bytes from the start are neither a quotation mark, nor a backslash, nor a control character.
fn plain_run(bytes: &[u8]) -> usize {
    let is_special = |byte: u8| byte == b'"' || byte == b'\\' || byte < b' ';
    // Whole blocks first, without a way out of the loop in the middle: the compiler then looks at many bytes at once.
    let has_special = |block: &&[u8]| {
        block
            .iter()
            .fold(false, |found, byte| found | is_special(*byte))
    };
    let blocks = bytes.chunks_exact(64);
    let plain = 64 * blocks.take_while(|block| !has_special(block)).count();
    let rest = bytes[plain..].iter();
    plain + rest.take_while(|byte| !is_special(**byte)).count()
}

/// True when Go takes this member's name for ours: it folds ASCII letters, and the two letters beyond ASCII that fold to
/// one of those, U+017F (s) and U+212A (k).
fn is_folded(name: &[u8], ours: &str) -> bool {
    let mut left = name;
    let is_same = ours.bytes().all(|wanted| {
        let (letter, rest) = match left {
            [0xC5, 0xBF, rest @ ..] => (b's', rest),
            [0xE2, 0x84, 0xAA, rest @ ..] => (b'k', rest),
            [letter, rest @ ..] => (letter.to_ascii_lowercase(), rest),
            [] => return false,
        };
        left = rest;
        letter == wanted
    });
    is_same && left.is_empty()
}

#[cfg(test)]
mod tests;

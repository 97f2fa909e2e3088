//! What the model says, when it says so, and the bytes of raw answers: all of it a function of the request alone.
//!
//! Nothing here looks at a clock or a random source, so two runs of one request are equal byte for byte.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};

use crate::json::Go;

/// Unix time of the fixed moment at which everything is said to happen: 2026-08-21T18:48:22Z.
pub(crate) const CREATED: u64 = 1_787_338_102;

const PARAGRAPH: &str = "This is the demonstration model of c2l. It does not think: it walks over one fixed paragraph, \
a word at a time, so that you can see a stream arrive through the tunnel before any real model is installed. \
Your question went from this page to the relay, from the relay through one outbound connection to the agent, and from the agent to here; \
the words come back the same way, each as soon as it is spoken. \
To hear a real answer, install Ollama, pull a model, and start the agent again.";

static WORDS: LazyLock<Vec<&'static str>> = LazyLock::new(|| PARAGRAPH.split(' ').collect());

/// How many tokens the fixed paragraph has, which is what `tiny` says unless told otherwise.
pub fn paragraph_tokens() -> u64 {
    WORDS.len() as u64
}

/// What `tiny` answers in that many tokens: the texts of its stream, joined.
pub fn answer_text(tokens: u64) -> String {
    let text = Text::Paragraph;
    let mut out = String::new();
    (0..tokens).for_each(|index| text.push_token(index, &mut out));
    out
}

/// Where the tokens of one answer come from.
#[derive(Debug)]
pub(crate) enum Text {
    Paragraph,
    /// The owner's name and the caller's prompt, cut into words.
    Echo(Vec<String>),
}

impl Text {
    pub(crate) fn echo(owner: &str, prompt: &str) -> Self {
        // Cut after each blank, so that the joined tokens are the text again, whatever blanks it holds.
        let text = format!("{owner} heard: {prompt}");
        Self::Echo(text.split_inclusive(' ').map(str::to_owned).collect())
    }

    /// How many tokens say it once.
    pub(crate) fn natural_length(&self, default: u64) -> u64 {
        match self {
            Self::Paragraph => default,
            Self::Echo(words) => words.len() as u64,
        }
    }

    /// Appends the token with this index; past the end the text starts again.
    pub(crate) fn push_token(&self, index: u64, out: &mut String) {
        match self {
            Self::Paragraph => {
                if index > 0 {
                    out.push(' ');
                }
                out.push_str(WORDS[wrapped(index, WORDS.len())]);
            }
            Self::Echo(words) => out.push_str(&words[wrapped(index, words.len())]),
        }
    }
}

fn wrapped(index: u64, length: usize) -> usize {
    usize::try_from(index % length as u64).unwrap_or_default()
}

/// A moment as Ollama writes it. Lines are said to come a millisecond apart; the date never changes.
pub(crate) struct CreatedAt(pub(crate) u64);

impl Go for CreatedAt {
    fn write(&self, out: &mut BytesMut) {
        const MIDNIGHT: u64 = CREATED - CREATED % 86_400;
        let millis = (CREATED - MIDNIGHT) * 1000 + 123 + self.0;
        let (seconds, millis) = (millis / 1000 % 86_400, millis % 1000);
        out.extend_from_slice(b"\"2026-08-21T");
        two_digits(seconds / 3600, out);
        out.extend_from_slice(b":");
        two_digits(seconds / 60 % 60, out);
        out.extend_from_slice(b":");
        two_digits(seconds % 60, out);
        out.extend_from_slice(b".");
        two_digits(millis / 10, out);
        // Go cuts trailing zeros; a fixed tail after the milliseconds keeps all nine decimals.
        (millis % 10).write(out);
        out.extend_from_slice(b"456789Z\"");
    }
}

fn two_digits(value: u64, out: &mut BytesMut) {
    (value / 10 % 10).write(out);
    (value % 10).write(out);
}

/// A deterministic unit vector for a text.
pub(crate) fn embedding(text: &str, dimensions: usize) -> Vec<f32> {
    let mut random = Random::seeded(text.as_bytes());
    let raw: Vec<f32> = (0..dimensions)
        .map(|_| f32::from(i16::try_from(random.below(20_001)).unwrap_or_default() - 10_000))
        .collect();
    let length = raw
        .iter()
        .map(|value| value * value)
        .sum::<f32>()
        .sqrt()
        .max(1.0);
    raw.into_iter().map(|value| value / length).collect()
}

/// A small generator (xorshift64*), good enough to look random and the same everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn seeded(seed: &[u8]) -> Self {
        // FNV-1a; the low bit keeps the state from being zero.
        let hash = seed.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(hash | 1)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit.max(1)
    }
}

/// The pattern repeats after this many bytes: a prime, so that a piece lost, doubled or moved shows.
const PERIOD: usize = 65_521;

/// The largest piece of the pattern that can be handed out at once.
pub(crate) const LARGEST_PIECE: usize = 64 * 1024;

/// One period and a piece, so that every piece is one slice.
static PATTERN: LazyLock<Bytes> = LazyLock::new(|| {
    let mut random = Random::seeded(b"c2l");
    let period: Vec<u8> = (0..PERIOD)
        .map(|_| u8::try_from(random.below(256)).unwrap_or_default())
        .collect();
    period
        .iter()
        .copied()
        .cycle()
        .take(PERIOD + LARGEST_PIECE)
        .collect()
});

/// The byte at this offset of every raw answer (`+bytes`, `+pieces`).
pub fn pattern_byte(offset: u64) -> u8 {
    PATTERN[wrapped(offset, PERIOD)]
}

/// A slice of the pattern, without a copy; at most [`LARGEST_PIECE`] long.
pub(crate) fn pattern(offset: u64, length: usize) -> Bytes {
    let start = wrapped(offset, PERIOD);
    PATTERN.slice(start..start + length.min(LARGEST_PIECE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{json, written};

    #[test]
    fn moments_are_written_as_go_does() {
        let at = |index| {
            String::from_utf8(written(|out| json!(out, (CreatedAt(index)))).to_vec()).unwrap()
        };
        assert_eq!(at(0), "\"2026-08-21T18:48:22.123456789Z\"");
        assert_eq!(at(877), "\"2026-08-21T18:48:23.000456789Z\"");
        assert_eq!(at(86_400_000), at(0));
    }

    #[test]
    fn tokens_join_to_the_text() {
        assert_eq!(answer_text(3), "This is the");
        assert_eq!(answer_text(paragraph_tokens()), PARAGRAPH);
        assert!(answer_text(paragraph_tokens() + 1).ends_with("again. This"));
        let echo = Text::echo("ada", "one  two\nthree");
        let mut out = String::new();
        (0..echo.natural_length(0)).for_each(|index| echo.push_token(index, &mut out));
        assert_eq!(out, "ada heard: one  two\nthree");
    }

    #[test]
    fn pattern_pieces_are_the_pattern() {
        for offset in [0, 1, 65_520, 65_521, 1 << 40] {
            let piece = pattern(offset, LARGEST_PIECE);
            assert_eq!(piece.len(), LARGEST_PIECE);
            for at in [0u64, 1, 777, 65_535] {
                assert_eq!(
                    piece[usize::try_from(at).unwrap()],
                    pattern_byte(offset + at)
                );
            }
        }
    }

    #[test]
    fn vectors_have_length_one() {
        let vector = embedding("the relay", 448);
        let length: f32 = vector.iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-3);
        assert_eq!(vector, embedding("the relay", 448));
        assert_ne!(vector, embedding("the agent", 448));
    }
}

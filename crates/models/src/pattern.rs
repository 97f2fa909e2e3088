//! Patterns over names of models: `*` stands for any run of characters, `?` for any one, case does not matter.
//!
//! Invariant: what a pattern leaves out is read narrowly where it allows and widely where it denies. Left out of an
//! allowance, host and namespace mean Ollama's own library, and the tag means `latest`; left out of a denial, they mean
//! any.

use crate::name::{DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG, ModelName};

/// Most bytes of a pattern; it bounds the work of a comparison.
const MAX_BYTES: usize = 512;

/// A set of models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// In lower case, without the default host and namespace.
    text: String,
    has_tag: bool,
}

/// Not a pattern that any model could match.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a pattern of models: letters, digits, `*`, `?` and `_ - . : /` are")]
pub struct PatternError(String);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When no model could match it.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"*?_-.:/".contains(&byte);
        if text.is_empty() || text.len() > MAX_BYTES || !text.bytes().all(is_known) {
            return Err(PatternError(text.chars().take(MAX_BYTES).collect()));
        }
        let lower = text.to_ascii_lowercase();
        let mut rest = lower.as_str();
        for part in [DEFAULT_HOST, DEFAULT_NAMESPACE] {
            let after = rest
                .strip_prefix(part)
                .and_then(|rest| rest.strip_prefix('/'));
            rest = after.unwrap_or(rest);
        }
        Ok(Self {
            has_tag: rest.rfind(':') > rest.rfind('/'),
            text: rest.to_owned(),
        })
    }

    /// True when this, as an allowance, covers the model.
    #[must_use]
    pub fn allows(&self, name: &ModelName) -> bool {
        if self.is_everything() {
            return true;
        }
        if !self.text.contains('/') && !name.is_of_the_library() {
            return false;
        }
        let (untagged, tag) = name.split_tag();
        if self.has_tag || self.text.ends_with('*') {
            matches(&self.text, name.as_str())
        } else {
            tag == DEFAULT_TAG && matches(&self.text, untagged)
        }
    }

    /// True when this, as a denial, covers the model.
    #[must_use]
    pub fn denies(&self, name: &ModelName) -> bool {
        let whole = name.as_str();
        let behind_slashes = whole.match_indices('/').map(|(at, _)| &whole[at + 1..]);
        std::iter::once(whole).chain(behind_slashes).any(|text| {
            let untagged = text.rsplit_once(':').map_or(text, |(untagged, _)| untagged);
            matches(&self.text, text) || !self.has_tag && matches(&self.text, untagged)
        })
    }

    /// True for `*`.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.text == "*"
    }
}

/// True when the pattern stands for the whole text. Takes at most the product of their lengths, and no memory.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut read) = (0, 0);
    // Where the last star stands, and how much of the text it is taken for.
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(wanted) if *wanted == b'?' || *wanted == text[read] => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((star_at, taken)) = star else {
                    return false;
                };
                star = Some((star_at, taken + 1));
                (at, read) = (star_at + 1, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(|left| *left == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn covered(pattern: &str, raw: &str) -> (bool, bool) {
        let name = ModelName::parse(raw).expect(raw);
        let pattern = Pattern::parse(pattern).expect(pattern);
        (pattern.allows(&name), pattern.denies(&name))
    }

    #[test]
    fn an_allowance_is_read_narrowly_and_a_denial_widely() {
        for (pattern, raw, allows, denies) in [
            ("*", "hf.co/a/b:q4", true, true),
            ("*", "x", true, true),
            ("llama3.2", "llama3.2", true, true),
            ("llama3.2:latest", "llama3.2", true, true),
            ("LLAMA3.2", "llama3.2", true, true),
            ("llama3.2", "llama3.2:1b", false, true),
            ("llama3*", "llama3.2:1b", true, true),
            ("llama3*", "bob/llama3.2:1b", false, true),
            ("llama3*", "llama3evil/x", false, true),
            ("llama3*", "tinyllama3", false, false),
            ("*llama*", "hf.co/a/tinyllama:q4", false, true),
            ("qwen?:8b", "qwen3:8b", true, true),
            ("qwen?:8b", "qwen3:latest", false, false),
            ("bob/*", "bob/x:1b", true, true),
            ("bob/*", "hf.co/bob/x:1b", false, true),
            ("library/x", "x", true, true),
            ("registry.ollama.ai/library/x", "x:latest", true, true),
            ("registry.ollama.ai/bob/x", "bob/x", true, true),
            ("hf.co/*", "hf.co/a/b:q4", true, true),
            ("localhost:5000/*", "localhost:5000/a/b", true, true),
            ("*:cloud", "gpt-oss:latest:cloud", true, true),
            ("*cloud", "gpt-oss:20b-cloud", false, true),
            ("*:*cloud", "gpt-oss:20b-cloud", true, true),
        ] {
            assert_eq!(covered(pattern, raw), (allows, denies), "{pattern} {raw}");
        }
    }

    #[test]
    fn what_no_model_could_match_is_no_pattern() {
        let long = "x".repeat(MAX_BYTES + 1);
        for text in ["", "a b", "ä", "x@y", "a,b", "[a]", &long] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }

    /// The plainest way to say it, which takes exponential time.
    fn by_definition(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => {
                (0..=text.len()).any(|taken| by_definition(rest, &text[taken..]))
            }
            (Some((wanted, pattern)), Some((found, text))) => {
                (*wanted == b'?' || wanted == found) && by_definition(pattern, text)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_as_it_is_defined(pattern in "[ab*?]{0,7}", text in "[ab]{0,9}") {
            let expected = by_definition(pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(matches(&pattern, &text), expected);
        }
    }
}

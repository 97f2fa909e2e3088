//! Text that must not leak: tokens, keys, passwords.
//!
//! Invariant: the only way to the text is [`Secret::expose`], so a search for that word finds every use; and what it lay in is
//! overwritten before it is given back.

use std::{fmt, hint::black_box};

use subtle::ConstantTimeEq;

/// So many bytes are compared at once.
const WORD_BYTES: usize = size_of::<u64>();

/// A secret string. It has no `Display`, its `Debug` is redacted, and comparing two takes the same time wherever
/// they differ (their lengths may show).
///
/// There is no `Hash` or `Ord` on purpose: both would let a secret become a map key that is compared byte by byte.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes the text into custody.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. The caller promises to send it where it belongs and to log it nowhere.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether these are its bytes. It takes as long wherever they differ (their lengths may show); word by word, for texts
    /// that are compared with each request.
    pub fn is(&self, bytes: &[u8]) -> bool {
        let own = self.0.as_bytes();
        if own.len() != bytes.len() {
            return false;
        }
        let (own, other) = (own.chunks_exact(WORD_BYTES), bytes.chunks_exact(WORD_BYTES));
        let ends = own.remainder().iter().zip(other.remainder());
        let words = own.zip(other).map(|(own, other)| word(own) ^ word(other));
        let differing = words.fold(0, |all, word| all | word);
        let differing = ends.fold(differing, |all, (own, other)| all | u64::from(own ^ other));
        black_box(differing).ct_eq(&0).into()
    }
}

fn word(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_ne_bytes)
}

impl Drop for Secret {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        black_box(&bytes); // so that the overwriting is not left out as useless
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_shows_nothing_of_the_secret() {
        let shown = format!(
            "{:?} {:#?}",
            Secret::new("hunter2"),
            Some(Secret::new("hunter2"))
        );
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(!shown.contains('7'), "not even its length: {shown}");
    }

    #[test]
    fn equal_means_the_same_bytes() {
        assert_eq!(Secret::new("a-token"), Secret::from("a-token".to_owned()));
        assert_ne!(Secret::new("a-token"), Secret::new("a-tokeN"));
        assert_ne!(Secret::new("a-token"), Secret::new("a-token "));
    }

    #[test]
    fn bytes_are_its_own_only_when_each_of_them_is() {
        let text: String = ('!'..='~').collect();
        for length in 0..=text.len() {
            let secret = Secret::new(&text[..length]);
            let own = &text.as_bytes()[..length];
            assert!(secret.is(own), "{length}");
            assert!(!secret.is(format!("{}x", &text[..length]).as_bytes()));
            for at in 0..length {
                let mut other = own.to_vec();
                other[at] ^= 1;
                assert!(!secret.is(&other), "{at} of {length}");
            }
        }
    }
}

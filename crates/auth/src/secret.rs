//! Text that must not leak: tokens, keys, passwords.
//!
//! Invariant: the only way to the text is [`Secret::expose`], so a search for that word finds every use; and what it lay in is
//! overwritten before it is given back.

use std::{fmt, hint::black_box};

use subtle::ConstantTimeEq;

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
}

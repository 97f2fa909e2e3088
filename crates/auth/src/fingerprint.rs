//! What stands for a credential in a table, so that the table holds no credential.
//!
//! Invariant: it is a SHA-256. Nobody gets from it to the credential, and how long a look-up takes tells nothing that
//! a guesser could use.

use std::fmt;

use aws_lc_rs::digest;

/// The hash of a credential. Unlike a [`Secret`](crate::Secret) it may be a key of a map.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of this credential, good or not.
    pub fn of(credential: &str) -> Self {
        let mut bytes = [0; 32];
        let hash = digest::digest(&digest::SHA256, credential.as_bytes());
        for (to, from) in bytes.iter_mut().zip(hash.as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }

    /// That of what a token's signature is over. The same token has one of these however its signature is written: ECDSA
    /// signatures can be written in two ways.
    pub fn of_signed(credential: &str) -> Self {
        Self::of(
            credential
                .rsplit_once('.')
                .map_or(credential, |(signed, _)| signed),
        )
    }

    pub(crate) fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Its first twelve hex digits: enough to tell a few credentials apart in a list, too few to look anything up by.
    pub fn short(&self) -> impl fmt::Display + use<> {
        let [a, b, c, d, e, f, ..] = self.0;
        Short([a, b, c, d, e, f])
    }
}

struct Short([u8; 6]);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_of_every_byte_and_shows_none() {
        let one = Fingerprint::of("a.b.c");
        assert_eq!(one, Fingerprint::of("a.b.c"));
        for other in ["", "a.b.C", "a.b.c ", "a.b.cc"] {
            assert_ne!(one, Fingerprint::of(other), "{other:?}");
        }
        assert_eq!(format!("{one:?}"), "Fingerprint(…)");
        // printf a.b.c | sha256sum
        assert_eq!(one.short().to_string(), "845e30448809");
    }
}

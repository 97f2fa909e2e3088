//! The ids that others are keyed by: whose request it is, and which of their devices.
//!
//! Invariant: ids are compared by their exact bytes. No case folding, no trimming, no Unicode normalisation: two names
//! that merely look alike are two users.

use std::{
    fmt,
    hash::{BuildHasher as _, Hash, Hasher, RandomState},
    sync::{Arc, LazyLock},
};

use aws_lc_rs::digest;

/// A user, as one issuer names them. Two issuers may use the same name for different people, so the issuer is part of
/// the identity.
///
/// Only the [`Verifier`](crate::Verifier) makes one, and a clone is cheap. There is no `Display`, and `Debug` prints
/// [`log_id`](Self::log_id), so a name reaches a log only by someone's explicit wish.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UserId {
    issuer: Arc<str>,
    subject: Arc<str>,
    /// The hash of both: a request looks its user up in half a dozen tables.
    place: u64,
}

/// Makes those hashes, in this process alone: nobody outside can choose names that share a place.
static PLACES: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Of the hash that was made with the id. Equal ids have an equal one.
impl Hash for UserId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.place);
    }
}

impl UserId {
    pub(crate) fn new(issuer: Arc<str>, subject: Arc<str>) -> Self {
        let place = PLACES.hash_one((&issuer, &subject));
        Self {
            issuer,
            subject,
            place,
        }
    }

    /// Twelve hex digits that stand for this user in logs: the same in every process, telling nothing by themselves.
    ///
    /// Not a key to look anything up by: 48 bits are too few against someone who wants a collision.
    pub fn log_id(&self) -> impl fmt::Display + use<> {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(self.subject.as_bytes());
        // A subject has no control characters, so this keeps ("ab", "c") and ("a", "bc") apart.
        hash.update(&[0]);
        hash.update(self.issuer.as_bytes());
        let hash = hash.finish();
        let mut short = [0; 6];
        for (to, from) in short.iter_mut().zip(hash.as_ref()) {
            *to = *from;
        }
        LogId(short)
    }

    /// The plain name (`sub`), for showing users to themselves. Never for logs.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Who vouched for the name (`iss`).
    pub fn issuer(&self) -> &str {
        &self.issuer
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserId({})", self.log_id())
    }
}

struct LogId([u8; 6]);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a user calls one of their machines: 1 to 64 characters of `A-Z a-z 0-9 . _ -`, compared exactly.
///
/// `.` and `..` are refused: a device name is also a path segment, and those two mean something else there.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceName(Arc<str>);

impl DeviceName {
    /// The longest name there is, in bytes (and characters: it is ASCII).
    pub const MAX_BYTES: usize = 64;

    /// Takes a name as it was written.
    ///
    /// # Errors
    ///
    /// [`InvalidDeviceName`] when it is empty, longer than [`Self::MAX_BYTES`], `.` or `..`, or has any other character.
    pub fn parse(name: &str) -> Result<Self, InvalidDeviceName> {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let is_valid = (1..=Self::MAX_BYTES).contains(&name.len())
            && name.bytes().all(is_allowed)
            && !matches!(name, "." | "..");
        if is_valid {
            Ok(Self(name.into()))
        } else {
            Err(InvalidDeviceName)
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceName({})", self.0)
    }
}

/// The text is no device name. It is not repeated here: it may come from anyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a device name is 1 to 64 of the characters A-Z a-z 0-9 . _ - and neither \".\" nor \"..\""
)]
pub struct InvalidDeviceName;

#[cfg(test)]
mod tests {
    use super::*;

    fn user(issuer: &str, subject: &str) -> UserId {
        UserId::new(issuer.into(), subject.into())
    }

    #[test]
    fn users_are_their_exact_bytes() {
        assert_eq!(user("c2l", "ada"), user("c2l", "ada"));
        for twin in ["Ada", "ada ", "аda", "ada\u{301}"] {
            assert_ne!(user("c2l", "ada"), user("c2l", twin));
        }
        assert_ne!(user("é", "x"), user("e\u{301}", "x"));
    }

    #[test]
    fn users_lie_in_places_of_their_own() {
        let places: std::collections::HashSet<u64> = (0..1000)
            .flat_map(|number| [("c2l", number), ("https://id.example", number)])
            .map(|(issuer, number)| PLACES.hash_one(user(issuer, &number.to_string())))
            .collect();
        assert_eq!(places.len(), 2000);
        let hash = |user: UserId| PLACES.hash_one(user);
        assert_eq!(hash(user("c2l", "ada")), hash(user("c2l", "ada")));
        assert_ne!(hash(user("ab", "c")), hash(user("a", "bc")));
    }

    #[test]
    fn the_same_name_of_two_issuers_is_two_users() {
        assert_ne!(user("c2l", "ada"), user("https://id.example", "ada"));
        assert_ne!(
            user("ab", "c").log_id().to_string(),
            user("a", "bc").log_id().to_string()
        );
    }

    #[test]
    fn logs_see_a_stable_hash_and_never_the_name() {
        let ada = user("c2l", "ada@example.org");
        let shown = format!("{ada:?} {}", ada.log_id());
        assert!(!shown.contains("ada@") && !shown.contains("c2l"), "{shown}");
        assert_eq!(
            ada.log_id().to_string(),
            user("c2l", "ada@example.org").log_id().to_string()
        );
        assert_eq!(ada.log_id().to_string().len(), 12);
        assert_ne!(
            ada.log_id().to_string(),
            user("c2l", "bob").log_id().to_string()
        );
    }

    #[test]
    fn device_names_are_short_plain_words() {
        for good in ["a", "desk", "Desk.home_2-b", "...", &"x".repeat(64)] {
            assert_eq!(DeviceName::parse(good).unwrap().as_str(), good);
        }
        let bad = [
            "",
            ".",
            "..",
            " ",
            "a b",
            "a/b",
            "a\\b",
            "a%2f",
            "é",
            "a\n",
            "a\0",
            &"x".repeat(65),
        ];
        for bad in bad {
            assert_eq!(DeviceName::parse(bad), Err(InvalidDeviceName), "{bad:?}");
        }
        assert_ne!(DeviceName::parse("desk"), DeviceName::parse("Desk"));
    }
}

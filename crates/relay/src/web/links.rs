//! One-time links: a secret in the address of the page that signs one browser in.
//!
//! Invariant: each is good once, for a quarter of an hour, and is kept as a hash alone. There is a bound on how many wait; the
//! oldest goes first.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use c2l_auth::{Fingerprint, Secret};

/// How long a link is good.
pub(crate) const LINK_LIFE: Duration = Duration::from_secs(15 * 60);
/// Most that wait.
const MOST_LINKS: usize = 256;

/// The links that wait. Copies share them: whoever starts the relay may make some as well.
#[derive(Clone, Default)]
pub struct SignInLinks(Arc<Mutex<VecDeque<Link>>>);

struct Link {
    secret: Fingerprint,
    issuer: Arc<str>,
    subject: Arc<str>,
    made: SystemTime,
}

/// Whom a link was made for, and when.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Redeemed {
    pub(crate) issuer: Arc<str>,
    pub(crate) subject: Arc<str>,
    pub(crate) made: SystemTime,
}

impl SignInLinks {
    /// Makes a link for the user of this name: the part of it that is secret. `None` without random bytes.
    #[must_use]
    pub fn make(&self, issuer: &str, subject: &str) -> Option<Secret> {
        self.make_at(issuer, subject, SystemTime::now())
    }

    /// Where the page takes it, below the relay's address. A browser sends nothing of what is behind the `#`.
    #[must_use]
    pub fn target(link: &Secret) -> String {
        format!("/#/signin?link={}", link.expose())
    }

    fn make_at(&self, issuer: &str, subject: &str, now: SystemTime) -> Option<Secret> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).ok()?;
        let secret = Secret::from(URL_SAFE_NO_PAD.encode(bytes));
        let mut links = self.lock();
        while links.len() >= MOST_LINKS {
            links.pop_front();
        }
        links.push_back(Link {
            secret: Fingerprint::of(secret.expose()),
            issuer: issuer.into(),
            subject: subject.into(),
            made: now,
        });
        Some(secret)
    }

    /// Uses a link up.
    pub(super) fn redeem(&self, link: &str, now: SystemTime) -> Option<Redeemed> {
        let secret = Fingerprint::of(link);
        let mut links = self.lock();
        let at = links.iter().position(|known| known.secret == secret)?;
        let link = links.remove(at)?;
        let age = now.duration_since(link.made).unwrap_or_default();
        (age < LINK_LIFE).then_some(Redeemed {
            issuer: link.issuer,
            subject: link.subject,
            made: link.made,
        })
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Link>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SignInLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignInLinks")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_good_once_and_for_a_quarter_of_an_hour() {
        let (links, now) = (SignInLinks::default(), SystemTime::now());
        let link = links.make_at("c2l", "ada", now).unwrap();
        let whom = links.redeem(link.expose(), now).unwrap();
        assert_eq!((&*whom.issuer, &*whom.subject), ("c2l", "ada"));
        assert_eq!(links.redeem(link.expose(), now), None, "a second time");
        let late = links.make_at("c2l", "ada", now).unwrap();
        assert_eq!(
            links.redeem(late.expose(), now + LINK_LIFE),
            None,
            "too late"
        );
        assert_eq!(links.redeem("", now), None);
    }

    #[test]
    fn there_are_never_too_many() {
        let (links, now) = (SignInLinks::default(), SystemTime::now());
        let first = links.make_at("c2l", "ada", now).unwrap();
        for _ in 0..MOST_LINKS {
            links.make_at("c2l", "bob", now).unwrap();
        }
        assert_eq!(links.lock().len(), MOST_LINKS);
        assert_eq!(links.redeem(first.expose(), now), None);
    }
}

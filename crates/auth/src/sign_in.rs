//! One sign-in at an identity provider (OpenID Connect, authorization code with PKCE), between its two halves.
//!
//! Invariant: all that has to be kept until the browser comes back is one random text, which that browser keeps. What goes
//! to others are hashes of it, each for one purpose, so none tells anything of another one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::{Fingerprint, KeyError, Secret};

/// 32 random bytes as text.
const SEED_LETTERS: usize = 43;

/// A sign-in that has begun. It is bound to whatever its methods are told about it: another issuer, another state.
#[derive(Debug)]
pub struct SignIn {
    seed: Secret,
}

impl SignIn {
    /// Begins one.
    ///
    /// # Errors
    ///
    /// [`KeyError::Random`] when the system gives no random bytes.
    pub fn begin() -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|_| KeyError::Random)?;
        let seed = Secret::from(URL_SAFE_NO_PAD.encode(bytes));
        Ok(Self { seed })
    }

    /// The one of which a browser kept this text; `None` for a text that never was one.
    pub fn resume(kept: &str) -> Option<Self> {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_seed = kept.len() == SEED_LETTERS && kept.bytes().all(is_letter);
        is_seed.then(|| Self {
            seed: Secret::new(kept),
        })
    }

    /// What the browser keeps.
    pub fn kept(&self) -> &Secret {
        &self.seed
    }

    /// What comes back with the browser (`state`), so that it is the one that was sent there.
    pub fn state(&self, bound_to: &str) -> Secret {
        self.derived("state", bound_to)
    }

    /// What stands in the ID token (`nonce`), so that it was made for this sign-in.
    pub fn nonce(&self, bound_to: &str) -> Secret {
        self.derived("nonce", bound_to)
    }

    /// What proves that whoever brings the code has asked for it (`code_verifier`, RFC 7636).
    pub fn verifier(&self, bound_to: &str) -> Secret {
        self.derived("verifier", bound_to)
    }

    /// What is said of the verifier beforehand (`code_challenge` with S256).
    pub fn challenge(&self, bound_to: &str) -> String {
        challenge(self.verifier(bound_to).expose())
    }

    fn derived(&self, purpose: &str, bound_to: &str) -> Secret {
        // None of the first two has a dot in it, so this is one text for each three.
        let text = format!("{purpose}.{}.{bound_to}", self.seed.expose());
        Secret::from(challenge(&text))
    }
}

fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Fingerprint::of(verifier).to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_that_of_the_standard() {
        // RFC 7636 appendix B.
        assert_eq!(
            challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    #[test]
    fn what_a_browser_kept_goes_on_and_anything_else_is_another_sign_in() {
        let begun = SignIn::begin().unwrap();
        let resumed = SignIn::resume(begun.kept().expose()).unwrap();
        assert_eq!(begun.state("a"), resumed.state("a"));
        assert_eq!(
            begun.challenge("a"),
            challenge(resumed.verifier("a").expose())
        );
        assert_ne!(begun.state("a"), begun.state("b"), "another issuer's");
        let of_one = [
            begun.state("a"),
            begun.nonce("a"),
            begun.verifier("a"),
            begun.kept().clone(),
        ];
        for (place, one) in of_one.iter().enumerate() {
            assert_eq!(one.expose().len(), SEED_LETTERS);
            assert!(of_one.iter().skip(place + 1).all(|other| one != other));
        }
        assert_ne!(SignIn::begin().unwrap().state("a"), begun.state("a"));
        for bad in ["", "x", &"x".repeat(44), &".".repeat(43), &"é".repeat(21)] {
            assert!(SignIn::resume(bad).is_none(), "{bad:?}");
        }
    }
}

//! The two codes of a login: the long one that the device keeps, and the short one that a person types.
//!
//! Invariant: both are random, neither is ever shown by `Debug`, and the long one is kept as a fingerprint alone.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use c2l_auth::{Fingerprint, Secret};

/// Letters that spell no word and that no eye takes for another or for a digit (RFC 8628 §6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// 20⁸ codes are 34 bits: enough where guesses are counted.
const LENGTH: usize = 8;
/// The largest multiple of the number of letters that fits a byte: what lies above would favour some letters.
const FAIR: u8 = 240;

/// What a person types to say which device they mean.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct UserCode([u8; LENGTH]);

impl UserCode {
    /// A new one; `None` without random bytes.
    pub(super) fn mint() -> Option<Self> {
        let mut code = [0; LENGTH];
        for place in &mut code {
            *place = letter()?;
        }
        Some(Self(code))
    }

    /// Reads what was typed: case, dashes and blanks mean nothing.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        // No more is looked at than somebody may have typed.
        let typed = text.bytes().take(4 * LENGTH);
        let mut letters = typed.filter(|byte| !matches!(byte, b'-' | b' '));
        let mut code = [0; LENGTH];
        for place in &mut code {
            let letter = letters.next()?.to_ascii_uppercase();
            *place = LETTERS.contains(&letter).then_some(letter)?;
        }
        letters.next().is_none().then_some(Self(code))
    }

    /// As it is shown to whoever asked for it.
    pub(crate) fn shown(&self) -> String {
        let (left, right) = self.0.split_at(LENGTH / 2);
        format!("{}-{}", text(left), text(right))
    }

    /// As it is shown to others: enough to tell two apart, and not enough to use.
    pub(crate) fn half_shown(&self) -> String {
        format!("{}-…", text(&self.0[..LENGTH / 2]))
    }
}

impl fmt::Debug for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserCode(…)")
    }
}

fn text(letters: &[u8]) -> String {
    letters.iter().copied().map(char::from).collect()
}

fn letter() -> Option<u8> {
    loop {
        let mut byte = [0];
        getrandom::fill(&mut byte).ok()?;
        if byte[0] < FAIR {
            return LETTERS.get(usize::from(byte[0]) % LETTERS.len()).copied();
        }
    }
}

/// 256 random bits as text: a device code, or the ticket of a shown page. `None` without random bytes.
pub(super) fn long() -> Option<Secret> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).ok()?;
    Some(Secret::from(URL_SAFE_NO_PAD.encode(bytes)))
}

/// What stands for a long code in memory.
pub(super) fn kept(code: &str) -> Fingerprint {
    Fingerprint::of(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_however_it_is_typed() {
        let code = UserCode::parse("BCDF-GHJK").unwrap();
        for typed in ["bcdfghjk", "BCDF GHJK", " bCdF-gHjK ", "B-C-D-F-G-H-J-K"] {
            assert_eq!(UserCode::parse(typed), Some(code), "{typed:?}");
        }
        assert_eq!(code.shown(), "BCDF-GHJK");
        assert_eq!(code.half_shown(), "BCDF-…");
    }

    #[test]
    fn what_is_no_code_is_none() {
        let long = "B".repeat(9);
        let endless = "-".repeat(100_000);
        for typed in [
            "",
            "BCDF",
            "BCDFGHJA",
            "BCDFGHJ1",
            "ВCDFGHJK",
            &long,
            &endless,
        ] {
            assert_eq!(UserCode::parse(typed), None);
        }
    }

    #[test]
    fn codes_are_evenly_made_of_all_letters() {
        let mut counts = [0_u32; 256];
        for _ in 0..2_000 {
            for letter in UserCode::mint().unwrap().0 {
                counts[usize::from(letter)] += 1;
            }
        }
        // 16,000 letters, 800 of each on average; six standard deviations are 165.
        for letter in LETTERS {
            let count = counts[usize::from(*letter)];
            assert!(
                (635..965).contains(&count),
                "{} {count}",
                char::from(*letter)
            );
        }
        assert_eq!(counts.iter().sum::<u32>(), 16_000);
    }

    #[test]
    fn nothing_shows_a_code() {
        let code = UserCode::mint().unwrap();
        assert!(!format!("{code:?}").contains(&text(&code.0[..4])));
        let long = long().unwrap();
        assert_eq!(long.expose().len(), 43);
        assert!(!format!("{long:?} {:?}", kept(long.expose())).contains(long.expose()));
    }
}

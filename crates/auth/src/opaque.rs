//! The text of the credentials that this relay makes and looks up: `c2l_…` for keys, `c2lr_…` for refresh tokens.
//!
//! Invariant: one credential has one spelling. The last letters are a checksum over all before them, so what was
//! mistyped or cut short is refused without looking anything up. It is no protection: anyone can compute it.

use aws_lc_rs::digest;

use crate::KeyError;

/// Letters of the public part that names the credential.
pub(crate) const ID_LETTERS: usize = 10;
/// Letters of the secret part: 142 bits.
pub(crate) const SECRET_LETTERS: usize = 24;
/// Letters in which any `u32` can be written.
pub(crate) const NUMBER_LETTERS: usize = 6;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The letters between prefix and checksum, where the text is one of these.
pub(crate) fn parse<'a>(prefix: &str, letters: usize, text: &'a str) -> Option<&'a str> {
    let rest = text.strip_prefix(prefix)?;
    let is_plain = rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if rest.len() != letters + NUMBER_LETTERS || !is_plain {
        return None;
    }
    let (body, sum) = rest.split_at(letters);
    (checksum(prefix, body) == sum).then_some(body)
}

/// The whole text around `body`.
pub(crate) fn assemble(prefix: &str, body: &str) -> String {
    format!("{prefix}{body}{}", checksum(prefix, body))
}

/// That many random letters, each of 62 alike.
pub(crate) fn random_letters(count: usize) -> Result<String, KeyError> {
    let mut letters = String::with_capacity(count);
    while letters.len() < count {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|_| KeyError::Random)?;
        let fair = bytes.iter().filter(|byte| **byte < 248); // 4 × 62: the rest would favour some letters
        let fair = fair.map(|byte| char::from(ALPHABET[usize::from(byte % 62)]));
        letters.extend(fair.take(count - letters.len()));
    }
    Ok(letters)
}

/// A number in [`NUMBER_LETTERS`] letters.
pub(crate) fn number(number: u32) -> String {
    letters_of(number.into(), NUMBER_LETTERS)
}

/// The last `count` digits of a number to the base 62.
pub(crate) fn letters_of(number: u128, count: usize) -> String {
    let mut rest = number;
    let mut letters = vec!['0'; count];
    for letter in letters.iter_mut().rev() {
        *letter = usize::try_from(rest % 62).map_or('0', |digit| char::from(ALPHABET[digit]));
        rest /= 62;
    }
    letters.into_iter().collect()
}

/// The other direction of [`number`].
pub(crate) fn parse_number(letters: &str) -> Option<u32> {
    let digits = letters.bytes().map(|letter| {
        let digit = ALPHABET.iter().position(|known| *known == letter)?;
        u64::try_from(digit).ok()
    });
    let mut total = 0_u64;
    for digit in digits.take(NUMBER_LETTERS) {
        total = total * 62 + digit?;
    }
    u32::try_from(total).ok()
}

/// The first 32 bits of a SHA-256.
fn checksum(prefix: &str, body: &str) -> String {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(prefix.as_bytes());
    hash.update(body.as_bytes());
    let mut first = [0; 4];
    for (to, from) in first.iter_mut().zip(hash.finish().as_ref()) {
        *to = *from;
    }
    number(u32::from_be_bytes(first))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_written_in_one_way() {
        for (value, letters) in [(0, "000000"), (61, "00000z"), (62, "000010")] {
            assert_eq!(number(value), letters);
        }
        assert_eq!(parse_number(&number(u32::MAX)), Some(u32::MAX));
        assert_eq!(parse_number("zzzzzz"), None, "more than 32 bits");
        assert_eq!(parse_number("00-000"), None);
    }

    #[test]
    fn random_letters_are_all_of_them() {
        let letters = random_letters(6200).unwrap();
        assert_eq!(letters.len(), 6200);
        for letter in ALPHABET {
            let count = letters.bytes().filter(|other| other == letter).count();
            assert!((30..200).contains(&count), "{letter}: {count} of 100");
        }
    }

    proptest! {
        #[test]
        fn what_was_put_together_comes_apart(body in "[0-9A-Za-z]{34}", value: u32) {
            let text = assemble("c2l_", &body);
            prop_assert_eq!(parse("c2l_", 34, &text), Some(body.as_str()));
            prop_assert_eq!(parse("c2lr_", 34, &text), None);
            prop_assert_eq!(parse_number(&number(value)), Some(value));
        }

        #[test]
        fn one_changed_letter_is_seen(body in "[0-9A-Za-z]{34}", place in 0_usize..44, letter in "[0-9A-Za-z]") {
            let mut text = assemble("c2l_", &body);
            if text[place..=place] != letter {
                text.replace_range(place..=place, &letter);
                prop_assert_eq!(parse("c2l_", 34, &text), None);
            }
        }

        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,60}") {
            prop_assert_eq!(parse("c2l_", 34, &text), None);
            let prefixed = format!("c2l_{text}");
            prop_assert_eq!(parse("c2l_", 34, &prefixed), None);
        }
    }
}

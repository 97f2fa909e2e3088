//! Forms, `application/x-www-form-urlencoded`: what a login says, and what the page sends.
//!
//! Invariant: a name that comes twice is refused (RFC 6749 §3.1), so nobody reads a form differently than we do.

/// Most fields of a form. None of ours has half as many.
const MOST_FIELDS: usize = 16;

/// The fields of a form, each name once. It may hold secrets, and is not shown.
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a form; `None` for what is none.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields: Vec<(String, String)> = Vec::new();
        let pieces = bytes.split(|byte| *byte == b'&');
        for piece in pieces.filter(|piece| !piece.is_empty()) {
            let equals = piece.iter().position(|byte| *byte == b'=');
            let (name, value) = piece.split_at(equals.unwrap_or(piece.len()));
            let name = decoded(name)?;
            let is_there = fields.iter().any(|(known, _)| *known == name);
            if is_there || fields.len() == MOST_FIELDS {
                return None;
            }
            fields.push((name, decoded(value.get(1..).unwrap_or_default())?));
        }
        Some(Self(fields))
    }

    /// The value of this field, where it is there and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name)?;
        Some(found.1.as_str()).filter(|value| !value.is_empty())
    }
}

fn decoded(text: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_browsers_write_them() {
        let form = Form::parse(b"code=BCDF-GHJK&token=a.b_c%2B+%C3%A4&empty=&bare").unwrap();
        assert_eq!(form.get("code"), Some("BCDF-GHJK"));
        assert_eq!(form.get("token"), Some("a.b_c+ ä"));
        for nothing in ["empty", "bare", "other"] {
            assert_eq!(form.get(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_form() {
        let many = "a1=&a2=&a3=&a4=&a5=&a6=&a7=&a8=&a9=&b1=&b2=&b3=&b4=&b5=&b6=&b7=&b8=";
        for text in ["a=1&a=2", "a=%", "a=%4", "a=%zz", "a=%ff", many] {
            assert!(Form::parse(text.as_bytes()).is_none(), "{text}");
        }
    }
}

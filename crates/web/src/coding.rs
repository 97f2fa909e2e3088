//! Which compressed forms an asker takes (`Accept-Encoding`, RFC 9110 §12.5.3).

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Not at all.
    Plain,
    /// Brotli.
    Brotli,
    /// Gzip.
    Gzip,
}

impl Coding {
    /// The word for it in a field.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "identity",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

/// What is taken, item by item.
#[derive(Debug)]
pub(crate) struct Accepted<'a>(&'a str);

impl<'a> Accepted<'a> {
    pub(crate) fn parse(field: &'a str) -> Self {
        Self(field)
    }

    pub(crate) fn takes(&self, coding: Coding) -> bool {
        let said = |name: &str| {
            let mut items = self.0.split(',').map(item);
            items.find_map(|(word, is_taken)| word.eq_ignore_ascii_case(name).then_some(is_taken))
        };
        let named = said(coding.as_str());
        // A star stands for what is not named; plain is taken unless it is ruled out.
        named
            .or_else(|| said("*"))
            .unwrap_or(coding == Coding::Plain)
    }
}

/// The word of one item, and whether its weight is more than zero.
fn item(text: &str) -> (&str, bool) {
    let mut parts = text.split(';').map(str::trim);
    let word = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    let is_zero = weight.is_some_and(|weight| weight.trim().parse::<f32>().is_ok_and(|q| q <= 0.0));
    (word, !is_zero)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_read_as_it_is_written() {
        let takes = |field, coding| Accepted::parse(field).takes(coding);
        for field in [
            "br",
            "gzip, deflate, br, zstd",
            "BR;q=0.1",
            "*",
            "gzip;q=1.0, *;q=0.5",
            " br ",
        ] {
            assert!(takes(field, Coding::Brotli), "{field:?}");
        }
        for field in [
            "",
            "gzip",
            "br;q=0",
            "br; q=0.000, gzip",
            "*;q=0",
            "brotli",
            "xbr",
        ] {
            assert!(!takes(field, Coding::Brotli), "{field:?}");
        }
        assert!(takes("", Coding::Plain) && takes("br", Coding::Plain));
        assert!(!takes("identity;q=0", Coding::Plain) && !takes("*;q=0", Coding::Plain));
        assert!(takes("br;q=0, *", Coding::Gzip));
    }
}

//! JSON as Go's encoder writes it: no spaces, members in declared order, `<`, `>` and `&` as `\u003c` ….
//!
//! The answers are written straight into the buffer that goes to the socket: the shapes are fixed, only a few values
//! change, and a token a line is the hot path. Reading JSON is left to `serde_json`.

use bytes::{Bytes, BytesMut};

/// A value that can be written as JSON.
pub(crate) trait Go {
    fn write(&self, out: &mut BytesMut);
}

/// JSON that was written before and goes in as it is.
pub(crate) struct Raw<'a>(pub(crate) &'a [u8]);

impl Go for Raw<'_> {
    fn write(&self, out: &mut BytesMut) {
        out.extend_from_slice(self.0);
    }
}

impl<T: Go + ?Sized> Go for &T {
    fn write(&self, out: &mut BytesMut) {
        (**self).write(out);
    }
}

impl<T: Go> Go for Option<T> {
    fn write(&self, out: &mut BytesMut) {
        match self {
            Some(value) => value.write(out),
            None => out.extend_from_slice(b"null"),
        }
    }
}

impl<T: Go> Go for [T] {
    fn write(&self, out: &mut BytesMut) {
        out.extend_from_slice(b"[");
        for (index, value) in self.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(b",");
            }
            value.write(out);
        }
        out.extend_from_slice(b"]");
    }
}

impl<T: Go> Go for Vec<T> {
    fn write(&self, out: &mut BytesMut) {
        self.as_slice().write(out);
    }
}

impl Go for bool {
    fn write(&self, out: &mut BytesMut) {
        out.extend_from_slice(if *self { b"true" } else { b"false" });
    }
}

impl Go for u64 {
    fn write(&self, out: &mut BytesMut) {
        let mut digits = [0u8; 20];
        let mut start = digits.len();
        let mut rest = *self;
        loop {
            start -= 1;
            // A remainder of ten always fits; the conversion cannot fail.
            digits[start] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        out.extend_from_slice(&digits[start..]);
    }
}

impl Go for usize {
    fn write(&self, out: &mut BytesMut) {
        (*self as u64).write(out);
    }
}

/// Bare integer literals in [`json!`] are of this type; none of them is negative.
impl Go for i32 {
    fn write(&self, out: &mut BytesMut) {
        u64::from(self.unsigned_abs()).write(out);
    }
}

impl Go for f32 {
    fn write(&self, out: &mut BytesMut) {
        out.extend_from_slice(self.to_string().as_bytes());
    }
}

impl Go for String {
    fn write(&self, out: &mut BytesMut) {
        self.as_str().write(out);
    }
}

impl Go for str {
    fn write(&self, out: &mut BytesMut) {
        out.extend_from_slice(b"\"");
        let bytes = self.as_bytes();
        let mut plain = 0; // start of the run that needs no escape
        for (index, &byte) in bytes.iter().enumerate() {
            let Some(escape) = escape_of(bytes, index, byte) else {
                continue;
            };
            out.extend_from_slice(&bytes[plain..index]);
            plain = index + escape.replaces;
            match escape.short {
                Some(short) => out.extend_from_slice(&[b'\\', short]),
                None => {
                    out.extend_from_slice(b"\\u");
                    for shift in [12, 8, 4, 0] {
                        out.extend_from_slice(
                            &HEX[usize::from((escape.code >> shift) & 0xf)..][..1],
                        );
                    }
                }
            }
        }
        out.extend_from_slice(&bytes[plain..]);
        out.extend_from_slice(b"\"");
    }
}

pub(crate) const HEX: &[u8; 16] = b"0123456789abcdef";

struct Escape {
    code: u16,
    short: Option<u8>,
    /// How many bytes of the text it stands for.
    replaces: usize,
}

fn escape_of(bytes: &[u8], index: usize, byte: u8) -> Option<Escape> {
    let short = match byte {
        b'"' | b'\\' => Some(byte),
        b'\n' => Some(b'n'),
        b'\r' => Some(b'r'),
        b'\t' => Some(b't'),
        0x08 => Some(b'b'),
        0x0c => Some(b'f'),
        0x00..=0x1f | b'<' | b'>' | b'&' => None,
        // U+2028 and U+2029, which JavaScript once took for line ends.
        0xe2 if matches!(bytes.get(index + 1..index + 3), Some([0x80, 0xa8 | 0xa9])) => {
            let code = if bytes[index + 2] == 0xa8 {
                0x2028
            } else {
                0x2029
            };
            return Some(Escape {
                code,
                short: None,
                replaces: 3,
            });
        }
        _ => return None,
    };
    Some(Escape {
        code: u16::from(byte),
        short,
        replaces: 1,
    })
}

/// Writes one JSON value into a `&mut BytesMut`: `json!(out, {"model": name, "done": false})`.
///
/// A value is a literal, a name, a nested object or list, or any expression in parentheses.
macro_rules! json {
    ($out:ident, {}) => { $out.extend_from_slice(b"{}") };
    ($out:ident, []) => { $out.extend_from_slice(b"[]") };
    ($out:ident, null) => { $out.extend_from_slice(b"null") };
    ($out:ident, { $first:literal : $value:tt $(, $key:literal : $more:tt)* $(,)? }) => {{
        $out.extend_from_slice(concat!("{\"", $first, "\":").as_bytes());
        $crate::json::json!($out, $value);
        $(
            $out.extend_from_slice(concat!(",\"", $key, "\":").as_bytes());
            $crate::json::json!($out, $more);
        )*
        $out.extend_from_slice(b"}");
    }};
    ($out:ident, [ $first:tt $(, $more:tt)* $(,)? ]) => {{
        $out.extend_from_slice(b"[");
        $crate::json::json!($out, $first);
        $( $out.extend_from_slice(b","); $crate::json::json!($out, $more); )*
        $out.extend_from_slice(b"]");
    }};
    ($out:ident, $value:tt) => { $crate::json::Go::write(&$value, $out) };
}
pub(crate) use json;

/// What `write` puts into a fresh buffer.
pub(crate) fn written(write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::with_capacity(512);
    write(&mut out);
    out.freeze()
}

/// Standard base64 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group.iter().enumerate().fold(0usize, |word, (at, &byte)| {
            word | usize::from(byte) << (16 - 8 * at)
        });
        for at in 0..4 {
            if at <= group.len() {
                out.push(char::from(ALPHABET[(word >> (18 - 6 * at)) & 0x3f]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> String {
        let bytes = written(|out| json!(out, value));
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn strings_are_escaped_as_go_does() {
        assert_eq!(text("a<b>&\"\\"), r#""a\u003cb\u003e\u0026\"\\""#);
        assert_eq!(
            text("\n\r\t\u{8}\u{c}\u{1}\u{7f}"),
            "\"\\n\\r\\t\\b\\f\\u0001\u{7f}\""
        );
        assert_eq!(text("é\u{2028}\u{2029}€"), "\"é\\u2028\\u2029€\"");
        for sample in ["", "plain", "日本語 <&> \u{2028}", "\0\u{1f}"] {
            assert_eq!(
                serde_json::from_str::<String>(&text(sample)).unwrap(),
                sample
            );
        }
    }

    #[test]
    fn members_keep_their_order() {
        let name = "x".to_owned();
        let bytes = written(
            |out| json!(out, {"b": name, "a": [1, (2u64 + 3)], "n": null, "o": {"t": true}, "e": []}),
        );
        assert_eq!(
            &bytes[..],
            br#"{"b":"x","a":[1,5],"n":null,"o":{"t":true},"e":[]}"#
        );
        assert_eq!(
            &written(|out| json!(out, (u64::MAX)))[..],
            u64::MAX.to_string().as_bytes()
        );
    }

    #[test]
    fn base64_pads() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}

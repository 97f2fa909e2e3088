//! A search for what must be nowhere, in every form in which programs write bytes down.

use std::{fs, path::Path};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// Secrets, and what they look like when somebody encodes them.
#[derive(Default)]
pub(crate) struct Needles(Vec<(String, &'static str)>);

impl Needles {
    /// Looks for this one as well.
    pub(crate) fn plant(&mut self, secret: &str) {
        assert!(secret.len() >= 6, "too short to be found for sure");
        let bytes = secret.as_bytes();
        let each = |form: fn(u8) -> String| bytes.iter().map(|byte| form(*byte)).collect();
        let listed: Vec<String> = bytes.iter().map(u8::to_string).collect();
        let mut forms: Vec<(String, &'static str)> = vec![
            (secret.to_owned(), "as it is"),
            (each(|byte| format!("{byte:02x}")), "in hex"),
            (each(|byte| format!("{byte:02X}")), "in HEX"),
            (each(|byte| format!("%{byte:02x}")), "URL-encoded"),
            (each(|byte| format!("%{byte:02X}")), "URL-ENCODED"),
            (each(|byte| format!("\\u{byte:04x}")), "escaped as in JSON"),
            (each(|byte| format!("\\x{byte:02x}")), "escaped as bytes"),
            (listed.join(", "), "as a list of bytes"),
            (listed.join(","), "as a list of bytes"),
        ];
        for alphabet in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            for offset in 0..3 {
                // What of the encoding depends on the secret alone, wherever it begins in what was encoded.
                let encoded = alphabet.encode([&vec![0; offset], bytes].concat());
                let begin = (offset * 8).div_ceil(6);
                let end = (offset + bytes.len()) * 8 / 6;
                forms.push((encoded[begin..end].to_owned(), "in base64"));
            }
        }
        for form in forms {
            if !self.0.contains(&form) {
                self.0.push(form);
            }
        }
    }

    /// The parts of a token that are worth something: its payload and its signature. The header is the same for all.
    pub(crate) fn plant_token(&mut self, token: &str) {
        let parts: Vec<_> = token.split('.').collect();
        assert_eq!(parts.len(), 3, "a token");
        self.plant(parts[1]);
        self.plant(parts[2]);
    }

    /// Fails when one of them is in this text, and shows the line.
    pub(crate) fn assert_absent(&self, place: &str, text: &str) {
        for (needle, form) in &self.0 {
            if let Some(at) = text.find(needle) {
                let line = text[..at].lines().count();
                let line = text.lines().nth(line.saturating_sub(1));
                panic!("{place} has a secret, {form}: {needle:?} in {line:?}");
            }
        }
    }

    /// The same for every file of a folder, in its name and its content, but for those that are there to keep secrets.
    /// Returns how many were searched.
    pub(crate) fn assert_absent_in_files(&self, folder: &Path, keepers: &[&str]) -> usize {
        let mut searched = 0;
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.display().to_string();
            self.assert_absent("the name of a file", &name);
            if path.is_dir() {
                searched += self.assert_absent_in_files(&path, keepers);
            } else if path.is_file() && !keepers.iter().any(|keeper| path.ends_with(keeper)) {
                let content = fs::read(&path).expect("a file");
                self.assert_absent(&name, &String::from_utf8_lossy(&content));
                searched += 1;
            }
        }
        searched
    }
}

#[test]
fn a_secret_is_found_in_every_form() {
    use base64::engine::general_purpose::STANDARD;
    let mut needles = Needles::default();
    needles.plant("hunter2?~");
    let secret = b"hunter2?~";
    let hidden = [
        "x hunter2?~ x".to_owned(),
        format!("basic {}", STANDARD.encode("a:hunter2?~")),
        format!("basic {}", STANDARD.encode("ab:hunter2?~")),
        format!("basic {}", URL_SAFE_NO_PAD.encode("abc:hunter2?~ and more")),
        format!("{secret:?}"),
        secret.iter().map(|byte| format!("{byte:02x}")).collect(),
        secret.iter().map(|byte| format!("%{byte:02X}")).collect(),
    ];
    for text in hidden {
        let search = std::panic::AssertUnwindSafe(|| needles.assert_absent("it", &text));
        assert!(std::panic::catch_unwind(search).is_err(), "{text}");
    }
    needles.assert_absent("it", "hunter3?~ aHVudGVyMw 104, 117, 110");
}

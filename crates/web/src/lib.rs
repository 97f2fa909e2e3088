//! The files of the web page, embedded: which there are, in which forms, and what each is.
//!
//! Invariant: what is found is what `dist/` held when this was built, byte for byte, in a form that the asker takes. Nothing
//! here knows an HTTP server; the relay says the rest (`relay/web/page`).

mod coding;

pub use coding::Coding;

/// One file of the page.
#[derive(Debug)]
struct File {
    /// As in an address, from the slash on.
    path: &'static str,
    /// Of the plain form.
    hash: &'static str,
    plain: &'static [u8],
    brotli: Option<&'static [u8]>,
    gzip: Option<&'static [u8]>,
}

include!(concat!(env!("OUT_DIR"), "/table.rs"));

/// A file in one of its forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asset {
    /// The bytes of this form.
    pub bytes: &'static [u8],
    /// Which form it is: `Content-Encoding`, unless it is plain.
    pub coding: Coding,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// True where other content has another name: it may be kept for ever.
    pub is_immutable: bool,
    hash: &'static str,
}

impl Asset {
    /// `ETag`: strong, so another one for each form (RFC 9110 §8.8.3.3).
    #[must_use]
    pub fn etag(&self) -> String {
        match self.coding {
            Coding::Plain => format!("\"{}\"", self.hash),
            coded => format!("\"{}-{}\"", self.hash, coded.as_str()),
        }
    }
}

/// The file at this path of an address, in the smallest form that `accept_encoding` takes; `/` is the page itself. `None`
/// for what there is not.
#[must_use]
pub fn find(path: &str, accept_encoding: &str) -> Option<Asset> {
    let path = if path == "/" { "/index.html" } else { path };
    let at = FILES.binary_search_by(|file| file.path.cmp(path)).ok()?;
    let file = FILES.get(at)?;
    let accepted = coding::Accepted::parse(accept_encoding);
    let forms = [
        (Coding::Brotli, file.brotli),
        (Coding::Gzip, file.gzip),
        (Coding::Plain, Some(file.plain)),
    ];
    let mut taken = forms
        .into_iter()
        .filter_map(|(coding, bytes)| Some((coding, bytes.filter(|_| accepted.takes(coding))?)));
    // Who takes none of them gets it plain: better than nothing (RFC 9110 §12.5.3).
    let (coding, bytes) = taken.next().unwrap_or((Coding::Plain, file.plain));
    Some(Asset {
        bytes,
        coding,
        content_type: content_type(path),
        is_immutable: path.starts_with("/assets/"),
        hash: file.hash,
    })
}

/// Whether there is a file at this path, beside the page itself.
#[must_use]
pub fn has(path: &str) -> bool {
    FILES.binary_search_by(|file| file.path.cmp(path)).is_ok()
}

fn content_type(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or_default();
    match name.rsplit_once('.').map(|(_, end)| end) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("txt") => "text/plain; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_there_and_what_is_not_is_not() {
        let page = find("/", "").unwrap();
        assert_eq!(page.content_type, "text/html; charset=utf-8");
        assert!(
            page.bytes.starts_with(b"<!doctype html>")
                || page.bytes.starts_with(b"<!DOCTYPE html>")
        );
        assert!(!page.is_immutable);
        assert_eq!(find("/index.html", ""), Some(page));
        for missing in [
            "",
            "/assets",
            "/assets/",
            "/assets/nothing.js",
            "/build.rs",
            "/../build.rs",
        ] {
            assert_eq!(find(missing, ""), None, "{missing}");
        }
    }

    #[test]
    fn every_file_is_found_in_every_form_that_it_has() {
        assert!(FILES.is_sorted_by_key(|file| file.path));
        for file in FILES {
            assert!(has(file.path));
            let found = |accepted| find(file.path, accepted).unwrap();
            assert_eq!(found("").bytes, file.plain);
            assert_eq!(
                found("br").bytes,
                file.brotli.unwrap_or(file.plain),
                "{}",
                file.path
            );
            assert_eq!(
                found("gzip").bytes,
                file.gzip.unwrap_or(file.plain),
                "{}",
                file.path
            );
            assert_eq!(
                found("br").etag() == found("").etag(),
                file.brotli.is_none()
            );
            assert_eq!(
                found("gzip").is_immutable,
                file.path.starts_with("/assets/")
            );
        }
    }

    #[test]
    fn the_page_loads_nothing_that_is_not_there() {
        let page = std::str::from_utf8(find("/", "").unwrap().bytes).unwrap();
        let named = page
            .split(['"', '\'', '=', '>'])
            .filter(|text| text.starts_with("/assets/"));
        for path in named {
            assert!(has(path), "{path}");
        }
    }
}

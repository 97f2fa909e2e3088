//! What a path means: whose credential, which device, which of the upstream's paths.
//!
//! Invariant: what is forwarded is the caller's bytes, except that repeated slashes become one and a trailing one goes.
//! Whatever two parsers could read differently is refused, and nothing is decoded, not even once.

use c2l_auth::{DeviceName, Scope};
use c2l_tunnel::{Fault, Kind, Origin};
use http::{Method, uri::PathAndQuery};

use crate::error::{Dialect, invalid};

/// Most bytes of a path. With its query it is part of the head, whose limit the HTTP library keeps.
const MAX_PATH_BYTES: usize = 16 * 1024;

/// Where a request goes.
#[derive(Debug)]
pub(crate) struct Route {
    /// The credential in the path, if there.
    pub(crate) credential: Option<String>,
    /// The device in the path, if there.
    pub(crate) device: Option<DeviceName>,
    pub(crate) place: Place,
    /// The path without credential and device: for the log and the dialect of errors.
    pub(crate) path: String,
}

/// The kinds of places.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The upstream, with this path and query.
    Upstream(PathAndQuery),
    /// The relay's own REST API, `/relay/v1/…`.
    Rest,
    /// The relay's own page, `/`.
    Page,
    /// A file of the page.
    File,
    /// What the page calls, `/web/v1/…`.
    Web,
    /// The page on which devices are let in, `/login`, and its style.
    Login,
}

impl Route {
    /// Reads a path.
    ///
    /// # Errors
    /// `InvalidRequest` for anything ambiguous, `RouteUnknown` for a path that is not ours to answer.
    pub(crate) fn parse(target: &PathAndQuery) -> Result<Self, Fault> {
        let path = target.path();
        check(path)?;
        if is_forwarded_as_it_is(path) {
            return Ok(Self {
                credential: None,
                device: None,
                place: Place::Upstream(target.clone()),
                path: path.to_owned(),
            });
        }
        let mut segments = path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .peekable();
        let mut is_prefixed = false;
        let mut take_after = |name: &str| -> Result<Option<&str>, Fault> {
            if segments.peek() != Some(&name) {
                return Ok(None);
            }
            segments.next();
            is_prefixed = true;
            segments.next().map(Some).ok_or_else(unknown)
        };
        let credential = take_after("k")?.map(str::to_owned);
        let device = take_after("d")?
            .map(DeviceName::parse)
            .transpose()
            .map_err(|_| unknown_device())?;
        let mut rest = String::with_capacity(path.len());
        for segment in segments {
            rest.push('/');
            rest.push_str(segment);
        }
        if rest.is_empty() {
            rest.push('/');
        }
        let first = rest[1..].split('/').next().unwrap_or_default();
        let place = match first {
            "api" | "v1" => Place::Upstream(with_query(&rest, target.query())?),
            "" if is_prefixed => Place::Upstream(with_query(&rest, target.query())?),
            "" => Place::Page,
            "relay" if !is_prefixed => Place::Rest,
            "login" if !is_prefixed => Place::Login,
            "web" if !is_prefixed => Place::Web,
            "assets" if !is_prefixed => Place::File,
            _ if !is_prefixed && c2l_web::has(&rest) => Place::File,
            _ => return Err(unknown()),
        };
        Ok(Self {
            credential,
            device,
            place,
            path: rest,
        })
    }

    /// The dialect of errors on a path that may not even parse.
    pub(crate) fn dialect_of(path: &str) -> Dialect {
        if path.starts_with("/api/") {
            return Dialect::Ollama;
        }
        let mut segments = path.split('/').filter(|s| !s.is_empty()).peekable();
        for prefix in ["k", "d"] {
            if segments.next_if_eq(&prefix).is_some() {
                segments.next();
            }
        }
        Dialect::of_segments(segments)
    }
}

/// A path of the upstream without prefixes in which no slash is to be mended, which are nearly all.
fn is_forwarded_as_it_is(path: &str) -> bool {
    let mut pairs = path.as_bytes().windows(2);
    (path.starts_with("/api/") || path.starts_with("/v1/"))
        && !path.ends_with('/')
        && pairs.all(|pair| pair != b"//")
}

/// A path for the log: never a credential, also where somebody has put one into the wrong place.
pub(crate) fn redact(path: &str) -> String {
    if is_shown_as_it_is(path) {
        return path.to_owned();
    }
    let mut segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    let mut is_after_prefix = false;
    for segment in &mut segments {
        let is_prefix = segment.eq_ignore_ascii_case("k") || segment.eq_ignore_ascii_case("%6b");
        // A JWT has two dots, a key its prefix; an encoded slash glues what was several segments.
        if is_after_prefix || segment.matches('.').count() >= 2 || segment.contains("c2l_") {
            *segment = "…";
        }
        is_after_prefix = is_prefix;
    }
    segments.truncate(8);
    let mut shown = format!("/{}", segments.join("/"));
    if shown.len() > 128 {
        shown.truncate(shown.floor_char_boundary(128));
    }
    shown
}

/// Whether [`redact`] changes nothing, seen in one pass: short segments of letters and the like, none of which could announce,
/// be or hold a credential.
fn is_shown_as_it_is(path: &str) -> bool {
    let is_plain = |segment: &[u8]| {
        segment.len() > 1
            && segment
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || *b == b'-')
    };
    let Some(path) = path.strip_prefix('/').filter(|path| path.len() < 128) else {
        return false;
    };
    let mut segments = path.as_bytes().split(|byte| *byte == b'/');
    segments.by_ref().take(8).all(is_plain) && segments.next().is_none()
}

fn with_query(path: &str, query: Option<&str>) -> Result<PathAndQuery, Fault> {
    let joined = match query {
        Some(query) => [path, "?", query].concat(),
        None => path.to_owned(),
    };
    PathAndQuery::try_from(joined).map_err(|_| invalid("the path is not valid"))
}

/// Refuses what two parsers could read differently (RFC 3986 §6.2, RFC 9110 §4.2.3).
fn check(path: &str) -> Result<(), Fault> {
    if path.len() > MAX_PATH_BYTES {
        return Err(invalid("the path is too long"));
    }
    if !path.starts_with('/') {
        return Err(invalid("the path does not begin with a slash"));
    }
    let is_plain = |byte: u8| {
        byte.is_ascii_graphic() && !matches!(byte, b'\\' | b';' | b'#' | b'"' | b'<' | b'>')
    };
    if !path.bytes().all(is_plain) {
        return Err(invalid(
            "the path holds a character that is not allowed there",
        ));
    }
    // Without any of these there is nothing in a segment to refuse.
    if path.bytes().any(|byte| matches!(byte, b'%' | b'.')) {
        path.split('/').try_for_each(check_segment)?;
    }
    Ok(())
}

fn check_segment(segment: &str) -> Result<(), Fault> {
    let mut dots = 0;
    let mut others = 0;
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' {
            let hex = |digit: Option<u8>| digit.and_then(|digit| char::from(digit).to_digit(16));
            let (Some(high), Some(low)) = (hex(bytes.next()), hex(bytes.next())) else {
                return Err(invalid("the path holds a broken percent sign"));
            };
            let decoded = high * 16 + low;
            if matches!(decoded, 0x00..=0x1f | 0x2f | 0x5c | 0x3b | 0x25 | 0x7f) {
                return Err(invalid(
                    "the path holds an encoded slash, backslash, semicolon, percent or control character",
                ));
            }
            u8::try_from(decoded).unwrap_or(b'x')
        } else {
            byte
        };
        if byte == b'.' { dots += 1 } else { others += 1 }
    }
    if others == 0 && (dots == 1 || dots == 2) {
        return Err(invalid("the path holds a dot segment"));
    }
    Ok(())
}

/// Whether a method is one that is forwarded at all. `CONNECT`, `TRACE` and inventions are not; `OPTIONS` is answered
/// by the relay itself.
pub(crate) fn is_forwarded(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE
    )
}

/// What a path of the upstream asks of the credential.
///
/// # Errors
/// `Forbidden` for what acts with the owner's account, whoever asks.
pub(crate) fn scope_for(method: &Method, path: &str) -> Result<Scope, Fault> {
    let Some(below) = path.strip_prefix("/api/") else {
        return Ok(Scope::Infer);
    };
    let end = below.bytes().position(|byte| byte == b'/');
    let (name, rest) = below.split_at(end.unwrap_or(below.len()));
    match name {
        "pull" | "push" | "create" | "copy" | "delete" => Ok(Scope::Manage),
        // Whether a blob is there may be asked by anyone who may use the models.
        "blobs" if *method == Method::HEAD => Ok(Scope::Infer),
        "blobs" => Ok(Scope::Manage),
        "me" | "signout" | "user" => Err(account()),
        "experimental" if rest.starts_with("/web_") => Err(account()),
        _ => Ok(Scope::Infer),
    }
}

fn account() -> Fault {
    Fault::new(
        Kind::Forbidden,
        Origin::Relay,
        "this path acts with the account of the machine's owner and is never forwarded",
    )
    .retry_safe()
}

fn unknown() -> Fault {
    Fault::new(
        Kind::RouteUnknown,
        Origin::Caller,
        "not a path that is forwarded; try /api/… or /v1/…",
    )
    .retry_safe()
}

pub(crate) fn unknown_device() -> Fault {
    Fault::new(
        Kind::RouteUnknown,
        Origin::Caller,
        "no device of this name is connected for this user",
    )
    .retry_safe()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(path: &str) -> Result<Route, Fault> {
        Route::parse(&PathAndQuery::try_from(path).expect("a target"))
    }

    fn upstream(path: &str) -> String {
        match parse(path).expect("a route").place {
            Place::Upstream(target) => target.to_string(),
            other => panic!("{path} is {other:?}"),
        }
    }

    #[test]
    fn http_15_slashes_are_mended_and_nothing_else() {
        assert_eq!(upstream("//api//chat"), "/api/chat");
        assert_eq!(upstream("/api/chat/"), "/api/chat");
        assert_eq!(upstream("/k/x.y.z"), "/");
        assert_eq!(upstream("/k/x.y.z/"), "/");
        assert_eq!(
            upstream("/k/x.y.z//v1/models/qwen3%3A0.6b?a=//b/"),
            "/v1/models/qwen3%3A0.6b?a=//b/"
        );
        assert_eq!(upstream("/k/c/d/laptop/api/tags"), "/api/tags");
        assert_eq!(upstream("/d/laptop"), "/");
    }

    #[test]
    fn credential_and_device_come_from_the_path() {
        let route = parse("/k/a.b.c/d/lap-top/api/chat").expect("a route");
        assert_eq!(route.credential.as_deref(), Some("a.b.c"));
        assert_eq!(route.device.expect("a device").as_str(), "lap-top");
        assert_eq!(route.path, "/api/chat");
        assert_eq!(parse("/").expect("a route").place, Place::Page);
        assert_eq!(
            parse("/relay/v1/devices").expect("a route").place,
            Place::Rest
        );
    }

    #[test]
    fn http_14_what_two_parsers_could_read_differently_is_refused() {
        for path in [
            "/api/../relay/v1/keys",
            "/api/%2e%2e/x",
            "/api/..%2fx",
            "/api/.%2e/",
            "/api/./x",
            "/api\\chat",
            "/api/chat;x",
            "/api/chat%3bx",
            "/api/%00",
            "/api/a%2Fb",
            "/api/a%5cb",
            "/api/%252e%252e/x",
            "/api/%zz",
            "/api/%2",
        ] {
            let Ok(target) = PathAndQuery::try_from(path) else {
                continue; // the HTTP library refuses it before us
            };
            let fault = Route::parse(&target).expect_err(path);
            assert_eq!(fault.kind, Kind::InvalidRequest, "{path}");
        }
    }

    #[test]
    fn a_path_that_is_not_ours_is_unknown() {
        for path in [
            "/metrics",
            "/debug/pprof",
            "/k",
            "/k/x/relay/v1/keys",
            "/apix",
            "/k/x/d",
            "/livez",
        ] {
            assert_eq!(
                parse(path).expect_err(path).kind,
                Kind::RouteUnknown,
                "{path}"
            );
        }
    }

    #[test]
    fn ops_02_a_credential_is_never_in_what_is_logged() {
        assert_eq!(redact("/k/a.b.c/api/chat"), "/k/…/api/chat");
        assert_eq!(redact("//k//a.b.c/api"), "/k/…/api");
        // Where none belongs, and nothing is served.
        for path in [
            "/K/secret",
            "/%6B/secret",
            "/%6b/secret",
            "/v1/k/secret/chat",
            "/d/laptop/k/secret/api",
            "/relay/k/secret",
            "/api/k%2Fse.cr.secret",
            "/se.cr.secret/api/chat",
            "/api/c2l_secret",
            "/k/k/secret",
        ] {
            assert!(!redact(path).contains("secret"), "{path}");
        }
        assert_eq!(redact("/v1/models/qwen3%3A0.6b"), "/v1/models/qwen3%3A0.6b");
    }

    #[test]
    fn jwt_09_management_needs_its_own_scope_and_account_routes_are_never_open() {
        for path in [
            "/api/pull",
            "/api/delete",
            "/api/create",
            "/api/push",
            "/api/copy",
            "/api/blobs/sha256:00",
        ] {
            assert_eq!(
                scope_for(&Method::POST, path).expect("a scope"),
                Scope::Manage,
                "{path}"
            );
        }
        for path in [
            "/api/me",
            "/api/signout",
            "/api/user/keys/x",
            "/api/experimental/web_search",
        ] {
            assert_eq!(
                scope_for(&Method::POST, path).expect_err(path).kind,
                Kind::Forbidden
            );
        }
        for path in ["/api/chat", "/v1/chat/completions", "/", "/api/tags"] {
            assert_eq!(
                scope_for(&Method::POST, path).expect("a scope"),
                Scope::Infer,
                "{path}"
            );
        }
        assert_eq!(
            scope_for(&Method::HEAD, "/api/blobs/sha256:00").expect("a scope"),
            Scope::Infer
        );
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_what_passes_is_safe(path in "/[ -~]{0,60}") {
            if let Ok(target) = PathAndQuery::try_from(path.as_str())
                && let Ok(route) = Route::parse(&target)
                && let Place::Upstream(target) = route.place
            {
                let path = target.path();
                prop_assert!(path.starts_with("/api") || path.starts_with("/v1") || path == "/");
                prop_assert!(!path.contains("//"));
                prop_assert!(path.split('/').all(|s| s != "." && s != ".."));
            }
        }
    }
}

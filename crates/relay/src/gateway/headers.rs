//! Which fields cross, in each direction.
//!
//! Invariant: hop-by-hop fields, credentials, cookies and addresses never go toward the upstream, and nothing that
//! would act in the relay's own web origin comes back from it.

use c2l_tunnel::{Fault, Kind, Origin};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header, request};

use crate::{
    error::invalid,
    gateway::present::{Field, Present},
};

/// What every forwarded answer says to a browser: foreign content, in the same origin as the web UI, stays inert.
const SANDBOX: HeaderValue = HeaderValue::from_static("sandbox; default-src 'none'");
/// So many fields the relay adds to an answer, its id and the date among them.
const ADDED: usize = 7;
pub(crate) const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
pub(crate) const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
pub(crate) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The field that names a device, and says on each answer which one gave it.
pub(crate) const X_C2L_DEVICE: HeaderName = HeaderName::from_static("x-c2l-device");
/// The field with the id of the exchange.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Fields of one hop alone (RFC 9110 §7.6.1); what `Connection` nominates comes on top.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION
            | header::PROXY_AUTHENTICATE
            | header::PROXY_AUTHORIZATION
            | header::TE
            | header::TRAILER
            | header::TRANSFER_ENCODING
            | header::UPGRADE
    ) || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// Names that stay on this side: credentials, who asked, from where. Ollama copies request fields to a third party for
/// its cloud models. `accept-encoding` goes because a compressed stream holds tokens back.
fn stays_at_the_relay(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::AUTHORIZATION
            | header::COOKIE
            | header::HOST
            | header::ORIGIN
            | header::REFERER
            | header::FORWARDED
            | header::VIA
            | header::EXPECT
            | header::ACCEPT_ENCODING
            | header::MAX_FORWARDS
    ) || {
        let name = name.as_str();
        matches!(
            name,
            "x-api-key"
                | "x-request-id"
                | "http2-settings"
                | "x-real-ip"
                | "x-client-ip"
                | "x-cluster-client-ip"
                | "true-client-ip"
                | "fastly-client-ip"
        ) || name.starts_with("x-forwarded-")
            || name.starts_with("x-c2l-")
            || name.starts_with("x-openwebui-")
            || name.starts_with("x-user-")
            || name.starts_with("cf-")
            || name.starts_with("sec-")
    }
}

/// Names that an upstream may not set in the relay's origin.
fn stays_at_the_agent(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::SET_COOKIE
            | header::ALT_SVC
            | header::STRICT_TRANSPORT_SECURITY
            | header::LOCATION
            | header::CONTENT_SECURITY_POLICY
            | header::CONTENT_SECURITY_POLICY_REPORT_ONLY
            | header::REFERRER_POLICY
            | header::X_CONTENT_TYPE_OPTIONS
            | header::WWW_AUTHENTICATE
            | header::REFRESH
            | header::LINK
            | header::PUBLIC_KEY_PINS
            | header::SERVER
    ) || {
        let name = name.as_str();
        matches!(
            name,
            "set-cookie2"
                | "clear-site-data"
                | "service-worker-allowed"
                | "report-to"
                | "reporting-endpoints"
                | "nel"
                | "content-location"
                | "permissions-policy"
                | "origin-agent-cluster"
                | "sourcemap"
                | "x-accel-redirect"
        ) || name.starts_with("access-control-")
            || name.starts_with("x-c2l-")
            || name.starts_with("cross-origin-")
            || name == X_REQUEST_ID.as_str()
    }
}

/// Takes out, in one pass, the fields of one hop, whatever `Connection` nominates, and what is unwanted on this way.
fn remove(headers: &mut HeaderMap, is_unwanted: impl Fn(&HeaderName) -> bool) {
    let is_removed = |name: &&HeaderName| is_unwanted(name) || is_hop_by_hop(name);
    let mut removed: Vec<HeaderName> = headers.keys().filter(is_removed).cloned().collect();
    if removed.contains(&header::CONNECTION) {
        removed.extend(nominated(headers));
    }
    for name in removed {
        headers.remove(name);
    }
}

/// The fields that `Connection` makes ones of this hop.
fn nominated(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let names = texts.flat_map(|text| text.split(','));
    names.filter_map(|name| name.trim().parse().ok())
}

/// The fields toward the upstream.
pub(crate) fn toward_upstream(mut headers: HeaderMap) -> HeaderMap {
    remove(&mut headers, stays_at_the_relay);
    headers
}

/// How types end that are JSON as well (RFC 6839 §3.1).
const JSON_SUFFIX: &str = "+json";

/// Whether an answer is of a type that these APIs answer with. None of them is one that a browser runs or shows as a page;
/// any other becomes bytes, which it stores at most (WEB-05).
fn is_expected_type(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return !headers.contains_key(header::CONTENT_TYPE);
    };
    let text = value.to_str().unwrap_or_default();
    // A list of types, which this field is not: a browser takes the last of it (Fetch, "extract a MIME type").
    if text.contains(',') {
        return false;
    }
    let essence = text.split(';').next();
    let (top, sub) = essence
        .unwrap_or_default()
        .trim()
        .split_once('/')
        .unwrap_or_default();
    let is_of = |tops: &[&str]| tops.iter().any(|word| top.eq_ignore_ascii_case(word));
    let is_one = |subs: &[&str]| subs.iter().any(|word| sub.eq_ignore_ascii_case(word));
    let suffix = sub
        .len()
        .checked_sub(JSON_SUFFIX.len())
        .and_then(|at| sub.get(at..));
    (is_of(&["application"])
        && (is_one(&["json", "x-ndjson", "ndjson", "jsonl", "octet-stream"])
            || suffix.is_some_and(|end| end.eq_ignore_ascii_case(JSON_SUFFIX))))
        || (is_of(&["text"]) && is_one(&["plain", "event-stream"]))
        || (is_of(&["image"]) && is_one(&["png", "jpeg", "webp", "gif"]))
        || is_of(&["audio", "video"])
}

/// The fields toward the caller, with what the relay says of itself.
pub(crate) fn toward_caller(mut headers: HeaderMap, device: &HeaderValue) -> HeaderMap {
    remove(&mut headers, stays_at_the_agent);
    headers.reserve(ADDED); // once, instead of on the way
    if !is_expected_type(&headers) {
        headers.insert(header::CONTENT_TYPE, OCTETS);
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, SANDBOX);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(header::REFERRER_POLICY, NO_REFERRER);
    // A cache on the way knows nothing of whose answer this is: the credential may be in the path or in a field of ours.
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(X_C2L_DEVICE, device.clone());
    headers
}

/// The trailers toward the caller: what the head of an answer may not say, its end may not either.
pub(crate) fn trailers_toward_caller(mut trailers: HeaderMap) -> HeaderMap {
    remove(&mut trailers, |name| {
        stays_at_the_agent(name) || *name == header::CONTENT_LENGTH
    });
    trailers
}

/// Refuses what the HTTP library lets through and two programs could read differently.
///
/// # Errors
/// `InvalidRequest`.
pub(crate) fn check(head: &request::Parts, present: Present) -> Result<(), Fault> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(invalid("more than one `host`"));
    }
    match (host, head.uri.authority()) {
        // In HTTP/1.1 a target that names a host does not stand in for the field (RFC 9112 §3.2).
        (None, authority)
            if head.version == Version::HTTP_11
                || authority.is_none() && head.version > Version::HTTP_11 =>
        {
            return Err(invalid("no `host`"));
        }
        (Some(host), authority) => {
            let is_valid = host.to_str().is_ok_and(|host| {
                is_host(host)
                    && authority
                        .is_none_or(|authority| authority.as_str().eq_ignore_ascii_case(host))
            });
            if !is_valid {
                return Err(invalid(
                    "`host` is not a host, or differs from the target's",
                ));
            }
        }
        (None, Some(authority)) if authority.as_str().contains('@') => {
            return Err(invalid("user information in the target"));
        }
        (None, _) => {}
    }
    if present.has(Field::TransferEncoding) {
        check_transfer_encoding(&head.headers)?;
    }
    if present.has(Field::ContentLength)
        && head.headers.get_all(header::CONTENT_LENGTH).iter().count() > 1
    {
        return Err(invalid("more than one `content-length`"));
    }
    if present.has(Field::ServiceWorker) {
        // A script from an upstream must never control the relay's origin.
        return Err(invalid("service workers are not served"));
    }
    Ok(())
}

/// A host, and its port if any. What is not plainly one is read as the HTTP library reads it.
fn is_host(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let name = bytes.iter().take_while(|byte| is_of_name(byte)).count();
    let is_plain = name > 0
        && match bytes.get(name..) {
            Some([]) => true,
            Some([b':', port @ ..]) => {
                (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit)
            }
            _ => false,
        };
    is_plain || {
        let parsed = text.parse::<http::uri::Authority>();
        parsed.is_ok_and(|parsed| !parsed.as_str().contains('@'))
    }
}

/// Exactly `chunked`, once: the library lets `gzip, chunked` and repeated `chunked` through (RFC 9112 §6.1).
fn check_transfer_encoding(headers: &HeaderMap) -> Result<(), Fault> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(first) = codings.next() else {
        return Ok(());
    };
    let is_chunked = first
        .as_bytes()
        .trim_ascii()
        .eq_ignore_ascii_case(b"chunked");
    if !is_chunked || codings.next().is_some() || headers.contains_key(header::CONTENT_LENGTH) {
        return Err(invalid("a transfer coding other than a single `chunked`"));
    }
    Ok(())
}

/// Leaves the announced length of an answer as one plain number, if there is any: two that differ, or one that is none,
/// would be written to the caller as they are, and read differently by whoever stands between.
///
/// # Errors
/// `AgentProtocol`.
pub(crate) fn one_length(headers: &mut HeaderMap) -> Result<(), Fault> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = values.next() else {
        return Ok(());
    };
    let is_plain = first.as_bytes().iter().all(u8::is_ascii_digit);
    let length = first
        .to_str()
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    let (mut is_agreed, mut is_alone) = (true, true);
    for other in values {
        is_agreed &= other == first;
        is_alone = false;
    }
    let Some(length) = length.filter(|_| is_plain && is_agreed) else {
        let message = "the agent's answer announces a length that is not one number";
        return Err(Fault::new(Kind::AgentProtocol, Origin::Agent, message));
    };
    let is_as_written = is_alone && !matches!(first.as_bytes(), [b'0', _, ..]);
    if !is_as_written {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(())
}

/// The caller's own id of the exchange, if it is one.
pub(crate) fn request_id(headers: &HeaderMap, present: Present) -> Option<&str> {
    if !present.has(Field::RequestId) {
        return None;
    }
    let id = headers.get(X_REQUEST_ID)?.to_str().ok()?;
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    (1..=128).contains(&id.len()).then_some(())?;
    id.bytes().all(is_plain).then_some(id)
}

/// What is allowed here, for a 405.
pub(crate) const ALLOW: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// True when an answer to this method and status has no body, whatever its fields say (RFC 9110 §6.4.1).
pub(crate) fn is_bodiless(method: &Method, status: http::StatusCode) -> bool {
    *method == Method::HEAD
        || status == http::StatusCode::NO_CONTENT
        || status == http::StatusCode::NOT_MODIFIED
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn http_09_and_10_hop_by_hop_and_nominated_fields_stop_here() {
        let headers = map(&[
            (
                "connection",
                "close, x-secret, authorization, host, content-length, x-c2l-device",
            ),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eA=="),
            ("te", "gzip"),
            ("upgrade", "websocket"),
            ("trailer", "x"),
            ("content-length", "3"),
            ("content-type", "application/json"),
        ]);
        assert_eq!(names(&toward_upstream(headers.clone())), ["content-type"]);
        let device = HeaderValue::from_static("laptop");
        let back = toward_caller(headers, &device);
        assert!(!back.contains_key("x-secret") && !back.contains_key("upgrade"));
    }

    #[test]
    fn http_11_nothing_that_says_who_asks_crosses() {
        let headers = map(&[
            ("authorization", "Bearer x"),
            ("x-api-key", "x"),
            ("cookie", "a=b"),
            ("origin", "https://evil.example"),
            ("referer", "https://evil.example/k/x"),
            ("forwarded", "for=1.2.3.4"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
            ("x-c2l-device", "laptop"),
            ("x-openwebui-user-email", "ada@example.org"),
            ("x-user-id", "ada"),
            ("x-client-ip", "1.2.3.4"),
            ("x-cluster-client-ip", "1.2.3.4"),
            ("true-client-ip", "1.2.3.4"),
            ("fastly-client-ip", "1.2.3.4"),
            ("cf-connecting-ip", "1.2.3.4"),
            ("cf-ipcountry", "NZ"),
            ("cf-ray", "x"),
            ("cf-visitor", "{}"),
            ("accept-encoding", "gzip"),
            ("user-agent", "ollama/0.33.0"),
            ("accept", "*/*"),
        ]);
        assert_eq!(names(&toward_upstream(headers)), ["accept", "user-agent"]);
    }

    #[test]
    fn http_24_an_upstream_sets_nothing_in_the_relays_origin() {
        let headers = map(&[
            ("set-cookie", "a=b"),
            ("access-control-allow-origin", "*"),
            ("alt-svc", "h3=\":443\""),
            ("strict-transport-security", "max-age=1"),
            ("clear-site-data", "\"*\""),
            ("location", "http://127.0.0.1:11434/x"),
            ("content-security-policy", "default-src *"),
            ("cache-control", "public"),
            ("content-type", "text/html"),
        ]);
        let device = HeaderValue::from_static("laptop");
        let back = toward_caller(headers, &device);
        assert_eq!(
            names(&back),
            [
                "cache-control",
                "content-security-policy",
                "content-type",
                "referrer-policy",
                "x-c2l-device",
                "x-content-type-options"
            ]
        );
        assert_eq!(back["cache-control"], "no-store");
        assert_eq!(
            back["content-security-policy"],
            "sandbox; default-src 'none'"
        );
    }

    #[test]
    fn web_05_only_expected_types_pass() {
        let device = HeaderValue::from_static("laptop");
        let shown = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_TYPE, HeaderValue::from_static(value));
            }
            let back = toward_caller(headers, &device);
            let all = back.get_all(header::CONTENT_TYPE).iter();
            all.map(|value| value.to_str().expect("text").to_owned())
                .collect::<Vec<_>>()
        };
        for kept in [
            "application/json; charset=utf-8",
            "application/x-ndjson",
            "text/event-stream",
            "Text/Plain",
            "application/problem+json",
            "audio/mpeg",
            "image/png",
        ] {
            assert_eq!(shown(&[kept]), [kept]);
        }
        assert!(shown(&[]).is_empty());
        for other in [
            &["text/html"][..],
            &["TEXT/HTML; charset=utf-8"],
            &["image/svg+xml"],
            &["application/xhtml+xml"],
            &["text/xml"],
            &["text/javascript"],
            &["application/pdf"],
            &["multipart/x-mixed-replace"],
            &[""],
            &["nonsense"],
            &["application/json", "text/html"],
            &["application/json, text/html"],
            &["application/json;charset=utf-8,text/html"],
            &["audio/mpeg, text/html"],
        ] {
            assert_eq!(shown(other), ["application/octet-stream"], "{other:?}");
        }
    }

    #[test]
    fn a_plain_host_is_one_that_the_library_would_read() {
        for plain in [
            "a",
            "relay.example",
            "127.0.0.1:80",
            "localhost:65535",
            "a-b.c",
        ] {
            assert!(is_host(plain), "{plain}");
            assert!(plain.parse::<http::uri::Authority>().is_ok(), "{plain}");
        }
        for host in ["[::1]:80", "a_b", "a:", "a%41", "\u{e9}", "a:123456"] {
            let parsed = host.parse::<http::uri::Authority>();
            assert_eq!(is_host(host), parsed.is_ok(), "{host}");
        }
        for none in ["", "a b", "u@a", "a/b", "a:80:80"] {
            assert!(!is_host(none), "{none}");
        }
    }

    #[test]
    fn http_20_the_length_of_an_answer_is_one_plain_number() {
        for (values, expected) in [
            (&[][..], Some(0)),
            (&["5"], Some(1)),
            (&["5", "5"], Some(1)),
            (&["0"], Some(1)),
            (&["005"], Some(1)),
            (&["5", "6"], None),
            (&["5, 5"], None),
            (&["+5"], None),
            (&["-1"], None),
            (&[""], None),
            (&["18446744073709551616"], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_LENGTH, HeaderValue::from_static(value));
            }
            let left = one_length(&mut headers).ok().map(|()| headers.len());
            assert_eq!(left, expected, "{values:?}");
        }
    }

    #[test]
    fn ops_07_a_request_id_is_plain_or_made_by_us() {
        for (shown, expected) in [("abc-1", Some("abc-1")), ("a b", None), ("", None)] {
            let headers = map(&[("x-request-id", shown)]);
            let id = request_id(&headers, Present::of(&headers));
            assert_eq!(id, expected, "{shown:?}");
        }
    }
}

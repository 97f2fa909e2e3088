//! Which fields cross, in each direction.
//!
//! Invariant: what belongs to one hop stays on it, and nothing that names or authorises the caller reaches the
//! upstream: for its cloud models Ollama copies request headers to a third party.

use c2l_tunnel::{Fault, Kind, Origin};
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The fields for the upstream. `host` replaces the caller's.
pub(crate) fn toward_upstream(mut headers: HeaderMap, host: &HeaderValue) -> HeaderMap {
    remove(&mut headers, stays_out_of_the_house);
    headers.insert(header::HOST, host.clone());
    headers
}

/// The fields for the caller. The relay takes out more.
pub(crate) fn toward_caller(mut headers: HeaderMap) -> HeaderMap {
    remove(&mut headers, |_| false);
    headers
}

/// Trailers, in either direction: besides the above, nothing that frames or routes (RFC 9110 §6.5.1).
pub(crate) fn trailers(mut trailers: HeaderMap) -> HeaderMap {
    remove(&mut trailers, |name| {
        stays_out_of_the_house(name)
            || [
                header::CONTENT_LENGTH,
                header::CONTENT_TYPE,
                header::CONTENT_ENCODING,
                header::CONTENT_RANGE,
                header::SET_COOKIE,
                header::LOCATION,
            ]
            .contains(name)
    });
    trailers
}

/// The announced length of a request body, as the one value that goes to the upstream.
///
/// # Errors
/// When it is not one plain number.
pub(crate) fn content_length(headers: &mut HeaderMap) -> Result<Option<u64>, Fault> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = values.next() else {
        return Ok(None);
    };
    let is_number = first.as_bytes().iter().all(u8::is_ascii_digit);
    let length = first.to_str().ok().and_then(|text| text.parse().ok());
    let is_agreed = values.all(|value| value == first);
    let Some(length) = length.filter(|_| is_number && is_agreed) else {
        let why = "the announced length of the body is not one number";
        return Err(Fault::new(Kind::InvalidRequest, Origin::Caller, why).retry_safe());
    };
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok(Some(length))
}

/// Takes out, in one pass, what RFC 9110 §7.6.1 keeps on one hop, everything that `Connection` adds to it, and what is
/// unwanted on this way.
fn remove(headers: &mut HeaderMap, is_unwanted: impl Fn(&HeaderName) -> bool) {
    let nominated: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    let is_removed =
        |name: &HeaderName| is_unwanted(name) || is_hop_by_hop(name) || nominated.contains(name);
    let removed: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_removed(name))
        .cloned()
        .collect();
    for name in removed {
        headers.remove(name);
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    ) || name.starts_with("proxy-")
}

/// Credentials, traces of the way here, and what makes a browser's request look foreign to Ollama.
fn stays_out_of_the_house(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(
        name,
        "authorization"
            | "x-api-key"
            | "cookie"
            | "origin"
            | "referer"
            | "forwarded"
            | "x-real-ip"
            | "x-client-ip"
            | "x-cluster-client-ip"
            | "true-client-ip"
            | "fastly-client-ip"
            | "via"
            | "accept-encoding"
            | "expect"
            | "host"
    ) || [
        "x-forwarded-",
        "x-c2l-",
        "x-openwebui-",
        "x-user-",
        "cf-",
        "sec-",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn hop_by_hop_fields_and_nominated_ones_cross_in_neither_direction() {
        let fields = map(&[
            ("connection", "close, X-Secret"),
            (
                "connection",
                " host,content-length , x-c2l-device,,bad name",
            ),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("proxy-authenticate", "Basic"),
            ("te", "gzip"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("content-length", "3"),
            ("content-type", "text/plain"),
        ]);
        let host = HeaderValue::from_static("localhost:11434");
        let up = toward_upstream(fields.clone(), &host);
        assert_eq!(names(&up), ["content-type", "host"]);
        assert_eq!(
            up["host"], "localhost:11434",
            "ours, although theirs was nominated"
        );
        assert_eq!(names(&toward_caller(fields)), ["content-type"]);
    }

    #[test]
    fn nothing_that_names_or_authorises_the_caller_reaches_the_upstream() {
        let fields = map(&[
            ("authorization", "Bearer x"),
            ("x-api-key", "x"),
            ("cookie", "a=b"),
            ("origin", "https://a"),
            ("referer", "https://a/k/secret/"),
            ("forwarded", "for=1.2.3.4"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "1.2.3.4"),
            ("via", "1.1 a"),
            ("x-c2l-device", "a"),
            ("x-openwebui-user-email", "a@b"),
            ("x-user-id", "a"),
            ("x-client-ip", "1.2.3.4"),
            ("x-cluster-client-ip", "1.2.3.4"),
            ("true-client-ip", "1.2.3.4"),
            ("fastly-client-ip", "1.2.3.4"),
            ("cf-connecting-ip", "1.2.3.4"),
            ("cf-ipcountry", "NZ"),
            ("cf-ray", "x"),
            ("cf-visitor", "{}"),
            ("accept-encoding", "gzip"),
            ("sec-fetch-site", "same-origin"),
            ("host", "relay.example"),
            ("expect", "100-continue"),
            ("user-agent", "ollama/0.33.0"),
            ("accept", "*/*"),
            ("anthropic-version", "1"),
        ]);
        let up = toward_upstream(fields, &HeaderValue::from_static("localhost:1"));
        assert_eq!(
            names(&up),
            ["accept", "anthropic-version", "host", "user-agent"]
        );
    }

    #[test]
    fn repeated_fields_keep_their_values_and_order() {
        let headers = map(&[("x-a", "1"), ("x-b", "2"), ("x-a", "3")]);
        let crossed = toward_caller(headers);
        let values: Vec<_> = crossed.get_all("x-a").iter().collect();
        assert_eq!(values, ["1", "3"]);
    }

    #[test]
    fn a_length_is_one_plain_number() {
        let read = |values: &[&str]| {
            let fields: Vec<_> = values
                .iter()
                .map(|value| ("content-length", *value))
                .collect();
            let mut headers = map(&fields);
            content_length(&mut headers).map(|length| (length, headers.len()))
        };
        assert_eq!(read(&[]).unwrap(), (None, 0));
        assert_eq!(read(&["42"]).unwrap(), (Some(42), 1));
        assert_eq!(read(&["42", "42"]).unwrap(), (Some(42), 1), "written once");
        for bad in [
            "",
            "+3",
            "-1",
            "0x3",
            "3_0",
            "3, 3",
            "3 ",
            "18446744073709551616",
        ] {
            let fault = read(&[bad]).expect_err(bad);
            assert_eq!(fault.kind, Kind::InvalidRequest, "{bad}");
        }
        assert!(read(&["3", "4"]).is_err());
    }

    #[test]
    fn trailers_cannot_frame_or_route() {
        let fields = map(&[
            ("content-length", "1"),
            ("host", "a"),
            ("transfer-encoding", "chunked"),
            ("x-checksum", "1"),
        ]);
        assert_eq!(names(&trailers(fields)), ["x-checksum"]);
    }
}

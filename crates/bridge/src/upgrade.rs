//! The opening handshake, as far as it is not HTTP (RFC 6455 §4).

use aws_lc_rs::{
    digest::{SHA1_FOR_LEGACY_USE_ONLY, digest},
    rand::{SecureRandom as _, SystemRandom},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header, request};

/// `Sec-WebSocket-Key`.
pub const KEY: HeaderName = header::SEC_WEBSOCKET_KEY;
/// `Sec-WebSocket-Accept`.
pub const ACCEPT: HeaderName = header::SEC_WEBSOCKET_ACCEPT;
/// `Sec-WebSocket-Version`.
pub const VERSION: HeaderName = header::SEC_WEBSOCKET_VERSION;
/// `Sec-WebSocket-Protocol`.
pub const PROTOCOL: HeaderName = header::SEC_WEBSOCKET_PROTOCOL;
/// What is spoken inside, offered and confirmed, so that a mix-up shows at once.
pub const PROTOCOL_NAME: &str = "c2l.tunnel.v1";

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why a request is no upgrade to this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAnUpgrade {
    /// Not `GET` over HTTP/1.1 with `Connection: upgrade` and `Upgrade: websocket`.
    NotWebSocket,
    /// A version other than 13.
    Version,
    /// No key, or one that is not 16 bytes in base64.
    Key,
    /// Not our protocol among those offered.
    Protocol,
}

impl std::fmt::Display for NotAnUpgrade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotWebSocket => "this path takes a WebSocket upgrade over HTTP/1.1",
            Self::Version => "only version 13 of WebSocket is spoken here",
            Self::Key => "`sec-websocket-key` is missing or not valid",
            Self::Protocol => "`sec-websocket-protocol` does not offer c2l.tunnel.v1",
        })
    }
}

impl std::error::Error for NotAnUpgrade {}

/// Checks a request to upgrade; returns the value of `Sec-WebSocket-Accept`.
///
/// # Errors
/// When it is not one.
pub fn check_request(head: &request::Parts) -> Result<HeaderValue, NotAnUpgrade> {
    let headers = &head.headers;
    let is_websocket = head.method == Method::GET
        && head.version == Version::HTTP_11
        && has_token(headers, &header::CONNECTION, "upgrade")
        && has_token(headers, &header::UPGRADE, "websocket");
    if !is_websocket {
        return Err(NotAnUpgrade::NotWebSocket);
    }
    if headers.get(&VERSION).is_none_or(|version| version != "13") {
        return Err(NotAnUpgrade::Version);
    }
    if !has_token(headers, &PROTOCOL, PROTOCOL_NAME) {
        return Err(NotAnUpgrade::Protocol);
    }
    let key = headers.get(&KEY).ok_or(NotAnUpgrade::Key)?;
    let decoded = STANDARD
        .decode(key.as_bytes())
        .map_err(|_| NotAnUpgrade::Key)?;
    if decoded.len() != 16 {
        return Err(NotAnUpgrade::Key);
    }
    Ok(accept_for(key.as_bytes()))
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// The answer to a key.
#[must_use]
pub fn accept_for(key: &[u8]) -> HeaderValue {
    let mut input = key.to_vec();
    input.extend_from_slice(GUID);
    let encoded = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &input));
    HeaderValue::from_str(&encoded).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// A fresh key. `None` when the system has no random numbers.
#[must_use]
pub fn new_key() -> Option<HeaderValue> {
    let mut random = [0; 16];
    SystemRandom::new().fill(&mut random).ok()?;
    HeaderValue::from_str(&STANDARD.encode(random)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_the_key_of_the_rfc_is_its_answer() {
        // RFC 6455 §1.3
        assert_eq!(
            accept_for(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    fn upgrade() -> http::request::Builder {
        http::Request::get("/tunnel/v1/websocket")
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "WebSocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-protocol", "other, c2l.tunnel.v1")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    }

    fn parts(builder: http::request::Builder) -> request::Parts {
        builder.body(()).unwrap().into_parts().0
    }

    #[test]
    fn an_upgrade_is_accepted_and_what_is_not_one_is_refused() {
        assert!(check_request(&parts(upgrade())).is_ok());
        let mut other = parts(upgrade());
        other.headers.remove("upgrade");
        assert_eq!(check_request(&other), Err(NotAnUpgrade::NotWebSocket));
        let mut other = parts(upgrade());
        other
            .headers
            .insert("sec-websocket-version", HeaderValue::from_static("8"));
        assert_eq!(check_request(&other), Err(NotAnUpgrade::Version));
        let mut other = parts(upgrade());
        other
            .headers
            .insert("sec-websocket-key", HeaderValue::from_static("c2hvcnQ="));
        assert_eq!(check_request(&other), Err(NotAnUpgrade::Key));
        let mut other = parts(upgrade());
        other.headers.remove("sec-websocket-protocol");
        assert_eq!(check_request(&other), Err(NotAnUpgrade::Protocol));
    }
}

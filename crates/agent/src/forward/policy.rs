//! Decides whether a request may go to the upstream: its path, its method, what its caller may do, what the owner allows.
//!
//! Invariant: pure functions of the request and the owner's configuration. The relay decides as well, with code of its
//! own; this is the decision that protects the machine, also from the relay.

use c2l_tunnel::{Fault, Kind, Origin, RequestHead};
use http::{Method, uri::PathAndQuery};

use super::{
    ollama::{Class, ENDPOINTS, Endpoint},
    owner::Owner,
};

/// Where a method and a path lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Something that Ollama offers.
    Known(&'static Endpoint),
    /// The path exists, but not with this method.
    MethodNotAllowed,
    /// Not a path that is forwarded.
    Unknown,
}

/// Finds what this method on this path would do. The path is one that [`target`] has passed.
pub(crate) fn classify(method: &Method, path: &str) -> Route {
    let mut is_path_known = false;
    for endpoint in ENDPOINTS.iter().filter(|e| e.matches_path(path)) {
        if endpoint.matches_method(method) {
            return Route::Known(endpoint);
        }
        is_path_known = true;
    }
    if is_path_known {
        Route::MethodNotAllowed
    } else {
        Route::Unknown
    }
}

/// Lets a request pass, or says why not. `path` is the one that goes to the upstream.
///
/// # Errors
/// When it is not forwarded at all, or not for this caller, or not on this machine.
pub(crate) fn admit(
    head: &RequestHead,
    path: &str,
    owner: &Owner,
) -> Result<&'static Endpoint, Fault> {
    let refuse = |kind, origin, why: &'static str| Err(Fault::new(kind, origin, why).retry_safe());
    let endpoint = match classify(&head.method, path) {
        Route::Known(endpoint) => endpoint,
        Route::MethodNotAllowed => {
            let why = "this path does not take this method";
            return refuse(Kind::MethodNotAllowed, Origin::Caller, why);
        }
        Route::Unknown => {
            let why = "not a path that is forwarded to Ollama";
            return refuse(Kind::RouteUnknown, Origin::Caller, why);
        }
    };
    let is_manage = match endpoint.class {
        Class::Read | Class::Infer => false,
        Class::Manage => true,
        Class::Account => {
            let why = "this acts with the account of the machine's owner and is never forwarded";
            return refuse(Kind::Forbidden, Origin::Agent, why);
        }
    };
    if is_manage && !head.scopes.manage {
        let why = "this changes what the machine holds and needs the scope `manage`";
        return refuse(Kind::Forbidden, Origin::Caller, why);
    }
    if is_manage && !owner.allow_manage {
        let why = "the owner of this machine does not allow changes to what it holds";
        return refuse(Kind::Forbidden, Origin::Agent, why);
    }
    if !is_manage && !head.scopes.infer {
        let why = "this needs the scope `infer`";
        return refuse(Kind::Forbidden, Origin::Caller, why);
    }
    if !owner.allows_route(endpoint) {
        let why = "the owner of this machine does not allow this path";
        return refuse(Kind::Forbidden, Origin::Agent, why);
    }
    Ok(endpoint)
}

/// The path and query for the upstream: the same bytes, but for repeated slashes and one at the end, which Ollama would
/// answer with a redirect that turns a POST into a GET.
///
/// # Errors
/// When two parsers could read it differently.
pub(crate) fn target(asked: &PathAndQuery) -> Result<PathAndQuery, Fault> {
    let path = asked.path();
    let query = asked.query();
    if !is_unambiguous(path) || !query.is_none_or(is_visible) {
        let why = "the path or query holds something that could be read in two ways";
        return Err(Fault::new(Kind::InvalidRequest, Origin::Caller, why).retry_safe());
    }
    let has_empty_segment = path.as_bytes().windows(2).any(|pair| pair == b"//");
    if path == "/" || !has_empty_segment && !path.ends_with('/') {
        return Ok(asked.clone());
    }
    let mut plain = String::with_capacity(asked.as_str().len());
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        plain.push('/');
        plain.push_str(segment);
    }
    if plain.is_empty() {
        plain.push('/');
    }
    if let Some(query) = query {
        plain.push('?');
        plain.push_str(query);
    }
    PathAndQuery::try_from(plain).map_err(|_| {
        Fault::new(
            Kind::InvalidRequest,
            Origin::Caller,
            "the path is not valid",
        )
        .retry_safe()
    })
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// True for a path in which every octet means the same to every parser: RFC 3986's `pchar` without `;`, no dot
/// segments, and no escapes that hide a separator or a control character.
fn is_unambiguous(path: &str) -> bool {
    let mut segments = path.as_bytes().split(|byte| *byte == b'/');
    path.starts_with('/') && segments.all(is_unambiguous_segment)
}

fn is_unambiguous_segment(segment: &[u8]) -> bool {
    let mut bytes = segment.iter().copied();
    let mut is_dots = !segment.is_empty();
    while let Some(byte) = bytes.next() {
        let meant = match byte {
            b'%' => match (hex(bytes.next()), hex(bytes.next())) {
                (Some(high), Some(low)) => high * 16 + low,
                _ => return false,
            },
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+'
            | b',' | b'=' | b':' | b'@' => byte,
            _ if byte.is_ascii_alphanumeric() => byte,
            _ => return false,
        };
        if matches!(meant, b'/' | b'\\' | b';') || meant.is_ascii_control() {
            return false;
        }
        is_dots &= meant == b'.';
    }
    // Only `.` and `..` are dot segments, but longer runs have no honest use, and some systems walk up on them.
    !is_dots
}

fn hex(digit: Option<u8>) -> Option<u8> {
    let digit = char::from(digit?).to_digit(16)?;
    u8::try_from(digit).ok()
}

#[cfg(test)]
mod tests {
    use c2l_tunnel::Scopes;
    use http::HeaderMap;

    use super::*;

    const NONE: Scopes = Scopes {
        infer: false,
        manage: false,
    };
    const INFER: Scopes = Scopes {
        infer: true,
        manage: false,
    };
    const MANAGE: Scopes = Scopes {
        infer: false,
        manage: true,
    };

    fn head(method: &Method, path: &str, scopes: Scopes) -> RequestHead {
        RequestHead {
            method: method.clone(),
            target: path.parse().unwrap(),
            headers: HeaderMap::new(),
            is_whole: true,
            expects_continue: false,
            request_id: String::new(),
            scopes,
            models: Vec::new(),
        }
    }

    fn kind(method: &Method, path: &str, scopes: Scopes, allow_manage: bool) -> Option<Kind> {
        let head = head(method, path, scopes);
        let mut config = crate::tests::config();
        config.allow_manage = allow_manage;
        let owner = Owner::new(&config).unwrap();
        admit(&head, path, &owner).err().map(|fault| {
            assert!(fault.is_retry_safe, "nothing was sent");
            fault.kind
        })
    }

    fn concrete(endpoint: &Endpoint) -> String {
        endpoint
            .template
            .replace(":model", "qwen3%3A0.6b")
            .replace(
                ":digest",
                "sha256:29fdb92e57cf0827ded04ae6461b5931d01fa595843f55d36f5b275a52087dd2",
            )
            .replace(":key", "abc")
    }

    #[test]
    fn every_endpoint_is_found_by_its_path_and_method_and_by_no_other() {
        let methods = [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
            Method::TRACE,
            Method::CONNECT,
        ];
        for endpoint in &ENDPOINTS {
            let path = concrete(endpoint);
            for method in &methods {
                let is_ours =
                    |e: &&Endpoint| e.template == endpoint.template && e.matches_method(method);
                let expected = ENDPOINTS
                    .iter()
                    .find(is_ours)
                    .map_or(Route::MethodNotAllowed, Route::Known);
                assert_eq!(classify(method, &path), expected, "{method} {path}");
            }
        }
    }

    #[test]
    fn head_goes_where_get_goes() {
        for path in ["/", "/api/tags", "/api/version", "/v1/models/a"] {
            assert!(
                matches!(classify(&Method::HEAD, path), Route::Known(_)),
                "{path}"
            );
        }
        assert_eq!(
            classify(&Method::HEAD, "/api/chat"),
            Route::MethodNotAllowed
        );
        assert_eq!(
            classify(&Method::GET, "/api/blobs/sha256:00"),
            Route::MethodNotAllowed
        );
    }

    #[test]
    fn what_is_not_in_the_table_is_unknown() {
        for path in [
            "/api",
            "/api/",
            "/api/chat/x",
            "/api/Chat",
            "/v1",
            "/v1/messages/count_tokens",
            "/v1/images/generations",
            "/v1/models/a/b",
            "/v1/models/",
            "/api/blobs/",
            "/debug/pprof",
            "/metrics",
            "/relay/v1/me",
            "/x",
        ] {
            assert_eq!(classify(&Method::GET, path), Route::Unknown, "{path}");
            assert_eq!(
                kind(&Method::GET, path, INFER, true),
                Some(Kind::RouteUnknown)
            );
        }
    }

    #[test]
    fn each_class_needs_its_scope_and_the_owners_leave() {
        let both = Scopes {
            infer: true,
            manage: true,
        };
        for endpoint in &ENDPOINTS {
            let path = concrete(endpoint);
            let ask = |scopes, allow| kind(&endpoint.method, &path, scopes, allow);
            match endpoint.class {
                Class::Read | Class::Infer => {
                    assert_eq!(ask(INFER, false), None, "{path}");
                    assert_eq!(ask(NONE, true), Some(Kind::Forbidden), "{path}");
                    assert_eq!(ask(MANAGE, true), Some(Kind::Forbidden), "{path}");
                }
                Class::Manage => {
                    assert_eq!(ask(MANAGE, true), None, "{path}");
                    assert_eq!(ask(both, false), Some(Kind::Forbidden), "{path}");
                    assert_eq!(ask(INFER, true), Some(Kind::Forbidden), "{path}");
                }
                Class::Account => {
                    assert_eq!(ask(both, true), Some(Kind::Forbidden), "{path}");
                }
            }
        }
    }

    #[test]
    fn management_and_account_endpoints_are_classed_as_such() {
        let class_of = |method, path| match classify(&method, path) {
            Route::Known(endpoint) => Some(endpoint.class),
            Route::MethodNotAllowed | Route::Unknown => None,
        };
        for path in [
            "/api/pull",
            "/api/push",
            "/api/create",
            "/api/copy",
            "/api/blobs/sha256:0",
        ] {
            assert_eq!(class_of(Method::POST, path), Some(Class::Manage), "{path}");
        }
        assert_eq!(class_of(Method::DELETE, "/api/delete"), Some(Class::Manage));
        for path in ["/api/me", "/api/signout", "/api/experimental/web_fetch"] {
            assert_eq!(class_of(Method::POST, path), Some(Class::Account), "{path}");
        }
    }

    #[test]
    fn a_plain_target_keeps_its_exact_bytes() {
        for asked in [
            "/",
            "/api/chat",
            "/?",
            "/api/tags?ts=1%2F2&x=a;b",
            "/v1/models/qwen3%3A0.6b",
            "/v1/models/a.b..c@~!$&'()*+,=",
        ] {
            assert_eq!(target(&asked.parse().unwrap()).unwrap().as_str(), asked);
        }
    }

    #[test]
    fn repeated_slashes_and_one_at_the_end_go() {
        for (asked, expected) in [
            ("//", "/"),
            ("//api//chat", "/api/chat"),
            ("/api/chat/", "/api/chat"),
            ("/api/chat//?a=//b/", "/api/chat?a=//b/"),
        ] {
            assert_eq!(target(&asked.parse().unwrap()).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for asked in [
            "/api/../relay",
            "/api/./chat",
            "/..",
            "/.",
            "/api/%2e%2e/x",
            "/api/.%2E/x",
            "/api/...",
            "/api/..%2fx",
            "/api/%2Fx",
            "/api/%5cx",
            "/api/a\\b",
            "/api/chat%00",
            "/api/chat%0d%0a",
            "/api/chat;x",
            "/api/chat%3bx",
            "/api/%",
            "/api/%2",
            "/api/%zz",
            "/api/\"x\"",
            "/api/{x}",
            "/api/|",
            "/api/\u{e9}",
            "/api/chat?\u{e9}",
        ] {
            let Ok(parsed) = asked.parse::<PathAndQuery>() else {
                continue; // the wire refuses it before it comes here
            };
            let fault = target(&parsed).expect_err(asked);
            assert_eq!(fault.kind, Kind::InvalidRequest, "{asked}");
        }
    }
}

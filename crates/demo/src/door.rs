//! What stands between a request and its handler: clean paths, `Origin`, `Host`, and the table of routes.
//!
//! The order is that of a real Ollama: path cleaning (Go's mux), trailing slash (gin), CORS, allowed hosts, route. Its
//! refusals are bare: text or an empty body, never JSON.

use std::borrow::Cow;
use std::net::IpAddr;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ALLOW, EXPECT, HOST, HeaderValue, LOCATION, ORIGIN, VARY,
};
use http::{HeaderMap, Method, Request, StatusCode, Version};

use crate::answer::{Answer, with_body_unread};
use crate::inference::{Api, Vectors};
use crate::manage::Transfer;
use crate::native::Native;
use crate::openai::Completion;
use crate::recorder::Exchange;

/// Everything that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    Root,
    Version,
    Status,
    Tags,
    Ps,
    Show,
    Infer(Api),
    Embed(Vectors),
    Transfer(Transfer),
    Blob(String),
    Copy,
    Delete,
    /// Asks for the owner's account; nobody is signed in here.
    Account,
    SignOut,
    Recommendations,
    Models,
    Model(String),
    Transcriptions,
}

/// Why there is no route.
#[derive(Debug, PartialEq, Eq)]
enum Miss {
    NotFound,
    /// The path exists with these methods.
    Method(&'static str),
}

/// Finds the route, or answers right away. With the route comes the foreign origin that may read the answer, if any.
#[expect(
    clippy::result_large_err,
    reason = "an answer is moved once, to the server library"
)]
pub(crate) fn enter<B>(
    exchange: Exchange,
    request: &Request<B>,
    check_host: bool,
) -> Result<(Exchange, Route, Option<HeaderValue>), Answer> {
    let headers = request.headers();
    let host = match one_host(request) {
        Ok(host) => host,
        Err(reason) => {
            return Err(with_body_unread(
                exchange.text(StatusCode::BAD_REQUEST, reason),
            ));
        }
    };
    if headers
        .get(EXPECT)
        .is_some_and(|expect| !expect.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        return Err(with_body_unread(
            exchange.empty(StatusCode::EXPECTATION_FAILED),
        ));
    }
    let method = request.method();
    let Some(path) = decoded(request.uri().path()) else {
        return Err(with_body_unread(
            exchange.text(StatusCode::BAD_REQUEST, "400 Bad Request"),
        ));
    };
    if let Some(clean) = cleaned(&path) {
        return Err(redirect(
            exchange,
            request,
            StatusCode::MOVED_PERMANENTLY,
            &clean,
        ));
    }
    let found = find(method, &path);
    if found == Err(Miss::NotFound)
        && let Some(short) = path.strip_suffix('/')
        && find(method, short).is_ok()
    {
        let status = if method == Method::GET {
            StatusCode::MOVED_PERMANENTLY
        } else {
            StatusCode::TEMPORARY_REDIRECT
        };
        return Err(redirect(exchange, request, status, short));
    }
    let cors = match cors(headers, host) {
        Cors::SameOrigin => None,
        Cors::Allowed(origin) if method == Method::OPTIONS => {
            return Err(preflight(exchange, origin));
        }
        Cors::Allowed(origin) => Some(origin),
        Cors::Refused => return Err(exchange.empty(StatusCode::FORBIDDEN)),
    };
    if check_host && !is_allowed_host(host) {
        return Err(exchange.empty(StatusCode::FORBIDDEN));
    }
    if method == Method::OPTIONS && host_name(host).eq_ignore_ascii_case("localhost") {
        return Err(exchange.empty(StatusCode::NO_CONTENT)); // seen so; with an IP it is a 405
    }
    match found {
        Ok(route) => Ok((exchange, route, cors)),
        Err(Miss::NotFound) => Err(exchange.text(StatusCode::NOT_FOUND, "404 page not found")),
        Err(Miss::Method(allow)) => {
            let mut answer =
                exchange.text(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed");
            answer
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static(allow));
            Err(answer)
        }
    }
}

fn find(method: &Method, path: &str) -> Result<Route, Miss> {
    const READ: &str = "GET, HEAD";
    let (allow, route) = match path {
        "/" => (READ, Route::Root),
        "/api/version" => (READ, Route::Version),
        "/api/tags" => (READ, Route::Tags),
        "/api/status" => ("GET", Route::Status),
        "/api/ps" => ("GET", Route::Ps),
        "/api/show" => ("POST", Route::Show),
        "/api/generate" => ("POST", Route::Infer(Api::Native(Native::Generate))),
        "/api/chat" => ("POST", Route::Infer(Api::Native(Native::Chat))),
        "/api/embed" => ("POST", Route::Embed(Vectors::Embed)),
        "/api/embeddings" => ("POST", Route::Embed(Vectors::Embeddings)),
        "/api/pull" => ("POST", Route::Transfer(Transfer::Pull)),
        "/api/push" => ("POST", Route::Transfer(Transfer::Push)),
        "/api/create" => ("POST", Route::Transfer(Transfer::Create)),
        "/api/copy" => ("POST", Route::Copy),
        "/api/delete" => ("DELETE", Route::Delete),
        "/api/me" | "/api/experimental/web_search" | "/api/experimental/web_fetch" => {
            ("POST", Route::Account)
        }
        "/api/signout" => ("POST", Route::SignOut),
        "/api/experimental/model-recommendations" => ("GET", Route::Recommendations),
        "/v1/chat/completions" => ("POST", Route::Infer(Api::Completion(Completion::Chat))),
        "/v1/completions" => ("POST", Route::Infer(Api::Completion(Completion::Text))),
        "/v1/responses" => ("POST", Route::Infer(Api::Responses)),
        "/v1/messages" => ("POST", Route::Infer(Api::Messages)),
        "/v1/embeddings" => ("POST", Route::Embed(Vectors::OpenAi)),
        "/v1/audio/transcriptions" => ("POST", Route::Transcriptions),
        "/v1/models" => ("GET", Route::Models),
        _ => with_parameter(path).ok_or(Miss::NotFound)?,
    };
    if allow.split(", ").any(|allowed| allowed == method.as_str()) {
        Ok(route)
    } else {
        Err(Miss::Method(allow))
    }
}

/// Routes whose last segment is a value: one segment, and not empty.
fn with_parameter(path: &str) -> Option<(&'static str, Route)> {
    let value_after = |prefix| {
        path.strip_prefix(prefix)
            .filter(|value: &&str| !value.is_empty() && !value.contains('/'))
    };
    if let Some(digest) = value_after("/api/blobs/") {
        return Some(("HEAD, POST", Route::Blob(digest.to_owned())));
    }
    if let Some(model) = value_after("/v1/models/") {
        return Some(("GET", Route::Model(model.to_owned())));
    }
    value_after("/api/user/keys/").map(|_| ("DELETE", Route::SignOut))
}

/// The path with its escapes resolved, as Go's router sees it; `None` for a broken escape.
fn decoded(path: &str) -> Option<Cow<'_, str>> {
    if !path.contains('%') {
        return Some(Cow::Borrowed(path));
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    Some(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The path without `//` and dot segments, if it has any.
fn cleaned(path: &str) -> Option<String> {
    if !path.contains("//") && !path.contains("/.") {
        return None;
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut clean = format!("/{}", segments.join("/"));
    if path.ends_with('/') && clean.len() > 1 {
        clean.push('/');
    }
    (clean != path).then_some(clean)
}

fn redirect<B>(exchange: Exchange, request: &Request<B>, status: StatusCode, path: &str) -> Answer {
    let location = match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut answer = if request.method() == Method::GET {
        let reason = status.canonical_reason().unwrap_or_default();
        exchange.answer(
            status,
            "text/html; charset=utf-8",
            Bytes::from(format!("<a href=\"{location}\">{reason}</a>.\n\n")),
        )
    } else {
        exchange.empty(status)
    };
    // A path that cannot stand in a header has no place to be sent to.
    if let Ok(location) = HeaderValue::try_from(location) {
        answer.headers_mut().insert(LOCATION, location);
    }
    answer
}

/// The one `Host` that HTTP/1.1 demands; Go's server checks this before any handler.
fn one_host<B>(request: &Request<B>) -> Result<&str, &'static str> {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (_, Some(_)) => Err("400 Bad Request: too many Host headers"),
        (None, None) if request.version() >= Version::HTTP_11 => {
            Err("400 Bad Request: missing required Host header")
        }
        (None, None) => Ok(""),
        (Some(host), None) => host
            .to_str()
            .map_err(|_| "400 Bad Request: malformed Host header"),
    }
}

/// A host without its port.
fn host_name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    match host.rsplit_once(':') {
        Some((name, _)) if !name.contains(':') => name,
        _ => host,
    }
}

/// What a server bound to loopback lets in.
fn is_allowed_host(host: &str) -> bool {
    let name = host_name(host).to_ascii_lowercase();
    if let Ok(address) = name.parse::<IpAddr>() {
        return match address {
            IpAddr::V4(address) => {
                address.is_loopback() || address.is_private() || address.is_unspecified()
            }
            IpAddr::V6(address) => {
                address.is_loopback() || address.is_unique_local() || address.is_unspecified()
            }
        };
    }
    name.is_empty()
        || name == "localhost"
        || [".localhost", ".local", ".internal"]
            .iter()
            .any(|suffix| name.ends_with(suffix))
}

enum Cors {
    SameOrigin,
    Allowed(HeaderValue),
    Refused,
}

fn cors(headers: &HeaderMap, host: &str) -> Cors {
    let Some(origin) = headers.get(ORIGIN).filter(|origin| !origin.is_empty()) else {
        return Cors::SameOrigin;
    };
    let Ok(text) = origin.to_str() else {
        return Cors::Refused;
    };
    if text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"))
        == Some(host)
    {
        return Cors::SameOrigin;
    }
    let Some((scheme, authority)) = text.split_once("://") else {
        return Cors::Refused;
    };
    let is_allowed = match scheme {
        "http" | "https" => matches!(host_name(authority), "localhost" | "127.0.0.1" | "0.0.0.0"),
        "app" | "file" | "tauri" | "vscode-webview" | "vscode-file" => true,
        _ => false,
    };
    if is_allowed {
        Cors::Allowed(origin.clone())
    } else {
        Cors::Refused
    }
}

fn preflight(exchange: Exchange, origin: HeaderValue) -> Answer {
    let mut answer = exchange.empty(StatusCode::NO_CONTENT);
    let headers = answer.headers_mut();
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"),
    );
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("Authorization,Content-Type,User-Agent,Accept,X-Requested-With,Openai-Beta,X-Stainless-Lang"),
    );
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("43200"));
    allow_origin(&mut answer, origin);
    answer
}

/// Marks an answer as readable by a page of this origin.
pub(crate) fn allow_origin(answer: &mut Answer, origin: HeaderValue) {
    answer
        .headers_mut()
        .insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    answer
        .headers_mut()
        .insert(VARY, HeaderValue::from_static("Origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, clean) in [
            ("//api/chat", "/api/chat"),
            ("/api//chat/", "/api/chat/"),
            ("/api/../v1/./models", "/v1/models"),
            ("//", "/"),
        ] {
            assert_eq!(cleaned(path).as_deref(), Some(clean));
        }
        assert_eq!(cleaned("/api/chat/"), None);
        assert_eq!(cleaned("/v1/models/.hidden"), None);
        assert_eq!(
            decoded("/v1/models/tiny%3Alatest").unwrap(),
            "/v1/models/tiny:latest"
        );
        assert!(decoded("/api/%zz").is_none() && decoded("/api/%2").is_none());
    }

    #[test]
    fn routes_know_their_methods() {
        assert_eq!(find(&Method::HEAD, "/api/tags"), Ok(Route::Tags));
        assert_eq!(find(&Method::HEAD, "/api/ps"), Err(Miss::Method("GET")));
        assert_eq!(find(&Method::GET, "/api/chat"), Err(Miss::Method("POST")));
        assert_eq!(find(&Method::GET, "/v1/models/a/b"), Err(Miss::NotFound));
        assert_eq!(
            find(&Method::GET, "/v1/models/tiny:latest"),
            Ok(Route::Model("tiny:latest".to_owned()))
        );
        assert_eq!(
            find(&Method::GET, "/v1/messages/count_tokens"),
            Err(Miss::NotFound)
        );
    }

    #[test]
    fn only_hosts_near_by_are_let_in() {
        for host in [
            "localhost:11434",
            "127.0.0.1",
            "[::1]:80",
            "10.1.2.3:1",
            "0.0.0.0",
            "",
            "box.local",
            "a.INTERNAL:5",
            "host.docker.internal",
        ] {
            assert!(is_allowed_host(host), "{host}");
        }
        for host in [
            "relay.example.com",
            "8.8.8.8:80",
            "localhost.example",
            "local",
            "[2001:db8::1]",
        ] {
            assert!(!is_allowed_host(host), "{host}");
        }
    }
}

//! The web page, and everything that it calls: `/`, its files, and `/web/v1/…`.
//!
//! 1. [`hosts`] says by which names this relay is asked, and over what.
//! 2. [`page`] serves the built files of `c2l-web`.
//! 3. [`proof`] lets in only what the page itself sends; [`cookie`] reads and writes what the browser keeps.
//! 4. [`session`] signs in, renews and signs out; [`links`] are one-time secrets to sign in with, [`provider`] is the sign-in
//!    at an identity provider.
//! 5. What is left is as everywhere: `gateway::rest` for the account, `gateway::proxy` for the chat.
//!
//! Invariant: a cookie counts here alone, below `/web/v1/`, and only where the browser proves that the page sent the request.
//! Its caller is of kind `web`, which opens no other door.

mod config;
mod cookie;
pub(crate) mod hosts;
mod links;
pub(crate) mod page;
mod proof;
mod provider;
mod session;

use std::sync::Arc;

use c2l_auth::{DeviceName, Kind as TokenKind};
use c2l_tunnel::{Fault, Kind, Origin};
use http::{Method, Response, request, uri::PathAndQuery};
use hyper::body::Incoming;

pub(crate) use self::links::LINK_LIFE;
pub use self::{
    config::{NotAnOrigin, PublicUrl, WebConfig},
    links::SignInLinks,
};
use crate::{
    Relay,
    gateway::{
        body::GatewayBody,
        present::Present,
        proxy,
        record::Record,
        rest::{self, By},
        route::{Place, Route, unknown_device},
    },
    login::oauth,
};

/// The kinds of tokens that somebody may sign in with.
const SIGN_IN_KINDS: [TokenKind; 2] = [TokenKind::Api, TokenKind::Web];
/// What the page asks of a device, and how: of Ollama, and of what speaks only OpenAI's API.
const CHAT: [(&str, &[Method]); 9] = [
    ("/api/chat", &[Method::POST]),
    ("/api/generate", &[Method::POST]),
    ("/api/embed", &[Method::POST]),
    ("/api/show", &[Method::POST]),
    ("/api/tags", &[Method::GET, Method::HEAD]),
    ("/api/ps", &[Method::GET, Method::HEAD]),
    ("/api/version", &[Method::GET, Method::HEAD]),
    ("/v1/chat/completions", &[Method::POST]),
    ("/v1/models", &[Method::GET, Method::HEAD]),
];

/// Whether a path is below `/web`, as [`Route`] reads it.
pub(crate) fn is_below(path: &str) -> bool {
    let rest = path.trim_start_matches('/').strip_prefix("web");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Answers a request below `/web`.
///
/// # Errors
/// `RouteUnknown`, `MethodNotAllowed`, `Forbidden` for what the page did not send, what is wrong with the cookie, or what the
/// operation says.
pub(crate) async fn answer(
    relay: &Arc<Relay>,
    path: &str,
    head: request::Parts,
    body: Incoming,
    record: &mut Option<Record>,
    request_id: &str,
) -> Result<Response<GatewayBody>, Fault> {
    let web = relay.config.web.as_ref().ok_or_else(unknown)?;
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let Some(segments) = segments.strip_prefix(&["web", "v1"]) else {
        return Err(unknown());
    };
    match segments {
        // Where browsers are led by links and by the provider: nothing is read or changed with the cookie there.
        ["signin", number] => return provider::leave(relay, web, number, &head),
        ["callback"] => return provider::arrive(relay, web, None, &head).await,
        ["callback", number] => return provider::arrive(relay, web, Some(number), &head).await,
        _ => proof::check(relay, &head).inspect_err(|_| {
            if let Some(record) = record {
                record.of_stranger();
            }
        })?,
    }
    match segments {
        ["session"] => session::answer(relay, web, head, body).await,
        ["account", _, ..] => {
            let path = path.replacen("/web/v1/account/", "/relay/v1/", 1);
            if path.starts_with(oauth::PREFIX) {
                return Err(unknown()); // devices ask there, not people
            }
            let by = By::Page(session::caller(relay, &head).await?);
            rest::answer(relay, &path, &by, &head, body, request_id).await
        }
        ["devices", device, asked @ ..] => {
            let route = chat_route(&head.method, device, asked)?;
            let caller = session::caller(relay, &head).await?;
            {
                let present = Present::of(&head.headers);
                proxy::forward(relay, caller, route, (head, present), body, record).await
            }
        }
        _ => Err(unknown()),
    }
}

/// The route to what the page asks of a device, which stands behind its name.
fn chat_route(method: &Method, device: &str, asked: &[&str]) -> Result<Route, Fault> {
    let asked = asked.iter().flat_map(|segment| ["/", segment]);
    let path: String = asked.collect();
    let (path, methods) = CHAT
        .iter()
        .find(|(known, _)| *known == path)
        .ok_or_else(unknown)?;
    if !methods.contains(method) {
        return Err(wrong_method());
    }
    let device = DeviceName::parse(device).map_err(|_| unknown_device())?;
    Ok(Route {
        credential: None,
        device: Some(device),
        place: Place::Upstream(PathAndQuery::from_static(path)),
        path: (*path).to_owned(),
    })
}

fn unknown() -> Fault {
    let message = "no such path of the web page";
    Fault::new(Kind::RouteUnknown, Origin::Caller, message).retry_safe()
}

fn wrong_method() -> Fault {
    let message = "not a method of this path";
    Fault::new(Kind::MethodNotAllowed, Origin::Caller, message).retry_safe()
}

//! By which names this relay is asked, and whether the way there is in TLS.
//!
//! Invariant (WEB-07): whoever points a name of their own at this relay (DNS rebinding) gets no page in that name's origin. An
//! address cannot be pointed anywhere; of names only those count that the operator gave, that mean this machine itself, or
//! for which the browser has just checked the relay's certificate.

use c2l_tunnel::Fault;
use http::{HeaderValue, Response, StatusCode, header, request, uri::Authority};

use super::config::{PublicUrl, WebConfig};
use crate::{
    Relay,
    error::{Dialect, invalid},
    gateway::{
        body::GatewayBody,
        peer::Peer,
        present::{Field, Present},
        route::Place,
    },
    ops,
};

const SEC_FETCH_SITE: &str = "sec-fetch-site";
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// What the asker calls this relay: host, and port unless it is the usual one.
pub(crate) fn host(head: &request::Parts) -> Option<&str> {
    let of_target = head.uri.authority().map(Authority::as_str);
    of_target.or_else(|| head.headers.get(header::HOST)?.to_str().ok())
}

/// Whether the client's own connection is in TLS: here, or at a trusted proxy that says so.
pub(crate) fn is_tls(relay: &Relay, head: &request::Parts) -> bool {
    let Some(peer) = Peer::of(&head.extensions) else {
        return false;
    };
    peer.tls.is_some() || relay.guard.is_tls_before(peer.address.ip(), &head.headers)
}

/// The origin that the asker's browser takes this for: the public one where it is asked by that name, else what the request
/// says.
pub(super) fn origin(relay: &Relay, web: &WebConfig, head: &request::Parts) -> Option<String> {
    let host = host(head)?;
    let public = web.public_url.as_ref();
    let is_public = |url: &&PublicUrl| name_of(host).is_some_and(|name| name == url.host());
    if let Some(url) = public.filter(is_public) {
        return Some(url.as_str().to_owned());
    }
    let scheme = if is_tls(relay, head) { "https" } else { "http" };
    Some(format!("{scheme}://{host}").to_ascii_lowercase())
}

/// Refuses a request under a name that is not this relay's. The page and what it calls are answered under no other one. The
/// API goes by credentials, which no page of a stranger's has, and is reached under many names; there only a browser is
/// refused that takes such a name for the page's own.
pub(crate) fn check(
    relay: &Relay,
    place: &Place,
    head: &request::Parts,
    present: Present,
    request_id: &str,
) -> Option<Response<GatewayBody>> {
    let is_of_page = match place {
        Place::Upstream(_) | Place::Rest => false,
        Place::Page => super::page::wants_html(&head.headers), // programs get a plain text there
        Place::File | Place::Web | Place::Login => true,
    };
    let is_claimed = present.has(Field::OfBrowser) && claims_our_origin(head);
    if !(is_of_page || is_claimed) || is_known(relay, head) {
        return None;
    }
    let fault = invalid(
        "this relay is not known by that name (host): ask by the name in --public-url, or add it with --host",
    );
    Some(misdirected(&fault, request_id))
}

/// A browser says that a page under this very name sends it.
fn claims_our_origin(head: &request::Parts) -> bool {
    let text = |name: &str| head.headers.get(name)?.to_str().ok();
    let of_origin = text("origin").and_then(|origin| origin.split_once("://"));
    text(SEC_FETCH_SITE) == Some("same-origin")
        || of_origin.is_some_and(|(_, authority)| Some(authority) == host(head))
}

fn is_known(relay: &Relay, head: &request::Parts) -> bool {
    let Some(host) = host(head) else {
        return true; // HTTP/1.0 names nothing; browsers always do
    };
    let Some(name) = name_of(host) else {
        return false;
    };
    let peer = Peer::of(&head.extensions);
    let certified = peer.and_then(|peer| peer.tls.as_ref()?.server_name.as_deref());
    let web = relay.config.web.as_ref();
    let configured = |web: &WebConfig| {
        let public = web.public_url.as_ref().map(PublicUrl::host);
        let more = web.hosts.iter().map(String::as_str);
        public
            .into_iter()
            .chain(more)
            .any(|known| known.eq_ignore_ascii_case(&name))
    };
    ops::is_ours(host)
        || certified.is_some_and(|certified| certified.eq_ignore_ascii_case(&name))
        || web.is_some_and(configured)
}

/// The name in `host`, in one spelling.
fn name_of(host: &str) -> Option<String> {
    let authority: Authority = host.parse().ok()?;
    let is_plain = !host.contains('@');
    let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
    (is_plain && !name.is_empty()).then_some(name)
}

fn misdirected(fault: &Fault, request_id: &str) -> Response<GatewayBody> {
    let body = Dialect::Ollama.error_body(fault, request_id);
    let mut response = crate::gateway::rest::text(body, "application/json");
    *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
    response
}

/// What has browsers come in TLS from now on (RFC 6797), where this one did. Not for `localhost`: that name is everybody's
/// on the machine. Addresses have no such memory.
pub(crate) fn strict_transport(relay: &Relay, head: &request::Parts) -> Option<HeaderValue> {
    let is_of_machine = host(head).is_none_or(ops::is_ours);
    (!is_of_machine && is_tls(relay, head)).then_some(HSTS)
}

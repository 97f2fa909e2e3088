//! That the page itself sends a request, and no other site with the browser's cookie.
//!
//! Invariant (WEB-02): nothing below `/web/v1/` happens without both: a field that another site's form cannot send and another
//! site's script may not, since no permission (CORS) is ever given here; and the browser's own word that the page's origin
//! sends it.

use c2l_tunnel::{Fault, Kind, Origin};
use http::{Method, request};

use super::hosts;
use crate::Relay;

const X_C2L_WEB: &str = "x-c2l-web";
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// # Errors
/// `Forbidden`.
pub(super) fn check(relay: &Relay, head: &request::Parts) -> Result<(), Fault> {
    let is_marked = head
        .headers
        .get(X_C2L_WEB)
        .is_some_and(|value| value == "1");
    if is_marked && is_of_our_origin(relay, head) {
        return Ok(());
    }
    let message = "only the relay's own page may ask this (x-c2l-web, Sec-Fetch-Site or Origin)";
    Err(Fault::new(Kind::Forbidden, Origin::Relay, message).retry_safe())
}

/// The browser's own word; where it says none, the origin that it names, and where it names none, that nothing is changed.
fn is_of_our_origin(relay: &Relay, head: &request::Parts) -> bool {
    if let Some(site) = head.headers.get(SEC_FETCH_SITE) {
        return site == "same-origin";
    }
    let Some(origin) = head.headers.get(http::header::ORIGIN) else {
        return matches!(head.method, Method::GET | Method::HEAD);
    };
    let Some(web) = relay.config.web.as_ref() else {
        return false;
    };
    let ours = hosts::origin(relay, web, head);
    ours.is_some_and(|ours| origin.as_bytes() == ours.as_bytes())
}

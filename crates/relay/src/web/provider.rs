//! Signing in at an identity provider: the browser goes there and comes back with a code (OpenID Connect, PKCE).
//!
//! ```text
//!   /web/v1/signin/<n> ── seed kept in a cookie ──▶ the provider ── code, state ──▶ /web/v1/callback ──▶ `/`, signed in
//! ```
//!
//! Invariant: a code is looked at only in the browser that was sent for it, within ten minutes; the seed in its cookie is all
//! that is kept meanwhile, and everything that is compared is a hash of it and of the provider.

use std::time::{Duration, SystemTime};

use c2l_auth::{Scope, Secret, SignIn};
use c2l_tunnel::{Fault, Kind};
use http::{HeaderValue, Method, Response, StatusCode, header, request};

use super::{WebConfig, cookie, hosts, session, unknown, wrong_method};
use crate::{
    Relay,
    gateway::{body::GatewayBody, rest},
    limits::Asker,
    login::form::Form,
    providers::{NotSignedIn, SignInAt},
    status::unix_seconds,
};

/// Keeps the seed while the browser is away.
const SIGN_IN: &str = "__Host-c2l-signin";
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Why somebody is not signed in, as the page is told in its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// The person or the provider said no.
    Denied,
    /// It began too long ago, or in another browser.
    Expired,
    Unreachable,
    Refused,
    Busy,
}

impl Why {
    fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Busy => "busy",
        }
    }
}

/// Sends the browser to the provider of this number.
///
/// # Errors
/// `RouteUnknown`, `MethodNotAllowed`, or `Internal` without random bytes.
pub(super) fn leave(
    relay: &Relay,
    web: &WebConfig,
    number: &str,
    head: &request::Parts,
) -> Result<Response<GatewayBody>, Fault> {
    let number: usize = number.parse().map_err(|_| unknown())?;
    let at = relay.identities.providers().sign_ins().get(number);
    let at = at.ok_or_else(unknown)?;
    if head.method != Method::GET {
        return Err(wrong_method());
    }
    // The provider knows one address of ours, and the browser has to come back to where its cookie is.
    let origin = hosts::origin(relay, web, head).ok_or_else(unknown)?;
    if let Some(public) = &web.public_url
        && public.as_str() != origin
    {
        return Ok(to(&format!("{}/web/v1/signin/{number}", public.as_str())));
    }
    let sign_in = SignIn::begin().map_err(|error| {
        tracing::error!(%error, "nobody can sign in at a provider");
        Fault::new(
            Kind::Internal,
            c2l_tunnel::Origin::Relay,
            "a defect of the relay; it was logged",
        )
    })?;
    let redirect_to = callback(&origin);
    let providers = relay.identities.providers();
    let Some(url) = providers.authorization_url(at, &sign_in, &redirect_to) else {
        return Ok(back(Why::Unreachable));
    };
    let kept = format!(
        "{}.{number}.{}",
        unix_seconds(SystemTime::now()),
        sign_in.kept().expose()
    );
    let mut response = to(&url);
    if let Some(cookie) = cookie::lax(SIGN_IN, &Secret::from(kept), PATIENCE) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Takes the browser back, with a code or without.
///
/// # Errors
/// `MethodNotAllowed`.
pub(super) async fn arrive(
    relay: &Relay,
    web: &WebConfig,
    head: &request::Parts,
) -> Result<Response<GatewayBody>, Fault> {
    if head.method != Method::GET {
        return Err(wrong_method());
    }
    let mut response = match signed_in(relay, web, head).await {
        Ok(opened) => {
            let mut response = to("/");
            opened.keep(&mut response);
            response
        }
        Err(why) => back(why),
    };
    if let Some(cookie) = cookie::forgotten(SIGN_IN) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

async fn signed_in(
    relay: &Relay,
    web: &WebConfig,
    head: &request::Parts,
) -> Result<session::Opened, Why> {
    let began = SystemTime::now();
    let asker = Asker::of(&head.extensions);
    let (at, sign_in) = resumed(relay, head, began).ok_or(Why::Expired)?;
    let query = head.uri.query().unwrap_or_default();
    let said = Form::parse(query.as_bytes()).ok_or(Why::Denied)?;
    let state = said.get("state").map(Secret::new).ok_or(Why::Expired)?;
    if state != sign_in.state(&at.issuer) {
        return Err(Why::Expired);
    }
    // Whose answer it is, where it says so (RFC 9207).
    if said.get("iss").is_some_and(|issuer| issuer != at.issuer) {
        return Err(Why::Refused);
    }
    let code = said.get("code").filter(|_| said.get("error").is_none());
    let code = code.ok_or(Why::Denied)?;
    // The provider is asked for those alone who have not guessed too often.
    relay.guard.may_judge(&asker, "").map_err(|_| Why::Busy)?;
    let origin = hosts::origin(relay, web, head).ok_or(Why::Expired)?;
    let providers = relay.identities.providers();
    let exchanged = providers
        .exchange(at, &sign_in, code, &callback(&origin))
        .await;
    let grant = exchanged.map_err(|why| match why {
        NotSignedIn::Unreachable => Why::Unreachable,
        NotSignedIn::Busy => Why::Busy,
        NotSignedIn::Refused(reason) => refused(relay, &asker, &reason),
    })?;
    if !grant.scopes.contains(Scope::Infer) {
        let reason = "what the provider says of this user allows no models (scopes)";
        return Err(refused(relay, &asker, reason));
    }
    let opened = session::open(relay, web, &asker, &grant.user, began, "issuer").await;
    opened.map_err(|_| Why::Refused)
}

fn refused(relay: &Relay, asker: &Asker, reason: &str) -> Why {
    drop(
        relay
            .guard
            .refused_sign_in(asker, format!("sign-in at a provider: {reason}")),
    );
    Why::Refused
}

/// The sign-in that this browser was sent away for, and where to.
fn resumed<'a>(
    relay: &'a Relay,
    head: &request::Parts,
    now: SystemTime,
) -> Option<(&'a SignInAt, SignIn)> {
    let kept = cookie::find(&head.headers, SIGN_IN)?;
    let mut parts = kept.expose().splitn(3, '.');
    let began: i64 = parts.next()?.parse().ok()?;
    let number: usize = parts.next()?.parse().ok()?;
    let sign_in = SignIn::resume(parts.next()?)?;
    let age = u64::try_from(unix_seconds(now).checked_sub(began)?).ok()?;
    let at = relay.identities.providers().sign_ins().get(number)?;
    (age <= PATIENCE.as_secs()).then_some((at, sign_in))
}

fn callback(origin: &str) -> String {
    format!("{origin}/web/v1/callback")
}

/// To the page, which says what was wrong.
fn back(why: Why) -> Response<GatewayBody> {
    to(&format!("/#/signin?error={}", why.as_str()))
}

fn to(place: &str) -> Response<GatewayBody> {
    let mut response = rest::text("", "text/plain; charset=utf-8");
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(place) = HeaderValue::from_str(place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

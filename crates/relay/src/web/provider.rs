//! Signing in at an identity provider: the browser goes there and comes back with a code (OpenID Connect, PKCE).
//!
//! ```text
//!   /web/v1/signin/<n> ── seed kept in a cookie ──▶ the provider ── code, state ──▶ /web/v1/callback[/<n>] ──▶ `/`, signed in
//! ```
//!
//! Invariant: a code is looked at only in the browser that was sent for it, within ten minutes; the seed in its cookie is all
//! that is kept meanwhile, and everything that is compared is a hash of it and of the provider. Each provider has an address of
//! its own to send the browser back to, so none gets a code that another one gave out (RFC 9700 §4.4.2).

use std::time::{Duration, SystemTime};

use c2l_auth::{Fingerprint, Scope, Secret, SignIn};
use c2l_tunnel::{Fault, Kind};
use http::{HeaderValue, Method, Response, StatusCode, header, request};

use super::{WebConfig, cookie, hosts, session, unknown, wrong_method};
use crate::{
    Relay,
    audit::CredentialName,
    gateway::{body::GatewayBody, rest},
    limits::{Asker, Payer},
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
    let redirect_to = callback(&origin, number);
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

/// Takes the browser back, with a code or without; `number` stands behind the address that it was sent to.
///
/// # Errors
/// `RouteUnknown`, `MethodNotAllowed`.
pub(super) async fn arrive(
    relay: &Relay,
    web: &WebConfig,
    number: Option<&str>,
    head: &request::Parts,
) -> Result<Response<GatewayBody>, Fault> {
    if head.method != Method::GET {
        return Err(wrong_method());
    }
    let number = provider_of(number).ok_or_else(unknown)?;
    let mut response = match signed_in(relay, web, number, head).await {
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
    number: usize,
    head: &request::Parts,
) -> Result<session::Opened, Why> {
    let began = SystemTime::now();
    let asker = Asker::of(&head.extensions);
    let (sent_to, at, sign_in) = resumed(relay, head, began).ok_or(Why::Expired)?;
    // Whose answer it is: the one that was asked answers at its own address.
    if sent_to != number {
        tracing::info!(
            sent_to,
            number,
            "a sign-in came back at another provider's address"
        );
        return Err(Why::Refused);
    }
    let query = head.uri.query().unwrap_or_default();
    let said = Form::parse(query.as_bytes()).ok_or(Why::Denied)?;
    let state = said.get("state").map(Secret::new).ok_or(Why::Expired)?;
    if state != sign_in.state(&at.issuer) {
        return Err(Why::Expired);
    }
    // And where it says so itself (RFC 9207).
    if said.get("iss").is_some_and(|issuer| issuer != at.issuer) {
        tracing::info!(issuer = %at.issuer, "a sign-in was answered in another issuer's name");
        return Err(Why::Refused);
    }
    let code = said.get("code").filter(|_| said.get("error").is_none());
    let code = code.ok_or(Why::Denied)?;
    // The provider is asked for those alone who have not guessed too often.
    relay.guard.may_judge(&asker, "").map_err(|_| Why::Busy)?;
    let origin = hosts::origin(relay, web, head).ok_or(Why::Expired)?;
    let providers = relay.identities.providers();
    let exchanged = providers
        .exchange(at, &sign_in, code, &callback(&origin, number))
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
    let payer = Payer {
        user: grant.user.clone(),
        credential: CredentialName::of_grant(&grant, Fingerprint::of(code)),
        own_requests: None,
    };
    let counted = relay.guard.request(&asker, &payer);
    counted.map_err(|_| Why::Busy)?;
    let opened = session::open(relay, web, &asker, &grant.user, began, "issuer").await;
    opened.map_err(|fault| {
        tracing::info!(reason = %fault.message, "a sign-in at a provider opened nothing");
        Why::Refused
    })
}

fn refused(relay: &Relay, asker: &Asker, reason: &str) -> Why {
    drop(
        relay
            .guard
            .refused_sign_in(asker, format!("sign-in at a provider: {reason}")),
    );
    Why::Refused
}

/// The sign-in that this browser was sent away for, and where to: the provider's number, and what it is.
fn resumed<'a>(
    relay: &'a Relay,
    head: &request::Parts,
    now: SystemTime,
) -> Option<(usize, &'a SignInAt, SignIn)> {
    let kept = cookie::find(&head.headers, SIGN_IN)?;
    let mut parts = kept.expose().splitn(3, '.');
    let began: i64 = parts.next()?.parse().ok()?;
    let number: usize = parts.next()?.parse().ok()?;
    let sign_in = SignIn::resume(parts.next()?)?;
    let age = u64::try_from(unix_seconds(now).checked_sub(began)?).ok()?;
    let at = relay.identities.providers().sign_ins().get(number)?;
    (age <= PATIENCE.as_secs()).then_some((number, at, sign_in))
}

/// Where the provider of this number sends the browser back to. The first one's address is the same whether there are others
/// or not, so one more changes nothing at it.
fn callback(origin: &str, number: usize) -> String {
    match number {
        0 => format!("{origin}/web/v1/callback"),
        number => format!("{origin}/web/v1/callback/{number}"),
    }
}

/// Whose address that is, by what stands behind `callback`. Each has one address, written in one way.
fn provider_of(number: Option<&str>) -> Option<usize> {
    let Some(text) = number else { return Some(0) };
    let number: usize = text.parse().ok()?;
    (number > 0 && number.to_string() == text).then_some(number)
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

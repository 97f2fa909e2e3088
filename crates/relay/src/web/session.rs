//! Signing in, staying signed in, and signing out.
//!
//! What a browser keeps is one of the relay's own tokens, of kind `web`. All that follow one another in one browser name the
//! same sign-in, so signing out ends every one of them, whoever has copied which; and what ends a user's tokens ends them.
//!
//! ```text
//!   nobody ── token, link, provider ──▶ signed in ── signed out, revoked, unused for 12 h, or 30 days old ──▶ nobody
//!                                         │    ▲
//!                                         └────┘ half of its time is over: the next token
//! ```
//!
//! Invariant: a sign-in is never younger than what it came from, so a sign-out everywhere that came between ends it as well.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use c2l_auth::{KeyId, Kind as TokenKind, Scope, Secret, UserId};
use c2l_tunnel::{Fault, Kind, Origin};
use http::{Method, Response, StatusCode, header, request};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{PublicUrl, SIGN_IN_KINDS, WebConfig, cookie, wrong_method};
use crate::{
    Relay,
    audit::{Event, Who},
    error::{invalid, unauthenticated},
    gateway::{body::GatewayBody, rest},
    identity::Caller,
    limits::{Asker, Payer},
    status::unix_seconds,
};

/// What somebody signs in with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shown {
    token: Option<String>,
    link: Option<String>,
}

/// A browser that has signed in, and what it is to keep.
pub(super) struct Opened {
    caller: Arc<Caller>,
    token: Secret,
    life: Duration,
}

/// The caller that the cookie of a request stands for; the request counts as one of theirs.
///
/// # Errors
/// `Unauthenticated`, `UserOverLimit`.
pub(super) async fn caller(relay: &Relay, head: &request::Parts) -> Result<Arc<Caller>, Fault> {
    let caller = signed_in(relay, head)
        .await?
        .ok_or_else(|| unauthenticated("not signed in"))?;
    let asker = Asker::of(&head.extensions);
    relay.guard.request(&asker, &Payer::of(&caller))?;
    Ok(caller)
}

/// Who has signed in there, if somebody has.
async fn signed_in(relay: &Relay, head: &request::Parts) -> Result<Option<Arc<Caller>>, Fault> {
    let Some(token) = cookie::find(&head.headers, cookie::SESSION) else {
        return Ok(None);
    };
    let asker = Asker::of(&head.extensions);
    let identities = &relay.identities;
    identities.browser(&asker, token.expose()).await.map(Some)
}

/// Answers `/web/v1/session`.
///
/// # Errors
/// `MethodNotAllowed`; what is wrong with what somebody signs in with; or `UserOverLimit`.
pub(super) async fn answer(
    relay: &Arc<Relay>,
    web: &WebConfig,
    head: request::Parts,
    body: Incoming,
) -> Result<Response<GatewayBody>, Fault> {
    match head.method {
        Method::GET | Method::HEAD => look(relay, web, &head).await,
        Method::POST => {
            let body = rest::read_body(relay, &head, body).await?;
            let shown: Shown = serde_json::from_slice(&body)
                .map_err(|_| invalid("the body is {\"token\": …} or {\"link\": …}"))?;
            let opened = sign_in(relay, web, &Asker::of(&head.extensions), shown).await?;
            Ok(opened.answer(relay, web))
        }
        Method::DELETE => sign_out(relay, &head).await,
        _ => Err(wrong_method()),
    }
}

/// Says who has signed in, if somebody has; and renews that in time.
async fn look(
    relay: &Relay,
    web: &WebConfig,
    head: &request::Parts,
) -> Result<Response<GatewayBody>, Fault> {
    match signed_in(relay, head).await {
        Ok(None) => Ok(said(&nobody(relay))),
        Ok(Some(caller)) => match renewed(relay, web, &Asker::of(&head.extensions), &caller).await?
        {
            Some(opened) => Ok(opened.answer(relay, web)),
            None => Ok(said(&somebody(relay, web, &caller))),
        },
        // The page asks this when a cookie has stopped counting: the browser may forget it.
        Err(fault) if fault.kind == Kind::Unauthenticated => Ok(forgetting(said(&nobody(relay)))),
        Err(fault) => Err(fault),
    }
}

/// Signs in with what was shown.
async fn sign_in(
    relay: &Relay,
    web: &WebConfig,
    asker: &Asker,
    shown: Shown,
) -> Result<Opened, Fault> {
    let identities = &relay.identities;
    // Before anything is judged: see the invariant.
    let now = SystemTime::now();
    match (shown.token, shown.link) {
        (Some(token), None) => {
            let token = token.trim();
            let caller = identities.identify(asker, token, &SIGN_IN_KINDS).await?;
            // A browser's own token begins nothing: what came of a copy would outlive the sign-out.
            if caller.grant.login.is_some() {
                return Err(unauthenticated(
                    "this is what a browser keeps, not a token to sign in with",
                ));
            }
            // Whose provider allows them no models gets none by way of a key.
            let needed = match caller.grant.kind {
                TokenKind::Web => Scope::Infer,
                TokenKind::Api | TokenKind::Agent => Scope::Account,
            };
            caller.require(needed)?;
            relay.guard.request(asker, &Payer::of(&caller))?;
            open(relay, web, asker, &caller.user, now, "token").await
        }
        (None, Some(link)) => {
            relay.guard.may_judge(asker, &link)?;
            let Some(whom) = web.links.redeem(&link, now) else {
                let reason = "this link is not good, or not any more; make another one";
                return Err(relay.guard.refused_sign_in(asker, reason.to_owned()));
            };
            let user = identities.name_user(&whom.issuer, &whom.subject)?;
            open(relay, web, asker, &user, whom.made, "link").await
        }
        _ => Err(invalid("give either token or link")),
    }
}

/// Signs this user in; `began` is a time at which what they showed was good.
pub(super) async fn open(
    relay: &Relay,
    web: &WebConfig,
    asker: &Asker,
    user: &UserId,
    began: SystemTime,
    way: &str,
) -> Result<Opened, Fault> {
    let id = relay.identities.new_browser()?;
    let opened = issue(relay, web, asker, user, (&id, began)).await?;
    let who = Who {
        user: Some(user),
        credential: Some(&opened.caller.credential),
        ..asker.who()
    };
    who.did(Event::WebSignedIn { way });
    Ok(opened)
}

/// The next token of a browser, when half of the present one's time is over. It counts as a request of theirs; over the limit
/// there is none for now, and the present one is as good as before.
async fn renewed(
    relay: &Relay,
    web: &WebConfig,
    asker: &Asker,
    caller: &Caller,
) -> Result<Option<Opened>, Fault> {
    let (Some(id), Some(began)) = (&caller.grant.login, caller.grant.issued_at) else {
        return Ok(None);
    };
    let now = SystemTime::now();
    let left = caller
        .grant
        .expires_at
        .duration_since(now)
        .unwrap_or_default();
    let most = life(web, began, now);
    if left > web.life() / 2 || most <= left {
        return Ok(None);
    }
    if relay.guard.request(asker, &Payer::of(caller)).is_err() {
        return Ok(None);
    }
    let opened = issue(relay, web, asker, &caller.user, (id, began)).await?;
    Ok(Some(opened))
}

/// How long a token may live that is made at `now`.
fn life(web: &WebConfig, began: SystemTime, now: SystemTime) -> Duration {
    let age = now.duration_since(began).unwrap_or_default();
    web.life().min(web.longest_life.saturating_sub(age))
}

async fn issue(
    relay: &Relay,
    web: &WebConfig,
    asker: &Asker,
    user: &UserId,
    (id, began): (&KeyId, SystemTime),
) -> Result<Opened, Fault> {
    let now = SystemTime::now();
    let life = life(web, began, now);
    let token = web
        .signing_key
        .issue_for_browser(user, (id, began), life, now);
    let token = token.map_err(|error| {
        tracing::error!(%error, "nobody can sign in: no token can be made");
        Fault::new(
            Kind::Internal,
            Origin::Relay,
            "a defect of the relay; it was logged",
        )
    })?;
    relay.guard.vouch(token.expose());
    // Judged like any other: whoever was signed out everywhere meanwhile is not let in after all.
    let caller = relay.identities.browser(asker, token.expose()).await?;
    Ok(Opened {
        caller,
        token,
        life,
    })
}

impl Opened {
    fn answer(&self, relay: &Relay, web: &WebConfig) -> Response<GatewayBody> {
        let mut response = said(&somebody(relay, web, &self.caller));
        self.keep(&mut response);
        response
    }

    /// Has the browser keep it.
    pub(super) fn keep(&self, response: &mut Response<GatewayBody>) {
        if let Some(cookie) = cookie::strict(cookie::SESSION, &self.token, self.life) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
}

/// Signs this browser out. One that is not signed in is out already.
async fn sign_out(
    relay: &Arc<Relay>,
    head: &request::Parts,
) -> Result<Response<GatewayBody>, Fault> {
    let signed_in = match signed_in(relay, head).await {
        Err(fault) if fault.kind == Kind::Unauthenticated => None,
        other => other?,
    };
    if let Some(caller) = signed_in {
        let (shared, asker) = (Arc::clone(relay), Asker::of(&head.extensions));
        // Begun, it is done, also when the browser goes.
        let work = relay.life.tracker.spawn(async move {
            shared.identities.end_browser(&caller).await?;
            let who = Who {
                user: Some(&caller.user),
                credential: Some(&caller.credential),
                ..asker.who()
            };
            who.did(Event::WebSignedOut);
            Ok(())
        });
        work.await.unwrap_or_else(|_| {
            let message = "a defect of the relay; it was logged";
            Err(Fault::new(Kind::Internal, Origin::Relay, message))
        })?;
    }
    let mut response = rest::text("", "application/json");
    *response.status_mut() = StatusCode::NO_CONTENT;
    *response.body_mut() = GatewayBody::empty();
    Ok(forgetting(response))
}

fn forgetting(mut response: Response<GatewayBody>) -> Response<GatewayBody> {
    if let Some(cookie) = cookie::forgotten(cookie::SESSION) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

fn said(value: &Value) -> Response<GatewayBody> {
    rest::text(format!("{value}\n"), "application/json")
}

fn nobody(relay: &Relay) -> Value {
    json!({
        "signed_in": false,
        "ways": ways(relay),
        "build": relay.config.build,
    })
}

fn somebody(relay: &Relay, web: &WebConfig, caller: &Caller) -> Value {
    json!({
        "signed_in": true,
        "user": caller.user.subject(),
        "issuer": caller.user.issuer(),
        "expires_unix_seconds": unix_seconds(caller.grant.expires_at),
        "device_login": relay.logins.is_some(),
        "public_url": web.public_url.as_ref().map(PublicUrl::as_str),
        "ways": ways(relay),
        "build": relay.config.build,
    })
}

/// How somebody may sign in.
fn ways(relay: &Relay) -> Value {
    let issuers = relay.identities.providers().sign_ins().iter().enumerate();
    let issuers: Vec<_> = issuers
        .map(|(number, at)| {
            json!({
                "id": number.to_string(),
                "name": at.name(),
                "url": format!("/web/v1/signin/{number}"),
            })
        })
        .collect();
    json!({ "link": true, "token": true, "issuers": issuers })
}

//! What a device asks for its login: to begin one, to be told how it stands, to go on with it, to end it.
//!
//! RFC 8628 (device authorization), RFC 6749 §6 (refreshing) and RFC 7009 (revoking), in forms and JSON, below [`PREFIX`].
//! Beside what these say, a device names itself (`device_name`), and with each refresh an `attempt`.
//!
//! Invariant: whoever asks is a stranger until a code or a token says otherwise, and is told no more than how theirs
//! stands.

use std::{sync::Arc, time::SystemTime};

use c2l_auth::{Attempt, AuthError, DeviceName, UserId};
use c2l_tunnel::{Fault, Kind, Origin};
use http::{Method, Response, request};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{
    NotStarted,
    answers::{Asked, No, SOON, said},
    pending::{Full, Polled},
};
use crate::{
    Relay,
    audit::{Event, Who},
    gateway::{
        body::GatewayBody,
        rest::{account::close_revoked, unknown},
    },
    identity::{Going, NotRefreshed},
};

/// Where all of this lies.
pub(crate) const PREFIX: &str = "/relay/v1/login/";
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Answers a request below [`PREFIX`].
///
/// # Errors
/// `RouteUnknown`, `MethodNotAllowed`, or what is wrong with the form.
pub(crate) async fn answer(
    relay: &Arc<Relay>,
    path: &str,
    head: &request::Parts,
    body: Incoming,
) -> Result<Response<GatewayBody>, Fault> {
    let what = match path.strip_prefix(PREFIX) {
        Some("device") => Wish::Device,
        Some("token") => Wish::Token,
        Some("revoke") => Wish::Revoke,
        _ => return Err(unknown()),
    };
    if head.method != Method::POST {
        let message = "this path takes a form by POST";
        return Err(Fault::new(Kind::MethodNotAllowed, Origin::Caller, message).retry_safe());
    }
    let asked = Asked::read(relay, head, body).await?;
    // Half of it must not be left undone when whoever asks leaves: a thief could keep a login from ending that way.
    let work = relay.life.tracker.spawn(async move {
        let answer = match what {
            Wish::Device => asked.start(),
            Wish::Token => asked.token().await,
            Wish::Revoke => asked.revoke().await,
        };
        answer.map_or_else(|no| no.answer(), |yes| said(&yes))
    });
    work.await.map_err(|_| {
        let message = "a defect of the relay; it was logged";
        Fault::new(Kind::Internal, Origin::Relay, message)
    })
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
enum Wish {
    Device,
    Token,
    Revoke,
}

impl Asked {
    fn field(&self, name: &'static str) -> Result<&str, No> {
        let missing = || No::new("invalid_request", format!("{name} is missing"));
        self.form.get(name).ok_or_else(missing)
    }

    fn who_of<'a>(&'a self, user: &'a UserId) -> Who<'a> {
        Who {
            user: Some(user),
            ..self.who()
        }
    }

    /// RFC 8628 §3.1 and §3.2.
    fn start(&self) -> Result<Value, No> {
        let device = DeviceName::parse(self.field("device_name")?)
            .map_err(|error| No::new("invalid_request", error.to_string()))?;
        let started = self.logins.start(&device, self.asker.address);
        let started = started.map_err(|error| match error {
            NotStarted::Full(Full::OfPlace(wait)) => No::too_many(
                wait,
                "too many logins of your network wait for an answer already",
            ),
            NotStarted::Full(Full::Everywhere(wait)) => {
                No::busy(wait, "too many logins wait for an answer already")
            }
            NotStarted::Full(Full::Taken) | NotStarted::Random => {
                No::busy(SOON, "the relay has no code to give")
            }
        })?;
        let device = device.as_str();
        self.who().did(Event::LoginStarted { device });
        let uri = self.own_address() + "/login";
        let code = started.user_code.shown();
        Ok(json!({
            "device_code": started.device_code.expose(),
            "user_code": code,
            "verification_uri": uri,
            "verification_uri_complete": format!("{uri}?code={code}"),
            "expires_in": self.logins.config.patience.as_secs(),
            "interval": self.logins.config.interval.as_secs().max(1),
        }))
    }

    /// As the asker calls us. Behind a proxy that adds TLS the scheme is a guess; our own client knows better.
    fn own_address(&self) -> String {
        let scheme = match self.relay.config.tls {
            Some(_) => "https",
            None => "http",
        };
        format!("{scheme}://{}", self.host.as_deref().unwrap_or("localhost"))
    }

    /// RFC 8628 §3.4 and RFC 6749 §6.
    async fn token(&self) -> Result<Value, No> {
        let going = match self.field("grant_type")? {
            DEVICE_GRANT => self.redeem().await?,
            "refresh_token" => self.refresh().await?,
            _ => {
                let said = "only device codes and refresh tokens are taken here";
                return Err(No::new("unsupported_grant_type", said));
            }
        };
        let token = self.logins.token(&going).map_err(|error| {
            tracing::error!(%error, "no token for a device");
            No::busy(SOON, "no token can be made")
        })?;
        // Both are shown next from an address where others may guess: they are no guesses.
        self.relay.guard.vouch(token.expose());
        self.relay.guard.vouch(going.refresh.expose());
        Ok(json!({
            "access_token": token.expose(),
            "token_type": "Bearer",
            "expires_in": self.logins.token_life().as_secs(),
            "refresh_token": going.refresh.expose(),
            "device_name": going.device.as_str(),
        }))
    }

    async fn redeem(&self) -> Result<Going, No> {
        let (by, asking) = match self.logins.poll(self.field("device_code")?) {
            Polled::Approved { by, asking } => (by, asking),
            Polled::Pending => {
                return Err(No::new("authorization_pending", "nobody has said yes yet"));
            }
            Polled::SlowDown(interval) => {
                let said = format!("ask every {} s", interval.as_secs());
                return Err(No::new("slow_down", said));
            }
            Polled::Denied => return Err(No::new("access_denied", "somebody said no")),
            Polled::Gone => {
                let said = "no login waits under this code: it has run out, or was used";
                return Err(No::new("expired_token", said));
            }
        };
        let idle = self.logins.config.idle;
        let identities = &self.relay.identities;
        // Before it is asked: a sign-out that comes after this ends the login as well.
        let began = SystemTime::now();
        if !by.stands(identities) {
            let said = "whoever said yes was signed out since";
            return Err(No::new("access_denied", said));
        }
        let begun = identities.begin_login(by.user(), &asking.device, began, idle);
        begun.await.map_err(|fault| match fault.kind {
            Kind::UserOverLimit => No::new("access_denied", fault.message),
            _ => fault.into(),
        })
    }

    async fn refresh(&self) -> Result<Going, No> {
        let token = self.field("refresh_token")?;
        let attempt = self.form.get("attempt").and_then(Attempt::of);
        let idle = self.logins.config.idle;
        let (identities, guard) = (&self.relay.identities, &self.relay.guard);
        guard.may_judge(&self.asker, token)?;
        let refreshed = identities.refresh_login(token, attempt, idle);
        match refreshed.await {
            Ok(going) => {
                let family = going.id.as_str();
                self.who_of(&going.user)
                    .did(Event::LoginRefreshed { family });
                Ok(going)
            }
            Err(NotRefreshed::Refused(error)) => {
                drop(guard.refused(&self.asker, token, &error)); // counted; said below in the words of OAuth
                Err(No::new("invalid_grant", not_refreshed(&error)))
            }
            Err(NotRefreshed::Reused { user, id }) => {
                drop(guard.refused(&self.asker, token, &AuthError::Revoked));
                let family = id.as_str();
                self.who_of(&user).did(Event::RefreshReused { family });
                close_revoked(identities, Some(&self.relay.registry), &user);
                let said = "this login was ended: an old refresh token of it was used again, so somebody may have copied it";
                Err(No::new("invalid_grant", said))
            }
            Err(NotRefreshed::Broken(fault)) => Err(fault.into()),
        }
    }

    /// RFC 7009: what is unknown is as good as revoked.
    async fn revoke(&self) -> Result<Value, No> {
        let token = self.field("token")?;
        let identities = &self.relay.identities;
        let ended = identities.end_login(token);
        if let Some((user, device)) = ended.await? {
            let device = device.as_str();
            self.who_of(&user).did(Event::LoginEnded { device });
            close_revoked(identities, Some(&self.relay.registry), &user);
        }
        Ok(json!({}))
    }
}

fn not_refreshed(error: &AuthError) -> &'static str {
    match error {
        AuthError::Revoked => "this login was ended",
        AuthError::KeyExpired => "this login has run out: it was not used for too long",
        _ => "the relay does not know this login",
    }
}

//! The relay's own small REST API, `/relay/v1/…`, and its front page.
//!
//! Invariant: every answer is about the caller alone. A cookie is no credential here: the page, which has one, comes in by
//! another door ([`By::Page`]) with the caller that it stands for. What changes something needs
//! a JSON body or a method that no form of another site can send. `openapi.json` describes all of it, and a test holds
//! it to that.

pub(crate) mod account;

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use c2l_auth::{DeviceName, Kind as TokenKind, Scope};
use c2l_tunnel::{Fault, Kind, Origin, PROTOCOL_VERSION};
use http::{HeaderValue, Method, Response, header, request};
use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use self::account::{Done, Doors, Operation};
use crate::{
    Relay,
    audit::Who,
    error::{invalid, unauthenticated},
    gateway::{
        body::GatewayBody,
        headers::{NO_REFERRER, NO_STORE, NOSNIFF},
    },
    identity::Caller,
    limits::Asker,
    login::oauth,
    recent::Window,
    status,
};

/// Most bytes of a request's body.
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024;

pub(crate) const OPENAPI: &str = include_str!("../../../openapi.json");

const PAGE: &str = "\
c2l relay: the models on your own machine, from anywhere.

  OLLAMA_HOST=<this address>/k/<credential>            any Ollama client
  OPENAI_BASE_URL=<this address>/v1  OPENAI_API_KEY=<credential>

  GET /relay/v1/whoami         who the credential belongs to
  GET /relay/v1/devices        which of your devices are connected
  GET /relay/v1/requests       your last requests
  GET /relay/v1/keys           your keys for programs
  GET /login                   let a machine in that shows a code
  GET /relay/v1/version        what is running here
  GET /relay/v1/openapi.json   everything below /relay/v1
";

/// Whose word it is who asks.
#[derive(Debug)]
pub(crate) enum By {
    /// The credential's, in a field of the request.
    Credential,
    /// The page's, which has sent a cookie.
    Page(Arc<Caller>),
}

impl By {
    /// The caller, who counts as asking now.
    ///
    /// # Errors
    /// What is wrong with the credential.
    async fn caller(
        &self,
        relay: &Relay,
        head: &request::Parts,
        kinds: &[TokenKind],
    ) -> Result<Arc<Caller>, Fault> {
        match self {
            Self::Credential => relay.identities.caller(None, head, kinds).await,
            Self::Page(caller) => Ok(Arc::clone(caller)),
        }
    }
}

/// Answers a request below `/relay/v1`.
///
/// # Errors
/// `RouteUnknown`, `MethodNotAllowed`, what is wrong with the credential, or what the operation says.
pub(crate) async fn answer(
    relay: &Arc<Relay>,
    path: &str,
    by: &By,
    head: &request::Parts,
    body: Incoming,
    request_id: &str,
) -> Result<Response<GatewayBody>, Fault> {
    let is_read = matches!(head.method, Method::GET | Method::HEAD);
    let answer = match path {
        "/relay/v1/openapi.json" if is_read => {
            return Ok(text(OPENAPI, "application/json"));
        }
        "/relay/v1/version" if is_read => serde_json::json!({
            "build": relay.config.build,
            "protocol_version": PROTOCOL_VERSION,
        }),
        "/relay/v1/whoami" if is_read => {
            let caller = by.caller(relay, head, &[TokenKind::Api]).await?;
            let who = status::who_am_i(&caller.grant);
            serde_json::json!({
                "user": who.user,
                "issuer": who.issuer,
                "kind": who.kind,
                "scopes": who.scopes,
                "expires_unix_seconds": who.expires_unix_seconds,
                "credential": caller.credential.to_string(),
                "device": caller.grant.device.as_ref().map(DeviceName::as_str),
                "models": &*caller.models,
                "requests_per_minute": caller.limits.requests_per_minute,
            })
        }
        "/relay/v1/devices" if is_read => {
            let caller = by.caller(relay, head, &[TokenKind::Api]).await?;
            devices(relay, &caller).await?
        }
        "/relay/v1/requests" if is_read => {
            let caller = by.caller(relay, head, &[TokenKind::Api]).await?;
            requests(relay, &caller, head.uri.query())?
        }
        "/relay/v1/openapi.json"
        | "/relay/v1/version"
        | "/relay/v1/whoami"
        | "/relay/v1/devices"
        | "/relay/v1/requests" => return Err(read_only()),
        path if path.starts_with(oauth::PREFIX) => {
            return oauth::answer(relay, path, head, body).await;
        }
        path => {
            let operation = Operation::find(&head.method, path)?.ok_or_else(unknown)?;
            let done = of_caller(relay, by, head, body, operation, request_id).await?;
            return Ok(with_status(&done));
        }
    };
    Ok(text(format!("{answer}\n"), "application/json"))
}

/// The caller's last requests.
///
/// # Errors
/// `Forbidden` without the scope `account`: a key is not to see what others do. `InvalidRequest`.
fn requests(
    relay: &Relay,
    caller: &Caller,
    query: Option<&str>,
) -> Result<serde_json::Value, Fault> {
    caller.require(Scope::Account)?;
    let window = Window::parse(query)?;
    Ok(relay.recent.list(&caller.user, window))
}

/// The caller's devices: those that are connected, and those that were.
///
/// # Errors
/// `Internal` when the database fails.
async fn devices(relay: &Relay, caller: &Caller) -> Result<serde_json::Value, Fault> {
    let known = relay.identities.devices_of(&caller.user).await?;
    let shows_addresses = caller.grant.allows(Scope::Account);
    Ok(status::describe_devices(
        Some(&relay.registry),
        &caller.user,
        &known,
        shows_addresses,
    ))
}

/// An operation on the caller's own account.
async fn of_caller<B>(
    relay: &Arc<Relay>,
    by: &By,
    head: &request::Parts,
    body: B,
    operation: Operation,
    request_id: &str,
) -> Result<Done, Fault>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let caller = by.caller(relay, head, &[TokenKind::Api]).await?;
    caller.require(Scope::Account)?;
    let permit = relay.admit(&Asker::of(&head.extensions), &caller)?;
    let body = read_body(relay, head, body).await?;
    if !relay.identities.still_stands(&caller, None) {
        return Err(unauthenticated("the credential was revoked"));
    }
    let address = Some(Asker::of(&head.extensions).address);
    let (shared, request_id) = (Arc::clone(relay), request_id.to_owned());
    // Half of it must not be left undone when the caller leaves: the tracker's task goes on.
    let work = relay.life.tracker.spawn(async move {
        let who = Who {
            user: Some(&caller.user),
            credential: Some(&caller.credential),
            address,
            request_id: Some(&request_id),
            is_operator: false,
        };
        let doors = Doors {
            by: Some(&caller),
            ..Doors::of(&shared)
        };
        let user = &caller.user;
        let done = account::perform(doors, &who, user, operation, &body).await;
        drop(permit);
        done
    });
    work.await.unwrap_or_else(|_| {
        let message = "a defect of the relay; it was logged";
        Err(Fault::new(Kind::Internal, Origin::Relay, message))
    })
}

/// The whole body, which is JSON or nothing.
pub(crate) async fn read_body<B>(
    relay: &Relay,
    head: &request::Parts,
    body: B,
) -> Result<Bytes, Fault>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let limit = relay.config.head_timeout;
    let read = timeout(limit, collect(body)).await.map_err(|_| {
        let message = format!("the body did not come within {limit:?} (limit: head)");
        Fault::new(Kind::Timeout, Origin::Caller, message).retry_safe()
    })??;
    if !read.is_empty() && !is_json(head) {
        return Err(invalid(
            "the body is JSON: send content-type: application/json",
        ));
    }
    Ok(read)
}

/// The whole body, if it is not too long.
pub(crate) async fn collect<B>(body: B) -> Result<Bytes, Fault>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let read = Limited::new(body, MAX_BODY_BYTES).collect().await;
    let read = read.map_err(|error| {
        if error.is::<LengthLimitError>() {
            let message = format!("the body is larger than {MAX_BODY_BYTES} bytes");
            return Fault::new(Kind::BodyTooLarge, Origin::Caller, message).retry_safe();
        }
        invalid("the body broke off or is not valid")
    })?;
    Ok(read.to_bytes())
}

/// What no form of another site can say without the browser asking first.
fn is_json(head: &request::Parts) -> bool {
    let said = head.headers.get(header::CONTENT_TYPE);
    let said = said
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = said.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// The front page.
///
/// # Errors
/// `MethodNotAllowed`.
pub(crate) fn page(head: &request::Parts) -> Result<Response<GatewayBody>, Fault> {
    match head.method {
        Method::GET | Method::HEAD => Ok(text(PAGE, "text/plain; charset=utf-8")),
        _ => Err(read_only()),
    }
}

pub(crate) fn unknown() -> Fault {
    let message = "no such path below /relay/v1";
    Fault::new(Kind::RouteUnknown, Origin::Caller, message).retry_safe()
}

fn read_only() -> Fault {
    Fault::new(
        Kind::MethodNotAllowed,
        Origin::Caller,
        "this path is only read",
    )
    .retry_safe()
}

fn with_status(done: &Done) -> Response<GatewayBody> {
    let mut response = text(format!("{}\n", done.body), "application/json");
    *response.status_mut() = done.status;
    response
}

pub(crate) fn text(
    body: impl Into<Cow<'static, str>>,
    content_type: &'static str,
) -> Response<GatewayBody> {
    let mut response = Response::new(GatewayBody::text(body.into()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(header::REFERRER_POLICY, NO_REFERRER);
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    );
    response
}

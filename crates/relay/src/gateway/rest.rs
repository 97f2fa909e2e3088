//! The relay's own small REST API, `/relay/v1/…`, and its front page.
//!
//! Invariant: every answer is about the caller alone.

use c2l_tunnel::{Fault, Kind, Origin, PROTOCOL_VERSION};
use http::{HeaderValue, Method, Response, header, request};

use crate::{
    Relay,
    gateway::{
        body::GatewayBody,
        headers::{NO_REFERRER, NO_STORE, NOSNIFF},
        route::Route,
    },
    status,
};

const PAGE: &str = "\
c2l relay: the models on your own machine, from anywhere.

  OLLAMA_HOST=<this address>/k/<credential>            any Ollama client
  OPENAI_BASE_URL=<this address>/v1  OPENAI_API_KEY=<credential>

  GET /relay/v1/whoami     who the credential belongs to
  GET /relay/v1/devices    which of your devices are connected
  GET /relay/v1/version    what is running here
";

/// Answers a request below `/relay/v1`.
///
/// # Errors
/// `RouteUnknown`, `MethodNotAllowed`, or what is wrong with the credential.
pub(crate) async fn answer(
    relay: &Relay,
    route: &Route,
    head: &request::Parts,
) -> Result<Response<GatewayBody>, Fault> {
    let is_read = matches!(head.method, Method::GET | Method::HEAD);
    let body = match route.path.as_str() {
        "/relay/v1/version" if is_read => serde_json::json!({
            "build": relay.config.build,
            "protocol_version": PROTOCOL_VERSION,
        }),
        "/relay/v1/whoami" if is_read => {
            let caller = relay.identities.caller(None, &head.headers).await?;
            let who = status::who_am_i(&caller.grant);
            serde_json::json!({
                "user": who.user,
                "issuer": who.issuer,
                "kind": who.kind,
                "scopes": who.scopes,
                "expires_unix_seconds": who.expires_unix_seconds,
            })
        }
        "/relay/v1/devices" if is_read => {
            let caller = relay.identities.caller(None, &head.headers).await?;
            let devices: Vec<_> = status::devices(&relay.registry, &caller.user)
                .into_iter()
                .map(|device| {
                    serde_json::json!({
                        "name": device.name,
                        "session_id": device.session_id,
                        "connected_unix_seconds": device.connected_unix_seconds,
                        "build": device.build,
                        "active_streams": device.active_streams,
                        "total_streams": device.total_streams,
                        "is_draining": device.is_draining,
                    })
                })
                .collect();
            serde_json::json!({ "devices": devices })
        }
        "/relay/v1/version" | "/relay/v1/whoami" | "/relay/v1/devices" => return Err(read_only()),
        _ => {
            let message = "no such path below /relay/v1";
            return Err(Fault::new(Kind::RouteUnknown, Origin::Caller, message).retry_safe());
        }
    };
    Ok(text(format!("{body}\n"), "application/json"))
}

/// The front page.
///
/// # Errors
/// `MethodNotAllowed`.
pub(crate) fn page(head: &request::Parts) -> Result<Response<GatewayBody>, Fault> {
    match head.method {
        Method::GET | Method::HEAD => Ok(text(PAGE.to_owned(), "text/plain; charset=utf-8")),
        _ => Err(read_only()),
    }
}

fn read_only() -> Fault {
    Fault::new(
        Kind::MethodNotAllowed,
        Origin::Caller,
        "this path is only read",
    )
    .retry_safe()
}

fn text(body: String, content_type: &'static str) -> Response<GatewayBody> {
    let mut response = Response::new(GatewayBody::text(body));
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

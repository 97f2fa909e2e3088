//! The forwarded path: one HTTP request to its caller's own upstream, and the answer back.

use std::sync::Arc;

use c2l_auth::{AuthError, DeviceName, Kind as TokenKind, Scope, UserId};
use c2l_tunnel::{Fault, Kind, Origin, RequestHead, Scopes};
use http::{HeaderMap, HeaderValue, Response, header, request};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use crate::{
    Relay,
    error::{Dialect, invalid, unauthenticated},
    gateway::{
        body::GatewayBody,
        exchange::{AnswerBody, Exchange},
        headers::{self, X_C2L_DEVICE},
        present::{Field, Present},
        record::Record,
        route::{Place, Route, scope_for, unknown_device},
    },
    identity::{Caller, Standing},
    limits::Asker,
    registry::Session,
};

/// Who asks for what goes to a device.
///
/// # Errors
/// What is wrong with the credential.
pub(crate) async fn caller(
    relay: &Relay,
    route: &Route,
    head: &request::Parts,
) -> Result<Arc<Caller>, Fault> {
    let identities = &relay.identities;
    let shown = route.credential.as_deref();
    identities.caller(shown, head, &[TokenKind::Api]).await
}

/// Carries one exchange from a caller to their agent and back. The record goes with the exchange once it is open, and
/// comes back when it failed before an answer began.
///
/// # Errors
/// The fault that the caller is told.
pub(crate) async fn forward(
    relay: &Arc<Relay>,
    caller: Arc<Caller>,
    route: Route,
    (head, present): (request::Parts, Present),
    body: Incoming,
    slot: &mut Option<Record>,
) -> Result<Response<GatewayBody>, Fault> {
    note(slot, |record| {
        record.caller(&caller, &relay.recent, &route.path);
    });
    caller.require(scope_for(&head.method, &route.path)?)?;
    let permit = relay.admit(&Asker::of(&head.extensions), &caller)?;
    let device = bound_device(&caller, device(&route, &head.headers, present)?)?;
    let (session, now) = session_for(relay, &caller.user, device.as_ref()).await?;
    note(slot, |record| record.device(&session.device));
    // The wait for a session may have been long.
    if !relay.identities.still_stands(&caller, None) {
        return Err(unauthenticated(AuthError::Revoked.to_string()));
    }
    if !caller.models.is_empty() && !session.enforces_models {
        return Err(models_unenforced());
    }

    let dialect = Dialect::of_path(&route.path);
    let method = head.method.clone();
    let body = (!body.is_end_stream()).then_some(body);
    let head = request_head(relay, route, (head, present), body.is_some(), &caller, slot)?;
    let is_held = head.expects_continue;
    let stream = session.open_stream(&caller.user, head, now)?;
    let Some(record) = slot.take() else {
        return Err(Fault::new(
            Kind::Internal,
            Origin::Relay,
            "the record was used twice",
        ));
    };
    let limit = relay.config.max_body_bytes;
    let standing = Standing::new(&relay.identities, caller);
    let mut exchange = Exchange::new(stream, body, is_held, limit, record, standing, permit);
    let head = match exchange.answer().await {
        Ok(head) => head,
        Err(fault) => {
            *slot = Some(exchange.into_record());
            return Err(fault);
        }
    };

    let is_bodiless = headers::is_bodiless(&method, head.status);
    let body = AnswerBody::new(exchange, &head, dialect, is_bodiless);
    let mut response = Response::new(GatewayBody::Forwarded(body));
    *response.status_mut() = head.status;
    *response.headers_mut() = headers::toward_caller(head.headers, &session.device_field);
    Ok(response)
}

/// This user's session, and when it was found. In the first moments after another relay has left its port to this one, waits for the agent that
/// is on its way here.
async fn session_for(
    relay: &Relay,
    user: &UserId,
    device: Option<&DeviceName>,
) -> Result<(Arc<Session>, std::time::Instant), Fault> {
    let find = || {
        let now = Instant::now().into_std();
        let found = relay.registry.find(user, device, now);
        found.map(|session| (session, now))
    };
    let found = find();
    if found.is_ok() || relay.agents_due().is_none() {
        return found;
    }
    let mut changes = relay.registry.watch();
    loop {
        changes.mark_unchanged();
        let found = find();
        let Some(due) = relay.agents_due().filter(|_| found.is_err()) else {
            return found;
        };
        if !matches!(timeout_at(due, changes.changed()).await, Ok(Ok(()))) {
            return found;
        }
    }
}

fn note(slot: &mut Option<Record>, write: impl FnOnce(&mut Record)) {
    if let Some(record) = slot {
        write(record);
    }
}

/// Only the agent can keep a caller to some models: it alone knows which one a request means.
fn models_unenforced() -> Fault {
    let message =
        "this key is limited to some models, and the agent is too old to keep to that; update it";
    Fault::new(Kind::Forbidden, Origin::Agent, message).retry_safe()
}

/// A credential that is bound to a device reaches that one alone; any other does not exist for it.
fn bound_device(caller: &Caller, named: Option<DeviceName>) -> Result<Option<DeviceName>, Fault> {
    match (&caller.grant.device, named) {
        (Some(bound), Some(named)) if *bound != named => Err(unknown_device()),
        (Some(bound), _) => Ok(Some(bound.clone())),
        (None, named) => Ok(named),
    }
}

/// The device that the request names: in its path or in a field, not in both differently.
fn device(
    route: &Route,
    headers: &HeaderMap,
    present: Present,
) -> Result<Option<DeviceName>, Fault> {
    if !present.has(Field::Device) {
        return Ok(route.device.clone());
    }
    let mut values = headers.get_all(X_C2L_DEVICE).iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(invalid("more than one `x-c2l-device`"));
    }
    let Some(value) = first else {
        return Ok(route.device.clone());
    };
    // A name that cannot be a device's is one that this user does not have.
    let named = value
        .to_str()
        .ok()
        .and_then(|name| DeviceName::parse(name).ok());
    let named = named.ok_or_else(unknown_device)?;
    match &route.device {
        Some(in_path) if *in_path != named => Err(invalid(
            "two different devices: in the path and in `x-c2l-device`",
        )),
        _ => Ok(Some(named)),
    }
}

/// The head toward the upstream, and the checks that need it whole.
fn request_head(
    relay: &Relay,
    route: Route,
    (head, present): (request::Parts, Present),
    has_body: bool,
    caller: &Caller,
    slot: &Option<Record>,
) -> Result<RequestHead, Fault> {
    let Place::Upstream(target) = route.place else {
        return Err(Fault::new(
            Kind::Internal,
            Origin::Relay,
            "not a forwarded place",
        ));
    };
    let is_expected = present.has(Field::Expect);
    let is_continue = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    let mut expectations = head.headers.get_all(header::EXPECT).iter();
    if is_expected && !expectations.all(is_continue) {
        let message = "only `expect: 100-continue` can be met";
        return Err(Fault::new(Kind::ExpectationFailed, Origin::Caller, message).retry_safe());
    }
    let announced = || head.headers.get(header::CONTENT_LENGTH)?.to_str().ok();
    if let Some(limit) = relay.config.max_body_bytes
        && let Some(announced) = announced().and_then(|text| text.parse::<u64>().ok())
        && announced > limit
    {
        let message = format!("the request body is larger than {limit} bytes");
        return Err(Fault::new(Kind::BodyTooLarge, Origin::Caller, message).retry_safe());
    }
    Ok(RequestHead {
        method: head.method,
        target,
        headers: headers::toward_upstream(head.headers),
        is_whole: !has_body,
        expects_continue: has_body && is_expected,
        request_id: slot
            .as_ref()
            .map(|record| String::from(&*record.request_id))
            .unwrap_or_default(),
        scopes: Scopes {
            infer: caller.grant.scopes.contains(Scope::Infer),
            manage: caller.grant.scopes.contains(Scope::Manage),
        },
        models: caller.models.to_vec(),
    })
}

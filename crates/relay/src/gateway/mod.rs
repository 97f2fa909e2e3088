//! The public HTTP side: from an accepted request to its answer.
//!
//! Invariant: every answer carries `x-request-id`, every failure goes out through one door in the shape that its
//! client parses, and a panic in a handler is one caller's 500.

pub(crate) mod admission;
pub(crate) mod body;
pub(crate) mod connection;
mod cors;
pub(crate) mod credential;
mod exchange;
pub(crate) mod grpc;
pub(crate) mod headers;
pub(crate) mod idleness;
pub(crate) mod listener;
pub(crate) mod peer;
pub(crate) mod present;
pub(crate) mod proxy;
pub(crate) mod record;
pub(crate) mod rest;
pub(crate) mod route;
mod stall;
mod tear;
mod timed_io;
mod tls;

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    task::Poll,
};

use c2l_tunnel::{Fault, Kind, Origin};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header, request};
use hyper::body::Incoming;

use crate::{
    Relay,
    bridge::websocket,
    error::{Dialect, codes, retry_after_seconds, to_status},
    gateway::{
        body::GatewayBody,
        headers::{ALLOW, NO_REFERRER, NO_STORE, NOSNIFF, X_REQUEST_ID},
        peer::Peer,
        present::{Field, Present},
        record::Record,
        rest::By,
        route::{Place, Route},
    },
    limits::{Asker, address},
    login, web,
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const CLOSE: HeaderValue = HeaderValue::from_static("close");
const PANIC_HOOK: &str = "x-c2l-test-panic";

/// Answers one request. Dropping the future resets whatever it had opened.
pub(crate) async fn serve(
    relay: Arc<Relay>,
    mut request: Request<Incoming>,
) -> Response<GatewayBody> {
    let present = Present::of(request.headers());
    let own_id = headers::request_id(request.headers(), present);
    let request_id = own_id.map_or_else(|| relay.request_ids.mint(), Arc::from);
    let dialect = Route::dialect_of(request.uri().path());
    let challenge = credential::challenge(request.uri().path(), request.headers());
    let is_http1 = request.version() <= Version::HTTP_11;
    note_asker(&relay, &mut request, present, &request_id);
    let answer = dispatch(
        &relay,
        request,
        present,
        &request_id,
        dialect,
        challenge.clone(),
    );
    let answer = unwind_safe(pin!(answer)).await;
    let mut response = answer.unwrap_or_else(|| {
        relay.metrics.panics.fetch_add(1, Ordering::Relaxed);
        tracing::error!(%request_id, "a handler panicked");
        let fault = Fault::new(
            Kind::Internal,
            Origin::Relay,
            "a defect of the relay; it was logged",
        );
        refusal(&fault, dialect, &request_id, challenge)
    });
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    // HTTP/2 has a frame of its own for this. A connection that was taken over is another's by now.
    let is_upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if is_http1 && !is_upgraded && relay.life.stage.is_leaving() {
        response.headers_mut().insert(header::CONNECTION, CLOSE);
    }
    response
}

/// `None` when the future panicked. Its state is dropped with it, and everything shared is behind locks that are held
/// for bookkeeping only. It stays where it is: taken by value it would have its room twice in the future of this.
async fn unwind_safe<T>(mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Some),
            Err(_panic) => Poll::Ready(None),
        },
    )
    .await
}

async fn dispatch(
    relay: &Arc<Relay>,
    request: Request<Incoming>,
    present: Present,
    request_id: &Arc<str>,
    dialect: Dialect,
    challenge: HeaderValue,
) -> Response<GatewayBody> {
    if let Some(peer) = Peer::of(request.extensions())
        && let Some(until) = peer.refused_until
        && let Err(fault) = relay.guard.refused_connection(peer.address.ip(), until)
    {
        return refused_connection(&fault, &request, request_id, challenge);
    }
    if grpc::is_grpc(&request) {
        // In boxes of their own, here and below: the future of a forwarded request is moved, and kept, without the room
        // that rarer ones take.
        let answer = relay.grpc.answer(request, relay.config.head_timeout);
        return Box::pin(answer).await;
    }
    if request.uri().path() == c2l_bridge::PATH {
        let (head, body) = request.into_parts();
        return Box::pin(websocket::verify(relay, &head))
            .await
            .and_then(|verified| websocket::upgrade(relay, &verified, head, body))
            .unwrap_or_else(|fault| refusal(&fault, Dialect::Ollama, request_id, challenge));
    }
    let (head, body) = request.into_parts();
    let version = head.version;
    let cors = match web::is_below(head.uri.path()) {
        true => cors::Grant::none(), // no other origin ever reads what a cookie opens
        false => cors::Grant::for_request(&relay.config.cors_origins, &head.headers, present),
    };
    let mut record = Some(Record::new(
        Asker::of(&head.extensions),
        head.method.clone(),
        head.uri.path_and_query(),
        Arc::clone(&relay.metrics),
    ));
    let mut response =
        match answer(relay, head, present, body, &cors, &mut record, request_id).await {
            Ok(response) => response,
            Err(fault) => {
                let mut response = refusal(&fault, dialect, request_id, challenge);
                if fault.kind == Kind::InvalidRequest && version <= Version::HTTP_11 {
                    // A hop before us may see the end of this request elsewhere (RFC 9112 §11.2): what comes next on the
                    // connection is not to be taken for another one.
                    response.headers_mut().insert(header::CONNECTION, CLOSE);
                }
                response
            }
        };
    if let Some(mut record) = record {
        record.end_with(response.status());
    }
    cors.apply(response.headers_mut());
    response
}

/// Says among the request's extensions where it comes from, for whoever limits or records.
fn note_asker(
    relay: &Relay,
    request: &mut Request<Incoming>,
    present: Present,
    request_id: &Arc<str>,
) {
    let peer = Peer::of(request.extensions());
    let found = |peer: &Peer| {
        let headers = present.has(Field::OfProxy).then(|| request.headers());
        let client = || relay.guard.client(peer.address.ip(), headers);
        peer.client.unwrap_or_else(client)
    };
    let asker = Asker {
        address: peer.map_or(address::UNKNOWN, found),
        request_id: Arc::clone(request_id),
    };
    request.extensions_mut().insert(asker);
}

/// The answer on a connection beyond its address's limit, after which an HTTP/1.1 one ends.
fn refused_connection(
    fault: &Fault,
    request: &Request<Incoming>,
    request_id: &str,
    challenge: HeaderValue,
) -> Response<GatewayBody> {
    if grpc::is_grpc(request) {
        return grpc::refused(to_status(fault));
    }
    let dialect = Route::dialect_of(request.uri().path());
    let mut response = refusal(fault, dialect, request_id, challenge);
    if request.version() <= Version::HTTP_11 {
        response.headers_mut().insert(header::CONNECTION, CLOSE);
    }
    response
}

/// One request that is not gRPC. The record stays with whoever knows how the exchange ends: here, unless it was
/// forwarded.
async fn answer(
    relay: &Arc<Relay>,
    head: request::Parts,
    present: Present,
    body: Incoming,
    cors: &cors::Grant,
    record: &mut Option<Record>,
    request_id: &str,
) -> Result<Response<GatewayBody>, Fault> {
    if relay.config.has_panic_hook && head.headers.contains_key(PANIC_HOOK) {
        panic!("the test hook asked for it");
    }
    let outcome = async {
        headers::check(&head, present)?;
        if head.method == Method::OPTIONS {
            return Ok(cors.answer_options(&head));
        }
        let target = head.uri.path_and_query().ok_or_else(unforwarded_method)?;
        let route = Route::parse(target)?;
        if let Some(refused) = web::hosts::check(relay, &route.place, &head, present, request_id) {
            return Ok(refused);
        }
        let strict_transport = match route.place {
            Place::Upstream(_) | Place::Rest => None,
            Place::Page | Place::File | Place::Web | Place::Login => {
                web::hosts::strict_transport(relay, &head)
            }
        };
        let answered = match route.place {
            Place::Upstream(_) if !route::is_forwarded(&head.method) => Err(unforwarded_method()),
            Place::Upstream(_) => {
                let caller = proxy::caller(relay, &route, &head).await?;
                proxy::forward(relay, caller, route, (head, present), body, record).await
            }
            Place::Rest => {
                let by = &By::Credential;
                Box::pin(rest::answer(
                    relay,
                    &route.path,
                    by,
                    &head,
                    body,
                    request_id,
                ))
                .await
            }
            Place::Login => Box::pin(login::web::page(relay, &route.path, &head, body)).await,
            // Boxed: signing in takes room that no other request needs.
            Place::Web => {
                let path = &route.path;
                Box::pin(web::answer(relay, path, head, body, record, request_id)).await
            }
            Place::Page | Place::File if relay.config.web.is_some() => {
                web::page::answer(&route, &head)
            }
            Place::Page | Place::File => rest::page(&head),
        };
        answered.map(|mut response| {
            if let Some(value) = strict_transport {
                let headers = response.headers_mut();
                headers.insert(header::STRICT_TRANSPORT_SECURITY, value);
            }
            response
        })
    }
    .await;
    if let (Err(fault), Some(record)) = (&outcome, record.as_mut()) {
        record.fail(fault);
    }
    outcome
}

fn unforwarded_method() -> Fault {
    Fault::new(
        Kind::MethodNotAllowed,
        Origin::Caller,
        "not a method that is forwarded",
    )
    .retry_safe()
}

/// The one door through which failures leave before an answer began. `challenge` is what a 401 asks for.
fn refusal(
    fault: &Fault,
    dialect: Dialect,
    request_id: &str,
    challenge: HeaderValue,
) -> Response<GatewayBody> {
    let codes = codes(fault.kind);
    let mut response = Response::new(GatewayBody::text(dialect.error_body(fault, request_id)));
    *response.status_mut() = codes.http;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(header::REFERRER_POLICY, NO_REFERRER); // the path may hold a credential
    if let Some(seconds) = retry_after_seconds(fault) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    match fault.kind {
        Kind::Unauthenticated => {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        Kind::MethodNotAllowed => {
            headers.insert(header::ALLOW, ALLOW);
        }
        _ => {}
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, F: Future>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_request_under_way_takes_little_room() {
        // It is moved into its connection's state, and stays there for as long as the answer takes to begin.
        let bytes = size(serve);
        assert!(bytes <= 5 * 1024 + 512, "{bytes}");
    }
}

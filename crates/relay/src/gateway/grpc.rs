//! The gRPC services behind the public port, and what a stranger may cost there.
//!
//! Invariant: a call has a limited time to say what it wants, and the calls that stay open without a credential are few.
//! What stays open with one has limits of its own: a session its greeting, a watch of devices its user's count.

use std::{sync::Arc, time::Duration};

use c2l_tunnel::wire::CONNECT_PATH;
use http::{HeaderValue, Request, Response, Version, header};
use hyper::body::Incoming;
use tokio::{sync::Semaphore, time::timeout};
use tonic::{Status, service::Routes};
use tower::ServiceExt as _;

use crate::{gateway::body::GatewayBody, tunnel::service::TunnelServer};

/// The methods that anybody may call and that end only when the caller wants.
const OPEN_TO_STRANGERS: [&str; 3] = [
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];
/// Most such calls at once. A single look at the health is none of them, so nobody can make the relay look ill.
const MAX_OPEN_TO_STRANGERS: usize = 256;

/// The services, behind their one door.
#[derive(Debug)]
pub(crate) struct Grpc {
    routes: Routes,
    tunnel: TunnelServer,
    places_of_strangers: Arc<Semaphore>,
}

impl Grpc {
    pub(crate) fn new(routes: Routes, tunnel: TunnelServer) -> Self {
        Self {
            routes,
            tunnel,
            places_of_strangers: Arc::new(Semaphore::new(MAX_OPEN_TO_STRANGERS)),
        }
    }

    /// Answers a call. `limit` is for what comes before the answer begins: a call whose message never comes would
    /// wait for it for ever, before anybody has asked for its credential.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        limit: Duration,
    ) -> Response<GatewayBody> {
        if request.uri().path() == CONNECT_PATH {
            return self.connect(request, limit).await;
        }
        let mut place = None;
        if OPEN_TO_STRANGERS.contains(&request.uri().path()) {
            let Ok(free) = Arc::clone(&self.places_of_strangers).try_acquire_owned() else {
                let why = "as many calls of this kind are open as the relay takes; try again";
                return refused(Status::resource_exhausted(why));
            };
            place = Some(free);
        }
        let call = self.routes.clone().oneshot(request);
        match timeout(limit, call).await {
            Ok(Ok(response)) => response.map(|body| GatewayBody::Grpc {
                body,
                _place: place,
            }),
            Ok(Err(never)) => match never {},
            Err(_) => refused(too_late(limit)),
        }
    }

    /// Opens an agent's session. Its messages are the tunnel's own affair: no service of the library stands between.
    async fn connect(&self, request: Request<Incoming>, limit: Duration) -> Response<GatewayBody> {
        let mut response = match timeout(limit, self.tunnel.connect(request)).await {
            Ok(Ok(outbound)) => Response::new(GatewayBody::Tunnel(Box::new(outbound))),
            Ok(Err(status)) => return refused(status),
            Err(_) => return refused(too_late(limit)),
        };
        let grpc = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(header::CONTENT_TYPE, grpc);
        response
    }
}

fn too_late(limit: Duration) -> Status {
    Status::deadline_exceeded(format!(
        "the call did not say within {limit:?} what it wants (limit: head)"
    ))
}

/// The answer that is nothing but a status.
pub(crate) fn refused(status: Status) -> Response<GatewayBody> {
    status
        .into_http()
        .map(|body| GatewayBody::Grpc { body, _place: None })
}

/// gRPC is HTTP/2 alone. Over HTTP/1 the same content type is an ordinary request, with the checks of one.
pub(crate) fn is_grpc<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_2
        && request
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

//! `GET /tunnel/v1/websocket`: HTTP/2 inside a WebSocket, for agents behind proxies that block HTTP/2.
//!
//! Invariant: who asks is verified before the upgrade, so a refusal is plain HTTP that a proxy's log and a person can
//! read; what follows is the very same connection as on the port itself, with the same limits.

use std::sync::Arc;

use c2l_auth::Kind as TokenKind;
use c2l_bridge::{ByteStream, Role};
use c2l_tunnel::{Fault, Kind, Origin};
use http::{HeaderValue, Request, Response, StatusCode, header, request};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::{
    Relay,
    audit::{Event, Who},
    error::invalid,
    gateway::{
        body::GatewayBody,
        connection::{self, Serving},
        credential, headers,
        peer::Peer,
        present::Present,
    },
    identity::Caller,
    limits::Asker,
};

/// Somebody with a good token for opening sessions; the one way to [`upgrade`].
#[derive(Debug)]
pub(crate) struct Verified(Arc<Caller>);

/// Looks at who asks.
///
/// # Errors
/// `Unauthenticated`, `IssuerUnreachable`, `UserOverLimit`, or `InvalidRequest` for what two programs could read differently.
pub(crate) async fn verify(relay: &Relay, head: &request::Parts) -> Result<Verified, Fault> {
    headers::check(head, Present::of(&head.headers))?;
    let asker = Asker::of(&head.extensions);
    relay.guard.session(&asker)?;
    let token = credential::find(None, &head.headers)?;
    relay.guard.arrivals.turn().await;
    let kinds = &[TokenKind::Agent];
    let caller = relay.identities.identify(&asker, &token, kinds).await?;
    Ok(Verified(caller))
}

/// Answers the request to upgrade; the connection behind it becomes an agent's.
///
/// # Errors
/// `Forbidden`, `Draining`, or `InvalidRequest` for what is no upgrade.
pub(crate) fn upgrade(
    relay: &Arc<Relay>,
    Verified(caller): &Verified,
    mut head: request::Parts,
    body: Incoming,
) -> Result<Response<GatewayBody>, Fault> {
    let asker = Asker::of(&head.extensions);
    let peer = Peer::of(&head.extensions).map(|peer| peer.inside(asker.address));
    let Some(peer) = peer else {
        return Err(invalid(c2l_bridge::NotAnUpgrade::NotWebSocket.to_string()));
    };
    let place = peer.place.clone();
    if relay.config.asks_agents_for_certificate && !peer.is_certified {
        let message = "this relay asks agents for a certificate as well";
        let who = Who {
            user: Some(&caller.user),
            credential: Some(&caller.credential),
            ..asker.who()
        };
        who.did(Event::SessionRefused { reason: message });
        return Err(Fault::new(Kind::Forbidden, Origin::Caller, message).retry_safe());
    }
    if relay.life.stage.is_leaving() {
        let message = "the relay is leaving; try again";
        return Err(Fault::new(Kind::Draining, Origin::Relay, message).retry_safe());
    }
    let accept = c2l_bridge::check_request(&head).map_err(|error| invalid(error.to_string()))?;
    head.headers.clear(); // nothing of the credential lives on beside the connection
    let upgraded = hyper::upgrade::on(Request::from_parts(head, body));
    let beginning = begin(Arc::clone(relay), upgraded, peer);
    let tracker = &relay.life.tracker;
    tracker.spawn(connection::carry(Box::pin(beginning), place));

    let mut response = Response::new(GatewayBody::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(c2l_bridge::ACCEPT, accept);
    headers.insert(
        c2l_bridge::PROTOCOL,
        HeaderValue::from_static(c2l_bridge::PROTOCOL_NAME),
    );
    Ok(response)
}

/// Waits for the upgrade and for the first bytes behind it.
async fn begin(relay: Arc<Relay>, upgraded: OnUpgrade, peer: Peer) -> Option<Serving> {
    let address = peer.address;
    let connection = match timeout(relay.config.head_timeout, upgraded).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            tracing::debug!(peer = %address, %error, "the upgrade did not happen");
            return None;
        }
        Err(_) => {
            tracing::debug!(peer = %address, "the upgrade took too long");
            return None;
        }
    };
    let mut stream = ByteStream::new(TokioIo::new(connection), Role::Server);
    // As on the port itself: who says nothing, or no HTTP/2, is not waited for.
    let first = connection::read_first(&mut stream);
    let first = tokio::select! {
        () = relay.life.closing.cancelled() => return None,
        first = timeout(relay.config.greeting_timeout, first) => first,
    };
    match first {
        Ok(Ok((true, read_ahead))) => Some(Box::pin(connection::serve_http2(
            &relay, stream, read_ahead, peer,
        ))),
        _ => None,
    }
}

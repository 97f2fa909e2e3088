//! `TunnelService.Connect`: who may open a session.

use std::sync::Arc;

use c2l_auth::Kind;
use c2l_bridge::Pulse;
use http::Request;
use hyper::body::Incoming;
use tonic::{Status, metadata::MetadataMap};

use crate::{
    Config,
    audit::{Event, Who},
    error::to_status,
    gateway::{listener::Life, peer::Peer},
    identity::Identities,
    limits::{Asker, Guard},
    metrics::Metrics,
    registry::Registry,
    status::{bearer, identify},
    tunnel::{
        call::{Inbound, Outbound},
        session::{Terms, start},
    },
};

/// Takes agents in.
#[derive(Clone, Debug)]
pub(crate) struct TunnelServer {
    asks_for_certificate: bool,
    terms: Arc<Terms>,
}

impl TunnelServer {
    pub(crate) fn new(
        config: &Config,
        identities: &Arc<Identities>,
        registry: &Arc<Registry>,
        metrics: &Arc<Metrics>,
        guard: &Arc<Guard>,
        life: &Life,
    ) -> Self {
        Self {
            asks_for_certificate: config.asks_agents_for_certificate,
            terms: Arc::new(Terms {
                settings: Terms::settings(config),
                build: config.build.clone(),
                identities: Arc::clone(identities),
                registry: Arc::clone(registry),
                metrics: Arc::clone(metrics),
                guard: Arc::clone(guard),
                life: life.clone(),
            }),
        }
    }

    pub(crate) fn life(&self) -> &Life {
        &self.terms.life
    }

    pub(crate) fn guard(&self) -> Arc<Guard> {
        Arc::clone(&self.terms.guard)
    }

    /// Opens a session for whoever asks with a good token. What is returned is what the agent receives; the session goes
    /// on until that is dropped or ends. Nothing has happened when the future is dropped before.
    ///
    /// # Errors
    /// The status that the call is refused with.
    pub(crate) async fn connect(&self, request: Request<Incoming>) -> Result<Outbound, Status> {
        let (head, body) = request.into_parts();
        let metadata = MetadataMap::from_headers(head.headers);
        if metadata
            .get("grpc-encoding")
            .is_some_and(|it| it != "identity")
        {
            return Err(Status::unimplemented("messages are not compressed here"));
        }
        let asker = Asker::of(&head.extensions);
        let within = self.terms.guard.session(&asker);
        within.map_err(|fault| to_status(&fault))?;
        let (token, kind) = (bearer(&metadata)?.to_owned(), Kind::Agent);
        let peer = Peer::of(&head.extensions);
        if peer.is_none_or(|peer| peer.client.is_none()) {
            // Who comes inside a bridge has had its turn.
            self.terms.guard.arrivals.turn().await;
        }
        let caller = identify(&self.terms.identities, &asker, &token, kind).await?;
        if self.terms.life.stage.is_leaving() {
            // The session that this device has here goes on; a new one belongs to the relay that comes next.
            return Err(Status::unavailable("the relay is leaving; try again"));
        }
        let pulse = peer.map_or_else(Pulse::default, |peer| peer.pulse.clone());
        let transport = peer.map_or("grpc", Peer::transport);
        if self.asks_for_certificate && !peer.is_some_and(|peer| peer.is_certified) {
            let reason = "this relay asks agents for a certificate as well";
            let who = Who {
                user: Some(&caller.user),
                credential: Some(&caller.credential),
                ..asker.who()
            };
            who.did(Event::SessionRefused { reason });
            return Err(Status::permission_denied(reason));
        }
        let inbound = Inbound::new(body, self.terms.settings.limits.max_message_bytes);
        let line = (pulse, transport);
        Ok(start(&self.terms, caller, asker, inbound, line))
    }
}

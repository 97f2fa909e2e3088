//! `TunnelService.Connect`: who may open a session.

use std::sync::Arc;

use c2l_auth::{Kind, Verifier};
use c2l_proto::tunnel::{AgentMessage, tunnel_service_server::TunnelService};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    Config,
    metrics::Metrics,
    registry::Registry,
    status::verify,
    tunnel::session::{Outbound, Terms, start},
};

/// Takes agents in.
#[derive(Clone, Debug)]
pub(crate) struct TunnelServer {
    verifier: Arc<Verifier>,
    terms: Arc<Terms>,
}

impl TunnelServer {
    pub(crate) fn new(
        config: &Config,
        registry: &Arc<Registry>,
        metrics: &Arc<Metrics>,
        tracker: &TaskTracker,
        closing: &CancellationToken,
    ) -> Self {
        Self {
            verifier: Arc::clone(&config.verifier),
            terms: Arc::new(Terms {
                settings: Terms::settings(config),
                build: config.build.clone(),
                verifier: Arc::clone(&config.verifier),
                registry: Arc::clone(registry),
                metrics: Arc::clone(metrics),
                tracker: tracker.clone(),
                closing: closing.clone(),
            }),
        }
    }

    pub(crate) fn tracker(&self) -> &TaskTracker {
        &self.terms.tracker
    }

    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.terms.closing
    }
}

#[tonic::async_trait]
impl TunnelService for TunnelServer {
    type ConnectStream = Outbound;

    async fn connect(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Outbound>, Status> {
        let grant = verify(&self.verifier, request.metadata(), Kind::Agent)?;
        Ok(Response::new(start(
            &self.terms,
            grant,
            request.into_inner(),
        )))
    }
}

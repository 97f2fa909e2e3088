//! The agents' side of the public port: the gRPC services and the sessions behind them.

pub(crate) mod call;
pub(crate) mod health;
pub(crate) mod service;
pub(crate) mod session;

use std::sync::Arc;

use c2l_proto::{FILE_DESCRIPTOR_SET, relay::status_service_server::StatusServiceServer};
use tonic::service::Routes;

use crate::{
    Config, Error,
    identity::Identities,
    registry::Registry,
    status::StatusServer,
    tunnel::{health::Health, service::TunnelServer},
};

/// Most bytes of a message that is not the tunnel's.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// The gRPC services of the public port beside the tunnel's, which has a [`call`] of its own.
///
/// # Errors
/// When the descriptors for reflection do not decode.
pub(crate) fn routes(
    config: &Config,
    server: &TunnelServer,
    identities: &Arc<Identities>,
    registry: &Arc<Registry>,
    health: &Health,
) -> Result<Routes, Error> {
    let status = StatusServer::new(
        Arc::clone(identities),
        server.guard(),
        Arc::clone(registry),
        server.life(),
    );
    let status = StatusServiceServer::new(status).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let mut routes = Routes::new(status).add_service(health.service());
    if config.is_reflection_served {
        let builder = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        routes = routes
            .add_service(builder().build_v1().map_err(Error::Reflection)?)
            .add_service(builder().build_v1alpha().map_err(Error::Reflection)?);
    }
    Ok(routes.prepare())
}

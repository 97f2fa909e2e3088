//! `c2l agent`: the private side.

use anyhow::Context as _;
use c2l_agent::{Config, TokenSource, Transport};
use c2l_auth::DeviceName;
use http::Uri;
use tracing::info;

use crate::{
    build_info, device,
    settings::agent::{AgentSettings, Tuning},
    signals,
};

/// Keeps a session until a signal, and then for as long as running requests take.
pub(crate) async fn run(settings: AgentSettings) -> anyhow::Result<()> {
    let shutdown = signals::shutdown().context("cannot catch signals")?;
    let device_id = device::load_or_create(&settings.data_dir)?;
    let config = Config {
        allow_manage: settings.allow_manage,
        allow_insecure: settings.allow_insecure,
        ca_file: settings.ca_file,
        skip_verify: settings.skip_verify,
        client_certificate: settings.client_certificate,
        transport: settings.transport,
        proxy: settings.proxy,
        ..config(
            settings.relay,
            settings.upstream,
            settings.token.into_source(),
            &settings.device,
            device_id,
            settings.tuning,
        )
    };
    info!(
        relay = %config.relay,
        upstream = %config.upstream,
        device = config.device_name,
        build = config.build,
        "agent starting"
    );
    // Boxed: the session's state is large, and this future only passes through here.
    Box::pin(c2l_agent::run(config, shutdown.cancelled_owned())).await?;
    Ok(())
}

/// A config that permits nothing special.
pub(super) fn config(
    relay: Uri,
    upstream: Uri,
    token: TokenSource,
    device: &DeviceName,
    device_id: [u8; 16],
    tuning: Tuning,
) -> Config {
    Config {
        relay,
        allow_insecure: false,
        ca_file: None,
        skip_verify: false,
        client_certificate: None,
        transport: Transport::Auto,
        proxy: None,
        token,
        device_name: device.as_str().to_owned(),
        device_id,
        build: build_info::build(),
        upstream,
        allow_manage: false,
        max_concurrent_requests: tuning.max_concurrent_requests,
        upstream_connect_timeout: tuning.upstream_connect_timeout,
        load_grace: tuning.load_grace,
        dial_timeout: tuning.dial_timeout,
        drain_grace: tuning.drain_grace,
        backoff_min: tuning.backoff_min,
        backoff_max: tuning.backoff_max,
        healthy_after: tuning.healthy_after,
    }
}

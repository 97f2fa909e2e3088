//! `c2l relay`: the public side, with a signing key of its own.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use c2l_auth::{Issuer, SigningKey, Verifier};
use c2l_relay::{Listeners, Source};
use tracing::{info, warn};

use super::listen;
use crate::{
    build_info,
    public_port::{self, Passed},
    settings::relay::RelaySettings,
    signals,
};

/// Serves until a signal, and then for as long as running answers take.
pub(crate) async fn run(settings: RelaySettings, passed: Option<Passed>) -> anyhow::Result<()> {
    let shutdown = signals::shutdown().context("cannot catch signals")?;
    let key = signing_key(&settings.data_dir)?;
    let mut config = settings.config(verifier(&key, settings.trusted.issuers.clone())?);
    let public;
    (public, config.handover) = public_port::open(&settings, passed).await?;
    let ops = match settings.ops_listen {
        Some(address) => Some(listen(address, "--ops-listen; off does without").await?),
        None => None,
    };
    let address = public
        .local_addr()
        .context("the public port has no address")?;
    let ops_address = ops.as_ref().and_then(|ops| ops.local_addr().ok());
    info!(
        %address,
        ops = ops_address.map(tracing::field::display),
        has_tls = config.tls.is_some(),
        key = key.key_id(),
        issuers = settings.trusted.issuers.len(),
        build = build_info::build(),
        "relay starting"
    );
    for provider in &config.providers {
        let (Source::Discovery(url) | Source::Jwks(url)) = &provider.source;
        info!(issuer = provider.issuer, %url, "tokens of this issuer are accepted; its keys are fetched");
    }
    if config.tls.is_none() && !address.ip().is_loopback() {
        warn!(%address, "clear text: tokens and prompts can be read on the way, unless a proxy in front adds TLS");
    }
    c2l_relay::run(
        config,
        Listeners { public, ops },
        shutdown.cancelled_owned(),
    )
    .await
    .context("the relay failed")
}

/// The relay's own key; made on the first start.
pub(super) fn signing_key(data_dir: &Path) -> anyhow::Result<SigningKey> {
    SigningKey::load_or_create(data_dir).context("no signing key")
}

/// Trusts the relay's own tokens, and those of `others`.
pub(super) fn verifier(key: &SigningKey, others: Vec<Issuer>) -> anyhow::Result<Arc<Verifier>> {
    let issuers = others.into_iter().chain([key.issuer()]).collect();
    Ok(Arc::new(Verifier::new(issuers)?))
}

/// How long a token lives that a running program makes for itself: it is renewed long before.
pub(super) const OWN_TOKEN_TTL: Duration = Duration::from_secs(60 * 60);

//! `c2l relay`: the public side, with a signing key of its own.

use std::{io::IsTerminal as _, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use c2l_auth::{Issuer, KEY_FILE_NAME, OWN_ISSUER, Pepper, SigningKey, Verifier};
use c2l_relay::{Accounts, Listeners, SignInLinks, Source, control::Opening};
use c2l_store::Database;
use tracing::{info, warn};

use super::{listen, paste::from_here};
use crate::{
    build_info, output,
    public_port::{self, Passed},
    settings::{relay::RelaySettings, token::OWNER},
    signals,
};

/// Serves until a signal, and then for as long as running answers take.
pub(crate) async fn run(settings: RelaySettings, passed: Option<Passed>) -> anyhow::Result<()> {
    let shutdown = signals::shutdown().context("cannot catch signals")?;
    let is_new = !settings.data_dir.join(KEY_FILE_NAME).exists();
    let key = Arc::new(signing_key(&settings.data_dir)?);
    let web = settings.web(Arc::clone(&key));
    let links = web.links.clone();
    let mut config = c2l_relay::Config {
        web: Some(web),
        accounts: Some(accounts(&settings.data_dir)?),
        login: Some(settings.login(Arc::clone(&key))),
        ..settings.config(verifier(&key, settings.trusted.issuers.clone())?)
    };
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
    if is_new && settings.trusted.issuers.is_empty() {
        let url = settings.page_url(from_here(address));
        say_next_steps(&settings.data_dir, &url, &links)?;
    }
    let control = door(&settings.data_dir);
    c2l_relay::run(
        config,
        Listeners {
            public,
            ops,
            control,
        },
        shutdown.cancelled_owned(),
    )
    .await
    .context("the relay failed")
}

/// What the owner of a new relay does next: for a person, or in the log.
fn say_next_steps(data_dir: &Path, url: &str, links: &SignInLinks) -> anyhow::Result<()> {
    if !std::io::stdout().is_terminal() {
        info!(
            user = OWNER,
            "a new relay, for one user: `c2l login` on their machine shows a code, `c2l device approve` here lets it in, `c2l key create` makes a key for each program"
        );
        return Ok(());
    }
    let data_dir = data_dir.display();
    // Here alone: a log keeps what it is told.
    let link = links.make(OWN_ISSUER, OWNER);
    let page = SignInLinks::target(&link.context("no random bytes for a link")?);
    let text = format!(
        "\
A new relay, for one user, who is called {OWNER}. What comes next:

  # in a browser: once, and within 15 minutes; `c2l user link` makes another
  {url}{page}

  # on the machine with the models; it shows a code
  c2l login --relay URL && c2l agent

  # here, with that code
  c2l device approve CODE --data-dir {data_dir}

  # for each program that calls them
  c2l key create NAME --data-dir {data_dir} --public-url URL

"
    );
    output::print(&text).context("cannot print")
}

/// The operator's door. Without it the relay runs as well.
#[cfg(unix)]
pub(super) fn door(data_dir: &Path) -> Option<Opening> {
    let data_dir = data_dir.to_owned();
    Some(Opening::new(move || {
        match crate::control::listen(&data_dir) {
            Ok((listener, door)) => Some((listener, Box::new(door))),
            Err(error) => {
                warn!(%error, "no socket for `c2l key` and its like: what they change counts a moment later");
                None
            }
        }
    }))
}

/// There are no Unix sockets here: what commands change counts a moment later.
#[cfg(not(unix))]
pub(super) fn door(_data_dir: &Path) -> Option<Opening> {
    None
}

/// Where keys and revocations are kept; made on the first start.
pub(crate) fn accounts(data_dir: &Path) -> anyhow::Result<Accounts> {
    let pepper = Pepper::load_or_create(data_dir).context("no secret to hash keys with")?;
    let store = Database::open(data_dir).context("no database of keys and revocations")?;
    Ok(Accounts {
        pepper: Arc::new(pepper),
        store: Arc::new(store),
    })
}

/// The relay's own key; made on the first start.
pub(crate) fn signing_key(data_dir: &Path) -> anyhow::Result<SigningKey> {
    SigningKey::load_or_create(data_dir).context("no signing key")
}

/// Trusts the relay's own tokens, and those of `others`.
pub(crate) fn verifier(key: &SigningKey, others: Vec<Issuer>) -> anyhow::Result<Arc<Verifier>> {
    let issuers = others.into_iter().chain([key.issuer()]).collect();
    Ok(Arc::new(Verifier::new(issuers)?))
}

/// How long a token lives that a running program makes for itself: it is renewed long before.
pub(super) const OWN_TOKEN_TTL: Duration = Duration::from_secs(60 * 60);

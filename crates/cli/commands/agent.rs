//! `c2l agent`: the private side.

use std::{convert::Infallible, panic::resume_unwind, sync::Arc};

use anyhow::Context as _;
use c2l_agent::{Agent, Config, Error, Proxy, Refusal, TokenSource};
use c2l_auth::DeviceName;
use http::Uri;
use tokio::task::JoinError;
use tracing::info;
#[cfg(unix)]
use tracing::warn;

#[cfg(unix)]
use crate::face::socket;
use crate::{
    build_info, device,
    face::{About, Face},
    login::source,
    screen::Screen,
    settings::agent::{AgentSettings, Tuning},
    signals,
    token_source::TokenOrigin,
};

/// Keeps a session until a signal, and then for as long as running requests take. Meanwhile a terminal has a status line,
/// and `c2l agent status` is answered.
pub(crate) async fn run(settings: AgentSettings, screen: &Screen) -> anyhow::Result<()> {
    let shutdown = signals::shutdown().context("cannot catch signals")?;
    let device_id = device::load_or_create(&settings.data_dir)?;
    let socket = listen(&settings);
    let is_command = matches!(settings.token, TokenOrigin::Command(_));
    let login = match &settings.token {
        TokenOrigin::Login(login) => Some(login.clone()),
        TokenOrigin::Text(_) | TokenOrigin::File(_) | TokenOrigin::Command(_) => None,
    };
    let mut config = of_settings(settings, device_id);
    if is_command {
        config.token = hiding(screen.clone(), config.token);
    }
    info!(
        relay = %config.relay,
        upstream = %config.upstream,
        device = config.device_name,
        build = config.build,
        "agent starting"
    );
    let about = About {
        device: config.device_name.clone(),
        relay: config.relay.to_string(),
        upstream: config.upstream.to_string(),
        proxy: config.proxy.as_ref().map(Proxy::address),
    };
    let (agent, status) = Agent::new(config)?;
    let face = Face::of(&agent, status, about);
    // A task of its own: the runtime asks the system for news before each look at the future that it was started with, and
    // messages are not to pay for that. Boxed, since the session's state is large.
    let running = tokio::spawn(Box::pin(agent.run(shutdown.cancelled_owned())));
    // The face goes when the agent has ended: its futures may be dropped at any point.
    let result = tokio::select! {
        result = running => match result.map_err(JoinError::try_into_panic) {
            Ok(result) => result,
            Err(Ok(panic)) => resume_unwind(panic),
            Err(Err(ended)) => return Err(ended.into()),
        },
        never = answer(socket, &face) => match never {},
        never = face.clone().draw(screen) => match never {},
    };
    match (result, login) {
        (
            Err(
                error @ Error::Refused {
                    refusal: Refusal::Unauthenticated,
                    ..
                },
            ),
            Some(login),
        ) => {
            // It may be this one token that was revoked, and not the login: the next start finds out.
            source::drop_token(&login).await;
            Err(anyhow::Error::from(error).context(format!("start again, or {}", source::LOG_IN)))
        }
        (result, _) => Ok(result?),
    }
}

/// The socket of `c2l agent status`. An agent without one does its work as well.
#[cfg(unix)]
fn listen(settings: &AgentSettings) -> Option<socket::Listening> {
    let device = settings.device.as_str();
    let places = socket::places(device, settings.runtime_dir.as_deref(), &settings.data_dir);
    socket::Listening::at(&places)
        .inspect_err(|error| warn!(%error, "`c2l agent status` will find no socket"))
        .ok()
}

#[cfg(unix)]
async fn answer(socket: Option<socket::Listening>, face: &Face) -> Infallible {
    match socket {
        Some(socket) => socket.answer(face).await,
        None => std::future::pending().await,
    }
}

#[cfg(not(unix))]
fn listen(_settings: &AgentSettings) {}

#[cfg(not(unix))]
async fn answer(_socket: (), _face: &Face) -> Infallible {
    std::future::pending().await
}

/// A command may ask something on the terminal: meanwhile there is no status line.
fn hiding(screen: Screen, source: TokenSource) -> TokenSource {
    Arc::new(move || {
        let hidden = screen.hide();
        let fetching = source();
        Box::pin(async move {
            let token = fetching.await;
            drop(hidden);
            token
        })
    })
}

/// What the settings say.
pub(super) fn of_settings(settings: AgentSettings, device_id: [u8; 16]) -> Config {
    let origin = settings.token;
    let never = Arc::new(|| Box::pin(std::future::pending()) as _);
    let mut config = Config {
        allow_manage: settings.allow_manage,
        policy: settings.policy,
        allow_insecure: settings.allow_insecure,
        ca_file: settings.ca_file,
        skip_verify: settings.skip_verify,
        client_certificate: settings.client_certificate,
        transport: settings.transport,
        proxy: settings.proxy,
        ..config(
            settings.relay,
            settings.upstream,
            never,
            &settings.device,
            device_id,
            settings.tuning,
        )
    };
    config.token = origin.into_source(&config);
    config
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
        build: build_info::build(),
        upstream,
        max_concurrent_requests: tuning.max_concurrent_requests,
        upstream_connect_timeout: tuning.upstream_connect_timeout,
        load_grace: tuning.load_grace,
        dial_timeout: tuning.dial_timeout,
        drain_grace: tuning.drain_grace,
        backoff_min: tuning.backoff_min,
        backoff_max: tuning.backoff_max,
        healthy_after: tuning.healthy_after,
        ..Config::new(relay, token, device.as_str().to_owned(), device_id)
    }
}

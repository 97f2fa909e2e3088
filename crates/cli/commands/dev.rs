//! `c2l dev`: relay and agent in one process, over a real loopback connection, with keys made on the way.
//!
//! Invariant: what is printed on stdout works at that moment. The block comes after a request has gone all the way
//! through relay and agent to the upstream.
//!
//! 1. The relay's port is bound, and the upstream looked for; where none was chosen and none is there, the demonstration
//!    model starts.
//! 2. Relay and agent run side by side; the agent's token is issued anew whenever it asks.
//! 3. `announce` waits until a request passes, then prints.
//! 4. A signal ends both in order; the demonstration model goes last.

use std::{
    env,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use c2l_agent::{Agent, Status, TokenError, TokenSource};
use c2l_auth::{DeviceName, Kind, OWN_ISSUER, Scope, Scopes, Secret, SigningKey, TokenRequest};
use c2l_demo::{Demo, DemoConfig, MODEL};
use c2l_relay::{Listeners, LoginConfig, SignInLinks, WebConfig};
use http::{StatusCode, Uri};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    agent, listen,
    paste::{Paste, local_url},
    probe::{self, Model},
    relay,
};
use crate::{
    device, output,
    settings::{agent::default_tuning, dev::DevSettings},
    signals,
};

/// How long the printed key is good for.
const API_KEY_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long everything may take to come up.
const START_LIMIT: Duration = Duration::from_secs(20);

/// What the example asks for where nobody can be asked what there is.
const LIKELY_MODEL: &str = "llama3.2";

/// Between two looks at whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Runs until a signal.
pub(crate) async fn run(settings: DevSettings) -> anyhow::Result<()> {
    let stop = signals::shutdown().context("cannot catch signals")?;
    let key = Arc::new(relay::signing_key(&settings.data_dir)?);
    let public = listen(settings.listen, "--listen").await?;
    let mut demo = Demonstration::default();
    let upstream = Upstream::find(&settings, &mut demo).await?;
    let result = Box::pin(together(&settings, &key, public, upstream, &stop)).await;
    demo.end().await;
    result
}

/// Relay, agent and announcement side by side; the failure of one is the end of all.
async fn together(
    settings: &DevSettings,
    key: &Arc<SigningKey>,
    public: TcpListener,
    upstream: Upstream,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let address = public
        .local_addr()
        .context("the relay's port has no address")?;
    let identity = Identity::new(Arc::clone(key), settings.allow_manage);
    let (agent, status) = new_agent(settings, address, &upstream.uri, identity.agent_tokens())?;
    let listeners = Listeners {
        public: public.into(),
        ops: None,
        control: relay::door(&settings.data_dir),
    };
    let web = WebConfig::new(Arc::clone(key));
    let links = web.links.clone();
    let config = c2l_relay::Config {
        login: Some(LoginConfig::new(Arc::clone(key))),
        web: Some(web),
        accounts: Some(relay::accounts(&settings.data_dir)?),
        build: crate::build_info::build(),
        ..c2l_relay::Config::new(relay::verifier(key, Vec::new())?)
    };
    let relay = async {
        c2l_relay::run(config, listeners, stop.clone().cancelled_owned())
            .await
            .context("the relay failed")
    };
    let agent = async {
        agent
            .run(stop.cancelled())
            .await
            .context("the agent failed")
    };
    let announcement = announce(&identity, &links, address, upstream, status);
    let announcement = async {
        tokio::select! {
            result = announcement => result,
            () = stop.cancelled() => Ok(()),
        }
    };
    tokio::try_join!(relay, agent, announcement)?;
    Ok(())
}

fn new_agent(
    settings: &DevSettings,
    relay: SocketAddr,
    upstream: &Uri,
    token: TokenSource,
) -> anyhow::Result<(Agent, watch::Receiver<Status>)> {
    let relay: Uri = local_url(relay).parse().context("no URL for the relay")?;
    let name = DeviceName::parse("dev").context("no name for the device")?;
    let device_id = device::load_or_create(&settings.data_dir)?;
    let config = c2l_agent::Config {
        allow_manage: settings.allow_manage,
        policy: c2l_agent::Policy {
            allow_cloud_models: settings.allow_cloud_models,
            ..c2l_agent::Policy::default()
        },
        allow_insecure: true, // --listen may be an address of this machine that is not loopback
        ..agent::config(
            relay,
            upstream.clone(),
            token,
            &name,
            device_id,
            default_tuning(),
        )
    };
    Ok(Agent::new(config)?)
}

/// Waits until a request passes all the way, then prints the block.
async fn announce(
    identity: &Identity,
    links: &SignInLinks,
    address: SocketAddr,
    upstream: Upstream,
    status: watch::Receiver<Status>,
) -> anyhow::Result<()> {
    let key = identity.issue(Kind::Api, API_KEY_TTL)?;
    let relay = local_url(address);
    timeout(START_LIMIT, ready(&relay, &key, status))
        .await
        .context("relay and agent did not come together in time; --log-level debug tells more")??;
    let link = links.make(OWN_ISSUER, &identity.user);
    let link = link.context("no random bytes for a link")?;
    let paste = Paste {
        sign_in: SignInLinks::target(&link),
        relay,
        upstream: upstream.line,
        key: &key,
        model: upstream.model,
    };
    output::print(&paste.render()).context("cannot print")
}

async fn ready(
    relay: &str,
    key: &Secret,
    mut status: watch::Receiver<Status>,
) -> anyhow::Result<()> {
    // An error is an agent that has ended, and its own result says why.
    let opened = status
        .wait_for(|status| matches!(status, Status::Open { .. }))
        .await
        .is_ok();
    if !opened {
        return std::future::pending().await;
    }
    let base: Uri = relay.parse().context("no URL for the relay")?;
    let path = format!("/k/{}/api/version", key.expose());
    loop {
        match probe::get(&base, &path, START_LIMIT).await {
            Ok((status, _)) if status != StatusCode::SERVICE_UNAVAILABLE => return Ok(()),
            Ok(_) | Err(_) => sleep(LOOK_AGAIN).await,
        }
    }
}

/// Whose tokens they are, and what they allow.
struct Identity {
    key: Arc<SigningKey>,
    user: String,
    scopes: Scopes,
}

impl Identity {
    fn new(key: Arc<SigningKey>, allow_manage: bool) -> Self {
        let scopes = if allow_manage {
            Scopes::INFER.with(Scope::Manage)
        } else {
            Scopes::INFER
        };
        let user = ["USER", "USERNAME"]
            .iter()
            .find_map(|name| env::var(name).ok())
            .filter(|name| !name.is_empty() && name.len() <= 64)
            .filter(|name| !name.chars().any(char::is_control))
            .unwrap_or_else(|| "owner".to_owned());
        Self { key, user, scopes }
    }

    fn issue(&self, kind: Kind, ttl: Duration) -> anyhow::Result<Secret> {
        let request = TokenRequest {
            user: self.user.clone(),
            kind,
            scopes: self.scopes,
            ttl,
            device: None,
        };
        self.key
            .issue(&request, SystemTime::now())
            .context("cannot issue a token")
    }

    /// A fresh token each time.
    fn agent_tokens(&self) -> TokenSource {
        let identity = Arc::new(Self {
            key: Arc::clone(&self.key),
            user: self.user.clone(),
            scopes: self.scopes,
        });
        Arc::new(move || {
            let token = identity.issue(Kind::Agent, relay::OWN_TOKEN_TTL);
            let token = token
                .map(|token| token.expose().to_owned())
                .map_err(|error| TokenError::new(format!("{error:#}")));
            Box::pin(std::future::ready(token))
        })
    }
}

/// Where requests go, and what to say of it.
#[derive(Debug)]
struct Upstream {
    uri: Uri,
    line: String,
    model: Model,
}

impl Upstream {
    /// What answers where it is wanted, or will once it is started there. Where nobody chose the place and nothing
    /// answers, or where it was asked for, the demonstration model, which `demo` then holds.
    async fn find(settings: &DevSettings, demo: &mut Demonstration) -> anyhow::Result<Self> {
        let wanted = &settings.upstream;
        let shown = wanted.to_string();
        let shown = shown.trim_end_matches('/');
        if settings.is_demo {
            let instead = format!("as asked for, instead of {shown}");
            let is_given = settings.is_upstream_given;
            let why = if is_given { &instead } else { "as asked for" };
            return Self::demonstration(demo, why).await;
        }
        if let Some(found) = probe::upstream(wanted).await {
            let product = found.product.map(|product| format!(" ({product})"));
            return Ok(Self {
                uri: wanted.clone(),
                line: format!("{shown}{}", product.unwrap_or_default()),
                model: found.model.unwrap_or_else(tiny),
            });
        }
        if settings.is_upstream_given {
            return Ok(Self {
                uri: wanted.clone(),
                line: format!("{shown}, where nothing answers yet: start it"),
                model: Model::Ollama(LIKELY_MODEL.to_owned()),
            });
        }
        Self::demonstration(demo, &format!("nothing answered at {shown}")).await
    }

    async fn demonstration(demo: &mut Demonstration, why: &str) -> anyhow::Result<Self> {
        Ok(Self {
            uri: demo.start().await?,
            line: format!("built-in demonstration model: {why}"),
            model: tiny(),
        })
    }
}

/// The demonstration model's name; also a guess where what answers tells of none.
fn tiny() -> Model {
    Model::Ollama(MODEL.to_owned())
}

/// The demonstration model while it runs; none at first.
#[derive(Default)]
struct Demonstration {
    stop: CancellationToken,
    serving: JoinSet<()>,
}

impl Demonstration {
    async fn start(&mut self) -> anyhow::Result<Uri> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("no port for the demonstration model")?;
        let address = listener.local_addr()?;
        let demo = Demo::new(DemoConfig {
            recorded_requests: 0, // nobody asks, and prompts are not to be kept
            ..DemoConfig::default()
        });
        let stop = self.stop.clone();
        self.serving
            .spawn(async move { demo.serve(listener, stop).await });
        Ok(format!("http://{address}").parse()?)
    }

    async fn end(mut self) {
        self.stop.cancel();
        while self.serving.join_next().await.is_some() {}
    }
}

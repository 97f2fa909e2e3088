//! A real relay on port 0.

use std::{net::SocketAddr, sync::Arc};

use c2l_auth::{SigningKey, Verifier};
use c2l_relay::{Config, Listeners, RateLimits, WebConfig};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    Caller, PATIENCE, TestTransport,
    certificates::Authority,
    door::Door,
    eventually,
    tokens::{self, Token},
    within,
};

/// A running relay. Dropping it cuts everything; [`TestRelay::shut_down`] drains it.
#[derive(Debug)]
pub struct TestRelay {
    address: SocketAddr,
    ops_address: SocketAddr,
    key: Arc<SigningKey>,
    shutdown: CancellationToken,
    task: Option<JoinHandle<()>>,
    /// Where callers in clear come in, when the relay serves TLS.
    door: Option<Door>,
    _guard: DropGuard,
}

impl TestRelay {
    /// A relay with the defaults.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A relay with a changed configuration.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_on("127.0.0.1:0", Arc::new(ephemeral_key()), change).await
    }

    /// A relay whose configuration needs the key that signs its tokens.
    pub async fn start_with_key(change: impl FnOnce(&mut Config, Arc<SigningKey>)) -> Self {
        let key = Arc::new(ephemeral_key());
        let own = Arc::clone(&key);
        Self::start_on("127.0.0.1:0", key, |config| change(config, own)).await
    }

    /// A relay on a plain port whatever the transport of this run is, for tests that are about the port itself.
    /// `reason` is for the reader.
    ///
    /// # Panics
    /// Without a reason.
    pub async fn start_plain(reason: &str, change: impl FnOnce(&mut Config)) -> Self {
        assert!(!reason.is_empty(), "why is it about the plain port?");
        let key = Arc::new(ephemeral_key());
        Self::start_as("127.0.0.1:0", key, change, false).await
    }

    /// A relay at this address with this key: one that comes back after another.
    ///
    /// # Panics
    /// When the address cannot be had.
    pub async fn start_on(
        address: &str,
        key: Arc<SigningKey>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let is_tls = TestTransport::of_this_run().is_tls();
        Self::start_as(address, key, change, is_tls).await
    }

    async fn start_as(
        address: &str,
        key: Arc<SigningKey>,
        change: impl FnOnce(&mut Config),
        is_tls: bool,
    ) -> Self {
        let verifier = Verifier::new(vec![key.issuer()]).expect("a valid issuer");
        let mut config = Config::new(Arc::new(verifier));
        config.has_panic_hook = true;
        config.web = Some(WebConfig::new(Arc::clone(&key)));
        config.rates = RateLimits::off(); // all that a test does comes from one address; tests of limits set their own
        if is_tls {
            let names = ["127.0.0.1", "localhost"];
            let certificate = Authority::of_this_process().issue(&names);
            config.tls = Some(certificate.server(&[b"h2", b"http/1.1"]));
        }
        change(&mut config);
        let outer = TcpListener::bind(address)
            .await
            .expect("the public address");
        let address = outer.local_addr().expect("an address");
        let (public, door) = if is_tls {
            let inner = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let relay = inner.local_addr().expect("an address");
            (inner, Some(Door::start(outer, relay)))
        } else {
            (outer, None)
        };
        let ops = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let ops_address = ops.local_addr().expect("an address");
        let shutdown = CancellationToken::new();
        let listeners = Listeners {
            public: public.into(),
            ops: Some(ops),
            control: None,
        };
        let until = shutdown.clone().cancelled_owned();
        let task = tokio::spawn(async move {
            c2l_relay::run(config, listeners, until)
                .await
                .expect("a relay that runs");
        });
        Self {
            address,
            ops_address,
            key,
            _guard: shutdown.clone().drop_guard(),
            shutdown,
            task: Some(task),
            door,
        }
    }

    /// The public address: callers may speak clear text there, and agents what [`TestRelay::url`] says.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The operators' address.
    #[must_use]
    pub fn ops_address(&self) -> SocketAddr {
        self.ops_address
    }

    /// What agents are told: `http://…` or `https://…`, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_through(self.address)
    }

    /// The same for agents that reach it through something at this address.
    #[must_use]
    pub fn url_through(&self, address: SocketAddr) -> String {
        let scheme = if self.door.is_some() { "https" } else { "http" };
        format!("{scheme}://{address}")
    }

    /// The key that signs its tokens.
    #[must_use]
    pub fn key(&self) -> Arc<SigningKey> {
        Arc::clone(&self.key)
    }

    /// Signs a token.
    #[must_use]
    pub fn sign(&self, token: &Token) -> String {
        token.signed_by(&self.key)
    }

    /// A token for calling models.
    #[must_use]
    pub fn api_token(&self, user: &str) -> String {
        self.sign(&tokens::api(user))
    }

    /// A token for opening a session.
    #[must_use]
    pub fn agent_token(&self, user: &str) -> String {
        self.sign(&tokens::agent(user))
    }

    /// What the operators' port says of this counter or gauge.
    ///
    /// # Panics
    /// When it has none of this name.
    pub async fn metric(&self, name: &str) -> u64 {
        let page = Caller::anonymous(self.ops_address).get("/metrics").await;
        let page = page.text().await;
        let value = page.lines().find_map(|line| {
            let (said, value) = line.rsplit_once(' ')?;
            (said == name).then(|| value.parse().ok())?
        });
        value.unwrap_or_else(|| panic!("no {name} in {page}"))
    }

    /// Waits until this gauge has this value. The clean-up behind an exchange is announced to nobody.
    ///
    /// # Panics
    /// When it has another one for too long.
    pub async fn metric_becomes(&self, name: &str, wanted: u64) {
        let what = format!("{name} becomes {wanted}");
        eventually(PATIENCE, &what, async || {
            (self.metric(name).await == wanted).then_some(())
        })
        .await;
    }

    /// Begins the shutdown without waiting for it.
    pub fn begin_shutdown(&self) {
        self.shutdown.cancel();
    }

    /// Waits until a shutdown that has begun is over.
    ///
    /// # Panics
    /// When the relay takes too long, or panicked.
    pub async fn stopped(&mut self) {
        if let Some(task) = self.task.take() {
            within(4 * PATIENCE, "the relay stops", task)
                .await
                .expect("a relay that did not panic");
        }
        if let Some(door) = &self.door {
            door.close();
        }
    }

    /// Drains it and waits for its end.
    pub async fn shut_down(mut self) {
        self.begin_shutdown();
        self.stopped().await;
    }

    /// Ends it as a crash would: its tasks are dropped where they stand.
    pub async fn kill(mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // The abort is what was asked for.
            drop(task.await);
        }
    }
}

fn ephemeral_key() -> SigningKey {
    SigningKey::ephemeral().expect("random numbers")
}

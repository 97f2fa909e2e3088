//! Upstreams: the demonstration model with its switches, and raw sockets for what no HTTP library would send.

use std::{future::Future, net::SocketAddr, time::Duration};

use c2l_demo::{Counters, Demo, DemoConfig};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::PATIENCE;

/// A running demonstration model. It ends with this value.
#[derive(Debug)]
pub struct TestUpstream {
    /// Its configuration, what it recorded and its counters.
    pub demo: Demo,
    address: SocketAddr,
    _guard: DropGuard,
    _task: JoinHandle<()>,
}

impl TestUpstream {
    /// One that answers without pauses.
    pub async fn start() -> Self {
        Self::named("tiny").await
    }

    /// One that says this name in what it echoes.
    pub async fn named(name: &str) -> Self {
        Self::start_with(|config| config.name = name.to_owned()).await
    }

    /// One with a changed configuration.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start_with(change: impl FnOnce(&mut DemoConfig)) -> Self {
        let mut config = DemoConfig {
            line_interval: Duration::ZERO,
            ..DemoConfig::default()
        };
        change(&mut config);
        let demo = Demo::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shutdown = CancellationToken::new();
        let task = {
            let (demo, shutdown) = (demo.clone(), shutdown.clone());
            tokio::spawn(async move { demo.serve(listener, shutdown).await })
        };
        Self {
            demo,
            address,
            _guard: shutdown.drop_guard(),
            _task: task,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for its counters to say something.
    pub async fn wait_for(&self, what: &str, condition: impl FnMut(&Counters) -> bool) -> Counters {
        self.demo.wait_for(what, condition, PATIENCE).await
    }
}

/// An upstream that is one closure over a raw socket, run for each connection.
#[derive(Debug)]
pub struct RawUpstream {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl RawUpstream {
    /// Listens on port 0.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start<F, Fut>(serve: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream));
            }
        });
        Self { address, task }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

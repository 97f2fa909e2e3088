//! Connections to the one upstream: made when needed, kept for a while, used again when they are certainly clean.
//!
//! Invariant: a connection comes back only when its exchange has ended cleanly in both directions, so the next answer on
//! it is the next request's. There is no task behind a connection: whoever holds it moves it, and dropping it closes it.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use c2l_tunnel::{Fault, Kind, Origin};
use http::{HeaderValue, Request, Response, Uri};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use super::body::RequestBody;
use crate::{
    config::{self, Config},
    error::Error,
};

/// How long a connection is kept without use.
const IDLE_LIMIT: Duration = Duration::from_secs(30);
/// Most bytes read ahead of, or queued for, one exchange.
const BUFFER_BYTES: usize = 128 * 1024;
/// Most bytes of an answer's head; what the tunnel takes is twice this.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// What waits for the head of an answer. It belongs to no borrow, so it can outlive the exchange.
pub(super) type PendingAnswer = Pin<Box<dyn Future<Output = SendResult> + Send>>;
pub(super) type SendResult = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

/// The one upstream and the idle connections to it.
#[derive(Debug)]
pub(super) struct Pool {
    host: String,
    port: u16,
    /// What the upstream is told it is called.
    pub(super) authority: HeaderValue,
    /// What callers are told about where it is: nothing, unless it is on the agent's own machine.
    place: String,
    connect_timeout: Duration,
    most_idle: usize,
    idle: Mutex<Vec<Idle>>,
    has_idle: Notify,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pool {
    pub(super) fn new(config: &Config) -> Result<Self, Error> {
        let upstream = &config.upstream;
        let port = config::port(upstream);
        Ok(Self {
            host: config::host(upstream).to_owned(),
            port,
            authority: authority(upstream)?,
            place: place(upstream),
            connect_timeout: config.upstream_connect_timeout,
            // As many as can have been in use at once: a burst that ends does not tear down what the next one needs.
            most_idle: config.max_concurrent_requests,
            idle: Mutex::new(Vec::new()),
            has_idle: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that is still open: the one used last, or a new one. Dropping the future closes what is half open.
    ///
    /// # Errors
    /// When the upstream cannot be reached.
    pub(super) async fn connection(&self) -> Result<Connection, Fault> {
        while let Some(mut connection) = self.take_idle() {
            connection.look_again().await;
            if connection.is_ready() {
                return Ok(connection);
            }
        }
        self.connect().await
    }

    /// The connection used last: what is used least runs into its limit. Nobody has looked at it since. If the upstream
    /// has closed it, or has said something unasked, a request comes back unsent: HTTP/1 reads before it writes.
    pub(super) fn take_idle(&self) -> Option<Connection> {
        let mut connection = self.lock().pop()?.connection;
        connection.is_reused = true;
        Some(connection)
    }

    /// A new connection. Dropping the future closes what is half open.
    ///
    /// # Errors
    /// When the upstream cannot be reached.
    pub(super) async fn connect(&self) -> Result<Connection, Fault> {
        let limit = self.connect_timeout;
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        let stream = match timeout(limit, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(self.unreachable(&error)),
            Err(_) => {
                return Err(self.unreachable_because(&format!(
                    "no connection within {limit:?} (limit: upstream connect)"
                )));
            }
        };
        stream.set_nodelay(true).map_err(|e| self.unreachable(&e))?;
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(BUFFER_BYTES)
            .max_header_size(MAX_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| self.unreachable_because("the connection broke at once"))?;
        Ok(Connection {
            sender,
            driver: Some(Box::new(driver)),
            is_reused: false,
        })
    }

    /// Takes back a connection after its exchange. One that is not clean is closed.
    pub(super) fn give_back(&self, connection: Connection) {
        if !connection.is_ready() {
            return;
        }
        let since = Instant::now();
        let mut idle = self.lock();
        if idle.len() < self.most_idle {
            idle.push(Idle { connection, since });
        }
        if idle.len() == 1 {
            self.has_idle.notify_one();
        }
    }

    /// Closes connections that nobody has used for a while; runs as long as the agent does.
    pub(super) async fn expire_idle(&self) -> Infallible {
        loop {
            let oldest = self.lock().first().map(|idle| idle.since);
            match oldest {
                None => self.has_idle.notified().await,
                Some(since) => {
                    sleep_until(since + IDLE_LIMIT).await;
                    self.drop_unused(Instant::now());
                }
            }
        }
    }

    fn drop_unused(&self, now: Instant) {
        let mut idle = self.lock();
        // The oldest stand first.
        let expired = idle.partition_point(|idle| idle.since + IDLE_LIMIT <= now);
        let closing: Vec<_> = idle.drain(..expired).collect();
        drop(idle);
        drop(closing);
    }

    pub(super) fn close_idle(&self) {
        let closing = std::mem::take(&mut *self.lock());
        drop(closing);
    }

    #[cfg(test)]
    pub(super) fn idle_count(&self) -> usize {
        self.lock().len()
    }

    fn unreachable(&self, error: &io::Error) -> Fault {
        self.unreachable_because(&error.kind().to_string())
    }

    fn unreachable_because(&self, why: &str) -> Fault {
        let message = format!(
            "no answer from Ollama{}: {why}; start it with `ollama serve`",
            self.place
        );
        Fault::new(Kind::UpstreamUnreachable, Origin::Upstream, message).retry_safe()
    }
}

/// Ollama on loopback answers 403 to a `Host` that is not a name of this machine.
fn authority(upstream: &Uri) -> Result<HeaderValue, Error> {
    let text = if config::is_loopback(upstream) {
        format!("localhost:{}", config::port(upstream))
    } else {
        upstream
            .authority()
            .map(ToString::to_string)
            .unwrap_or_default()
    };
    HeaderValue::try_from(text).map_err(|_| Error::Config {
        problems: vec!["upstream: its name cannot stand in a Host field".to_owned()],
    })
}

fn place(upstream: &Uri) -> String {
    if config::is_loopback(upstream) {
        let text = upstream.to_string();
        format!(" at {}", text.trim_end_matches('/'))
    } else {
        String::new()
    }
}

/// One connection to the upstream, and the state of HTTP/1 on it.
#[derive(Debug)]
pub(super) struct Connection {
    sender: http1::SendRequest<RequestBody>,
    /// `None` once it has ended.
    driver: Option<Box<http1::Connection<TokioIo<TcpStream>, RequestBody>>>,
    /// True when it has carried an exchange before: the upstream may be closing it this very moment.
    pub(super) is_reused: bool,
}

impl Connection {
    /// Reads and writes what can be. How it ends is seen by whoever waits for the answer.
    pub(super) fn poll_move(&mut self, cx: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && Pin::new(&mut **driver).poll(cx).is_ready()
        {
            self.driver = None;
        }
    }

    /// Sees the end of the answer, too, and whether anything stands behind it, where that did not come with its last
    /// piece. Does not wait.
    pub(super) async fn look_behind_the_answer(&mut self) {
        if !self.is_ready() {
            self.look_again().await;
        }
    }

    async fn look_again(&mut self) {
        poll_fn(|cx| {
            self.poll_move(cx);
            Poll::Ready(())
        })
        .await;
    }

    /// Queues a request; [`Self::poll_move`] writes it.
    pub(super) fn send(&mut self, request: Request<RequestBody>) -> PendingAnswer {
        Box::pin(self.sender.try_send_request(request))
    }

    /// True when both directions of the last exchange are over and nothing but a request can come next.
    fn is_ready(&self) -> bool {
        self.driver.is_some() && self.sender.is_ready()
    }
}

//! Reaches the relay: proxy, TCP, TLS, WebSocket, HTTP/2, and the gRPC stub on top.
//!
//! Invariant: a relay that is not verified gets no byte of ours beyond the TLS handshake. [`Dialer::dial`] is the seam:
//! whatever byte stream it returns, the same HTTP/2 runs over it, so a proxy or a WebSocket changes nothing above.

mod proxy;
mod tls;
pub(crate) mod ways;
mod websocket;

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use c2l_proto::tunnel::tunnel_service_client::TunnelServiceClient;
use http::{StatusCode, header};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tracing::{Instrument as _, debug, warn};

use self::{proxy::Proxied, tls::Connectors, ways::Ways};
pub use self::{
    proxy::{InvalidProxy, Proxy, ProxyKind},
    ways::{Transport, Way},
};
use crate::{
    config::{self, Config},
    error::{DialError, Error},
};

/// Most bytes of one message of the relay's. Its batches stay far below.
const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// Sized so that the credit of streams binds before any HTTP/2 window does.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Two full pieces of body in one frame: smaller ones cost a third of the throughput.
const MAX_FRAME_BYTES: u32 = 128 * 1024;
const SEND_BUFFER_BYTES: usize = 256 * 1024;
const MAX_HEADER_LIST_BYTES: u32 = 16 * 1024;
/// How long one attempt to connect may take before a fresh one is made.
const CONNECT_SLICE: Duration = Duration::from_secs(2);
/// How long the system keeps sending what nobody acknowledges before it gives the connection up: two heartbeats.
const UNACKNOWLEDGED_LIMIT: Duration = Duration::from_secs(20);

/// The bytes to and from the relay, whatever they go through.
type ByteStream = Box<dyn Bidirectional>;

trait Bidirectional: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bidirectional for T {}

/// Reaches one relay, again and again.
pub(crate) struct Dialer {
    /// `None` for a relay in clear.
    tls: Option<Connectors>,
    pub(crate) ways: Ways,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer")
            .field("ways", &self.ways)
            .finish_non_exhaustive()
    }
}

/// A connection to the relay, ready for the one call.
pub(crate) struct Connected {
    pub(crate) client: TunnelServiceClient<Http2>,
    pub(crate) tasks: Tasks,
}

impl Dialer {
    /// Loads the trusted roots, if the relay is one to be verified.
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let tls = if config::is_https(&config.relay) {
            Some(Connectors::new(config)?)
        } else {
            None
        };
        Ok(Self {
            tls,
            ways: Ways::new(config.transport),
        })
    }

    /// Opens the byte stream that HTTP/2 runs over. The caller sets the time limit; dropping the future closes what is
    /// half open.
    async fn dial(
        &self,
        config: &Config,
        way: Way,
        token: &str,
        tasks: &Tasks,
    ) -> Result<ByteStream, DialError> {
        let plain = reach(config, tasks).await?;
        let stream = match &self.tls {
            None => plain,
            Some(connectors) => {
                if config.skip_verify {
                    warn!(
                        "the relay's certificate is not verified: whoever is on the way can read and change everything"
                    );
                }
                encrypt(connectors, config, way, plain).await?
            }
        };
        match way {
            Way::Grpc => Ok(stream),
            Way::WebSocket => {
                let bridged = websocket::upgrade(stream, config, token, tasks).await?;
                Ok(Box::new(bridged))
            }
        }
    }

    /// Dials and starts HTTP/2. The caller sets the time limit; dropping the result ends the connection.
    pub(crate) async fn connect(
        &self,
        config: &Config,
        way: Way,
        token: &str,
    ) -> Result<Connected, DialError> {
        let tasks = Tasks::new();
        let stream = self.dial(config, way, token, &tasks).await?;
        let (sender, connection) = http2::Builder::new(tasks.executor.clone())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(MAX_FRAME_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_header_list_size(MAX_HEADER_LIST_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(DialError::Http2)?;
        tasks.spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "connection to the relay ended");
            }
        });
        let client = TunnelServiceClient::with_origin(Http2(sender), config.relay.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Connected { client, tasks })
    }
}

impl Dialer {
    /// Waits until the first hop, the relay or the proxy, can be reached after it could not be. Nothing is said there.
    pub(crate) async fn way_returns(&self, config: &Config) {
        let (host, port) = match &config.proxy {
            Some(proxy) => proxy.place(),
            None => (config::host(&config.relay), config::port(&config.relay)),
        };
        let mut was_closed = false;
        loop {
            let looked_at = Instant::now();
            let is_open = matches!(
                timeout(CONNECT_SLICE, TcpStream::connect((host, port))).await,
                Ok(Ok(_))
            );
            if is_open && was_closed {
                return;
            }
            was_closed |= !is_open;
            sleep_until(looked_at + CONNECT_SLICE).await;
        }
    }
}

/// Connects with a fresh attempt every so often: when a dead path comes back, the system's own next try may be many
/// seconds away. The caller sets the time limit.
async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    loop {
        if let Ok(connected) = timeout(CONNECT_SLICE, TcpStream::connect((host, port))).await {
            let stream = connected?;
            // Tokens are small and must not wait for one another.
            stream.set_nodelay(true)?;
            give_up_unacknowledged(&stream);
            return Ok(stream);
        }
    }
}

/// A connection to the relay's address, through the proxy if there is one.
async fn reach(config: &Config, tasks: &Tasks) -> Result<ByteStream, DialError> {
    let (host, port) = (config::host(&config.relay), config::port(&config.relay));
    if let Some(proxy) = &config.proxy {
        return Ok(match proxy::connect(proxy, host, port, tasks).await? {
            Proxied::Http(stream) => Box::new(stream),
            Proxied::Socks(stream) => Box::new(stream),
        });
    }
    let stream = connect(host, port).await.map_err(DialError::Connect)?;
    Ok(Box::new(stream))
}

/// A dead path is noticed by the heartbeats; this makes the system notice as well, where it can.
fn give_up_unacknowledged(stream: &TcpStream) {
    #[cfg(target_os = "linux")]
    if let Err(error) =
        socket2::SockRef::from(stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED_LIMIT))
    {
        debug!(%error, "no limit on what is not acknowledged");
    }
    #[cfg(not(target_os = "linux"))]
    drop((stream, UNACKNOWLEDGED_LIMIT));
}

async fn encrypt(
    connectors: &Connectors,
    config: &Config,
    way: Way,
    plain: ByteStream,
) -> Result<ByteStream, DialError> {
    let host = config::host(&config.relay).to_owned();
    let name = ServerName::try_from(host).map_err(|_| DialError::Name)?;
    let connector = match way {
        Way::Grpc => &connectors.http2,
        Way::WebSocket => &connectors.http1,
    };
    let stream = connector
        .connect(name, plain)
        .await
        .map_err(DialError::Tls)?;
    if way == Way::Grpc && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(DialError::NoHttp2);
    }
    Ok(Box::new(stream))
}

/// The HTTP/2 connection as the service that the gRPC stub calls.
#[derive(Clone, Debug)]
pub(crate) struct Http2(http2::SendRequest<tonic::body::Body>);

impl tower_service::Service<http::Request<tonic::body::Body>> for Http2 {
    type Response = http::Response<Incoming>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx).map_err(DialError::Http2)
    }

    /// An answer that is not gRPC is not the relay's: something on the way has spoken, and its 401 or 403 must not be
    /// taken for the relay's word.
    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let answer = self.0.send_request(request);
        Box::pin(async move {
            let answer = answer.await.map_err(DialError::Http2)?;
            let content_type = answer.headers().get(header::CONTENT_TYPE);
            let is_grpc = answer.status() == StatusCode::OK
                && content_type
                    .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
            if is_grpc {
                Ok(answer)
            } else {
                Err(DialError::Blocked {
                    status: answer.status(),
                    said: String::new(),
                })
            }
        })
    }
}

/// The tasks of one connection. They end with it, and dropping this cuts them.
pub(crate) struct Tasks {
    executor: Executor,
    _cut_on_drop: DropGuard,
}

impl Tasks {
    fn new() -> Self {
        let executor = Executor {
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let guard = executor.stop.clone().drop_guard();
        Self {
            executor,
            _cut_on_drop: guard,
        }
    }

    /// Adds a task that ends with the connection.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.executor.spawn(task);
    }

    /// Waits for the connection to end by itself, at most this long, then cuts it and waits for that.
    pub(crate) async fn end_within(self, grace: Duration) {
        let Executor { tracker, stop } = &self.executor;
        tracker.close();
        if tokio::time::timeout(grace, tracker.wait()).await.is_err() {
            stop.cancel();
            tracker.wait().await;
        }
    }
}

/// Spawns what HTTP/2 needs so that it has an owner.
#[derive(Clone)]
struct Executor {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Executor {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        let task = async move {
            stop.run_until_cancelled(task).await;
        };
        self.tracker.spawn(task.in_current_span());
    }
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}

//! Reaches the relay: proxy, TCP, TLS, WebSocket, HTTP/2, and the gRPC stub on top.
//!
//! Invariant: a relay that is not verified gets no byte of ours beyond the TLS handshake. [`Dialer::dial`] is the seam:
//! whatever byte stream it returns, the same HTTP/2 runs over it, so a proxy or a WebSocket changes nothing above.

mod names;
mod proxy;
mod tls;
mod visit;
pub(crate) mod ways;
mod websocket;

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use c2l_bridge::{Pulse, Pulsed, TLS_BUFFER_BYTES};
use http::{StatusCode, header};
use http_body::Body;
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::client::TlsStream;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tracing::{Instrument as _, debug, warn};

pub(crate) use self::visit::Encrypted;
use self::{names::Names, proxy::Proxied, tls::Connectors, ways::Ways};
pub use self::{
    proxy::{InvalidProxy, Proxy, ProxyKind},
    ways::{Transport, Way},
};
use crate::{
    call::Outbound,
    config::{self, Config},
    error::{DialError, Error},
};

/// Sized so that the credit of streams binds before any HTTP/2 window does.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Two full pieces of body in one frame: smaller ones cost a third of the throughput.
const MAX_FRAME_BYTES: u32 = 128 * 1024;
const SEND_BUFFER_BYTES: usize = 256 * 1024;
const MAX_HEADER_LIST_BYTES: u32 = 16 * 1024;
/// How long [`Dialer::way_returns`] takes at least, so that a hop which answers it and refuses the dial is met with a pause.
const RETURN_PAUSE: Duration = Duration::from_secs(1);
/// How long the system keeps sending what nobody acknowledges before it gives the connection up: two heartbeats.
const UNACKNOWLEDGED_LIMIT: Duration = Duration::from_secs(20);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The bytes to and from the relay, whatever they go through.
type ByteStream = Box<dyn Bidirectional>;

trait Bidirectional: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bidirectional for T {}

/// Reaches one relay, again and again.
pub(crate) struct Dialer {
    /// `None` for a relay in clear.
    tls: Option<Connectors>,
    names: Names,
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
    pub(crate) sender: http2::SendRequest<Outbound>,
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
            names: Names::default(),
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
        let stream = self.reach_securely(config, way, tasks).await?;
        match way {
            Way::Grpc => Ok(stream),
            Way::WebSocket => {
                let bridged = websocket::upgrade(stream, config, token, tasks).await?;
                Ok(Box::new(bridged))
            }
        }
    }

    /// The relay's port, through the proxy and TLS, before anything is said.
    async fn reach_securely(
        &self,
        config: &Config,
        way: Way,
        tasks: &Tasks,
    ) -> Result<ByteStream, DialError> {
        let plain = reach(&self.names, config, tasks).await?;
        let Some(connectors) = &self.tls else {
            return Ok(plain);
        };
        if config.skip_verify {
            warn!(
                "the relay's certificate is not verified: whoever is on the way can read and change everything"
            );
        }
        let stream = encrypt(connectors, config, way, plain).await?;
        if way == Way::Grpc && !agreed_on(&stream, b"h2") {
            return Err(DialError::NoHttp2);
        }
        Ok(Box::new(stream))
    }

    /// Dials for the one call. The caller sets the time limit; dropping the result ends the
    /// connection.
    pub(crate) async fn connect(
        &self,
        config: &Config,
        way: Way,
        token: &str,
    ) -> Result<Connected, DialError> {
        let (sender, tasks) = self.connect_http2(config, way, token).await?;
        Ok(Connected { sender, tasks })
    }

    /// Dials and starts HTTP/2, for requests with such a body.
    async fn connect_http2<B>(
        &self,
        config: &Config,
        way: Way,
        token: &str,
    ) -> Result<(http2::SendRequest<B>, Tasks), DialError>
    where
        B: Body<Data: Send, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let tasks = Tasks::new();
        let stream = self.dial(config, way, token, &tasks).await?;
        let (sender, connection) = http2::Builder::new(tasks.executor.clone())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(MAX_FRAME_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_header_list_size(MAX_HEADER_LIST_BYTES)
            // One answer comes, so nothing of its fields is worth remembering: the relay would keep a table for each agent.
            .header_table_size(0)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(DialError::Http2)?;
        tasks.spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "connection to the relay ended");
            }
        });
        Ok((sender, tasks))
    }
}

impl Dialer {
    /// Waits until the first hop, the relay or the proxy, can be reached after it could not be: just now, as the caller
    /// knows, or at one of the looks. Nothing is said there.
    pub(crate) async fn way_returns(&self, config: &Config, mut was_closed: bool) {
        let (host, port) = match &config.proxy {
            Some(proxy) => proxy.place(),
            None => (config::host(&config.relay), config::port(&config.relay)),
        };
        let began_at = Instant::now();
        loop {
            let looked_at = Instant::now();
            let is_open = matches!(
                timeout(names::SLICE, TcpStream::connect((host, port))).await,
                Ok(Ok(_))
            );
            if is_open && was_closed {
                return sleep_until(began_at + RETURN_PAUSE).await;
            }
            was_closed |= !is_open;
            sleep_until(looked_at + names::SLICE).await;
        }
    }
}

async fn connect(names: &Names, host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = names.connect(host, port).await?;
    // Tokens are small and must not wait for one another.
    stream.set_nodelay(true)?;
    give_up_unacknowledged(&stream);
    Ok(stream)
}

/// A connection to the relay's address, through the proxy if there is one. What comes over it shows in the pulse of
/// `tasks`.
async fn reach(names: &Names, config: &Config, tasks: &Tasks) -> Result<ByteStream, DialError> {
    let (host, port) = (config::host(&config.relay), config::port(&config.relay));
    let pulse = tasks.pulse.clone();
    if let Some(proxy) = &config.proxy {
        return Ok(
            match proxy::connect(names, proxy, host, port, tasks).await? {
                Proxied::Http(stream) => Box::new(Pulsed::new(stream, pulse)),
                Proxied::Socks(stream) => Box::new(Pulsed::new(stream, pulse)),
            },
        );
    }
    let stream = connect(names, host, port)
        .await
        .map_err(DialError::Connect)?;
    Ok(Box::new(Pulsed::new(stream, pulse)))
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
) -> Result<TlsStream<ByteStream>, DialError> {
    let host = config::host(&config.relay).to_owned();
    let name = ServerName::try_from(host).map_err(|_| DialError::Name)?;
    let connector = match way {
        Way::Grpc => &connectors.http2,
        Way::WebSocket => &connectors.http1,
    };
    let connected = connector.connect_with(name, plain, |tls| {
        tls.set_buffer_limit(Some(TLS_BUFFER_BYTES));
    });
    connected.await.map_err(DialError::Tls)
}

/// Whether both ends chose this protocol.
fn agreed_on(stream: &TlsStream<ByteStream>, protocol: &[u8]) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(protocol)
}

/// An answer that is not gRPC is not the relay's: something on the way has spoken, and its 401 or 403 must not be taken
/// for the relay's word.
pub(crate) fn of_grpc(
    answer: http::Response<Incoming>,
) -> Result<http::Response<Incoming>, DialError> {
    let content_type = answer.headers().get(header::CONTENT_TYPE);
    let is_grpc = answer.status() == StatusCode::OK
        && content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if is_grpc {
        Ok(answer)
    } else {
        Err(DialError::Blocked {
            status: answer.status(),
            said: String::new(),
        })
    }
}

/// The HTTP/2 connection as the service that the stub for the relay's health calls.
#[derive(Clone, Debug)]
struct Http2(http2::SendRequest<tonic::body::Body>);

impl tower_service::Service<http::Request<tonic::body::Body>> for Http2 {
    type Response = http::Response<Incoming>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx).map_err(DialError::Http2)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let answer = self.0.send_request(request);
        Box::pin(async move { of_grpc(answer.await.map_err(DialError::Http2)?) })
    }
}

/// The tasks of one connection. They end with it, and dropping this cuts them.
pub(crate) struct Tasks {
    /// When something last came over it.
    pub(crate) pulse: Pulse,
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
            pulse: Pulse::default(),
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_open_way_returns_only_if_it_was_closed_and_after_a_pause() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut config = crate::tests::config();
        let address = listener.local_addr().expect("its address");
        config.relay = format!("http://{address}").parse().expect("a URL");
        let dialer = Dialer::new(&config).expect("a dialer");

        let began_at = Instant::now();
        let returns = dialer.way_returns(&config, true);
        timeout(10 * RETURN_PAUSE, returns).await.expect("in time");
        assert!(began_at.elapsed() >= RETURN_PAUSE, "{began_at:?}");

        let returns = dialer.way_returns(&config, false);
        let waited = timeout(2 * RETURN_PAUSE, returns).await;
        assert!(waited.is_err(), "it had not been closed");
    }
}

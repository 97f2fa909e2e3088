//! Reaches the relay: TCP, TLS, HTTP/2, and the gRPC stub on top.
//!
//! Invariant: a relay that is not verified gets no byte of ours beyond the TLS handshake. [`Dialer::dial`] is the seam:
//! whatever byte stream it returns, the same HTTP/2 runs over it, so a proxy or a WebSocket changes nothing above.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use c2l_proto::tunnel::tunnel_service_client::TunnelServiceClient;
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::{
    either::Either,
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tracing::{Instrument as _, debug};

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

/// The bytes to and from the relay, in clear or under TLS.
type Transport = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Reaches one relay, again and again.
pub(crate) struct Dialer {
    /// `None` for a relay in clear.
    tls: Option<TlsConnector>,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer").finish_non_exhaustive()
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
            Some(TlsConnector::from(Arc::new(tls_settings(config)?)))
        } else {
            None
        };
        Ok(Self { tls })
    }

    /// Opens the byte stream that HTTP/2 runs over. The caller sets the time limit; dropping the future closes what is
    /// half open.
    async fn dial(&self, config: &Config) -> Result<Transport, DialError> {
        let host = config::host(&config.relay);
        let tcp = TcpStream::connect((host, config::port(&config.relay)))
            .await
            .map_err(DialError::Connect)?;
        // Tokens are small and must not wait for one another.
        tcp.set_nodelay(true).map_err(DialError::Connect)?;
        let Some(tls) = &self.tls else {
            return Ok(Either::Left(tcp));
        };
        let name = ServerName::try_from(host.to_owned()).map_err(|_| DialError::Name)?;
        let stream = tls.connect(name, tcp).await.map_err(DialError::Tls)?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(DialError::NoHttp2);
        }
        Ok(Either::Right(Box::new(stream)))
    }

    /// Dials and starts HTTP/2. The caller sets the time limit; dropping the result ends the connection.
    pub(crate) async fn connect(&self, config: &Config) -> Result<Connected, DialError> {
        let transport = self.dial(config).await?;
        let tasks = Tasks::new();
        let (sender, connection) = http2::Builder::new(tasks.executor.clone())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(MAX_FRAME_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_header_list_size(MAX_HEADER_LIST_BYTES)
            .handshake(TokioIo::new(transport))
            .await
            .map_err(DialError::Http2)?;
        tasks.executor.spawn(async move {
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

fn tls_settings(config: &Config) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut settings = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| roots_error(None, error))?
        .with_root_certificates(trusted_roots(config)?)
        .with_no_client_auth();
    settings.alpn_protocols = vec![b"h2".to_vec()];
    Ok(settings)
}

/// Those of the system, and those of the file beside them.
fn trusted_roots(config: &Config) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    // Single broken certificates in a system's store are common and hurt nobody.
    let (_, ignored) = roots.add_parsable_certificates(system.certs);
    if ignored > 0 {
        debug!(ignored, "certificates of the system that cannot be read");
    }
    if let Some(file) = &config.ca_file {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| Error::Roots {
            file: Some(file.clone()),
            source: error,
        };
        let before = roots.len();
        for certificate in
            CertificateDer::pem_file_iter(file).map_err(|error| failed(error.into()))?
        {
            let certificate = certificate.map_err(|error| failed(error.into()))?;
            roots
                .add(certificate)
                .map_err(|error| failed(error.into()))?;
        }
        if roots.len() == before {
            return Err(failed("no certificate in it".into()));
        }
    }
    if roots.is_empty() {
        let source = system.errors.into_iter().next();
        return Err(match source {
            Some(error) => roots_error(None, error),
            None => roots_error(None, "the system has none"),
        });
    }
    Ok(roots)
}

fn roots_error(
    file: Option<std::path::PathBuf>,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::Roots {
        file,
        source: source.into(),
    }
}

/// The HTTP/2 connection as the service that the gRPC stub calls.
#[derive(Clone, Debug)]
pub(crate) struct Http2(http2::SendRequest<tonic::body::Body>);

impl tower_service::Service<http::Request<tonic::body::Body>> for Http2 {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
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

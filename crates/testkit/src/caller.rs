//! Callers: a small HTTP client that sees every piece, and a raw connection for what no client would send.

use std::{
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
};

use crate::{PATIENCE, within};

/// A body of a request.
pub type RequestBody = BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Someone who calls a relay. Each request is on a connection of its own, which ends with the answer.
#[derive(Clone, Debug)]
pub struct Caller {
    address: SocketAddr,
    token: Option<String>,
    is_http2: bool,
}

impl Caller {
    /// With a bearer token.
    #[must_use]
    pub fn new(address: SocketAddr, token: impl Into<String>) -> Self {
        Self {
            address,
            token: Some(token.into()),
            is_http2: false,
        }
    }

    /// Without a credential.
    #[must_use]
    pub fn anonymous(address: SocketAddr) -> Self {
        Self {
            address,
            token: None,
            is_http2: false,
        }
    }

    /// The same caller, over HTTP/2 in clear (prior knowledge).
    #[must_use]
    pub fn over_http2(mut self) -> Self {
        self.is_http2 = true;
        self
    }

    /// A request with this caller's token.
    ///
    /// # Panics
    /// When the parts do not make a request.
    pub fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let mut builder = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string());
        if let Some(token) = &self.token {
            builder = builder.header("authorization", format!("Bearer {token}"));
        }
        builder
    }

    /// Sends a request; the answer's body is still to come.
    ///
    /// # Panics
    /// When no answer comes in time, or the connection breaks before it.
    pub async fn send(&self, request: Request<RequestBody>) -> Answer {
        self.try_send(request).await.expect("an answer")
    }

    /// The same, for answers that may not come.
    ///
    /// # Errors
    /// When the connection breaks before an answer.
    pub async fn try_send(&self, request: Request<RequestBody>) -> hyper::Result<Answer> {
        let stream = TcpStream::connect(self.address)
            .await
            .expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        let io = TokioIo::new(stream);
        let limit = 6 * PATIENCE;
        // Dropped with this future: a caller who gives up leaves at once.
        let (response, connection) = if self.is_http2 {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            let connection = AbortOnDrop::spawn(connection);
            let sending = sender.send_request(self.for_http2(request));
            (within(limit, "an answer", sending).await?, connection)
        } else {
            let (mut sender, connection) = http1::handshake(io).await?;
            let connection = AbortOnDrop::spawn(connection);
            let sending = sender.send_request(request);
            (within(limit, "an answer", sending).await?, connection)
        };
        Ok(Answer {
            response,
            connection,
        })
    }

    /// HTTP/2 names the host beside the path, not in a field.
    fn for_http2(&self, mut request: Request<RequestBody>) -> Request<RequestBody> {
        request.headers_mut().remove("host");
        let target = request.uri().path_and_query().expect("a path").to_string();
        let uri = format!("http://{}{target}", self.address);
        *request.uri_mut() = uri.parse().expect("a URL");
        request
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Answer {
        let request = self
            .request(Method::GET, path)
            .body(empty())
            .expect("a request");
        self.send(request).await
    }

    /// `POST` with a JSON body.
    pub async fn post(&self, path: &str, body: &serde_json::Value) -> Answer {
        self.send(self.json(path, body)).await
    }

    /// A `POST` with a JSON body, not sent yet.
    ///
    /// # Panics
    /// When the path is not one.
    #[must_use]
    pub fn json(&self, path: &str, body: &serde_json::Value) -> Request<RequestBody> {
        self.request(Method::POST, path)
            .header("content-type", "application/json")
            .body(full(body.to_string()))
            .expect("a request")
    }

    /// A streamed chat with this model.
    pub async fn chat(&self, model: &str, prompt: &str) -> Answer {
        let message = serde_json::json!({ "role": "user", "content": prompt });
        let body = serde_json::json!({ "model": model, "messages": [message] });
        self.post("/api/chat", &body).await
    }
}

/// No body.
#[must_use]
pub fn empty() -> RequestBody {
    full(Bytes::new())
}

/// A whole body.
pub fn full(bytes: impl Into<Bytes>) -> RequestBody {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}

/// A body that goes out piece by piece, as they are put in; it ends when the sender is dropped.
#[must_use]
pub fn upload() -> (mpsc::Sender<Bytes>, RequestBody) {
    let (sender, pieces) = mpsc::channel(1);
    let body = Upload(pieces).map_err(|never| match never {}).boxed();
    (sender, body)
}

struct Upload(mpsc::Receiver<Bytes>);

impl Body for Upload {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = self.0.poll_recv(cx);
        piece.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

#[derive(Debug)]
struct AbortOnDrop(JoinHandle<()>);

impl AbortOnDrop {
    fn spawn(connection: impl Future<Output = hyper::Result<()>> + Send + 'static) -> Self {
        Self(tokio::spawn(async move {
            drop(connection.await); // how it ends is seen by the body
        }))
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An answer whose body is still to come. Dropping it closes the connection.
#[derive(Debug)]
pub struct Answer {
    response: Response<Incoming>,
    connection: AbortOnDrop,
}

impl Answer {
    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Its fields.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The value of a field, empty when it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let value = self.response.headers().get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The next piece as it came; `None` at the clean end.
    ///
    /// # Errors
    /// When the answer was torn.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, hyper::Error> {
        loop {
            let frame = within(6 * PATIENCE, "a piece", self.response.body_mut().frame()).await;
            match frame.transpose()? {
                None => return Ok(None),
                Some(frame) => {
                    // The empty frame that ends an HTTP/2 stream is no piece.
                    if let Some(data) = frame.into_data().ok().filter(|data| !data.is_empty()) {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The rest of the body, and whether it ended cleanly.
    pub async fn rest(&mut self) -> (Bytes, bool) {
        let mut all = BytesMut::new();
        loop {
            match self.piece().await {
                Ok(Some(piece)) => all.extend_from_slice(&piece),
                Ok(None) => return (all.freeze(), true),
                Err(_) => return (all.freeze(), false),
            }
        }
    }

    /// The whole body as text.
    ///
    /// # Panics
    /// When it is torn or not text.
    pub async fn text(mut self) -> String {
        let (bytes, is_whole) = self.rest().await;
        assert!(is_whole, "the answer was torn after {bytes:?}");
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    /// The whole body as JSON.
    ///
    /// # Panics
    /// When it is torn or not JSON.
    pub async fn json(self) -> serde_json::Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Trailers and body, whole.
    ///
    /// # Panics
    /// When it is torn.
    pub async fn collect(self) -> (Bytes, Option<HeaderMap>) {
        let Self {
            response,
            connection,
        } = self;
        let collected = response
            .into_body()
            .collect()
            .await
            .expect("a whole answer");
        drop(connection);
        let trailers = collected.trailers().cloned();
        (collected.to_bytes(), trailers)
    }
}

/// A connection on which anything can be sent.
#[derive(Debug)]
pub struct RawConnection {
    stream: TcpStream,
    read: BytesMut,
}

/// What came back on a raw connection.
#[derive(Clone, Debug)]
pub struct RawAnswer {
    /// The status, 0 when nothing came.
    pub status: u16,
    /// Status line and fields.
    pub head: String,
}

impl RawConnection {
    /// Connects.
    ///
    /// # Panics
    /// When that fails.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        Self {
            stream,
            read: BytesMut::new(),
        }
    }

    /// Sends bytes as they are. A peer that has closed is no failure of the test.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let writing = self.stream.write_all(bytes.as_ref());
        drop(within(6 * PATIENCE, "the peer takes what is sent", writing).await);
    }

    /// The socket itself, and what was read of it already.
    pub(crate) fn into_parts(self) -> (TcpStream, BytesMut) {
        (self.stream, self.read)
    }

    /// Ends the sending direction.
    pub async fn finish(&mut self) {
        drop(self.stream.shutdown().await);
    }

    /// Reads until these bytes have come, and returns everything up to and with them; `None` at the end.
    pub async fn read_until(&mut self, mark: &[u8]) -> Option<Bytes> {
        self.read_until_for(mark, 4 * PATIENCE).await
    }

    /// The same, waiting no longer than this.
    ///
    /// # Panics
    /// When it takes longer.
    pub async fn read_until_for(&mut self, mark: &[u8], limit: Duration) -> Option<Bytes> {
        let what = format!("{:?} on a raw connection", String::from_utf8_lossy(mark));
        within(limit, &what, async {
            loop {
                let found = self
                    .read
                    .windows(mark.len())
                    .position(|window| window == mark);
                if let Some(at) = found {
                    return Some(self.read.split_to(at + mark.len()).freeze());
                }
                match self.stream.read_buf(&mut self.read).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        })
        .await
    }

    /// Reads the head of an answer. 1xx heads are skipped when `final_only`.
    pub async fn head(&mut self, final_only: bool) -> RawAnswer {
        loop {
            let Some(head) = self.read_until(b"\r\n\r\n").await else {
                return RawAnswer {
                    status: 0,
                    head: String::new(),
                };
            };
            let head = String::from_utf8_lossy(&head).into_owned();
            let status = head
                .split(' ')
                .nth(1)
                .and_then(|code| code.parse().ok())
                .unwrap_or(0);
            if !final_only || status >= 200 {
                return RawAnswer { status, head };
            }
        }
    }

    /// Everything until the peer closes.
    pub async fn rest(&mut self) -> Bytes {
        within(6 * PATIENCE, "the peer closes", async {
            while matches!(self.stream.read_buf(&mut self.read).await, Ok(read) if read > 0) {}
        })
        .await;
        self.read.split().freeze()
    }
}

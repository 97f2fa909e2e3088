//! The upstream that every system is measured with: Ollama's paths, answers whose every piece can be checked.
//!
//! Invariant: each token carries its number and the moment it was made; each body is as long as was asked for. When a
//! caller's request ends here, whole or not, that moment can be asked for directly at `/bench/left`.

use std::{
    cell::RefCell,
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpListener,
    sync::Notify,
    time::{Instant, Sleep, sleep_until, timeout},
};

use crate::{answer, wall_nanos};

/// How long `/bench/…` waits for what it is asked about.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of one piece of a download.
const PIECE: Bytes = Bytes::from_static(&[b'x'; 64 * 1024]);

#[derive(Serialize)]
struct Listening {
    port: u16,
}

/// What a request asks for; members that a path does not use are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    tokens: u64,
    gap_us: u64,
    bytes: u64,
}

/// What is known of the requests that carry an id.
#[derive(Debug, Default)]
struct Ledger {
    marks: RefCell<HashMap<(Mark, String), u64>>,
    changed: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Mark {
    /// Its first bytes of body, or the request itself where there are none, are here.
    Seen,
    /// It is over on this side.
    Left,
}

impl Ledger {
    fn mark(&self, mark: Mark, id: &str) {
        if !id.is_empty() {
            let mut marks = self.marks.borrow_mut();
            marks
                .entry((mark, id.to_owned()))
                .or_insert_with(wall_nanos);
            self.changed.notify_waiters();
        }
    }

    /// When it happened, in nanoseconds of the wall clock; 0 when it did not in time.
    async fn when(&self, mark: Mark, id: &str) -> u64 {
        let key = (mark, id.to_owned());
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if let Some(&nanos) = self.marks.borrow().get(&key) {
                    return nanos;
                }
                changed.await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or(0)
    }
}

/// Marks the end of a request when it is dropped.
#[derive(Debug)]
struct Presence {
    ledger: Rc<Ledger>,
    id: String,
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.ledger.mark(Mark::Left, &self.id);
    }
}

/// Serves until the process is ended; says its port first.
pub(crate) async fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    answer(&Listening {
        port: listener.local_addr()?.port(),
    })?;
    let ledger = Rc::new(Ledger::default());
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let ledger = Rc::clone(&ledger);
        let service = service_fn(move |request| {
            let ledger = Rc::clone(&ledger);
            async move { Ok::<_, Infallible>(respond(request, ledger).await) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
        tokio::task::spawn_local(async move {
            // A caller that leaves is what some scenarios are about.
            connection.await.unwrap_or_default();
        });
    }
}

async fn respond(request: Request<Incoming>, ledger: Rc<Ledger>) -> Response<Answer> {
    let path = request.uri().path().to_owned();
    let id = request
        .uri()
        .query()
        .and_then(|query| query.strip_prefix("id="))
        .unwrap_or_default()
        .to_owned();
    match path.as_str() {
        "/bench/left" => return number(ledger.when(Mark::Left, &id).await),
        "/bench/seen" => return number(ledger.when(Mark::Seen, &id).await),
        "/api/version" => return whole(Bytes::from_static(br#"{"version":"0.0.0-bench"}"#)),
        _ => {}
    }
    let presence = Presence {
        ledger: Rc::clone(&ledger),
        id,
    };
    match perform(&path, request.into_body(), presence).await {
        Ok(response) => response,
        Err(error) => {
            let mut response = whole(Bytes::from(format!("{error:#}")));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response
        }
    }
}

async fn perform(
    path: &str,
    body: Incoming,
    presence: Presence,
) -> anyhow::Result<Response<Answer>> {
    if path.starts_with("/api/blobs/") {
        return Ok(number(count(body, &presence).await?));
    }
    let asked: Asked = serde_json::from_slice(&collect(body).await?).context("the request")?;
    presence.ledger.mark(Mark::Seen, &presence.id);
    match path {
        "/api/chat" => {
            let tokens = Tokens::new(asked, presence);
            let mut response = Response::new(Answer::Tokens(Box::new(tokens)));
            let lines = http::HeaderValue::from_static("application/x-ndjson");
            response
                .headers_mut()
                .insert(http::header::CONTENT_TYPE, lines);
            Ok(response)
        }
        "/api/generate" => {
            let mut response = Response::new(Answer::Bytes(asked.bytes));
            let length = http::HeaderValue::from(asked.bytes);
            response
                .headers_mut()
                .insert(http::header::CONTENT_LENGTH, length);
            Ok(response)
        }
        // Answers when its caller has gone, that is: never.
        "/api/embed" => std::future::pending().await,
        _ => anyhow::bail!("no such path"),
    }
}

async fn next(body: &mut Incoming) -> anyhow::Result<Option<Bytes>> {
    let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
    Ok(frame
        .transpose()?
        .map(|frame| frame.into_data().unwrap_or_default()))
}

async fn collect(mut body: Incoming) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(piece) = next(&mut body).await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

async fn count(mut body: Incoming, presence: &Presence) -> anyhow::Result<u64> {
    let mut bytes = 0;
    while let Some(piece) = next(&mut body).await? {
        presence.ledger.mark(Mark::Seen, &presence.id);
        bytes += piece.len() as u64;
    }
    Ok(bytes)
}

fn whole(text: Bytes) -> Response<Answer> {
    Response::new(Answer::Whole(Some(text)))
}

fn number(number: u64) -> Response<Answer> {
    whole(Bytes::from(number.to_string()))
}

/// A body of any of the kinds.
enum Answer {
    Whole(Option<Bytes>),
    Tokens(Box<Tokens>),
    Bytes(u64),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match &mut *self {
            Self::Whole(text) => text.take(),
            Self::Tokens(tokens) => ready!(tokens.poll_next(cx)),
            Self::Bytes(0) => None,
            Self::Bytes(left) => {
                let length =
                    usize::try_from(*left).map_or(PIECE.len(), |left| left.min(PIECE.len()));
                *left -= length as u64;
                Some(PIECE.slice(..length))
            }
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Whole(text) => {
                http_body::SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64)
            }
            Self::Tokens(_) => http_body::SizeHint::default(),
            Self::Bytes(left) => http_body::SizeHint::with_exact(*left),
        }
    }
}

/// A chat: one line a token, each at its time.
struct Tokens {
    number: u64,
    asked: Asked,
    due: Instant,
    timer: Pin<Box<Sleep>>,
    _presence: Presence,
}

impl Tokens {
    fn new(asked: Asked, presence: Presence) -> Self {
        let due = Instant::now();
        Self {
            number: 0,
            asked,
            due,
            timer: Box::pin(sleep_until(due)),
            _presence: presence,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.number == self.asked.tokens {
            return Poll::Ready(None);
        }
        if self.asked.gap_us > 0 && self.number > 0 {
            ready!(self.timer.as_mut().poll(cx));
        }
        let line = format!(
            "{{\"model\":\"bench\",\"n\":{},\"at\":{},\"message\":{{\"role\":\"assistant\",\"content\":\" token\"}},\"done\":{}}}\n",
            self.number,
            wall_nanos(),
            self.number + 1 == self.asked.tokens,
        );
        self.number += 1;
        self.due += Duration::from_micros(self.asked.gap_us);
        self.timer.as_mut().reset(self.due);
        Poll::Ready(Some(Bytes::from(line)))
    }
}

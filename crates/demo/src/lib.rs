//! The demonstration model: a deterministic HTTP/1.1 server in the shape of Ollama, with switches for delays and faults.
//!
//! `c2l dev` starts it where no Ollama answers, and every test uses it as the upstream. It has one model, `tiny`, which
//! walks over a fixed paragraph. Switches stand in the model name, because that is the one thing which passes every
//! client and every tunnel unchanged:
//!
//! | switch | effect |
//! |---|---|
//! | `+first=35s` | nothing at all, not even the head, for this long |
//! | `+gap=50ms`, `+nodelay` | time between two flushes; none (each line still leaves alone) |
//! | `+lines=2000` | so many tokens before the last line |
//! | `+burst=8` | so many lines in one flush |
//! | `+load=40s` | a silent load; a caller who leaves aborts it; once it has ended, the model is warm |
//! | `+queue` | one request at a time for this very model name, until its answer has ended |
//! | `+echo` | the text is the owner's name and the prompt |
//! | `+status=500` | this error, in the shape of the API, instead of the first line |
//! | `+early=413` | the same after the first piece of the request body; the rest is not read |
//! | `+error=10` | after ten lines what Ollama does when its runner fails (NDJSON: an error line) |
//! | `+cut=10`, `+tear=10` | after ten lines the connection is reset, or closed without the end of the body |
//! | `+silent=3` | after three lines nothing more; with `0` not even a head |
//! | `+bytes=1000000` | raw bytes instead of text ([`pattern_byte`]), with a length; chunked if `piece` is given too |
//! | `+pieces=200000+piece=1-60` | raw chunks of such sizes; `cut`, `tear`, `silent`, `gap` and `burst` count pieces |
//! | `+trailers` | a trailer [`LINES_TRAILER`], if the request says `te: trailers` |
//!
//! Life of a request:
//!
//! 1. `connection` accepts it; `recorder` opens its [`RecordedRequest`], which ends when the answer does.
//! 2. `door` cleans the path, checks `Host` and `Origin`, and finds the route.
//! 3. `ask` reads the body, `switches` the model name; `models` makes it wait for slot, load and first token.
//! 4. `inference` answers in one of the dialects (`native`, `openai`, `responses`, `anthropic`), `stream` at the pace
//!    asked for; `catalogue` and `manage` answer the rest.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod answer;
mod anthropic;
mod ask;
mod catalogue;
mod connection;
mod control;
mod door;
mod inference;
mod json;
mod manage;
mod models;
mod native;
mod openai;
mod recorder;
mod responses;
mod stream;
mod switches;
mod text;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, Refusal, Shape};
use crate::connection::Link;
use crate::door::Route;
use crate::manage::Blobs;
use crate::models::Models;
use crate::recorder::{Exchange, Recorder};
use crate::switches::Model;

pub use crate::manage::{KNOWN_BLOB, MISMATCHED_BLOB, early_blob};
pub use crate::recorder::{Counters, Ended, KEPT_BODY_BYTES, RecordedRequest};
pub use crate::stream::LINES_TRAILER;
pub use crate::switches::MODEL;
pub use crate::text::{answer_text, paragraph_tokens, pattern_byte};

/// How a [`Demo`] behaves where the model name does not say otherwise.
#[derive(Debug, Clone)]
pub struct DemoConfig {
    /// Whose server this is; `+echo` puts it into answers, so that a test sees whose upstream it reached. Default `tiny`.
    pub name: String,
    /// Time between two lines of a stream (and per token of an answer that is not streamed). Default 30 ms.
    pub line_interval: Duration,
    /// Tokens of an answer. Default: the fixed paragraph, once.
    pub default_tokens: u64,
    /// Whether a `Host` from outside is refused with an empty 403, as Ollama does when bound to loopback. Default true.
    pub check_host: bool,
    /// The largest JSON body that is read; a larger one gets 413. Default 256 MiB.
    pub body_limit_bytes: usize,
    /// How many requests [`Demo::recorded`] goes back; 0 records none. Default 4096.
    pub recorded_requests: usize,
}

impl Default for DemoConfig {
    fn default() -> Self {
        Self {
            name: MODEL.to_owned(),
            line_interval: Duration::from_millis(30),
            default_tokens: paragraph_tokens(),
            check_host: true,
            body_limit_bytes: 256 * 1024 * 1024,
            recorded_requests: 4096,
        }
    }
}

/// A server: its configuration and what it has seen. Clones are handles to the same one.
#[derive(Debug, Clone)]
pub struct Demo {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: DemoConfig,
    recorder: Arc<Recorder>,
    models: Models,
    blobs: Blobs,
    connections: AtomicU64,
}

impl Demo {
    /// A server that has seen nothing yet. It runs in [`Demo::serve`].
    pub fn new(config: DemoConfig) -> Self {
        let recorder = Arc::new(Recorder::new(config.recorded_requests));
        Self {
            shared: Arc::new(Shared {
                config,
                recorder,
                models: Models::default(),
                blobs: Blobs::default(),
                connections: AtomicU64::new(0),
            }),
        }
    }

    /// Serves this listener until `shutdown`; then running answers are cut, and it returns when every connection is closed.
    ///
    /// May run several times at once, one after the other, or on several listeners: all share what was seen. Dropping
    /// the future stops accepting, but leaves open connections to `shutdown`.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) {
        let stop = shutdown.clone();
        connection::accept(listener, shutdown, |stream| {
            let (demo, stop) = (self.clone(), stop.clone());
            async move {
                let open = OpenConnection::new(&demo);
                connection::serve(stream, &open.link, &stop, |request| {
                    demo.clone().answer(Arc::clone(&open.link), request)
                })
                .await;
            }
        })
        .await;
    }

    /// Serves the side listener: `GET /counters`, `GET /requests` and `POST /reset`, all answered in JSON.
    ///
    /// It checks nothing, so bind it to loopback. Shutdown is that of [`Demo::serve`].
    pub async fn serve_control(&self, listener: TcpListener, shutdown: CancellationToken) {
        let stop = shutdown.clone();
        connection::accept(listener, shutdown, |stream| {
            let (demo, stop) = (self.clone(), stop.clone());
            async move {
                let link = Link::default();
                let demo = &demo;
                connection::serve(
                    stream,
                    &link,
                    &stop,
                    |request: Request<Incoming>| async move { control::answer(demo, &request) },
                )
                .await;
            }
        })
        .await;
    }

    /// The latest requests, oldest first, finished or not; [`DemoConfig::recorded_requests`] says how many.
    pub fn recorded(&self) -> Vec<RecordedRequest> {
        self.shared.recorder.requests()
    }

    /// What has happened so far, as one consistent picture.
    pub fn counters(&self) -> Counters {
        self.shared.recorder.counters()
    }

    /// Forgets recorded requests, counters of what has ended, warm models and uploaded blobs. What is open stays counted.
    pub fn reset(&self) {
        self.shared.models.forget_all();
        self.shared.blobs.forget_all();
        self.shared.recorder.reset();
    }

    /// Waits until the counters satisfy `condition`, which is asked at once and on each change; returns those counters.
    ///
    /// A test aid. Dropping the future is harmless.
    ///
    /// # Panics
    ///
    /// At the `deadline`, naming `what` was waited for and the counters as they are.
    pub async fn wait_for(
        &self,
        what: &str,
        condition: impl FnMut(&Counters) -> bool,
        deadline: Duration,
    ) -> Counters {
        let mut counters = self.shared.recorder.watch();
        let reached = match tokio::time::timeout(deadline, counters.wait_for(condition)).await {
            Ok(Ok(reached)) => Some(*reached),
            _ => None, // the sender lives in `self`, so it is the deadline
        };
        match reached {
            Some(reached) => reached,
            None => panic!("no {what} within {deadline:?}: {:#?}", self.counters()),
        }
    }

    pub(crate) fn config(&self) -> &DemoConfig {
        &self.shared.config
    }

    pub(crate) fn models(&self) -> &Models {
        &self.shared.models
    }

    pub(crate) fn blobs(&self) -> &Blobs {
        &self.shared.blobs
    }

    async fn answer(self, link: Arc<Link>, request: Request<Incoming>) -> Answer {
        let exchange =
            self.shared
                .recorder
                .start(link, request.method(), request.uri(), request.headers());
        match door::enter(exchange, &request, self.shared.config.check_host) {
            Err(answer) => answer,
            Ok((exchange, route, cors)) => {
                let mut answer = self.dispatch(exchange, request, route).await;
                if let Some(origin) = cors {
                    door::allow_origin(&mut answer, origin);
                }
                answer
            }
        }
    }

    async fn dispatch(
        self,
        exchange: Exchange,
        request: Request<Incoming>,
        route: Route,
    ) -> Answer {
        match route {
            Route::Root => exchange.answer(
                StatusCode::OK,
                "text/plain; charset=utf-8",
                Bytes::from_static(b"Ollama is running"),
            ),
            Route::Version => exchange.native(catalogue::version),
            Route::Status => exchange.native(catalogue::status),
            Route::Tags => exchange.native(catalogue::tags),
            Route::Ps => exchange.native(|out| catalogue::ps(&self.shared.models.warm(), out)),
            Route::Recommendations => exchange.native(catalogue::recommendations),
            Route::Show => show(self, exchange, request).await,
            // Boxed: a large future in an enum of futures makes every cheap route pay for it.
            Route::Infer(api) => Box::pin(inference::infer(self, exchange, request, api)).await,
            Route::Embed(route) => Box::pin(inference::embed(self, exchange, request, route)).await,
            Route::Transfer(transfer) => manage::transfer(self, exchange, request, transfer).await,
            Route::Blob(digest) => manage::blob(self, exchange, request, digest).await,
            Route::Copy => manage::copy(self, exchange, request).await,
            Route::Delete => manage::delete(self, exchange, request).await,
            Route::Account => {
                exchange.refuse(Shape::Native, &Refusal::of_status(StatusCode::UNAUTHORIZED))
            }
            Route::SignOut => exchange.native(|out| out.extend_from_slice(b"null")),
            Route::Models => exchange.compatible(|out| openai::models(catalogue::FULL_NAME, out)),
            Route::Model(name) => match Model::parse(&name) {
                Ok(model) => exchange.compatible(|out| openai::model(&model.name, out)),
                Err(error) => exchange.refuse(Shape::OpenAi, &error.into()),
            },
            Route::Transcriptions => manage::transcribe(self, exchange, request).await,
        }
    }
}

async fn show(demo: Demo, exchange: Exchange, request: Request<Incoming>) -> Answer {
    let (exchange, ask) = match inference::read_ask(&demo, exchange, request, Shape::Native).await {
        Ok(read) => read,
        Err(answer) => return answer,
    };
    match ask.model() {
        Ok(_) => exchange.native(|out| catalogue::show(ask.verbose == Some(true), out)),
        Err(refusal) => exchange.refuse(Shape::Native, &refusal),
    }
}

/// Counts a connection for as long as it is open.
struct OpenConnection {
    demo: Demo,
    link: Arc<Link>,
}

impl OpenConnection {
    fn new(demo: &Demo) -> Self {
        let number = demo.shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
        demo.shared.recorder.count(|counters| {
            counters.connections_accepted += 1;
            counters.connections_open += 1;
        });
        Self {
            demo: demo.clone(),
            link: Arc::new(Link::new(number)),
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.demo
            .shared
            .recorder
            .count(|counters| counters.connections_open -= 1);
    }
}

//! Callers as SDKs have them, who keep their connection and repeat nothing, and the count of what became of their requests.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use c2l_testkit::{Caller, RequestBody, within};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep},
};

/// No request waits longer than this without a sign of life.
const LIMIT: Duration = Duration::from_secs(30);
/// Between two short requests of one caller.
const PAUSE: Duration = Duration::from_millis(20);

/// What is asked, and the one right answer.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) path: &'static str,
    pub(super) model: &'static str,
    pub(super) is_streamed: bool,
}

impl Question {
    /// As wide as the next one: the answer counts the prompt.
    pub(super) fn request(&self, caller: &Caller, number: u64) -> Request<RequestBody> {
        let prompt = format!("question {number:08}");
        let body = match self.path {
            "/api/chat" => {
                let message = json!({ "role": "user", "content": prompt });
                json!({ "model": self.model, "messages": [message], "stream": self.is_streamed })
            }
            _ => json!({ "model": self.model, "prompt": prompt, "stream": self.is_streamed }),
        };
        caller.json(self.path, &body)
    }
}

/// What became of all requests.
#[derive(Debug, Default)]
pub(super) struct Tally {
    numbers: AtomicU64,
    pub(super) whole: AtomicU64,
    /// Streams whose answer has begun and not ended.
    pub(super) streaming: AtomicUsize,
    pub(super) failures: Mutex<Vec<String>>,
    pub(super) slowest: Mutex<Duration>,
    is_over: AtomicBool,
}

impl Tally {
    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn failed(&self, why: String) {
        self.failures.lock().expect("no panic").push(why);
    }

    fn head_took(&self, time: Duration) {
        let mut slowest = self.slowest.lock().expect("no panic");
        *slowest = time.max(*slowest);
    }
}

/// One caller of the crowd.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub(super) caller: Caller,
    pub(super) relay: SocketAddr,
    pub(super) question: Arc<Question>,
    pub(super) expected: Bytes,
    pub(super) keeps_connection: bool,
    pub(super) tally: Arc<Tally>,
}

impl Asker {
    /// Asks on and on, until the tally is over.
    pub(super) fn start(self, crowd: &mut JoinSet<()>) {
        crowd.spawn(async move {
            let mut connection = None;
            while !self.tally.is_over() {
                let number = self.tally.next_number();
                match self.ask(number, &mut connection).await {
                    Ok(()) => drop(self.tally.whole.fetch_add(1, Ordering::Relaxed)),
                    Err(why) => self.tally.failed(format!("{number}: {why}")),
                }
                if !self.keeps_connection {
                    connection = None;
                }
                if !self.question.is_streamed {
                    sleep(PAUSE).await; // paced: a caller thinks between two requests
                }
            }
        });
    }

    async fn ask(&self, number: u64, kept: &mut Option<Sender>) -> Result<(), String> {
        let began = Instant::now();
        let request = self.question.request(&self.caller, number);
        let response = within(LIMIT, "an answer", self.send(request, kept)).await?;
        self.tally.head_took(began.elapsed());
        if response.status() != 200 {
            let status = response.status();
            let body = response
                .into_body()
                .collect()
                .await
                .map(|body| body.to_bytes());
            return Err(format!("{status}: {body:?}"));
        }
        let is_streamed = usize::from(self.question.is_streamed);
        self.tally
            .streaming
            .fetch_add(is_streamed, Ordering::Relaxed);
        let body = read(response.into_body()).await;
        self.tally
            .streaming
            .fetch_sub(is_streamed, Ordering::Relaxed);
        match body {
            Ok(body) if body == self.expected => Ok(()),
            Ok(body) => Err(format!("{} bytes that are not the answer", body.len())),
            Err(error) => Err(format!("torn: {error:?}")),
        }
    }

    /// Sends on the connection that is kept, or on a new one when that was closed before anything was sent on it. What
    /// has been sent, were it one byte, is not sent again.
    async fn send(
        &self,
        mut request: Request<RequestBody>,
        kept: &mut Option<Sender>,
    ) -> Result<Response<Incoming>, String> {
        loop {
            let mut sender = match kept.take() {
                Some(sender) => sender,
                None => connect(self.relay)
                    .await
                    .map_err(|error| format!("{error:?}"))?,
            };
            if sender.ready().await.is_err() {
                continue; // closed while it was idle
            }
            match sender.try_send_request(request).await {
                Ok(response) => {
                    *kept = Some(sender);
                    return Ok(response);
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(format!("no answer: {:?}", error.into_error())),
                },
            }
        }
    }
}

type Sender = http1::SendRequest<RequestBody>;

async fn connect(relay: SocketAddr) -> Result<Sender, Box<dyn std::error::Error>> {
    let stream = TcpStream::connect(relay).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the sender, or with the relay's end of it; how is seen by whoever asks.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

async fn read(mut body: Incoming) -> hyper::Result<Bytes> {
    let mut all = BytesMut::new();
    while let Some(frame) = within(LIMIT, "a piece", body.frame()).await {
        if let Ok(data) = frame?.into_data() {
            all.extend_from_slice(&data);
        }
    }
    Ok(all.freeze())
}

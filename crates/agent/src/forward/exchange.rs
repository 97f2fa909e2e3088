//! One exchange: a request to the upstream, and its answer back, piece by piece as they come.
//!
//! 1. `policy` judges the path, the method and the scopes; `owner` the models, as far as the body is not needed for it.
//! 2. `headers` and `body` make the upstream's request of it.
//! 3. `pool` gives a connection. What may have reached the upstream is never sent a second time.
//! 4. The head of the answer is awaited; a caller that holds its body back is asked for it when the upstream wants it.
//! 5. `answer` carries the answer's body, piece by piece.
//!
//! Invariant: it ends once. Either the answer was whole, or the stream is reset, or the other side had given it up
//! already; the connection to the upstream is closed unless the exchange ended cleanly.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use c2l_tunnel::{Fault, Kind, Origin, RequestHead, ResponseHead, StreamHandle};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body::Body as _;
use hyper::{body::Incoming, client::conn::TrySendError};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tracing::{debug, warn};

use super::{
    Forwarder,
    answer::{AnswerBody, Cut},
    body::{Reader, RequestBody, Signals},
    headers,
    ollama::{Class, Endpoint},
    owner, policy,
    pool::{Connection, PendingAnswer},
};
use crate::status::note_error;

/// How long an upstream may leave a body unasked for before it is sent anyway (RFC 9110 §10.1.1: not indefinitely).
const CONTINUE_WAIT: Duration = Duration::from_secs(1);
/// Most interim answers to one request.
const MAX_INTERIM_ANSWERS: u32 = 32;

/// How an exchange ends when its answer was not whole.
enum Failure {
    /// Found here; the other side is told.
    Here(Fault),
    /// The other side gave the stream up, or the session is gone.
    There(Fault),
    /// The same, but the model that loads for it is worth waiting for.
    StillLoading(Fault, Call),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Here(fault)
    }
}

/// A request under way, before the head of its answer.
struct Call {
    connection: Connection,
    answer: PendingAnswer,
}

/// What the log says of an exchange. No path, no query, no body.
struct Record {
    request_id: String,
    began: Instant,
    method: Method,
    route: &'static str,
    status: Option<StatusCode>,
    first_byte: Option<Duration>,
    downloaded_bytes: u64,
}

impl Forwarder {
    /// Carries one request to the upstream and its answer back. Dropping the future gives both up.
    pub(super) async fn carry_out(&self, mut head: Box<RequestHead>, stream: StreamHandle) {
        let mut record = Record::new(&mut head);
        let signals = Arc::<Signals>::default();
        let stream = Arc::new(stream);
        let mut result = self.exchange(head, &stream, &signals, &mut record).await;
        if let Err(Failure::Here(fault)) = &mut result {
            fault.model = signals.take_model();
            stream.break_off(fault.clone()); // behind whatever Ollama had said before
        }
        drop(stream);
        record.log(&result, &signals);
        self.note(&result);
        if let Err(Failure::StillLoading(_, call)) = result {
            call.finish_load(self.load_grace).await;
        }
    }

    /// An upstream that is not there concerns the owner, whoever asked for it.
    fn note(&self, result: &Result<(), Failure>) {
        if let Err(Failure::Here(fault)) = result
            && fault.kind == Kind::UpstreamUnreachable
        {
            note_error(&self.activity, &fault.message);
        }
    }

    async fn exchange(
        &self,
        head: Box<RequestHead>,
        stream: &Arc<StreamHandle>,
        signals: &Arc<Signals>,
        record: &mut Record,
    ) -> Result<(), Failure> {
        let target = policy::target(&head.target)?;
        let endpoint = policy::admit(&head, target.path(), &self.owner)?;
        record.route = endpoint.template;
        let reader = self.owner.judge_models(&head, &target, endpoint)?;
        let is_body_held_back = head.expects_continue && !head.is_whole;
        let request = self.request_for(head, target.into(), reader, stream, signals)?;
        let mut waiting = Waiting {
            stream,
            signals,
            endpoint,
            continue_timer: is_body_held_back.then(|| Box::pin(sleep(CONTINUE_WAIT))),
        };
        let (mut connection, answer) = self.ask(request, &mut waiting).await?;
        record.first_byte = Some(record.began.elapsed());
        record.status = Some(answer.status());
        let (mut head, body) = answer_head(answer)?;
        head.model = signals.take_model();
        let is_refusal = head.status.is_client_error() || head.status.is_server_error();
        if is_refusal {
            // The rest of the body is not wanted. To go on writing could break the connection before the answer is
            // read (RFC 9112 §9.5).
            signals.is_upload_over.store(true, Ordering::Relaxed);
        }
        let is_whole = head.is_whole;
        stream.answer(head).map_err(Failure::There)?;
        if !is_whole {
            let mut answer = AnswerBody::new(&mut connection, stream, body);
            let carried = poll_fn(|cx| answer.poll_carry(cx)).await;
            record.downloaded_bytes = answer.carried_bytes;
            carried.map_err(|end| match end {
                Cut::Broken => broken_body(signals).into(),
                Cut::GivenUp(fault) => Failure::There(fault),
            })?;
        }
        connection.look_behind_the_answer().await;
        self.pool.give_back(connection);
        Ok(())
    }

    /// The upstream's request: path and query only, our own `Host`, and one framing.
    fn request_for(
        &self,
        head: Box<RequestHead>,
        target: Uri,
        mut reader: Option<Reader>,
        stream: &Arc<StreamHandle>,
        signals: &Arc<Signals>,
    ) -> Result<Request<RequestBody>, Fault> {
        let mut fields = headers::toward_upstream(head.headers, &self.pool.authority);
        let length = headers::content_length(&mut fields)?;
        let body = if head.is_whole {
            if length.is_some_and(|length| length > 0) {
                let why = "a body was announced, and none came";
                let fault = Fault::new(Kind::InvalidRequest, Origin::Caller, why);
                return Err(fault.retry_safe());
            }
            RequestBody::none(Arc::clone(signals))
        } else {
            if length == Some(0)
                && let Some(Reader::Gate(mut gate)) = reader.take()
            {
                gate.finish().map_err(owner::fault)?; // the library asks for no body that is announced as empty
            }
            if length.is_none() {
                // Said outright: for a GET the library would otherwise assume that there is no body.
                let chunked = HeaderValue::from_static("chunked");
                fields.insert(header::TRANSFER_ENCODING, chunked);
            }
            RequestBody::from_stream(Arc::clone(stream), length, reader, Arc::clone(signals))
        };
        if head.expects_continue && !head.is_whole {
            let expectation = HeaderValue::from_static("100-continue");
            fields.insert(header::EXPECT, expectation);
        }
        let mut request = Request::new(body);
        *request.method_mut() = head.method;
        *request.uri_mut() = target;
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = fields;
        let heard = Arc::clone(signals);
        hyper::ext::on_informational(&mut request, move |interim| {
            heard.interim_answers.fetch_add(1, Ordering::Relaxed);
            if interim.status() == StatusCode::CONTINUE {
                heard.is_body_asked.store(true, Ordering::Relaxed);
            }
        });
        Ok(request)
    }

    /// Sends the request and waits for the head of the answer. Only a request that certainly was not written, because
    /// an idle connection turned out to be closed, is sent on another one.
    async fn ask(
        &self,
        mut request: Request<RequestBody>,
        waiting: &mut Waiting<'_>,
    ) -> Result<(Connection, Response<Incoming>), Failure> {
        loop {
            let mut connection = match self.pool.take_idle() {
                Some(connection) => connection,
                // In a box: it is seldom needed, and each exchange would keep its room.
                None => unless_given_up(waiting.stream, Box::pin(self.pool.connect())).await??,
            };
            let is_reused = connection.is_reused;
            let answer = connection.send(request);
            let mut call = Call { connection, answer };
            match waiting.head(&mut call).await {
                Ok(Ok(answer)) => return Ok((call.connection, answer)),
                Ok(Err(mut error)) => match error.take_message() {
                    Some(unsent) if is_reused => request = unsent,
                    unsent => return Err(failed(error, unsent.is_some(), waiting.signals).into()),
                },
                Err(Failure::There(fault)) if waiting.is_load_worth_finishing(&fault) => {
                    return Err(Failure::StillLoading(fault, call));
                }
                Err(failure) => return Err(failure),
            }
        }
    }
}

/// What the wait for the head of an answer looks at.
struct Waiting<'a> {
    stream: &'a StreamHandle,
    signals: &'a Signals,
    endpoint: &'static Endpoint,
    /// Runs while the caller holds its body back.
    continue_timer: Option<Pin<Box<Sleep>>>,
}

impl Waiting<'_> {
    /// Waits for the head, a failed stream, or too many interim answers.
    async fn head(&mut self, call: &mut Call) -> Result<super::pool::SendResult, Failure> {
        poll_fn(|cx| {
            if let Poll::Ready(fault) = self.stream.poll_fault(cx) {
                return Poll::Ready(Err(Failure::There(fault)));
            }
            call.connection.poll_move(cx);
            if self.signals.interim_answers.load(Ordering::Relaxed) > MAX_INTERIM_ANSWERS {
                let why = "Ollama sent interim answers without end";
                return Poll::Ready(Err(upstream_failed(why).into()));
            }
            // Before the wish for the body: with the final answer there, the body is not wanted any more.
            if let Poll::Ready(answer) = call.answer.as_mut().poll(cx) {
                return Poll::Ready(Ok(answer));
            }
            self.ask_for_body_if_due(cx).map_or(Poll::Pending, |fault| {
                Poll::Ready(Err(Failure::There(fault)))
            })
        })
        .await
    }

    fn ask_for_body_if_due(&mut self, cx: &mut Context<'_>) -> Option<Fault> {
        let timer = self.continue_timer.as_mut()?;
        let is_asked = self.signals.is_body_asked.load(Ordering::Relaxed);
        if !is_asked && timer.as_mut().poll(cx).is_pending() {
            return None;
        }
        self.continue_timer = None;
        self.stream.ask_for_body().err()
    }

    /// Ollama throws a half loaded model away when its caller leaves. When only a time limit has fired, the next try
    /// finds it warm if this one waits on. Without its whole body the upstream loads nothing.
    fn is_load_worth_finishing(&self, fault: &Fault) -> bool {
        fault.kind == Kind::Timeout
            && self.endpoint.class == Class::Infer
            && self.signals.is_upload_whole.load(Ordering::Relaxed)
    }
}

impl Call {
    /// Holds the request open until its first byte, at most this long, and then drops it.
    async fn finish_load(mut self, grace: Duration) {
        let first_byte = poll_fn(|cx| {
            self.connection.poll_move(cx);
            self.answer.as_mut().poll(cx).map(|answer| answer.is_ok())
        });
        let is_loaded = timeout(grace, first_byte).await.unwrap_or(false);
        debug!(
            is_loaded,
            "request whose caller was told of a timeout dropped"
        );
    }
}

/// The output, or the fault with which the stream ended first. The future is dropped then.
async fn unless_given_up<T>(
    stream: &StreamHandle,
    work: impl Future<Output = T>,
) -> Result<T, Failure> {
    // In order: a caller who has left is noticed before more work is done for them.
    tokio::select! {
        biased;
        fault = poll_fn(|cx| stream.poll_fault(cx)) => Err(Failure::There(fault)),
        output = work => Ok(output),
    }
}

/// The head for the caller, if the answer is one that HTTP knows.
fn answer_head(answer: Response<Incoming>) -> Result<(ResponseHead, Incoming), Fault> {
    let (head, body) = answer.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(upstream_failed(
            "Ollama switched to a protocol that nobody asked for",
        ));
    }
    if !(200..=599).contains(&head.status.as_u16()) {
        return Err(upstream_failed(
            "Ollama answered with a status that HTTP does not know",
        ));
    }
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_ambiguous = codings.next().is_some_and(|coding| {
        let is_chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        let is_length_said = head.headers.contains_key(header::CONTENT_LENGTH);
        !is_chunked || codings.next().is_some() || is_length_said
    });
    if is_ambiguous {
        return Err(upstream_failed("Ollama's answer has an ambiguous framing"));
    }
    let head = ResponseHead {
        status: head.status,
        headers: headers::toward_caller(head.headers),
        is_whole: body.is_end_stream(),
        model: String::new(),
    };
    Ok((head, body))
}

/// What it means that no head came.
fn failed(error: TrySendError<Request<RequestBody>>, is_unsent: bool, signals: &Signals) -> Fault {
    if let Some(fault) = body_fault(signals) {
        return fault;
    }
    let error = error.into_error();
    debug!(%error, "no answer");
    if is_unsent {
        return upstream_failed("Ollama closed the connection at once").retry_safe();
    }
    if error.is_parse() {
        return upstream_failed("Ollama answered with something that is not HTTP");
    }
    upstream_failed("Ollama closed the connection before it answered")
}

fn broken_body(signals: &Signals) -> Fault {
    let broken = || upstream_failed("Ollama broke off in the middle of its answer");
    body_fault(signals).unwrap_or_else(broken)
}

/// What was wrong with the request's body, if it is why the connection was broken.
fn body_fault(signals: &Signals) -> Option<Fault> {
    let wrong_length = || {
        let why = "the request body is not as long as announced";
        Fault::new(Kind::InvalidRequest, Origin::Caller, why)
    };
    let is_length_wrong = signals.is_length_wrong.load(Ordering::Relaxed);
    signals
        .refusal
        .get()
        .cloned()
        .or_else(|| is_length_wrong.then(wrong_length))
}

fn upstream_failed(why: &'static str) -> Fault {
    Fault::new(Kind::UpstreamFailed, Origin::Upstream, why)
}

impl Record {
    fn new(head: &mut RequestHead) -> Self {
        Self {
            request_id: std::mem::take(&mut head.request_id),
            began: Instant::now(),
            method: head.method.clone(),
            route: "none",
            status: None,
            first_byte: None,
            downloaded_bytes: 0,
        }
    }

    fn log(&self, result: &Result<(), Failure>, signals: &Signals) {
        let fault = result.as_ref().err().map(Failure::fault);
        if let Some(fault) = fault.filter(|fault| fault.origin == Origin::Upstream) {
            // Whoever sits beside Ollama is the one who can mend it.
            let request_id = self.request_id.as_str();
            warn!(request_id, route = self.route, kind = %fault.kind, problem = %fault.message, "Ollama failed a request");
        }
        debug!(
            method = %self.method,
            route = self.route,
            status = self.status.map(|status| status.as_u16()),
            kind = fault.map(|fault| fault.kind.as_str()),
            origin = fault.map(|fault| fault.origin.as_str()),
            up_bytes = signals.uploaded_bytes.load(Ordering::Relaxed),
            down_bytes = self.downloaded_bytes,
            first_byte = self.first_byte.map(tracing::field::debug),
            took = ?self.began.elapsed(),
            "exchange ended"
        );
    }
}

impl Failure {
    fn fault(&self) -> &Fault {
        match self {
            Self::Here(fault) | Self::There(fault) | Self::StillLoading(fault, _) => fault,
        }
    }
}

//! A session shared between the task that moves its messages and the tasks that use its streams.
//!
//! Invariant: the lock is held for bookkeeping only, never across a wait; every handle that is dropped releases its
//! stream on both sides. The clock is the caller's: each call that needs the time takes it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::HeaderMap;

use crate::{
    error::{CloseReason, Fault, ProtocolError},
    frame::{Batch, Control, Hello, RequestHead, ResponseHead, SecretToken, StreamId, Welcome},
    session::{Phase, Session, Settings},
};

/// One session, shared. Cloning is cheap; the session ends by [`Link::close`], not by dropping clones.
#[derive(Clone, Debug)]
pub struct Link {
    session: Arc<Mutex<Session>>,
}

impl Link {
    /// A session in its greeting.
    #[must_use]
    pub fn new(settings: &Settings, now: Instant) -> Self {
        Self {
            session: Arc::new(Mutex::new(Session::new(settings, now))),
        }
    }

    /// A panic elsewhere cannot leave the state half changed: every change is bookkeeping that does not panic.
    fn lock(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the session stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.lock().phase().clone()
    }

    /// Why it ended, once it has.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        match self.lock().phase() {
            Phase::Closed(reason) => Some(reason.clone()),
            Phase::Greeting { .. } | Phase::Open | Phase::Draining { .. } => None,
        }
    }

    /// True while new streams may be opened.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.lock().phase(), Phase::Open)
    }

    /// See [`Session::takes_streams`].
    #[must_use]
    pub fn takes_streams(&self, now: Instant) -> bool {
        self.lock().takes_streams(now)
    }

    /// Streams under way.
    #[must_use]
    pub fn active_streams(&self) -> usize {
        self.lock().active_streams()
    }

    /// Streams opened since the session began.
    #[must_use]
    pub fn total_streams(&self) -> u64 {
        self.lock().total_streams()
    }

    /// See [`Session::held_bytes`].
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.lock().held_bytes()
    }

    /// See [`Session::say_hello`].
    pub fn say_hello(&self, hello: Hello) {
        self.lock().say_hello(hello);
    }

    /// See [`Session::welcome`].
    pub fn welcome(&self, welcome: Welcome, now: Instant) {
        self.lock().welcome(welcome, now);
    }

    /// See [`Session::renew_token`].
    pub fn renew_token(&self, token: SecretToken) {
        self.lock().renew_token(token);
    }

    /// See [`Session::answer_renewal`].
    pub fn answer_renewal(&self, is_accepted: bool, holds: Duration, message: &str) {
        self.lock().answer_renewal(is_accepted, holds, message);
    }

    /// See [`Session::go_away`].
    pub fn go_away(&self, message: &str, grace: Duration, now: Instant) {
        self.lock().go_away(message, grace, now);
    }

    /// See [`Session::hand_over`].
    pub fn hand_over(&self, message: &str, opens: Duration, grace: Duration, now: Instant) {
        self.lock().hand_over(message, opens, grace, now);
    }

    /// See [`Session::close`].
    pub fn close(&self, reason: CloseReason) {
        self.lock().close(reason);
    }

    /// Takes in one message; see [`Session::receive`].
    ///
    /// # Errors
    /// When the peer broke the protocol. The session is then closed already.
    pub fn receive(&self, batch: Batch, now: Instant) -> Result<Vec<Control>, ProtocolError> {
        let mut session = self.lock();
        session.receive(batch, now).inspect_err(|error| {
            session.close(CloseReason::Protocol(error.clone()));
        })
    }

    /// See [`Session::heard`].
    pub fn heard(&self, at: Instant) {
        self.lock().heard(at);
    }

    /// See [`Session::poll_transmit`].
    pub fn poll_transmit(&self, now: Instant, cx: &mut Context<'_>) -> Poll<Option<Batch>> {
        self.lock().poll_transmit(now, cx)
    }

    /// True while [`Self::poll_transmit`] has nothing to say that it has not said to this task: another wake-up was meant.
    #[must_use]
    pub fn is_silent(&self, cx: &Context<'_>) -> bool {
        self.lock().is_silent(cx)
    }

    /// See [`Session::tick`].
    #[must_use]
    pub fn tick(&self, now: Instant, cx: &Context<'_>) -> Option<Instant> {
        self.lock().tick(now, cx.waker())
    }

    /// Opens a stream; the relay's side.
    ///
    /// # Errors
    /// When the session takes no new streams, has as many as it may, or the head is one that cannot cross.
    pub fn open(&self, head: RequestHead, now: Instant) -> Result<StreamHandle, Fault> {
        let id = self.lock().open(head, now)?;
        Ok(self.handle(id))
    }

    /// The next request; the agent's side. `None` when the session is closed.
    pub fn poll_accept(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<(Box<RequestHead>, StreamHandle)>> {
        let polled = self.lock().poll_arrival(cx);
        polled.map(|arrival| arrival.map(|(id, head)| (head, self.handle(id))))
    }

    fn handle(&self, id: StreamId) -> StreamHandle {
        StreamHandle {
            link: self.clone(),
            id,
        }
    }
}

/// What comes before the body of an answer.
#[derive(Debug)]
pub enum Answer {
    /// The upstream asks for the body that the caller holds back.
    Continue,
    /// Status and fields.
    Head(Box<ResponseHead>),
}

/// One stream of a session. Dropping it releases the stream: unfinished, it is reset, and the peer drops its side;
/// an agent's complete answer is still written. Of the tasks that share a handle, one may wait for what arrives, one for
/// room to send and one for a fault: a second one of a kind takes the place of the first.
#[derive(Debug)]
pub struct StreamHandle {
    link: Link,
    id: StreamId,
}

impl StreamHandle {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Waits until body bytes may be sent; says how many. Fails once this direction has ended: the stream has failed,
    /// or, on the relay's side, the whole answer is here and the agent wants no more of the request.
    pub fn poll_capacity(&self, cx: &mut Context<'_>) -> Poll<Result<usize, Fault>> {
        let polled = self
            .link
            .lock()
            .with_stream(self.id, |stream| stream.poll_capacity(cx));
        polled.unwrap_or_else(|fault| Poll::Ready(Err(fault)))
    }

    /// Sends as much of `bytes` as there is room for, and leaves the rest in it.
    ///
    /// # Errors
    /// When the stream has failed, or this direction has ended or not begun (see [`Self::poll_capacity`]).
    pub fn send_body(&self, bytes: &mut Bytes, now: Instant) -> Result<(), Fault> {
        self.link.lock().send_body(self.id, bytes, now)
    }

    /// Ends this side's direction.
    ///
    /// # Errors
    /// When the stream has failed.
    pub fn send_end(&self, trailers: HeaderMap) -> Result<(), Fault> {
        self.link.lock().send_end(self.id, trailers)
    }

    /// Sends the head of the answer; the agent's side. A second one is ignored.
    ///
    /// # Errors
    /// When the stream has failed. A head that cannot cross (its status, too many or too large fields) fails it.
    pub fn answer(&self, head: ResponseHead) -> Result<(), Fault> {
        self.link.lock().answer(self.id, head)
    }

    /// Asks for the body that the caller holds back; the agent's side.
    ///
    /// # Errors
    /// When the stream has failed.
    pub fn ask_for_body(&self) -> Result<(), Fault> {
        self.link.lock().ask_for_body(self.id)
    }

    /// Waits for the answer to begin; the relay's side.
    pub fn poll_answer(&self, cx: &mut Context<'_>) -> Poll<Result<Answer, Fault>> {
        let polled = self
            .link
            .lock()
            .with_stream(self.id, |stream| stream.poll_head(cx));
        polled
            .unwrap_or_else(|fault| Poll::Ready(Err(fault)))
            .map_ok(|head| head.map_or(Answer::Continue, Answer::Head))
    }

    /// Waits for the next piece of the peer's body; `None` when it is whole.
    pub fn poll_body(
        &self,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Fault>> {
        self.link.lock().poll_body(self.id, now, cx)
    }

    /// The peer's trailers, once its body is whole.
    #[must_use]
    pub fn take_trailers(&self) -> Option<HeaderMap> {
        self.link
            .lock()
            .with_stream(self.id, |stream| stream.incoming.trailers.take())
            .unwrap_or_default()
    }

    /// Waits for the stream to fail: reset by the peer, out of time, or the session gone. One that ends well never does.
    pub fn poll_fault(&self, cx: &mut Context<'_>) -> Poll<Fault> {
        let polled = self
            .link
            .lock()
            .with_stream(self.id, |stream| stream.poll_fault(cx));
        polled.unwrap_or_else(Poll::Ready)
    }

    /// Says that every byte of the answer's announced length is here; the relay's side. When the handle is dropped, the
    /// end that is still on its way is taken for what it is instead of being answered with a reset.
    pub fn await_end(&self) {
        // A stream that is gone has no end to wait for.
        _ = self
            .link
            .lock()
            .with_stream(self.id, |stream| stream.is_end_awaited = true);
    }

    /// Ends the stream like [`StreamHandle::reset`], behind what is queued already: for a source that broke off.
    pub fn break_off(&self, fault: Fault) {
        self.link.lock().break_off(self.id, fault);
    }

    /// Ends the stream in both directions and tells the peer why, unless it is over already.
    pub fn reset(&self, fault: Fault) {
        self.link.lock().reset(self.id, fault);
    }
}

impl Drop for StreamHandle {
    fn drop(&mut self) {
        self.link.lock().release(self.id);
    }
}

//! How long a connection has been of no use: idle between two requests, or in the middle of a head that does not end.
//!
//! Invariant: a connection with a request under way is never idle, and neither is one whose last answer is still being
//! written.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// Longer limits than this are this long: one that means "never" must not overflow a clock.
pub(crate) const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The requests of one connection, and what moved when there was none.
#[derive(Debug)]
pub(crate) struct Requests {
    state: Mutex<State>,
    idle_limit: Duration,
    /// HTTP/1.1 alone: in HTTP/2 bytes between requests are no beginning of a head, and no sign of use either.
    head_limit: Option<Duration>,
}

#[derive(Debug)]
struct State {
    under_way: usize,
    /// When the last request ended, or the last byte of its answer was written.
    idle_since: Instant,
    /// When the first byte of the next request came.
    head_since: Option<Instant>,
}

impl Requests {
    pub(crate) fn new(idle_limit: Duration, head_limit: Option<Duration>) -> Self {
        let state = State {
            under_way: 0,
            idle_since: Instant::now(),
            head_since: None,
        };
        Self {
            state: Mutex::new(state),
            idle_limit: idle_limit.min(LONGEST),
            head_limit: head_limit.map(|limit| limit.min(LONGEST)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request until the guard is dropped, which is when its answer's body is gone.
    pub(crate) fn enter(self: &Arc<Self>) -> Active {
        let mut state = self.lock();
        state.under_way += 1;
        state.head_since = None;
        Active(Arc::clone(self))
    }

    /// Bytes came.
    pub(crate) fn read(&self) {
        let mut state = self.lock();
        if state.under_way == 0 {
            state.head_since.get_or_insert_with(Instant::now);
        }
    }

    /// Bytes left.
    pub(crate) fn wrote(&self) {
        let mut state = self.lock();
        if state.under_way == 0 && self.head_limit.is_some() {
            state.idle_since = Instant::now();
        }
    }

    /// When the connection is of no use any more if nothing moves; `None` while a request is under way.
    fn due(&self) -> Option<Instant> {
        let state = self.lock();
        let head_at = state
            .head_since
            .and_then(|since| Some(since + self.head_limit?));
        (state.under_way == 0).then(|| head_at.unwrap_or(state.idle_since + self.idle_limit))
    }

    /// Waits until one of the limits is over. Polled after the connection by the same task, it sees what has moved; of
    /// an answer that ended in another task it learns in time by itself.
    pub(crate) async fn idle(&self) {
        let mut timer = pin!(sleep_until(Instant::now() + self.idle_limit));
        poll_fn(|cx| {
            loop {
                match self.due() {
                    Some(due) if due <= Instant::now() => return Poll::Ready(()),
                    // One that moves away is met when the timer fires: most requests reset nothing.
                    Some(due) if due < timer.deadline() || timer.is_elapsed() => {
                        timer.as_mut().reset(due);
                    }
                    None if timer.is_elapsed() => {
                        timer.as_mut().reset(Instant::now() + self.idle_limit);
                    }
                    Some(_) | None => {}
                }
                std::task::ready!(timer.as_mut().poll(cx));
            }
        })
        .await;
    }
}

/// Counts a request of a connection until its answer's body is gone.
#[derive(Debug)]
pub(crate) struct Active(Arc<Requests>);

impl Active {
    pub(crate) fn around<B>(self, body: B) -> Counted<B> {
        Counted {
            body,
            _active: self,
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.under_way -= 1;
        state.idle_since = Instant::now();
    }
}

/// A body that counts as a request under way while it lives.
#[derive(Debug)]
pub(crate) struct Counted<B> {
    body: B,
    _active: Active,
}

impl<B: http_body::Body + Unpin> http_body::Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        std::pin::Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

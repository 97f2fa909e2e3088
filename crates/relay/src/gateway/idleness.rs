//! How long a connection has been of no use: idle between two requests, or in the middle of a head that does not end.
//!
//! Invariant: a connection with a request under way is never idle, and neither is one whose last answer is still being
//! written.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    task::coop::has_budget_remaining,
    time::{Instant, sleep_until},
};

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
    /// HTTP/1.1: since the last look the one is so, or the other. The clock is read when somebody looks, which is once
    /// each time that the connection has done something, and mostly not at all for a head that came whole.
    is_idle_anew: bool,
    is_head_begun: bool,
}

impl Requests {
    pub(crate) fn new(idle_limit: Duration, head_limit: Option<Duration>) -> Self {
        let state = State {
            under_way: 0,
            idle_since: Instant::now(),
            head_since: None,
            is_idle_anew: false,
            is_head_begun: false,
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
        state.is_head_begun = false;
        Active(Arc::clone(self))
    }

    /// Bytes came.
    pub(crate) fn read(&self) {
        let mut state = self.lock();
        state.is_head_begun |= state.under_way == 0;
    }

    /// Bytes left.
    pub(crate) fn wrote(&self) {
        let mut state = self.lock();
        state.is_idle_anew |= state.under_way == 0 && self.head_limit.is_some();
    }

    /// When the connection is of no use any more if nothing moves, and what time it is; `None` while a request is under
    /// way.
    fn due(&self) -> Option<(Instant, Instant)> {
        let mut state = self.lock();
        if state.under_way > 0 {
            return None;
        }
        let now = Instant::now();
        if std::mem::take(&mut state.is_idle_anew) {
            state.idle_since = now;
        }
        if std::mem::take(&mut state.is_head_begun) {
            state.head_since.get_or_insert(now);
        }
        let head_at = state
            .head_since
            .and_then(|since| Some(since + self.head_limit?));
        Some((head_at.unwrap_or(state.idle_since + self.idle_limit), now))
    }

    /// Waits until one of the limits is over. Polled after the connection by the same task, it sees what has moved; of
    /// an answer that ended in another task it learns in time by itself.
    pub(crate) async fn idle(&self) {
        let mut timer = pin!(sleep_until(Instant::now() + self.idle_limit));
        let mut waiting: Option<Waker> = None;
        poll_fn(|cx| {
            loop {
                match self.due() {
                    Some((due, now)) if due <= now => return Poll::Ready(()),
                    // One that moves away is met when the timer fires: most requests reset nothing.
                    Some((due, _)) if due < timer.deadline() || timer.is_elapsed() => {
                        timer.as_mut().reset(due);
                    }
                    None if timer.is_elapsed() => {
                        timer.as_mut().reset(Instant::now() + self.idle_limit);
                    }
                    // It will wake this very task, as it was asked to.
                    Some(_) | None if will_wake(waiting.as_ref(), cx) => return Poll::Pending,
                    Some(_) | None => {}
                }
                let fired = timer.as_mut().poll(cx);
                waiting = who_waits(cx);
                std::task::ready!(fired);
            }
        })
        .await;
    }
}

/// Who will be called by what was asked just now; nobody where this task had used up its share of steps before: then the
/// runtime's timers and channels say "not yet" without a look (`tokio::task::coop`), and have to be asked again.
pub(crate) fn who_waits(cx: &Context<'_>) -> Option<Waker> {
    has_budget_remaining().then(|| cx.waker().clone())
}

/// Whether who waits there already is the one that asks now.
pub(crate) fn will_wake(waiting: Option<&Waker>, cx: &Context<'_>) -> bool {
    waiting.is_some_and(|waker| waker.will_wake(cx.waker()))
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
        match self.0.head_limit {
            Some(_) => state.is_idle_anew = true,
            None => state.idle_since = Instant::now(), // nobody may look for long
        }
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
        cx: &mut Context<'_>,
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

#[cfg(test)]
mod tests {
    use tokio::{task::coop::consume_budget, time::timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_connection_also_where_reading_took_all_steps_of_the_task() {
        const LIMIT: Duration = Duration::from_secs(75);
        let requests = Requests::new(LIMIT, None);
        let silent = tokio::spawn(async move {
            let mut idle = pin!(requests.idle());
            let mut has_read = false;
            poll_fn(|cx| {
                while !has_read && has_budget_remaining() {
                    assert!(pin!(consume_budget()).poll(cx).is_ready());
                }
                has_read = true;
                idle.as_mut().poll(cx)
            })
            .await;
        });
        let ended = timeout(2 * LIMIT, silent).await;
        ended.expect("in time").expect("it does not panic");
    }
}

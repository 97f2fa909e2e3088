//! A limit on a stream of HTTP/2 whose caller takes nothing of it.
//!
//! Invariant: a caller who gives no credit costs a bounded time. The HTTP library waits for credit for ever, and does
//! not ask the body behind it, so no limit inside of that could fire. Dropping the stream's future resets the stream
//! and releases what it held; the connection and its other streams go on.

use std::{cell::Cell, future::poll_fn, pin::pin, task::Poll, time::Duration};

use tokio::time::{Instant, sleep};

use crate::gateway::idleness::LONGEST;

tokio::task_local! {
    static BODY: Cell<Body>;
}

/// What became of the body when the stream moved.
#[derive(Clone, Copy)]
enum Body {
    NotAsked,
    GaveFrame,
    HasNone,
}

/// Notes what a body has just answered to the HTTP library. Says nothing outside of [`bounded`].
pub(crate) fn note<T>(polled: &Poll<Option<T>>) {
    let body = match polled {
        Poll::Ready(Some(_)) => Body::GaveFrame,
        Poll::Ready(None) | Poll::Pending => Body::HasNone,
    };
    // There is none over HTTP/1.1, where a blocked socket is what is watched.
    BODY.try_with(|cell| cell.set(body)).unwrap_or_default();
}

/// Runs a stream to its end, or until a frame of its body has not been taken for this long.
pub(crate) async fn bounded(stream: impl Future<Output = ()>, limit: Duration) {
    let limit = limit.min(LONGEST);
    // In a box: an argument that is pinned has its room twice.
    let mut stream = Box::pin(stream);
    let mut timer = pin!(sleep(limit));
    let mut given_at: Option<Instant> = None;
    poll_fn(|cx| {
        let (polled, body) = BODY.sync_scope(Cell::new(Body::NotAsked), || {
            (stream.as_mut().poll(cx), BODY.with(Cell::get))
        });
        if polled.is_ready() {
            return polled;
        }
        match body {
            Body::GaveFrame => given_at = Some(Instant::now()),
            Body::HasNone => given_at = None,
            Body::NotAsked => {}
        }
        loop {
            let Some(due) = given_at.map(|given_at| given_at + limit) else {
                return Poll::Pending;
            };
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            // One that moves away is met when the timer fires: a stream that flows resets nothing.
            if timer.is_elapsed() {
                timer.as_mut().reset(due);
            }
            std::task::ready!(timer.as_mut().poll(cx));
        }
    })
    .await;
}

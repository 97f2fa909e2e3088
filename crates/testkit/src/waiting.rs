//! Waiting for conditions, with a deadline that says what was waited for.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep, timeout};

/// The value of `future`.
///
/// # Panics
/// When it takes longer than `limit`.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {limit:?}: {what}"),
    }
}

/// Asks again and again until `probe` gives a value. For states that nothing announces.
///
/// # Panics
/// When it gives none within `limit`.
pub async fn eventually<T, F>(limit: Duration, what: &str, mut probe: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        sleep(Duration::from_millis(2)).await; // paced: between two looks at a condition
    }
}

//! The one thread on which all that blocks happens.
//!
//! Invariant: the queue is bounded; who asks while it is full waits for room. The thread ends when nobody can ask any
//! more, after what was asked is done, and whoever drops the last handle waits for that.

use std::{fmt, io, thread};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::{Pending, StoreError};

/// Most that may wait. Each is a few hundred bytes.
const QUEUE: usize = 256;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The way to the thread.
pub(crate) struct Worker {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread around this connection.
    pub(crate) fn start(mut connection: Connection) -> io::Result<Self> {
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        let work = move || {
            while let Some(job) = queue.blocking_recv() {
                job(&mut connection);
            }
            // On a clean end what is in the log beside it goes into the file itself.
            if let Err((_, error)) = connection.close() {
                tracing::warn!(%error, "the database was not closed cleanly; the next start mends that");
            }
        };
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .spawn(work)?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Does `work` on the thread, once what was asked before is done. Dropping the future may leave it undone, or not.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Pending<'_, T> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let job: Job = Box::new(move |connection| {
                // Nobody may wait any more; it is done all the same.
                drop(answer.send(work(connection)));
            });
            let jobs = self.jobs.as_ref().ok_or(StoreError::Closed)?;
            jobs.send(job).await.map_err(|_| StoreError::Closed)?;
            answered.await.map_err(|_| StoreError::Closed)?
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the database panicked");
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Worker")
    }
}

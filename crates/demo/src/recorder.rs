//! What the server saw: a bounded log of requests, and counters that can be waited for.
//!
//! Invariant: every request that is counted as started is counted as finished exactly once, and its record says how it
//! ended. Both happen in the drop of its [`Exchange`], which lives in the handler's future first and in the body of
//! the answer afterwards; so a caller who leaves at any moment is noticed in one place.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, Method, StatusCode, Uri};
use serde::Serialize;
use tokio::sync::watch;

use crate::connection::Link;

/// A body up to this size is kept whole in its record.
pub const KEPT_BODY_BYTES: usize = 64 * 1024;

/// All kept bodies together stay below this.
const KEPT_IN_ALL_BYTES: usize = 32 * 1024 * 1024;

/// What has happened so far. Numbers only grow, except the two that end in `_active` and `_open`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Counters {
    /// Connections accepted.
    pub connections_accepted: u64,
    /// Connections open now.
    pub connections_open: u64,
    /// Request heads received.
    pub requests_started: u64,
    /// Requests that have ended, whichever way.
    pub requests_finished: u64,
    /// Requests between their head and their end now.
    pub requests_active: u64,
    /// Requests whose caller left before the end of the answer.
    pub callers_left: u64,
    /// Requests that began to wait for the one slot of `+queue`, or for another caller's load.
    pub waits_started: u64,
    /// Such waits given up because the caller left.
    pub waits_abandoned: u64,
    /// Loads begun (`+load`).
    pub loads_started: u64,
    /// Loads that ended; the model is warm.
    pub loads_finished: u64,
    /// Loads thrown away because the caller left; the model is cold.
    pub loads_aborted: u64,
    /// Generations begun: the request is past queue and load. Embeddings count too.
    pub generations_started: u64,
    /// Generations said to the end.
    pub generations_finished: u64,
    /// Generations stopped because the caller left, before the first line or after some.
    pub generations_stopped: u64,
    /// Pulls, pushes and creates stopped because the caller left.
    pub transfers_stopped: u64,
    /// Blob uploads begun (a known blob is none).
    pub uploads_started: u64,
    /// Blob uploads read to their end.
    pub uploads_finished: u64,
    /// Request bodies, of blobs or any other, that stopped before their end because the caller left.
    pub uploads_aborted: u64,
    /// Bytes of blobs received.
    pub bytes_uploaded: u64,
    /// Bytes of all request bodies received.
    pub bytes_received: u64,
    /// Faults played: answers cut, torn, silenced, or ended by an error line because the model name said so.
    pub faults_played: u64,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ended {
    /// It has not ended.
    Running,
    /// The whole answer was handed over.
    Answered,
    /// The caller's connection went away first.
    CallerLeft,
    /// A switch cut the connection.
    Cut,
    /// The server was shut down.
    Shutdown,
}

/// One request as it was received.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RecordedRequest {
    /// Counts up from 1, in the order of the heads.
    pub number: u64,
    /// Which connection it came on; counts up from 1.
    pub connection: u64,
    /// The method.
    pub method: String,
    /// Raw path and query (or `*`, or an absolute URI, as sent).
    pub target: String,
    /// Names in lower case and values as bytes, in the order received; a repeated name stands with its first one.
    pub headers: Vec<(String, Vec<u8>)>,
    /// How much of the body has been received.
    pub body_bytes: u64,
    /// The body received so far; `None` once it is larger than [`KEPT_BODY_BYTES`], or when too much is kept already.
    pub body: Option<Vec<u8>>,
    /// Whether the body was read to its end.
    pub body_complete: bool,
    /// The status of the answer, once there is one.
    pub status: Option<u16>,
    /// Lines or raw pieces handed over, the last line included.
    pub lines: u64,
    /// How it ended.
    pub ended: Ended,
}

impl RecordedRequest {
    /// The first value of this header, if there is one and it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.iter().find(|(known, _)| known == name)?;
        std::str::from_utf8(&value.1).ok()
    }
}

/// The log and the counters of one server.
#[derive(Debug)]
pub(crate) struct Recorder {
    counters: watch::Sender<Counters>,
    log: Mutex<VecDeque<Arc<Entry>>>,
    log_length: usize,
    numbers: AtomicU64,
    kept: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Entry {
    request: Mutex<RecordedRequest>,
    kept: Arc<AtomicUsize>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let request = self
            .request
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let kept = request.body.as_ref().map_or(0, Vec::len);
        self.kept.fetch_sub(kept, Ordering::Relaxed);
    }
}

impl Recorder {
    pub(crate) fn new(log_length: usize) -> Self {
        Self {
            counters: watch::Sender::default(),
            log: Mutex::default(),
            log_length,
            numbers: AtomicU64::new(0),
            kept: Arc::default(),
        }
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Counters)) {
        self.counters.send_modify(change);
    }

    pub(crate) fn counters(&self) -> Counters {
        *self.counters.borrow()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Counters> {
        self.counters.subscribe()
    }

    pub(crate) fn requests(&self) -> Vec<RecordedRequest> {
        let entries: Vec<Arc<Entry>> = lock(&self.log).iter().cloned().collect();
        entries
            .iter()
            .map(|entry| lock(&entry.request).clone())
            .collect()
    }

    /// Forgets the log and sets what has ended back to zero; what is open now stays counted.
    pub(crate) fn reset(&self) {
        lock(&self.log).clear();
        self.count(|counters| {
            *counters = Counters {
                connections_open: counters.connections_open,
                connections_accepted: counters.connections_open,
                requests_active: counters.requests_active,
                requests_started: counters.requests_active,
                ..Counters::default()
            };
        });
    }

    /// Opens the record of a request.
    pub(crate) fn start(
        self: &Arc<Self>,
        link: Arc<Link>,
        method: &Method,
        target: &Uri,
        headers: &HeaderMap,
    ) -> Exchange {
        let entry = (self.log_length > 0).then(|| self.enter(link.number, method, target, headers));
        self.count(|counters| {
            counters.requests_started += 1;
            counters.requests_active += 1;
        });
        Exchange {
            recorder: Arc::clone(self),
            link,
            entry,
            stage: Stage::Head,
            ended: None,
            lines: 0,
        }
    }

    fn enter(
        &self,
        connection: u64,
        method: &Method,
        target: &Uri,
        headers: &HeaderMap,
    ) -> Arc<Entry> {
        let entry = Arc::new(Entry {
            request: Mutex::new(RecordedRequest {
                number: self.numbers.fetch_add(1, Ordering::Relaxed) + 1,
                connection,
                method: method.as_str().to_owned(),
                target: target.to_string(),
                headers: headers
                    .iter()
                    .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
                    .collect(),
                body_bytes: 0,
                body: Some(Vec::new()),
                body_complete: false,
                status: None,
                lines: 0,
                ended: Ended::Running,
            }),
            kept: Arc::clone(&self.kept),
        });
        let mut log = lock(&self.log);
        // Dropped after the lock is: freeing a kept body is not free.
        let _oldest = if log.len() >= self.log_length {
            log.pop_front()
        } else {
            None
        };
        log.push_back(Arc::clone(&entry));
        drop(log);
        entry
    }
}

/// A poisoned lock guards plain data that is never left half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a request is doing; decides which counter moves when its caller leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Head received, nothing else done.
    Head,
    /// Its body is being read.
    Reading,
    /// Its body is being read as a blob.
    Uploading,
    /// It waits for its turn.
    Waiting,
    Loading,
    Generating,
    /// A progress stream.
    Transferring,
    /// An answer that stands for no work of a model.
    Answering,
}

/// One request from its head to its end; dropping it *is* the end.
#[derive(Debug)]
pub(crate) struct Exchange {
    recorder: Arc<Recorder>,
    pub(crate) link: Arc<Link>,
    entry: Option<Arc<Entry>>,
    stage: Stage,
    ended: Option<Ended>,
    lines: u64,
}

impl Exchange {
    pub(crate) fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.recorder.count(|counters| match stage {
            Stage::Uploading => counters.uploads_started += 1,
            Stage::Waiting => counters.waits_started += 1,
            Stage::Loading => counters.loads_started += 1,
            Stage::Generating => counters.generations_started += 1,
            Stage::Head | Stage::Reading | Stage::Transferring | Stage::Answering => {}
        });
    }

    pub(crate) fn body_piece(&mut self, piece: &[u8]) {
        let length = piece.len() as u64;
        let uploading = self.stage == Stage::Uploading;
        self.recorder.count(|counters| {
            counters.bytes_received += length;
            if uploading {
                counters.bytes_uploaded += length;
            }
        });
        let Some(entry) = &self.entry else { return };
        let mut request = lock(&entry.request);
        request.body_bytes += length;
        let Some(body) = request.body.as_mut() else {
            return;
        };
        let in_all = entry.kept.fetch_add(piece.len(), Ordering::Relaxed) + piece.len();
        if body.len() + piece.len() > KEPT_BODY_BYTES || in_all > KEPT_IN_ALL_BYTES {
            entry
                .kept
                .fetch_sub(body.len() + piece.len(), Ordering::Relaxed);
            request.body = None;
        } else {
            body.extend_from_slice(piece);
        }
    }

    pub(crate) fn body_complete(&mut self) {
        if self.stage == Stage::Uploading {
            self.recorder
                .count(|counters| counters.uploads_finished += 1);
        }
        self.stage = Stage::Answering;
        if let Some(entry) = &self.entry {
            lock(&entry.request).body_complete = true;
        }
    }

    pub(crate) fn load_finished(&mut self) {
        self.stage = Stage::Answering;
        self.recorder.count(|counters| counters.loads_finished += 1);
    }

    pub(crate) fn status(&mut self, status: StatusCode) {
        if let Some(entry) = &self.entry {
            lock(&entry.request).status = Some(status.as_u16());
        }
    }

    pub(crate) fn line(&mut self) {
        self.lines += 1;
    }

    pub(crate) fn fault_played(&mut self) {
        self.recorder.count(|counters| counters.faults_played += 1);
    }

    /// Fixes how it ended; without this, dropping the exchange means that the caller left.
    pub(crate) fn ended(&mut self, how: Ended) {
        self.ended.get_or_insert(how);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let ended = match self.ended {
            Some(ended) => ended,
            None if self.link.is_ending() => Ended::Shutdown,
            None => Ended::CallerLeft,
        };
        if let Some(entry) = &self.entry {
            let mut request = lock(&entry.request);
            request.lines = self.lines;
            request.ended = ended;
        }
        let stage = self.stage;
        self.recorder.count(|counters| {
            counters.requests_active -= 1;
            counters.requests_finished += 1;
            match ended {
                Ended::CallerLeft => {
                    counters.callers_left += 1;
                    match stage {
                        Stage::Reading | Stage::Uploading => counters.uploads_aborted += 1,
                        Stage::Waiting => counters.waits_abandoned += 1,
                        Stage::Loading => counters.loads_aborted += 1,
                        Stage::Generating => counters.generations_stopped += 1,
                        Stage::Transferring => counters.transfers_stopped += 1,
                        Stage::Head | Stage::Answering => {}
                    }
                }
                Ended::Answered if stage == Stage::Generating => counters.generations_finished += 1,
                Ended::Answered | Ended::Running | Ended::Cut | Ended::Shutdown => {}
            }
        });
    }
}

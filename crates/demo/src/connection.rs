//! Accepting, serving one connection with hyper, and ending it the hard ways that hyper does not know.
//!
//! A switch cannot reset a connection from inside a body, so it asks its [`Link`], and the task that owns the
//! connection does it. After an answer that left a request body unread, closing at once would make the kernel send a
//! reset that can overtake the answer; like Go's server this one closes its sending half first and lingers.

use std::future::Future;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

/// How long a connection stays half open after an answer that left the request body unread (Go's own value).
const LINGER: Duration = Duration::from_millis(500);

/// More header lines than any caller sends; hyper's own limit of 100 is lower than Go's.
const HEADER_LINES: usize = 256;

/// How a switch ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// RST.
    Reset,
    /// FIN.
    Close,
}

/// What an exchange may ask of the connection it is on.
#[derive(Debug, Default)]
pub(crate) struct Link {
    pub(crate) number: u64,
    cut: OnceLock<Cut>,
    cut_asked: Notify,
    body_unread: AtomicBool,
    ending: AtomicBool,
}

impl Link {
    pub(crate) fn new(number: u64) -> Self {
        Self {
            number,
            ..Self::default()
        }
    }

    /// Ends the connection as soon as its task runs again.
    pub(crate) fn cut(&self, how: Cut) {
        self.cut.get_or_init(|| how);
        self.cut_asked.notify_one();
    }

    /// Says that the answer leaves request bytes in the socket.
    pub(crate) fn leave_body_unread(&self) {
        self.body_unread.store(true, Ordering::Relaxed);
    }

    /// Whether it is the server that ends the connection.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    async fn cut_wanted(&self) -> Cut {
        loop {
            self.cut_asked.notified().await;
            if let Some(how) = self.cut.get() {
                return *how;
            }
        }
    }
}

/// Accepts until `shutdown`, runs one task for each connection, and waits for them all.
pub(crate) async fn accept<F>(
    listener: TcpListener,
    shutdown: CancellationToken,
    mut serve: impl FnMut(TcpStream) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                tasks.spawn(serve(stream));
            }
            Err(error) => {
                // Out of descriptors, most likely: the next connection will end one day, a busy loop would not help.
                debug!(%error, "accept failed");
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(20)) => {}
                    () = shutdown.cancelled() => break,
                }
            }
        }
    }
    tasks.close();
    tasks.wait().await;
}

/// Serves one connection until it ends, a switch cuts it, or `shutdown`.
pub(crate) async fn serve<B, F>(
    stream: TcpStream,
    link: &Link,
    shutdown: &CancellationToken,
    answer: impl Fn(Request<Incoming>) -> F + Unpin,
) where
    B: Body<Error = std::convert::Infallible> + 'static,
    F: Future<Output = Response<B>>,
{
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "no nodelay"); // the peer has gone already
    }
    let service = service_fn(move |request| {
        let response = answer(request);
        async move { Ok::<_, std::convert::Infallible>(response.await) }
    });
    let mut connection = http1::Builder::new()
        .title_case_headers(true) // as Go writes them
        .max_headers(HEADER_LINES)
        .serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        how = link.cut_wanted() => {
            link.ending.store(true, Ordering::Relaxed);
            let stream = connection.into_parts().io.into_inner();
            return cut(&stream, how);
        }
        () = shutdown.cancelled() => {
            link.ending.store(true, Ordering::Relaxed);
            return;
        }
    };
    match ended {
        Ok(()) if link.body_unread.load(Ordering::Relaxed) => linger(shutdown).await, // the connection is still held, half closed
        Ok(()) => {}
        Err(error) => debug!(%error, "connection ended"), // callers leave; that is what this server is for
    }
}

fn cut(stream: &TcpStream, how: Cut) {
    let done: io::Result<()> = match how {
        Cut::Reset => stream.set_zero_linger(), // takes effect when the stream is dropped, next
        Cut::Close => Ok(()),
    };
    if let Err(error) = done {
        debug!(%error, "connection cannot be reset");
    }
}

async fn linger(shutdown: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(LINGER) => {}
        () = shutdown.cancelled() => {}
    }
}

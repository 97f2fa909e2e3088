//! The operators' port: `/livez`, `/readyz`, `/metrics`. None of these is on the public one.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, runtime::Handle, sync::Semaphore, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::Relay;

const MAX_CONNECTIONS: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Accepts until the token is cancelled; each connection's task is the tracker's.
pub(crate) async fn accept(
    relay: Arc<Relay>,
    listener: TcpListener,
    tracker: TaskTracker,
    closing: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let next = async {
            (
                Arc::clone(&places).acquire_owned().await,
                listener.accept().await,
            )
        };
        let (place, accepted) = tokio::select! {
            () = closing.cancelled() => return,
            next = next => next,
        };
        let Ok((stream, _peer)) = accepted else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let relay = Arc::clone(&relay);
        let closing = closing.clone();
        tracker.spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(&relay, &request);
                async { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ended = connection => {}
                () = closing.cancelled() => {}
            }
            drop(place);
        });
    }
}

fn answer(relay: &Relay, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/livez") => (StatusCode::OK, "ok\n".to_owned()),
        (&Method::GET | &Method::HEAD, "/readyz") if relay.is_draining() => {
            (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned())
        }
        (&Method::GET | &Method::HEAD, "/readyz") => (StatusCode::OK, "ready\n".to_owned()),
        (&Method::GET | &Method::HEAD, "/metrics") => {
            let tasks = Handle::current().metrics().num_alive_tasks();
            let page = relay
                .metrics
                .render(relay.registry.len(), relay.active_requests(), tasks);
            (StatusCode::OK, page)
        }
        _ => (StatusCode::NOT_FOUND, "not found\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}

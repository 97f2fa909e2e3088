//! The operators' port: `/livez`, `/readyz`, `/metrics`. None of these is on the public one.
//!
//! Invariant: a page in a browser of the operator's learns nothing here. A name that somebody else may point at this
//! port (DNS rebinding) is not answered: only addresses and the names of this machine for itself are.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, uri::Authority};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, runtime::Handle, sync::Semaphore, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Relay, phase::Phase};

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

/// Whether the request names this port by an address or a loopback name, wherever it names it. Probes that speak
/// HTTP/1.0 name nothing; browsers always do.
fn is_asked_of_us<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let target = request.uri().authority();
    hosts.all(|host| host.to_str().is_ok_and(is_ours))
        && target.is_none_or(|target| is_ours(target.as_str()))
}

/// Whether a host is an address, or a name that means this machine itself: nobody can point either of them elsewhere.
pub(crate) fn is_ours(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host().trim_end_matches('.');
    let literal = name.trim_start_matches('[').trim_end_matches(']');
    let has_user = host.contains('@');
    let is_loopback =
        name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost"); // RFC 6761 §6.3
    !has_user && (is_loopback || literal.parse::<IpAddr>().is_ok())
}

fn readiness(phase: Phase) -> (StatusCode, &'static str) {
    match phase {
        Phase::StandingBy => (StatusCode::SERVICE_UNAVAILABLE, "standing by\n"),
        Phase::Serving => (StatusCode::OK, "ready\n"),
        Phase::HandingOver | Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}

fn answer(relay: &Relay, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, body) = match (request.method(), request.uri().path()) {
        _ if !is_asked_of_us(request) => (
            StatusCode::MISDIRECTED_REQUEST,
            "ask by address, or as localhost\n".to_owned(),
        ),
        (&Method::GET | &Method::HEAD, "/livez") => (StatusCode::OK, "ok\n".to_owned()),
        (&Method::GET | &Method::HEAD, "/readyz") => {
            let (status, text) = readiness(relay.life.stage.phase());
            (status, text.to_owned())
        }
        (&Method::GET | &Method::HEAD, "/metrics") => {
            let tasks = Handle::current().metrics().num_alive_tasks();
            let page = relay.metrics.render(
                relay.registry.len(),
                relay.active_requests(),
                tasks,
                relay.guard.hits(),
            );
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn web_07_names_that_others_can_point_here_are_not_ours() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:8081",
            "10.1.2.3:8081",
            "[::1]:8081",
            "localhost",
            "LOCALHOST:8081",
            "localhost.",
            "relay.localhost:8081",
        ] {
            assert!(is_ours(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8081",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "notlocalhost",
            "127.0.0.1@evil.example",
            "evil.example@127.0.0.1",
            "0x7f.1",
            "",
        ] {
            assert!(!is_ours(host), "{host}");
        }
    }

    #[test]
    fn web_07_every_place_that_names_a_host_is_looked_at() {
        let asked = |target: &str, hosts: &[&str]| {
            let mut request = Request::get(target);
            for host in hosts {
                request = request.header(header::HOST, *host);
            }
            is_asked_of_us(&request.body(()).unwrap())
        };
        assert!(asked("/metrics", &[]));
        assert!(asked("/metrics", &["localhost"]));
        assert!(!asked("/metrics", &["localhost", "evil.example"]));
        assert!(!asked("http://evil.example/metrics", &["localhost"]));
    }
}

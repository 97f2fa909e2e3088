//! The upstream that every system is measured with: Ollama's paths, answers whose every piece can be checked.
//!
//! Invariant: each token carries its number and the moment it was made; each body is as long as was asked for. When a
//! caller's request ends here, whole or not, that moment can be asked for directly at `/bench/left`; how many bytes of bulk
//! went out and came in so far, at `/bench/given` and `/bench/taken`.

mod body;
mod ledger;

use std::{convert::Infallible, pin::Pin, rc::Rc};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use self::{
    body::{Answer, Tokens},
    ledger::{Ledger, Mark, Presence},
};
use crate::answer;

#[derive(Serialize)]
struct Listening {
    port: u16,
}

/// What a request asks for; members that a path does not use are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    tokens: u64,
    gap_us: u64,
    bytes: u64,
}

/// Serves until the process is ended; says its port first.
pub(crate) async fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    answer(&Listening {
        port: listener.local_addr()?.port(),
    })?;
    let ledger = Rc::new(Ledger::default());
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let ledger = Rc::clone(&ledger);
        let service = service_fn(move |request| {
            let ledger = Rc::clone(&ledger);
            async move { Ok::<_, Infallible>(respond(request, ledger).await) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
        tokio::task::spawn_local(async move {
            // A caller that leaves is what some scenarios are about.
            connection.await.unwrap_or_default();
        });
    }
}

async fn respond(request: Request<Incoming>, ledger: Rc<Ledger>) -> Response<Answer> {
    let path = request.uri().path().to_owned();
    let id = request
        .uri()
        .query()
        .and_then(|query| query.strip_prefix("id="))
        .unwrap_or_default()
        .to_owned();
    match path.as_str() {
        "/bench/left" => return number(ledger.when(Mark::Left, &id).await),
        "/bench/seen" => return number(ledger.when(Mark::Seen, &id).await),
        "/bench/given" => return number(ledger.given.get()),
        "/bench/taken" => return number(ledger.taken.get()),
        "/api/version" => return whole(Bytes::from_static(br#"{"version":"0.0.0-bench"}"#)),
        _ => {}
    }
    let presence = Presence::new(ledger, id);
    match perform(&path, request.into_body(), presence).await {
        Ok(response) => response,
        Err(error) => {
            let mut response = whole(Bytes::from(format!("{error:#}")));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response
        }
    }
}

async fn perform(
    path: &str,
    body: Incoming,
    presence: Presence,
) -> anyhow::Result<Response<Answer>> {
    if path.starts_with("/api/blobs/") {
        return Ok(number(count(body, &presence).await?));
    }
    let asked: Asked = serde_json::from_slice(&collect(body).await?).context("the request")?;
    presence.is_seen();
    match path {
        "/api/chat" => {
            let tokens = Tokens::new(asked, presence);
            let mut response = Response::new(Answer::Tokens(Box::new(tokens)));
            let lines = http::HeaderValue::from_static("application/x-ndjson");
            response
                .headers_mut()
                .insert(http::header::CONTENT_TYPE, lines);
            Ok(response)
        }
        "/api/generate" => {
            let mut response = Response::new(Answer::Bytes {
                left: asked.bytes,
                presence,
            });
            let length = http::HeaderValue::from(asked.bytes);
            response
                .headers_mut()
                .insert(http::header::CONTENT_LENGTH, length);
            Ok(response)
        }
        // Answers when its caller has gone, that is: never.
        "/api/embed" => std::future::pending().await,
        _ => anyhow::bail!("no such path"),
    }
}

async fn next(body: &mut Incoming) -> anyhow::Result<Option<Bytes>> {
    let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
    Ok(frame
        .transpose()?
        .map(|frame| frame.into_data().unwrap_or_default()))
}

async fn collect(mut body: Incoming) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(piece) = next(&mut body).await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

async fn count(mut body: Incoming, presence: &Presence) -> anyhow::Result<u64> {
    let mut bytes = 0;
    while let Some(piece) = next(&mut body).await? {
        presence.is_seen();
        bytes += piece.len() as u64;
        presence.took(piece.len() as u64);
    }
    Ok(bytes)
}

fn whole(text: Bytes) -> Response<Answer> {
    Response::new(Answer::Whole(Some(text)))
}

fn number(number: u64) -> Response<Answer> {
    whole(Bytes::from(number.to_string()))
}

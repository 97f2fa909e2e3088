//! Looks at what answers over HTTP: the upstream before anything starts, the relay once it has.
//!
//! Invariant: what an answer says is foreign; only plain, short words of it are taken.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header::HOST};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

/// How long the upstream may take for each answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// No list of models is longer.
const MOST_BODY_BYTES: usize = 4 * 1024 * 1024;

/// What an upstream is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// `Ollama 0.33.0`, where it says so.
    pub(super) product: Option<String>,
    pub(super) model: Option<Model>,
}

/// A model to try, and how to ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Model {
    Ollama(String),
    OpenAi(String),
}

/// What answers at `upstream`, if anything does. Any answer in HTTP will do: not everything that serves models is Ollama.
pub(super) async fn upstream(upstream: &Uri) -> Option<Found> {
    let (status, body) = get(upstream, "/api/version", PATIENCE).await.ok()?;
    let version = plain(&json(&body)["version"]).filter(|_| status == StatusCode::OK);
    Some(Found {
        product: version.map(|version| format!("Ollama {version}")),
        model: first_model(upstream).await,
    })
}

async fn first_model(upstream: &Uri) -> Option<Model> {
    let tags = get(upstream, "/api/tags", PATIENCE).await.ok()?;
    if let Some(name) = first_of(&json(&tags.1)["models"], "name") {
        return Some(Model::Ollama(name));
    }
    let models = get(upstream, "/v1/models", PATIENCE).await.ok()?;
    first_of(&json(&models.1)["data"], "id").map(Model::OpenAi)
}

/// The first that can chat, as far as a name tells.
pub(super) fn first_of(list: &Value, key: &str) -> Option<String> {
    let names = list.as_array()?.iter().filter_map(|item| plain(&item[key]));
    let mut names = names.filter(|name| !name.contains("embed")).peekable();
    names.next()
}

pub(super) fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_default()
}

/// A word that can be shown on a terminal and pasted into a shell.
pub(super) fn plain(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-:/+@".contains(c);
    (!text.is_empty() && text.len() <= 200 && text.chars().all(is_plain)).then(|| text.to_owned())
}

/// One request on a connection of its own, answer included, within `limit`.
pub(super) async fn get(
    base: &Uri,
    path: &str,
    limit: Duration,
) -> anyhow::Result<(StatusCode, Bytes)> {
    timeout(limit, exchange(base, path))
        .await
        .context("no answer in time")?
}

async fn exchange(base: &Uri, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    let host = base.host().context("an address without a host")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, base.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with this function, whichever way that ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let authority = base.authority().context("an address without a host")?;
    let request = Request::get(path)
        .header(HOST, authority.as_str())
        .body(Empty::<Bytes>::new())?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, MOST_BODY_BYTES).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("a broken answer: {error}"))?;
    Ok((head.status, body.to_bytes()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    #[test]
    fn only_names_that_can_be_pasted_are_taken() {
        let list =
            json!([{"name": "a'; rm -rf ~ #"}, {"name": "nomic-embed-text"}, {"name": "qwen3:8b"}]);
        assert_eq!(first_of(&list, "name").as_deref(), Some("qwen3:8b"));
        assert_eq!(first_of(&json!([{"name": "\u{1b}[2J"}]), "name"), None);
        assert_eq!(first_of(&json!("nothing"), "name"), None);
    }

    #[tokio::test]
    async fn anything_that_speaks_http_is_an_upstream() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 1024];
                assert!(stream.read(&mut head).await.unwrap() > 0);
                let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer).await.unwrap();
            }
        });
        let uri: Uri = format!("http://{address}").parse().unwrap();
        let found = upstream(&uri).await.unwrap();
        assert_eq!((found.product, found.model), (None, None));
    }

    #[tokio::test]
    async fn a_closed_port_is_no_upstream() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let uri: Uri = format!("http://{address}").parse().unwrap();
        assert_eq!(upstream(&uri).await, None);
    }
}

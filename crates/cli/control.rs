//! The operator's door of a relay: where its socket lies, and how a command asks through it.
//!
//! Invariant: it lies in a directory of mode 0700 and has mode 0600 itself. A command uses it when a relay listens
//! there, and otherwise does the same on the database itself; which of the two it was is seen in no answer.

use std::path::Path;
#[cfg(unix)]
use std::{io, path::PathBuf};

use anyhow::Context as _;
use c2l_auth::KEY_FILE_NAME;
use c2l_relay::control::{Offline, encoded};
use http::{Method, StatusCode};
use serde_json::Value;
#[cfg(unix)]
use tokio::net::UnixListener;

#[cfg(unix)]
use crate::private_socket;
use crate::{commands::relay, settings::token::Account};

/// What is asked of `/relay/v1`, for a user.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) method: Method,
    /// Below `/relay/v1/`, each segment fit for a path.
    pub(crate) path: String,
    pub(crate) body: Option<Value>,
}

impl Question {
    pub(crate) fn new(method: Method, path: impl Into<String>, body: Option<Value>) -> Self {
        Self {
            method,
            path: path.into(),
            body,
        }
    }

    fn target(&self, account: &Account) -> String {
        let (issuer, user) = (encoded(&account.issuer), encoded(&account.user));
        format!("/relay/v1/{}?issuer={issuer}&user={user}", self.path)
    }
}

/// Asks the relay that runs with this data directory, else the database itself.
///
/// # Errors
/// What the relay refuses, in its own words; and when neither can be used.
pub(crate) async fn ask(account: &Account, question: &Question) -> anyhow::Result<Value> {
    let target = question.target(account);
    let body = question.body.as_ref().map(Value::to_string);
    let body = body.unwrap_or_default();
    let through_socket = through_socket(&account.data_dir, question, &target, &body).await?;
    let (status, text) = match through_socket {
        Some(reply) => reply,
        None => {
            // Making one here would answer for a relay that nobody runs.
            anyhow::ensure!(
                account.data_dir.join(KEY_FILE_NAME).exists(),
                "no relay keeps its data in {}: name its directory with --data-dir",
                account.data_dir.display()
            );
            let key = relay::signing_key(&account.data_dir)?;
            let accounts = relay::accounts(&account.data_dir)?;
            let offline = Offline::open(relay::verifier(&key, Vec::new())?, accounts).await?;
            let method = &question.method;
            offline.answer(method, &target, body.as_bytes()).await
        }
    };
    let answer: Value = serde_json::from_str(&text).context("the relay's answer is not JSON")?;
    if status.is_success() {
        return Ok(answer);
    }
    match answer["error"].as_str() {
        Some(why) => anyhow::bail!("{why}"),
        None => anyhow::bail!("the relay answered {status}"),
    }
}

/// Where the socket lies: below the data directory, beside that of an agent.
#[cfg(unix)]
fn place(data_dir: &Path) -> PathBuf {
    data_dir.join("run").join("relay.sock")
}

/// Listens in this data directory; takes the place of one that was left behind, or of another relay's.
///
/// # Errors
/// As [`private_socket::listen`].
#[cfg(unix)]
pub(crate) fn listen(data_dir: &Path) -> io::Result<(UnixListener, private_socket::Name)> {
    private_socket::listen(&place(data_dir))
}

/// The relay's reply, where one listens.
#[cfg(unix)]
async fn through_socket(
    data_dir: &Path,
    question: &Question,
    target: &str,
    body: &str,
) -> anyhow::Result<Option<(StatusCode, String)>> {
    use std::time::Duration;
    use tokio::{net::UnixStream, time::timeout};

    /// How long a relay may take.
    const LIMIT: Duration = Duration::from_secs(15);

    let stream = match UnixStream::connect(place(data_dir)).await {
        Ok(stream) => stream,
        Err(error) if private_socket::is_nobody(&error) => return Ok(None),
        Err(error) => return Err(error).context("cannot ask the relay that runs here"),
    };
    let reply = timeout(LIMIT, exchange(stream, question, target, body)).await;
    let reply = reply.context("the relay that runs here does not answer")?;
    reply
        .context("the relay that runs here broke off")
        .map(Some)
}

#[cfg(unix)]
async fn exchange(
    stream: tokio::net::UnixStream,
    question: &Question,
    target: &str,
    body: &str,
) -> anyhow::Result<(StatusCode, String)> {
    use http_body_util::{BodyExt as _, Full, Limited};
    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;

    /// No list of keys is longer.
    const MOST_BYTES: usize = 4 * 1024 * 1024;

    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = http::Request::builder()
        .method(&question.method)
        .uri(target)
        .header(http::header::HOST, "relay")
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(bytes::Bytes::from(body.to_owned())))?;
    let answer = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MOST_BYTES).collect().await;
        let body = body.map_err(anyhow::Error::from_boxed)?.to_bytes();
        Ok((head.status, String::from_utf8(body.to_vec())?))
    };
    tokio::pin!(connection, answer);
    tokio::select! {
        answer = &mut answer => answer,
        // It ends once the answer is here; what is left of that is in memory.
        _ended = &mut connection => answer.await,
    }
}

/// There are no such sockets here.
#[cfg(not(unix))]
async fn through_socket(
    _data_dir: &Path,
    _question: &Question,
    _target: &str,
    _body: &str,
) -> anyhow::Result<Option<(StatusCode, String)>> {
    Ok(None)
}

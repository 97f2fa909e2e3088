//! The operator's door of a relay: where its socket lies, and how a command asks through it.
//!
//! Invariant: it lies in a directory of mode 0700 and has mode 0600 itself. A command uses it when a relay listens
//! there, and otherwise does the same on the database itself; which of the two it was is seen in no answer.

use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;

use anyhow::Context as _;
use c2l_auth::KEY_FILE_NAME;
use c2l_relay::control::{Offline, encoded};
use http::{Method, StatusCode};
use serde_json::Value;

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

#[cfg(unix)]
pub(crate) use self::door::listen;

#[cfg(unix)]
mod door {
    use std::{
        fs,
        io::{self, ErrorKind},
        os::unix::fs::{MetadataExt as _, PermissionsExt as _},
        process,
    };

    use tokio::net::UnixListener;

    use super::{Path, PathBuf, place};
    use crate::files;

    /// The socket's name, until this is dropped or another relay takes it.
    #[derive(Debug)]
    pub(crate) struct Door {
        place: PathBuf,
        /// Device and inode: what lies there later may be another's.
        identity: (u64, u64),
    }

    /// Listens in this data directory; takes the place of one that was left behind, or of another relay's.
    ///
    /// # Errors
    /// When the directory is not ours, or the path is longer than a socket's may be.
    pub(crate) fn listen(data_dir: &Path) -> io::Result<(UnixListener, Door)> {
        let place = place(data_dir);
        let folder = place.parent().ok_or(ErrorKind::InvalidInput)?;
        files::create_private_directory(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        // Made beside and moved over: there is no moment in which it lies there for others.
        let beside = place.with_extension(process::id().to_string());
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&beside)?;
        let moved = fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))
            .and_then(|()| identity(&beside))
            .and_then(|identity| fs::rename(&beside, &place).map(|()| identity));
        if moved.is_err() {
            drop(fs::remove_file(&beside)); // the first error is the one to tell
        }
        moved.map(|identity| (listener, Door { place, identity }))
    }

    impl Drop for Door {
        fn drop(&mut self) {
            if identity(&self.place).is_ok_and(|found| found == self.identity) {
                drop(fs::remove_file(&self.place));
            }
        }
    }

    fn identity(path: &Path) -> io::Result<(u64, u64)> {
        let found = fs::symlink_metadata(path)?;
        Ok((found.dev(), found.ino()))
    }
}

/// The relay's reply, where one listens.
#[cfg(unix)]
async fn through_socket(
    data_dir: &Path,
    question: &Question,
    target: &str,
    body: &str,
) -> anyhow::Result<Option<(StatusCode, String)>> {
    use std::{io::ErrorKind, time::Duration};
    use tokio::{net::UnixStream, time::timeout};

    /// How long a relay may take.
    const LIMIT: Duration = Duration::from_secs(15);

    let stream = match UnixStream::connect(place(data_dir)).await {
        Ok(stream) => stream,
        // Nothing there, or left behind by one that has gone.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
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

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn ops_05_the_door_is_for_its_owner_alone_and_one_left_behind_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (first, left_behind) = listen(data_dir).unwrap();
        std::mem::forget(left_behind);
        drop(first);
        let place = place(data_dir);
        assert_eq!(mode(&place), 0o600);
        assert_eq!(mode(place.parent().unwrap()), 0o700);
        let (_second, door) = listen(data_dir).unwrap();
        let (_third, newer) = listen(data_dir).unwrap();
        drop(door);
        assert!(place.exists(), "it is the newer one's");
        drop(newer);
        assert!(!place.exists());
    }
}

//! The local socket over which a running agent tells how it is: where it lies, who answers, who asks.
//!
//! Invariant: it is for its owner alone, a directory of mode 0700 and a socket of mode 0600, and whoever connects can cost
//! little: one line of a few bytes, [`LIMIT`] and one of [`MAX_CONNECTIONS`] places. The newest agent of a name has the
//! socket, as it has the session; one that was left behind by a crash is replaced the same way. An older one that outlives
//! the newer takes the place again.

use std::{
    convert::Infallible,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::{interval, sleep, timeout},
};
use tracing::debug;

use super::Face;
use crate::private_socket;

/// The one request there is.
const REQUEST: &[u8] = b"status\n";
/// Longest request line.
const MAX_REQUEST_BYTES: u64 = 64;
/// Longest answer.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;
/// How long a connection may last.
const LIMIT: Duration = Duration::from_secs(2);
/// How long asking may take: longer, for those that are served before.
const ASK_LIMIT: Duration = Duration::from_secs(8);
/// How many are served at once; more wait in the system's queue.
const MAX_CONNECTIONS: usize = 4;
/// How long the loop rests when the system has nothing left for another connection.
const REST: Duration = Duration::from_millis(500);
/// How often it is made sure that a socket lies there.
const LOOK: Duration = Duration::from_secs(2);
/// Longest part of the file's name that is the device's own: the whole path must fit into about 100 bytes.
const MAX_NAME_BYTES: usize = 32;

/// Where the socket of a device may lie, the best place first. The runtime directory may be known to the agent and not to
/// whoever asks, so both places count.
pub(crate) fn places(device: &str, runtime_dir: Option<&Path>, data_dir: &Path) -> Vec<PathBuf> {
    let file = format!("agent-{}.sock", short(device));
    let runtime = runtime_dir
        .filter(|path| path.is_absolute() && path.is_dir())
        .map(|path| path.join("c2l"));
    runtime
        .into_iter()
        .chain([data_dir.join("run")])
        .map(|folder| folder.join(&file))
        .collect()
}

/// The name itself, or its beginning and a sum over the whole (FNV-1a): two long names must not share a socket.
fn short(device: &str) -> String {
    if device.len() <= MAX_NAME_BYTES {
        return device.to_owned();
    }
    let sum = device.bytes().fold(0x811c_9dc5_u32, |sum, byte| {
        (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let beginning: String = device.chars().take(MAX_NAME_BYTES - 9).collect();
    format!("{beginning}-{sum:08x}")
}

/// A socket that lies at its place until this is dropped, or until a newer agent takes the place.
#[derive(Debug)]
pub(crate) struct Listening {
    listener: UnixListener,
    name: private_socket::Name,
}

impl Listening {
    /// Listens at the first of `places`.
    pub(crate) fn at(places: &[PathBuf]) -> io::Result<Self> {
        let place = places.first().ok_or(ErrorKind::NotFound)?;
        let (listener, name) = private_socket::listen(place)?;
        Ok(Self { listener, name })
    }

    /// Takes the place again when nothing lies there: a newer agent had it and is gone, or somebody tidied up.
    fn lie_there(&mut self) {
        if self.name.place().symlink_metadata().is_ok() {
            return;
        }
        match private_socket::listen(self.name.place()) {
            Ok((listener, name)) => *self = Self { listener, name },
            Err(error) => debug!(%error, "no status socket"),
        }
    }

    /// Answers whoever asks. May be dropped at any time.
    pub(crate) async fn answer(mut self, face: &Face) -> Infallible {
        let mut served = JoinSet::new();
        let mut look = interval(LOOK);
        loop {
            while served.len() >= MAX_CONNECTIONS {
                served.join_next().await;
            }
            // Both arms may be dropped: a connection waits in the system's queue.
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = look.tick() => {
                    self.lie_there();
                    continue;
                }
            };
            match accepted {
                Ok((stream, _)) => {
                    let face = face.clone();
                    served.spawn(async move {
                        match timeout(LIMIT, serve(stream, &face)).await {
                            Ok(Ok(())) => {}
                            Ok(Err(error)) => debug!(%error, "a look at the status broke off"),
                            Err(_) => debug!("a look at the status took too long"),
                        }
                    });
                }
                Err(error) => {
                    debug!(%error, "the status socket rests");
                    sleep(REST).await;
                }
            }
            while served.try_join_next().is_some() {}
        }
    }
}

async fn serve(mut stream: UnixStream, face: &Face) -> io::Result<()> {
    let (reading, mut writing) = stream.split();
    let mut line = Vec::new();
    BufReader::new(reading.take(MAX_REQUEST_BYTES))
        .read_until(b'\n', &mut line)
        .await?;
    let answer = if line == REQUEST {
        face.report().json()
    } else {
        json!({ "error": "the one request is the line `status`" })
    };
    writing.write_all(format!("{answer}\n").as_bytes()).await?;
    writing.shutdown().await
}

/// The answer of the agent that listens at one of `places`, the first that does; nothing where none does.
pub(crate) async fn ask(places: &[PathBuf]) -> io::Result<Option<Value>> {
    for place in places {
        let asking = timeout(ASK_LIMIT, ask_at(place)).await;
        match asking {
            Ok(Ok(answer)) => return Ok(Some(answer)),
            Ok(Err(error)) if private_socket::is_nobody(&error) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(ErrorKind::TimedOut.into()),
        }
    }
    Ok(None)
}

async fn ask_at(place: &Path) -> io::Result<Value> {
    let mut stream = UnixStream::connect(place).await?;
    stream.write_all(REQUEST).await?;
    let mut text = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut text).await?;
    let answer: Value = serde_json::from_slice(&text)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_comes_from_the_device_and_the_directories() {
        let folder = tempfile::tempdir().unwrap();
        let data = Path::new("/data");
        let own = PathBuf::from("/data/run/agent-desk.home.sock");
        let found = places("desk.home", Some(folder.path()), data);
        let runtime = folder.path().join("c2l/agent-desk.home.sock");
        assert_eq!(found, [runtime, own.clone()]);
        for unusable in [
            None,
            Some(Path::new("run")),
            Some(Path::new("/no/such/place")),
        ] {
            assert_eq!(
                places("desk.home", unusable, data),
                std::slice::from_ref(&own)
            );
        }
    }

    #[test]
    fn long_names_are_shortened_and_stay_apart() {
        let (one, other) = ("x".repeat(64), format!("{}y", "x".repeat(63)));
        assert_eq!(short(&one).len(), MAX_NAME_BYTES);
        assert_eq!(short(&one), short(&one));
        assert_ne!(short(&one), short(&other));
        assert_eq!(short(&"x".repeat(32)), "x".repeat(32));
    }

    #[tokio::test]
    async fn where_nobody_listens_there_is_no_answer_and_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let all = places("desk", None, folder.path());
        let place = &all[0];
        assert!(ask(&all).await.unwrap().is_none());
        std::fs::create_dir(place.parent().unwrap()).unwrap();
        drop(std::os::unix::net::UnixListener::bind(place).unwrap()); // the file stays
        assert!(ask(&all).await.unwrap().is_none(), "left behind");
        drop(Listening::at(&all).unwrap());
        assert!(!place.exists());
    }
}

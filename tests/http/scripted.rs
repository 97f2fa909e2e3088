//! An upstream that answers with exact bytes, whatever HTTP says about them, and remembers which connection carried what.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use c2l_testkit::{Caller, RawUpstream, TestAgent, TestRelay};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// What is said to one request, and whether the connection stays open after it.
pub(crate) struct Reply {
    bytes: Vec<u8>,
    is_kept: bool,
}

/// These bytes, and the next request may come.
pub(crate) fn keep(bytes: impl Into<Vec<u8>>) -> Reply {
    let bytes = bytes.into();
    Reply {
        bytes,
        is_kept: true,
    }
}

/// These bytes, and the end of the connection.
pub(crate) fn close(bytes: impl Into<Vec<u8>>) -> Reply {
    let bytes = bytes.into();
    Reply {
        bytes,
        is_kept: false,
    }
}

/// A relay, an agent of `ada`, and an upstream that follows a script. For requests without a body.
pub(crate) struct Scripted {
    pub(crate) relay: TestRelay,
    pub(crate) caller: Caller,
    requests: Arc<Mutex<Vec<usize>>>,
    _agent: TestAgent,
    _upstream: RawUpstream,
}

impl Scripted {
    /// The script is asked for each head, also for what comes after the first one on a connection.
    pub(crate) async fn start(script: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let requests = Arc::<Mutex<Vec<usize>>>::default();
        let script = Arc::new(script);
        let connections = AtomicUsize::new(0);
        let upstream = {
            let requests = Arc::clone(&requests);
            RawUpstream::start(move |stream| {
                let connection = connections.fetch_add(1, Ordering::Relaxed);
                follow(
                    stream,
                    connection,
                    Arc::clone(&script),
                    Arc::clone(&requests),
                )
            })
            .await
        };
        let relay = TestRelay::start().await;
        let agent = TestAgent::connect_unjudging(&relay, "ada", upstream.address()).await;
        Self {
            caller: Caller::new(relay.address(), relay.api_token("ada")),
            relay,
            requests,
            _agent: agent,
            _upstream: upstream,
        }
    }

    /// For each request so far the connection on which it came; they count from 0.
    pub(crate) fn connections(&self) -> Vec<usize> {
        self.requests.lock().expect("no panic").clone()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.relay.address()
    }

    /// A `GET` with host and credential, as bytes.
    pub(crate) fn get(&self, path: &str, lines: &str) -> String {
        let (address, token) = (self.address(), self.relay.api_token("ada"));
        format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n{lines}\r\n"
        )
    }
}

async fn follow(
    mut stream: TcpStream,
    connection: usize,
    script: Arc<impl Fn(&str) -> Reply>,
    requests: Arc<Mutex<Vec<usize>>>,
) {
    while let Some(head) = read_head(&mut stream).await {
        let reply = script(&head);
        requests.lock().expect("no panic").push(connection);
        if stream.write_all(&reply.bytes).await.is_err() || !reply.is_kept {
            return;
        }
    }
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

//! A server to call, and a caller that sees every byte: chunk boundaries, torn bodies and resets are what is tested.

use std::net::SocketAddr;
use std::time::Duration;

use c2l_demo::{Demo, DemoConfig};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Long enough for a loaded machine, short enough to end a hung test.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct Server {
    pub(crate) demo: Demo,
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

impl Server {
    /// Without pauses between lines, unless a model asks for them.
    pub(crate) async fn start() -> Self {
        Self::with(DemoConfig {
            line_interval: Duration::ZERO,
            ..DemoConfig::default()
        })
        .await
    }

    pub(crate) async fn with(config: DemoConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (demo, shutdown) = (Demo::new(config), CancellationToken::new());
        let task = tokio::spawn({
            let (demo, shutdown) = (demo.clone(), shutdown.clone());
            async move { demo.serve(listener, shutdown).await }
        });
        Self {
            demo,
            address,
            shutdown,
            task,
        }
    }

    pub(crate) async fn connect(&self) -> Caller {
        Caller {
            stream: TcpStream::connect(self.address).await.unwrap(),
            unread: Vec::new(),
        }
    }

    /// One request on a connection of its own.
    pub(crate) async fn call(&self, head: &str, body: &str) -> Answer {
        let mut caller = self.connect().await;
        caller.send(head, body).await;
        caller.answer(head.starts_with("HEAD")).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.call(&format!("POST {path}"), body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(&format!("GET {path}"), "").await
    }
}

pub(crate) struct Caller {
    pub(crate) stream: TcpStream,
    unread: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Status line and header lines, as they came.
    pub(crate) head: String,
    /// The chunks of a chunked body; one piece for any other.
    pub(crate) pieces: Vec<Vec<u8>>,
    pub(crate) trailers: String,
    /// Whether the body came to its proper end.
    pub(crate) is_whole: bool,
    /// Whether a reset, and not a close, ended it.
    pub(crate) was_reset: bool,
}

impl Caller {
    /// `head` is a method and a path, and more header lines after them.
    pub(crate) async fn send(&mut self, head: &str, body: &str) {
        let (first, more) = head.split_once('\n').unwrap_or((head, ""));
        let host = if more.lines().any(|line| line.starts_with("Host:")) {
            ""
        } else {
            "Host: localhost:11434\r\n"
        };
        let more: String = more.lines().map(|line| format!("{line}\r\n")).collect();
        let length = if body.is_empty() {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        let request = format!("{first} HTTP/1.1\r\n{host}{more}{length}\r\n{body}");
        self.stream.write_all(request.as_bytes()).await.unwrap();
    }

    async fn more(&mut self) -> std::io::Result<bool> {
        let mut piece = vec![0; 64 * 1024];
        let read = tokio::time::timeout(DEADLINE, self.stream.read(&mut piece))
            .await
            .expect("bytes or an end in time")?;
        self.unread.extend_from_slice(&piece[..read]);
        Ok(read > 0)
    }

    /// Reads up to and including this mark.
    async fn until(&mut self, mark: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(at) = self
                .unread
                .windows(mark.len())
                .position(|window| window == mark)
            {
                return Ok(Some(self.unread.drain(..at + mark.len()).collect()));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    async fn exactly(&mut self, length: usize) -> std::io::Result<Option<Vec<u8>>> {
        while self.unread.len() < length {
            if !self.more().await? {
                return Ok(None);
            }
        }
        Ok(Some(self.unread.drain(..length).collect()))
    }

    /// The head of the next answer, or nothing if the connection ends before it.
    pub(crate) async fn head(&mut self) -> Option<String> {
        let head = self.until(b"\r\n\r\n").await.ok()??;
        Some(String::from_utf8(head).unwrap())
    }

    /// The next chunk; an empty one is the end of the body.
    pub(crate) async fn chunk(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let Some(line) = self.until(b"\r\n").await? else {
            return Ok(None);
        };
        let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
        if size == 0 {
            return Ok(Some(Vec::new()));
        }
        let chunk = self.exactly(size + 2).await?;
        Ok(chunk.map(|mut chunk| {
            assert!(chunk.ends_with(b"\r\n"));
            chunk.truncate(size);
            chunk
        }))
    }

    pub(crate) async fn answer(&mut self, to_head: bool) -> Answer {
        let head = self.head().await.expect("an answer");
        let status = head[9..12].parse().unwrap();
        let mut answer = Answer {
            status,
            head,
            pieces: Vec::new(),
            trailers: String::new(),
            is_whole: true,
            was_reset: false,
        };
        if to_head {
            return answer;
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            loop {
                match self.chunk().await {
                    Ok(Some(chunk)) if chunk.is_empty() => break,
                    Ok(Some(chunk)) => answer.pieces.push(chunk),
                    end => {
                        answer.is_whole = false;
                        answer.was_reset = end.is_err();
                        return answer;
                    }
                }
            }
            loop {
                let line = String::from_utf8(self.until(b"\r\n").await.unwrap().unwrap()).unwrap();
                if line == "\r\n" {
                    break;
                }
                answer.trailers.push_str(&line);
            }
        } else if let Some(length) = answer
            .header("content-length")
            .map(|length| length.parse().unwrap())
        {
            match self.exactly(length).await {
                Ok(Some(body)) => answer.pieces.push(body),
                end => {
                    answer.is_whole = false;
                    answer.was_reset = end.is_err();
                }
            }
        }
        answer
    }

    /// Waits for the end of the connection; true for a reset.
    pub(crate) async fn ends(&mut self) -> bool {
        loop {
            match self.more().await {
                Ok(true) => {}
                Ok(false) => return false,
                Err(_) => return true,
            }
        }
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.pieces.concat()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes()).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The lines of NDJSON; each must be a chunk of its own.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let line = |piece: &Vec<u8>| {
            let text = piece.strip_suffix(b"\n").expect("a line a chunk");
            serde_json::from_slice(text).unwrap()
        };
        self.pieces.iter().map(line).collect()
    }

    /// The `data:` of server-sent events, with their `event:` (or an empty name).
    pub(crate) fn events(&self) -> Vec<(String, String)> {
        let event = |event: &str| {
            let field = |name: &str| {
                event
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .unwrap_or_default()
                    .to_owned()
            };
            (field("event: "), field("data: "))
        };
        self.text().split_terminator("\n\n").map(event).collect()
    }
}

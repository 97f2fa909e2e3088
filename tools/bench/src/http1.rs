//! A caller's connection: HTTP/1.1 with as little work a request as a benchmark can do and still check the answer.
//!
//! Invariant: what is read is what the framing says, no more and no less; anything else is an error, never a guess.

use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use rustls::{
    ClientConfig, RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject as _,
};
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// Bytes asked of the socket at once.
const READ_BYTES: usize = 64 * 1024;
const MAX_FIELDS: usize = 64;

/// Where requests go, and what each of them carries.
#[derive(Clone, Deserialize)]
pub(crate) struct Target {
    /// `host:port`.
    pub(crate) address: String,
    /// Fields of every request, as they stand in it.
    #[serde(default)]
    pub(crate) fields: Vec<String>,
    /// PEM file of the certificate authority; then the connection is TLS.
    pub(crate) ca_file: Option<String>,
    #[serde(skip)]
    connector: Option<TlsConnector>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Target {
    /// Reads what TLS needs, once for all connections.
    pub(crate) fn prepare(&mut self) -> anyhow::Result<()> {
        if let Some(file) = &self.ca_file {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(file).context("ca_file")? {
                roots.add(certificate?)?;
            }
            let config = ClientConfig::builder()
                .with_root_certificates(roots)
                .with_no_client_auth();
            self.connector = Some(TlsConnector::from(Arc::new(config)));
        }
        Ok(())
    }

    /// The bytes of a request head; a body follows when it says so.
    pub(crate) fn head(&self, method: &str, path: &str, body_bytes: Option<u64>) -> Vec<u8> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address);
        for field in &self.fields {
            head.push_str(field);
            head.push_str("\r\n");
        }
        if let Some(bytes) = body_bytes {
            head.push_str(&format!(
                "content-type: application/json\r\ncontent-length: {bytes}\r\n"
            ));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// The bytes of a whole request with a JSON body.
    pub(crate) fn post(&self, path: &str, body: &serde_json::Value) -> Vec<u8> {
        let body = body.to_string();
        let mut request = self.head("POST", path, Some(body.len() as u64));
        request.extend_from_slice(body.as_bytes());
        request
    }
}

trait Socket: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Socket for T {}

/// How the rest of the body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    /// Bytes left of the present chunk, its line end not counted; `None` before a chunk's size line.
    Chunked(Option<u64>),
    Ended,
}

/// One connection with at most one request under way.
pub(crate) struct Connection {
    socket: Box<dyn Socket>,
    buffer: BytesMut,
    framing: Framing,
}

impl Connection {
    pub(crate) async fn open(target: &Target) -> anyhow::Result<Self> {
        let tcp = TcpStream::connect(&target.address).await?;
        tcp.set_nodelay(true)?;
        let socket: Box<dyn Socket> = match &target.connector {
            None => Box::new(tcp),
            Some(connector) => {
                let host = target.address.rsplit_once(':').map_or("", |(host, _)| host);
                Box::new(connector.connect(host.to_owned().try_into()?, tcp).await?)
            }
        };
        Ok(Self {
            socket,
            buffer: BytesMut::with_capacity(READ_BYTES),
            framing: Framing::Ended,
        })
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.socket.write_all(bytes).await?;
        self.socket.flush().await?;
        Ok(())
    }

    /// Reads the head of a final answer and returns its status.
    pub(crate) async fn head(&mut self) -> anyhow::Result<u16> {
        ensure!(
            self.framing == Framing::Ended,
            "the answer before is not read"
        );
        loop {
            if let Some((length, status, framing)) = parse(&self.buffer)? {
                self.buffer.advance(length);
                if status >= 200 {
                    self.framing = framing;
                    return Ok(status);
                }
                continue;
            }
            self.fill().await.context("before the head")?;
        }
    }

    /// The next piece of the body as it came, or `None` at its clean end.
    pub(crate) async fn piece(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            if let Some(step) = self.take()? {
                return Ok(step);
            }
            self.fill().await.context("in the body")?;
        }
    }

    /// Reads to the end of the body and returns its length.
    pub(crate) async fn drain(&mut self) -> anyhow::Result<u64> {
        let mut bytes = 0;
        while let Some(piece) = self.piece().await? {
            bytes += piece.len() as u64;
        }
        Ok(bytes)
    }

    /// What the buffer holds of the body: `None` when more has to be read first.
    fn take(&mut self) -> anyhow::Result<Option<Option<Bytes>>> {
        match self.framing {
            Framing::Ended | Framing::Length(0) => {
                self.framing = Framing::Ended;
                Ok(Some(None))
            }
            Framing::Length(left) => Ok(self.take_at_most(left, Framing::Length)),
            Framing::Chunked(Some(0)) => {
                if self.buffer.len() < 2 {
                    return Ok(None);
                }
                ensure!(
                    self.buffer.starts_with(b"\r\n"),
                    "a chunk without its line end"
                );
                self.buffer.advance(2);
                self.framing = Framing::Chunked(None);
                self.take()
            }
            Framing::Chunked(Some(left)) => {
                Ok(self.take_at_most(left, |left| Framing::Chunked(Some(left))))
            }
            Framing::Chunked(None) => self.take_chunk_size(),
        }
    }

    fn take_at_most(&mut self, left: u64, rest: impl Fn(u64) -> Framing) -> Option<Option<Bytes>> {
        if self.buffer.is_empty() {
            return None;
        }
        let length =
            usize::try_from(left).map_or(self.buffer.len(), |left| left.min(self.buffer.len()));
        self.framing = rest(left - length as u64);
        Some(Some(self.buffer.split_to(length).freeze()))
    }

    fn take_chunk_size(&mut self) -> anyhow::Result<Option<Option<Bytes>>> {
        let Ok(size) = httparse::parse_chunk_size(&self.buffer) else {
            bail!("a chunk size that is none");
        };
        let httparse::Status::Complete((line, size)) = size else {
            return Ok(None);
        };
        if size > 0 {
            self.buffer.advance(line);
            self.framing = Framing::Chunked(Some(size));
            return self.take();
        }
        // No trailers are sent by anything that is measured here.
        if self.buffer.len() < line + 2 {
            return Ok(None);
        }
        ensure!(
            self.buffer[line..].starts_with(b"\r\n"),
            "trailers were not expected"
        );
        self.buffer.advance(line + 2);
        self.framing = Framing::Ended;
        Ok(Some(None))
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        self.buffer.reserve(READ_BYTES);
        let read = self.socket.read_buf(&mut self.buffer).await?;
        ensure!(read > 0, "the connection was closed");
        Ok(())
    }
}

/// Length of the head, its status, and how its body is framed; `None` while it is not whole.
fn parse(buffer: &[u8]) -> anyhow::Result<Option<(usize, u16, Framing)>> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = response.parse(buffer)? else {
        return Ok(None);
    };
    let status = response.code.context("an answer without a status")?;
    let mut framing = Framing::Ended;
    for field in response.headers.iter() {
        if field.name.eq_ignore_ascii_case("content-length") {
            framing = Framing::Length(std::str::from_utf8(field.value)?.trim().parse()?);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            ensure!(
                field.value.eq_ignore_ascii_case(b"chunked"),
                "an unknown transfer coding"
            );
            return Ok(Some((length, status, Framing::Chunked(None))));
        }
    }
    Ok(Some((length, status, framing)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds an answer in pieces of `step` bytes and reads it back.
    async fn read(answer: &'static [u8], step: usize) -> anyhow::Result<(u16, Vec<u8>)> {
        let (near, mut far) = tokio::io::duplex(64);
        let feed = async {
            for piece in answer.chunks(step) {
                far.write_all(piece).await?;
            }
            drop(far);
            anyhow::Ok(())
        };
        let take = async {
            let mut connection = Connection {
                socket: Box::new(near),
                buffer: BytesMut::new(),
                framing: Framing::Ended,
            };
            let status = connection.head().await?;
            let mut body = Vec::new();
            while let Some(piece) = connection.piece().await? {
                body.extend_from_slice(&piece);
            }
            Ok((status, body))
        };
        let (_, read) = tokio::join!(feed, take);
        read
    }

    #[tokio::test]
    async fn an_answer_is_read_by_its_framing_however_it_is_cut() {
        for step in [1, 2, 7, 1000] {
            let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";
            assert_eq!(
                read(chunked, step).await.unwrap(),
                (200, b"abc0123456789".to_vec())
            );
            let sized =
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Made\r\nContent-Length: 5\r\n\r\nhello";
            assert_eq!(read(sized, step).await.unwrap(), (201, b"hello".to_vec()));
        }
    }

    #[tokio::test]
    async fn a_torn_answer_is_an_error() {
        for torn in [
            &b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"[..],
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200",
        ] {
            assert!(read(torn, 4).await.is_err());
        }
    }
}

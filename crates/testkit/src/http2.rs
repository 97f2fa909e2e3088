//! HTTP/2 frame by frame (RFC 9113), for what no client would send and for what goes over the wire between two others.
//!
//! Invariant: nothing here answers by itself, no acknowledgement and no credit, so a test says every frame it means.

use std::{net::SocketAddr, time::Duration};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{PATIENCE, within};

/// What a client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (RFC 9113 §6).
pub mod kind {
    /// Body bytes.
    pub const DATA: u8 = 0;
    /// Opens a stream, or ends one with trailers.
    pub const HEADERS: u8 = 1;
    /// Advice that nobody takes.
    pub const PRIORITY: u8 = 2;
    /// Ends one stream at once.
    pub const RST_STREAM: u8 = 3;
    /// What the sender goes by.
    pub const SETTINGS: u8 = 4;
    /// Asks for an echo.
    pub const PING: u8 = 6;
    /// No new streams, or the end.
    pub const GOAWAY: u8 = 7;
    /// Credit.
    pub const WINDOW_UPDATE: u8 = 8;
    /// More fields.
    pub const CONTINUATION: u8 = 9;
}

/// On DATA and HEADERS: this direction of the stream ends here.
pub const END_STREAM: u8 = 1;
/// On HEADERS and CONTINUATION: the fields end here.
pub const END_HEADERS: u8 = 4;
/// On SETTINGS and PING.
pub const ACK: u8 = 1;

/// Error codes (RFC 9113 §7).
pub mod code {
    /// Nothing is wrong.
    pub const NO_ERROR: u32 = 0;
    /// The peer broke a rule.
    pub const PROTOCOL_ERROR: u32 = 1;
    /// A window went out of its range.
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    /// A frame has an impossible length.
    pub const FRAME_SIZE_ERROR: u32 = 6;
    /// The peer costs too much.
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

const HEAD_BYTES: usize = 9;

/// One frame as it came.
#[derive(Clone, Debug)]
pub struct Http2Frame {
    /// See [`kind`].
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream, 0 for the connection.
    pub stream: u32,
    /// What it holds.
    pub payload: Bytes,
}

impl Http2Frame {
    /// The first whole frame in these bytes, taken from them.
    #[must_use]
    pub fn take_from(bytes: &mut BytesMut) -> Option<Self> {
        let head = bytes.first_chunk::<HEAD_BYTES>()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & (u32::MAX >> 1);
        if bytes.len() < HEAD_BYTES + length {
            return None;
        }
        bytes.advance(HEAD_BYTES);
        Some(Self {
            kind,
            flags,
            stream,
            payload: bytes.split_to(length).freeze(),
        })
    }

    /// The error code of RST_STREAM and GOAWAY.
    ///
    /// # Panics
    /// When it is neither, or too short.
    #[must_use]
    pub fn error_code(&self) -> u32 {
        let mut code = match self.kind {
            kind::RST_STREAM => self.payload.clone(),
            kind::GOAWAY => self.payload.slice(4..),
            _ => panic!("no error code in {self:?}"),
        };
        code.get_u32()
    }
}

/// The bytes of one frame. What it says of itself need not be true.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame, not a film");
    let mut bytes = Vec::with_capacity(HEAD_BYTES + payload.len());
    bytes.extend_from_slice(&length.to_be_bytes()[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Fields as HPACK literals that no table remembers (RFC 7541 §6.2.2).
#[must_use]
pub fn fields<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(text.len(), &mut block);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// An integer with a seven-bit prefix (RFC 7541 §5.1).
fn length(mut value: usize, out: &mut Vec<u8>) {
    if value < 127 {
        return out.push(u8::try_from(value).unwrap_or(127));
    }
    out.push(127);
    value -= 127;
    while value >= 128 {
        out.push(u8::try_from(value % 128).unwrap_or_default() | 128);
        value /= 128;
    }
    out.push(u8::try_from(value).unwrap_or_default());
}

/// A connection that speaks HTTP/2, frame by frame.
#[derive(Debug)]
pub struct Http2Connection {
    stream: TcpStream,
    read: BytesMut,
    authority: String,
}

impl Http2Connection {
    /// Connects, with the preface and these settings said.
    ///
    /// # Panics
    /// When that fails.
    pub async fn open(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        let mut connection = Self {
            stream,
            read: BytesMut::new(),
            authority: address.to_string(),
        };
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend_from_slice(&name.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        connection.send(PREFACE).await;
        connection.send(frame(kind::SETTINGS, 0, 0, &payload)).await;
        connection
    }

    /// The fields of a request to this connection's peer.
    #[must_use]
    pub fn request(&self, method: &str, path: &str, token: &str) -> Vec<u8> {
        let authorization = format!("Bearer {token}");
        fields([
            (":method", method),
            (":scheme", "http"),
            (":path", path),
            (":authority", &self.authority),
            ("authorization", &authorization),
        ])
    }

    /// Sends bytes as they are, and reads meanwhile, so that neither side waits for the other. False when the peer has
    /// closed.
    ///
    /// # Panics
    /// When it takes too long.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let (mut reader, mut writer) = self.stream.split();
        let mut writing = std::pin::pin!(writer.write_all(bytes.as_ref()));
        within(6 * PATIENCE, "the peer takes what is sent", async {
            loop {
                tokio::select! {
                    written = &mut writing => return written.is_ok(),
                    read = reader.read_buf(&mut self.read) => match read {
                        Ok(0) | Err(_) => return false,
                        Ok(_) => {}
                    }
                }
            }
        })
        .await
    }

    /// Sends bytes without reading anything; false when the peer does not take them within the limit, or has closed.
    pub async fn send_without_reading(&mut self, bytes: &[u8], limit: Duration) -> bool {
        let written = tokio::time::timeout(limit, self.stream.write_all(bytes)).await;
        matches!(written, Ok(Ok(())))
    }

    /// The next frame; `None` when the peer has closed.
    ///
    /// # Panics
    /// When it takes too long.
    pub async fn next(&mut self) -> Option<Http2Frame> {
        within(6 * PATIENCE, "a frame", async {
            loop {
                if let Some(frame) = Http2Frame::take_from(&mut self.read) {
                    return Some(frame);
                }
                match self.stream.read_buf(&mut self.read).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        })
        .await
    }

    /// The next frame for which `is_wanted`; others are passed over. `None` when the peer closes first.
    pub async fn next_where(
        &mut self,
        is_wanted: impl Fn(&Http2Frame) -> bool,
    ) -> Option<Http2Frame> {
        loop {
            let frame = self.next().await?;
            if is_wanted(&frame) {
                return Some(frame);
            }
        }
    }

    /// The next frame of this kind; `None` when the peer closes first.
    pub async fn next_of(&mut self, kind: u8) -> Option<Http2Frame> {
        self.next_where(|frame| frame.kind == kind).await
    }
}

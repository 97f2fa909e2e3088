//! WebSocket frame by frame (RFC 6455 §5.2), for what no client would send, and a thing on the way that splits and
//! merges messages as it likes.
//!
//! Invariant: nothing here answers by itself.

use std::net::SocketAddr;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::{PATIENCE, RawAnswer, TestRelay, within};

/// On the first byte: the message ends here.
pub const FIN: u8 = 0x80;
/// The kinds of frames.
pub mod opcode {
    /// More of the message before.
    pub const CONTINUATION: u8 = 0;
    /// A message of text.
    pub const TEXT: u8 = 1;
    /// A message of bytes.
    pub const BINARY: u8 = 2;
    /// The end, with a code.
    pub const CLOSE: u8 = 8;
    /// Asks for an echo.
    pub const PING: u8 = 9;
    /// The echo.
    pub const PONG: u8 = 10;
}

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The bytes of one frame; `first` is the byte with FIN, RSV and the opcode. What it says of itself need not be true.
#[must_use]
pub fn frame(first: u8, payload: &[u8], is_masked: bool) -> Vec<u8> {
    let mut bytes = head(first, payload.len() as u64, is_masked);
    if is_masked {
        let masked = payload.iter().zip(MASK.iter().cycle());
        bytes.extend(masked.map(|(byte, mask)| byte ^ mask));
    } else {
        bytes.extend_from_slice(payload);
    }
    bytes
}

/// The head of a frame that declares this length.
#[must_use]
pub fn head(first: u8, length: u64, is_masked: bool) -> Vec<u8> {
    let mut bytes = vec![first];
    let mask_bit = if is_masked { 0x80 } else { 0 };
    if let Ok(short @ ..=125) = u8::try_from(length) {
        bytes.push(mask_bit | short);
    } else if let Ok(middle) = u16::try_from(length) {
        bytes.push(mask_bit | 126);
        bytes.extend_from_slice(&middle.to_be_bytes());
    } else {
        bytes.push(mask_bit | 127);
        bytes.extend_from_slice(&length.to_be_bytes());
    }
    if is_masked {
        bytes.extend_from_slice(&MASK);
    }
    bytes
}

/// One frame as it came, unmasked.
#[derive(Clone, Debug)]
pub struct Frame {
    /// FIN, RSV and the opcode.
    pub first: u8,
    /// Whether it was masked.
    pub is_masked: bool,
    /// What it holds.
    pub payload: Bytes,
}

impl Frame {
    /// The first whole frame in these bytes, taken from them.
    #[must_use]
    pub fn take_from(bytes: &mut BytesMut) -> Option<Self> {
        let [first, second] = *bytes.first_chunk()?;
        let (extended, length) = match second & 0x7f {
            126 => (2, u64::from(u16::from_be_bytes(*bytes[2..].first_chunk()?))),
            127 => (8, u64::from_be_bytes(*bytes[2..].first_chunk()?)),
            short => (0, u64::from(short)),
        };
        let length = usize::try_from(length).expect("a frame that fits");
        let is_masked = second & 0x80 != 0;
        let start = 2 + extended + if is_masked { 4 } else { 0 };
        if bytes.len() < start + length {
            return None;
        }
        let mask: [u8; 4] = if is_masked {
            *bytes[start - 4..].first_chunk()?
        } else {
            [0; 4]
        };
        bytes.advance(start);
        let mut payload = bytes.split_to(length);
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        Some(Self {
            first,
            is_masked,
            payload: payload.freeze(),
        })
    }

    /// Its opcode.
    #[must_use]
    pub fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    /// The code of a close, with its reason.
    #[must_use]
    pub fn close_code(&self) -> Option<(u16, String)> {
        if self.opcode() != opcode::CLOSE {
            return None;
        }
        let code = u16::from_be_bytes(*self.payload.first_chunk()?);
        Some((
            code,
            String::from_utf8_lossy(&self.payload[2..]).into_owned(),
        ))
    }
}

/// A request to upgrade, with these more fields, each ended by CRLF.
#[must_use]
pub fn upgrade_head(host: SocketAddr, fields: &str) -> String {
    format!(
        "GET /tunnel/v1/websocket HTTP/1.1\r\nhost: {host}\r\n{fields}connection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-protocol: c2l.tunnel.v1\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A WebSocket to a relay on which anything can be sent.
#[derive(Debug)]
pub struct RawWebSocket {
    stream: TcpStream,
    read: BytesMut,
}

impl RawWebSocket {
    /// Asks for the upgrade; `fields` are more, each ended by CRLF.
    ///
    /// # Panics
    /// When no head comes back.
    pub async fn ask(relay: SocketAddr, fields: &str) -> (Self, RawAnswer) {
        let mut connection = crate::RawConnection::open(relay).await;
        connection.send(upgrade_head(relay, fields)).await;
        let answer = connection.head(false).await;
        let (stream, read) = connection.into_parts();
        (Self { stream, read }, answer)
    }

    /// An open one of this user's agent.
    ///
    /// # Panics
    /// When the relay refuses.
    pub async fn open(relay: &TestRelay, user: &str) -> Self {
        let token = relay.agent_token(user);
        let fields = format!("authorization: Bearer {token}\r\n");
        let (socket, answer) = Self::ask(relay.address(), &fields).await;
        assert_eq!(answer.status, 101, "{}", answer.head);
        socket
    }

    /// Sends bytes as they are; false when the peer has closed.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let writing = self.stream.write_all(bytes.as_ref());
        let written = within(6 * PATIENCE, "the peer takes what is sent", writing).await;
        written.is_ok()
    }

    /// The next frame; `None` at the end.
    ///
    /// # Panics
    /// When neither comes in time.
    pub async fn frame(&mut self) -> Option<Frame> {
        within(4 * PATIENCE, "a frame, or the end", async {
            loop {
                if let Some(frame) = Frame::take_from(&mut self.read) {
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

    /// The next frame with this opcode; others are passed over.
    ///
    /// # Panics
    /// When the peer ends instead.
    pub async fn frame_of(&mut self, opcode: u8) -> Frame {
        loop {
            let frame = self.frame().await.expect("a frame before the end");
            if frame.opcode() == opcode {
                return frame;
            }
        }
    }

    /// Reads to the close frame: its code and reason; `None` when the end came without.
    pub async fn closed_with(&mut self) -> Option<(u16, String)> {
        while let Some(frame) = self.frame().await {
            if let Some(code) = frame.close_code() {
                return Some(code);
            }
        }
        None
    }
}

/// Something on the way that splits and merges messages at random, and adds pings (RFC 6455 §5.4 permits it).
#[derive(Debug)]
pub struct Reframer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Reframer {
    /// In front of this relay, in clear.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start(relay: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((agent, _)) = listener.accept().await {
                connections.spawn(async move {
                    let Ok(relay) = TcpStream::connect(relay).await else {
                        return;
                    };
                    let (from_agent, to_agent) = agent.into_split();
                    let (from_relay, to_relay) = relay.into_split();
                    // Whichever ends first ends both: a WebSocket has no half.
                    tokio::select! {
                        () = reframe(from_agent, to_relay, true) => {}
                        () = reframe(from_relay, to_agent, false) => {}
                    }
                });
            }
        });
        Self { address, task }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Reframer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What its own pings hold, so that their echo can be told from the ends' own.
const OWN_PING: &[u8] = b"from the way";

async fn reframe(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    is_masked: bool,
) {
    let mut random = Random(if is_masked { 7 } else { 11 });
    let mut read = BytesMut::new();
    let mut held = Vec::new();
    let mut is_upgraded = false;
    loop {
        while !is_upgraded {
            if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = read.split_to(at + 4);
                is_upgraded = to.write_all(&head).await.is_ok();
                if !is_upgraded {
                    return;
                }
            } else if !matches!(from.read_buf(&mut read).await, Ok(1..)) {
                return;
            }
        }
        let mut out = Vec::new();
        while let Some(frame) = Frame::take_from(&mut read) {
            assert_eq!(frame.is_masked, is_masked, "RFC 6455 §5.1");
            match frame.opcode() {
                opcode::BINARY | opcode::CONTINUATION => held.extend_from_slice(&frame.payload),
                opcode::PONG if frame.payload == OWN_PING => {}
                _ => {
                    split(&mut held, &mut out, &mut random, is_masked);
                    out.extend(self::frame(frame.first, &frame.payload, is_masked));
                }
            }
            // Or it is merged with what comes after.
            if random.below(3) == 0 {
                split(&mut held, &mut out, &mut random, is_masked);
            }
        }
        split(&mut held, &mut out, &mut random, is_masked);
        // In pieces that end anywhere.
        for piece in out.chunks(1 + random.below(30_000)) {
            if to.write_all(piece).await.is_err() {
                return;
            }
        }
        if !matches!(from.read_buf(&mut read).await, Ok(1..)) {
            return;
        }
    }
}

/// Makes messages of what is held, each of some fragments, now and then with a ping between two of them.
fn split(held: &mut Vec<u8>, out: &mut Vec<u8>, random: &mut Random, is_masked: bool) {
    let mut rest = held.as_slice();
    while !rest.is_empty() {
        let (mut message, later) = rest.split_at(rest.len().min(1 + random.below(100_000)));
        rest = later;
        let mut opcode = opcode::BINARY;
        while opcode == opcode::BINARY || !message.is_empty() {
            let (now, then) = message.split_at(message.len().min(random.below(20_000)));
            let fin = if then.is_empty() { FIN } else { 0 };
            out.extend(frame(fin | opcode, now, is_masked));
            if random.below(4) == 0 {
                out.extend(frame(FIN | opcode::PING, OWN_PING, is_masked));
            }
            (message, opcode) = (then, opcode::CONTINUATION);
        }
    }
    held.clear();
}

/// The same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound).expect("small")
    }
}

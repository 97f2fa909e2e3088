//! HTTP/2 frames by hand, for what no client library would send (RFC 9113 §4.1, RFC 7541 §6.2.2).

use std::net::SocketAddr;

use c2l_testkit::{PATIENCE, within};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// RFC 9113 §7.
pub(crate) const PROTOCOL_ERROR: u32 = 1;

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// An answer with this status.
    Status(u16),
    /// `RST_STREAM` with this code.
    Reset(u32),
    /// The whole connection is given up.
    GoneAway(u32),
    Closed,
}

/// One connection.
pub(crate) struct Frames {
    stream: TcpStream,
}

impl Frames {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let mut frames = Self { stream };
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        frames.stream.write_all(preface).await.expect("open");
        frames.send(4, 0, 0, &[]).await; // SETTINGS, all defaults
        frames
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        let writing = self.stream.write_all(&frame);
        within(PATIENCE, "a frame is taken", writing)
            .await
            .expect("open");
    }

    /// A request head of these fields, in this order, whatever they are.
    pub(crate) async fn head(&mut self, stream: u32, fields: &[(&str, &str)], is_whole: bool) {
        let mut block = Vec::new();
        for (name, value) in fields {
            block.push(0); // literal, not indexed, new name
            for text in [name, value] {
                integer(text.len(), &mut block);
                block.extend(text.bytes());
            }
        }
        let end = if is_whole { END_STREAM } else { 0 };
        self.send(HEADERS, END_HEADERS | end, stream, &block).await;
    }

    pub(crate) async fn data(&mut self, stream: u32, bytes: &[u8], is_last: bool) {
        let end = if is_last { END_STREAM } else { 0 };
        self.send(DATA, end, stream, bytes).await;
    }

    /// Reads until this stream has a head or is over; what belongs to others is skipped.
    pub(crate) async fn outcome(&mut self, stream: u32) -> Outcome {
        within(PATIENCE, "an outcome", async {
            loop {
                let Some((kind, from, payload)) = self.frame().await else {
                    return Outcome::Closed;
                };
                match kind {
                    HEADERS if from == stream => return Outcome::Status(status(&payload)),
                    RST_STREAM if from == stream => return Outcome::Reset(number(&payload)),
                    GOAWAY => return Outcome::GoneAway(number(&payload[4..])),
                    _ => {}
                }
            }
        })
        .await
    }

    /// The next frame: its type, its stream, its payload.
    async fn frame(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some((head[3], number(&head[5..]), payload))
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// An integer with a prefix of seven bits (RFC 7541 §5.1).
fn integer(value: usize, block: &mut Vec<u8>) {
    let Some(mut rest) = value.checked_sub(127) else {
        block.push(u8::try_from(value).expect("below 127"));
        return;
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).expect("below 128") | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).expect("below 128"));
}

/// The status comes first, behind changes of the table's size: from the static table (RFC 7541, appendix A), or three
/// digits, which the server library writes in Huffman code (appendix B: `0` to `2` have five bits, the others six).
fn status(block: &[u8]) -> u16 {
    let at = block
        .iter()
        .position(|byte| byte & 0xe0 != 0x20)
        .expect("a status");
    let known = [200, 204, 206, 304, 400, 404, 500];
    if let Some(index) = block[at].checked_sub(0x88) {
        return known[usize::from(index)];
    }
    let bits: u32 = block[at + 2..at + 5]
        .iter()
        .fold(0, |bits, byte| bits << 8 | u32::from(*byte));
    let (mut left, mut status) = (24, 0);
    for _ in 0..3 {
        let five = bits >> (left - 5) & 0x1f;
        let (length, digit) = match five {
            0..=2 => (5, five),
            _ => (6, (bits >> (left - 6) & 0x3f) - 0x19 + 3),
        };
        left -= length;
        status = status * 10 + digit;
    }
    u16::try_from(status).expect("three digits")
}

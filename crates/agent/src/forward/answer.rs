//! An answer's body on its way from the upstream to the tunnel.
//!
//! Invariant: room in the tunnel comes first, then a piece is read, so nothing piles up here. What the upstream has ready
//! at once crosses together; a piece that is alone waits for no other.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Bytes, BytesMut};
use c2l_tunnel::{Fault, StreamHandle};
use http::HeaderMap;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;

use super::{headers, pool::Connection, quiet::Quiet};
use crate::now;

/// Pieces that are ready at once are copied together while they are shorter than this.
const MERGE_UP_TO_BYTES: usize = 16 * 1024;
/// A piece that is longer than this is not copied, and the last of those that cross together.
const COPY_UP_TO_BYTES: usize = 4 * 1024;

/// Why a body did not come to its end.
pub(super) enum Cut {
    /// The upstream broke off.
    Broken,
    /// The other side gave the stream up, or the session is gone.
    GivenUp(Fault),
}

/// One body under way.
pub(super) struct AnswerBody<'a> {
    connection: &'a mut Connection,
    stream: &'a StreamHandle,
    body: Incoming,
    /// Made when the connection is first moved.
    quiet: Option<Quiet>,
    /// Whether the connection is moved before the body is looked at: but for the first look, which comes with the head.
    is_moved_first: bool,
    /// Read, and not sent yet.
    read: Read,
    /// Bytes that the tunnel has taken.
    pub(super) carried_bytes: u64,
}

impl<'a> AnswerBody<'a> {
    pub(super) fn new(
        connection: &'a mut Connection,
        stream: &'a StreamHandle,
        body: Incoming,
    ) -> Self {
        Self {
            connection,
            stream,
            body,
            quiet: None,
            is_moved_first: false,
            read: Read::default(),
            carried_bytes: 0,
        }
    }

    /// Sends what the upstream says, as soon as it is there, and its end. Ready when that is done.
    pub(super) fn poll_carry(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cut>> {
        loop {
            let Poll::Ready(room) = self.stream.poll_capacity(cx) else {
                self.poll_move(cx); // the request's body goes on meanwhile
                self.rest();
                return Poll::Pending;
            };
            let room_bytes = room.map_err(Cut::GivenUp)?;
            // What is left for want of room goes first.
            let is_drained = self.read.is_empty() && self.poll_read(room_bytes, cx);
            self.send()?;
            if !self.read.is_empty() {
                continue;
            }
            match mem::replace(&mut self.read.end, End::Open) {
                End::Open if is_drained => {
                    self.rest();
                    let fault = ready!(self.stream.poll_fault(cx));
                    return Poll::Ready(Err(Cut::GivenUp(fault)));
                }
                End::Open => {}
                End::Whole(trailers) => {
                    let ended = self.stream.send_end(trailers);
                    return Poll::Ready(ended.map_err(Cut::GivenUp));
                }
                End::Broken => return Poll::Ready(Err(Cut::Broken)),
            }
        }
    }

    fn poll_move(&mut self, cx: &mut Context<'_>) {
        let quiet = self.quiet.get_or_insert_default();
        quiet.look(cx);
        let mut cx = Context::from_waker(quiet.waker());
        self.connection.poll_move(&mut cx);
    }

    fn rest(&self) {
        if let Some(quiet) = &self.quiet {
            quiet.rest();
        }
    }

    /// Reads what is there. True when nothing more is, and the connection will wake this task when that has changed.
    fn poll_read(&mut self, room_bytes: usize, cx: &mut Context<'_>) -> bool {
        while self.read.takes_more(room_bytes) {
            // Only the connection brings a piece, one each time that it is moved; the first may be here with the head.
            let is_moved = mem::replace(&mut self.is_moved_first, true);
            if is_moved {
                self.poll_move(cx);
            }
            let waker = self.quiet.as_ref().map_or(Waker::noop(), Quiet::waker);
            match Pin::new(&mut self.body).poll_frame(&mut Context::from_waker(waker)) {
                Poll::Ready(frame) => self.take(frame),
                Poll::Pending if is_moved => return true,
                Poll::Pending => {}
            }
        }
        false
    }

    fn take(&mut self, frame: Option<Result<Frame<Bytes>, hyper::Error>>) {
        let frame = match frame {
            None => return self.read.end(),
            Some(Err(_)) => return self.read.end = End::Broken,
            Some(Ok(frame)) => frame,
        };
        match frame.into_data() {
            Ok(piece) => {
                self.read.push(piece);
                if self.body.is_end_stream() {
                    self.read.end(); // of announced length: its end shares the message with its last piece
                }
            }
            Err(frame) => {
                let fields = frame.into_trailers().unwrap_or_default();
                self.read.trailers = headers::trailers(fields);
            }
        }
    }

    /// Sends as much of what was read as there is room for.
    fn send(&mut self) -> Result<(), Cut> {
        self.read.gather();
        for piece in [&mut self.read.merged, &mut self.read.last] {
            if piece.is_empty() {
                continue;
            }
            let length = piece.len();
            let sent = self.stream.send_body(piece, now());
            sent.map_err(Cut::GivenUp)?;
            self.carried_bytes += (length - piece.len()) as u64;
            if !piece.is_empty() {
                break;
            }
        }
        Ok(())
    }
}

#[derive(Default)]
enum End {
    #[default]
    Open,
    Whole(HeaderMap),
    Broken,
}

/// What was ready at once, and is not sent yet. In order: `merged`, `small`, `last`; the first two are never both there.
#[derive(Default)]
struct Read {
    merged: Bytes,
    small: BytesMut,
    last: Bytes,
    trailers: HeaderMap,
    end: End,
}

impl Read {
    /// False when there is enough to send, or nothing can follow.
    fn takes_more(&self, room_bytes: usize) -> bool {
        let enough = room_bytes.min(MERGE_UP_TO_BYTES);
        matches!(self.end, End::Open)
            && self.last.len() <= COPY_UP_TO_BYTES
            && self.small.len() + self.last.len() < enough
    }

    fn push(&mut self, piece: Bytes) {
        self.small.extend_from_slice(&self.last);
        self.last = piece;
    }

    fn end(&mut self) {
        self.end = End::Whole(mem::take(&mut self.trailers));
    }

    /// Nothing joins the small pieces any more, but for the last one.
    fn gather(&mut self) {
        if self.small.is_empty() {
            return;
        }
        if self.last.len() <= COPY_UP_TO_BYTES {
            self.small.extend_from_slice(&mem::take(&mut self.last));
        }
        self.merged = mem::take(&mut self.small).freeze();
    }

    fn is_empty(&self) -> bool {
        self.merged.is_empty() && self.last.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is sent of these pieces, where there is room for so many bytes.
    fn sent(pieces: &[usize], room_bytes: usize) -> Vec<Bytes> {
        let (mut read, mut sent) = (Read::default(), Vec::new());
        let mut send = |read: &mut Read| {
            read.gather();
            let pieces = [&mut read.merged, &mut read.last].map(mem::take);
            sent.extend(pieces.into_iter().filter(|piece| !piece.is_empty()));
        };
        for (number, length) in pieces.iter().enumerate() {
            let number = u8::try_from(number % 256).unwrap();
            read.push(Bytes::from(vec![number; *length]));
            if !read.takes_more(room_bytes) {
                send(&mut read);
            }
        }
        send(&mut read);
        let all: Vec<u8> = sent.concat();
        let numbers = pieces.iter().enumerate();
        let whole: Vec<u8> = numbers
            .flat_map(|(number, length)| vec![u8::try_from(number % 256).unwrap(); *length])
            .collect();
        assert_eq!(all, whole, "in order, and all of it");
        sent
    }

    #[test]
    fn tokens_that_are_ready_at_once_cross_as_one_piece_within_a_bound() {
        assert_eq!(sent(&[100; 100], usize::MAX).len(), 1);
        let lengths = |sent: Vec<Bytes>| sent.iter().map(Bytes::len).collect::<Vec<_>>();
        let many = lengths(sent(&[100; 1000], usize::MAX));
        assert!(
            many.iter().all(|length| *length < MERGE_UP_TO_BYTES + 100),
            "{many:?}"
        );
        let long = COPY_UP_TO_BYTES + 1;
        assert_eq!(lengths(sent(&[1, long, 1], usize::MAX)), [1, long, 1]);
        assert_eq!(
            lengths(sent(&[100; 4], 200)),
            [200, 200],
            "no further than there is room"
        );
    }

    #[test]
    fn a_piece_that_is_alone_or_long_is_not_copied() {
        let mut read = Read::default();
        let token = Bytes::from_static(b"token");
        read.push(token.clone());
        read.gather();
        assert_eq!(read.last.as_ptr(), token.as_ptr());
        let long = Bytes::from(vec![7; COPY_UP_TO_BYTES + 1]);
        read.push(long.clone());
        read.gather();
        assert_eq!(read.merged, "token");
        assert_eq!(read.last.as_ptr(), long.as_ptr());
    }
}

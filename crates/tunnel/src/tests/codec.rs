//! Our own codec beside the generated types: the same bytes out, the same batches in, wherever the line cuts them.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf as _, Bytes, BytesMut};
use c2l_proto::tunnel as proto;
use prop::collection::vec;
use proptest::prelude::*;
use prost::Message as _;

use super::{
    peer::{heartbeat, id},
    wire::{batch, control, frame, request, response},
};
use crate::{
    Batch, Frame, ProtocolError, Side,
    wire::{self, DecodeError, Decoder, Encoder, INLINE_BELOW_BYTES, MESSAGE_PREFIX_BYTES, Piece},
};

const MOST_BYTES: usize = 1024 * 1024;

/// A batch as one message, with its prefix.
pub(super) fn own(side: Side, batch: Batch) -> Vec<u8> {
    let mut pieces = VecDeque::new();
    let length = Encoder::new(side).encode(batch, &mut pieces);
    let message = joined(pieces);
    assert_eq!(message.len(), MESSAGE_PREFIX_BYTES + length);
    message
}

/// What the pieces are on the line.
fn joined(pieces: VecDeque<Piece>) -> Vec<u8> {
    let parts = pieces.into_iter().flat_map(Piece::into_parts);
    parts.collect::<Vec<_>>().concat()
}

fn prefixed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("short");
    [&[0][..], &length.to_be_bytes(), message].concat()
}

/// What the generated types make of a message, if anything.
fn stock(side: Side, message: &[u8]) -> Option<Batch> {
    match side {
        Side::Agent => wire::decode_agent(proto::AgentMessage::decode(message).ok()?).ok(),
        Side::Relay => wire::decode_relay(proto::RelayMessage::decode(message).ok()?).ok(),
    }
}

/// Every message on a line that is cut after each of these lengths in turn.
fn read(side: Side, line: &[u8], cuts: &[usize]) -> Result<Vec<Batch>, DecodeError> {
    let mut decoder = Decoder::new(side, MOST_BYTES);
    let mut batches = Vec::new();
    let mut rest = Bytes::copy_from_slice(line);
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let next = rest.len().min(*cuts.next().expect("cycle"));
        decoder.push(rest.split_to(next));
        while let Some(batch) = decoder.next_batch()? {
            batches.push(batch);
        }
    }
    decoder.end()?;
    Ok(batches)
}

fn said(batches: &[Batch]) -> String {
    format!("{batches:?}")
}

fn of_agent() -> impl Strategy<Value = Batch> {
    batch(
        control(),
        prop_oneof![3 => frame(), 1 => response(), 1 => Just(Frame::Continue)],
    )
}

fn of_relay() -> impl Strategy<Value = Batch> {
    batch(control(), prop_oneof![3 => frame(), 1 => request()])
}

fn check_cuts(side: Side, batches: Vec<Batch>, cuts: &[usize]) -> Result<(), TestCaseError> {
    let (mut line, mut expected) = (Vec::new(), Vec::new());
    for batch in batches {
        let message = own(side, batch);
        expected.extend(stock(side, &message[MESSAGE_PREFIX_BYTES..]));
        line.extend(message);
    }
    let read = read(side, &line, cuts).expect("valid");
    prop_assert_eq!(said(&read), said(&expected));
    Ok(())
}

proptest! {
    #[test]
    fn what_is_cut_anywhere_is_read_as_it_was_sent(
        agent in vec(of_agent(), 1..4),
        relay in vec(of_relay(), 1..4),
        cuts in vec(prop_oneof![1usize..20, 1usize..4000], 1..6),
    ) {
        check_cuts(Side::Agent, agent, &cuts)?;
        check_cuts(Side::Relay, relay, &cuts)?;
    }

    #[test]
    fn what_is_not_as_we_write_it_is_what_the_generated_types_say(
        agent in of_agent(),
        relay in of_relay(),
        blows in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in 1usize..200,
    ) {
        let sides = [Side::Agent, Side::Relay];
        for (side, writer) in sides.into_iter().flat_map(|side| sides.map(|writer| (side, writer))) {
            let batch = match writer {
                Side::Agent => &agent,
                Side::Relay => &relay,
            };
            let mut message = own(writer, batch.clone()).split_off(MESSAGE_PREFIX_BYTES);
            prop_assume!(!message.is_empty());
            for (at, byte) in &blows {
                *at.get_mut(&mut message) = *byte;
            }
            let read = read(side, &prefixed(&message), &[MESSAGE_PREFIX_BYTES, cut]).ok();
            let stock = stock(side, &message).map(|batch| vec![batch]);
            prop_assert_eq!(format!("{read:?}"), format!("{stock:?}"));
        }
    }
}

fn body(bytes: Bytes) -> Batch {
    Batch {
        control: vec![heartbeat()],
        frames: vec![
            (id(1), Frame::Window(7)),
            (id(3), Frame::Body(bytes)),
            (id(3), Frame::Body(Bytes::from_static(b"short"))),
        ],
    }
}

#[test]
fn a_long_body_is_the_same_memory_on_both_sides() {
    let bytes = Bytes::from(vec![1; 64 * 1024]);
    let mut pieces = VecDeque::new();
    Encoder::new(Side::Agent).encode(body(bytes.clone()), &mut pieces);
    assert_eq!(pieces.len(), 2, "up to the body's end, and the rest");
    let parts: Vec<_> = pieces.into_iter().flat_map(Piece::into_parts).collect();
    assert_eq!(parts[1].as_ptr(), bytes.as_ptr());

    let mut decoder = Decoder::new(Side::Agent, MOST_BYTES);
    parts.into_iter().for_each(|part| decoder.push(part));
    let batch = decoder.next_batch().expect("valid").expect("whole");
    let [_, (_, Frame::Body(read)), _] = &batch.frames[..] else {
        panic!("{batch:?}");
    };
    assert_eq!(read.as_ptr(), bytes.as_ptr());
    assert_eq!(read.len(), bytes.len());
}

#[test]
fn a_body_in_the_middle_of_what_came_is_a_slice_of_it() {
    let line = Bytes::from(own(Side::Agent, body(vec![1; INLINE_BELOW_BYTES].into())));
    let mut decoder = Decoder::new(Side::Agent, MOST_BYTES);
    decoder.push(line.clone());
    let batch = decoder.next_batch().expect("valid").expect("whole");
    for (_, frame) in &batch.frames {
        if let Frame::Body(read) = frame {
            assert!(line.as_ptr_range().contains(&read.as_ptr()));
        }
    }
}

#[test]
fn a_message_over_the_limit_is_refused_before_any_of_it_is_kept() {
    let mut decoder = Decoder::new(Side::Agent, 1000);
    decoder.push(Bytes::from_static(&[0, 0, 0, 3, 232]));
    assert!(decoder.next_batch().expect("1000 is fine").is_none());
    let mut decoder = Decoder::new(Side::Agent, 1000);
    decoder.push(Bytes::from_static(&[0, 0, 0, 3, 233]));
    let error = decoder.next_batch().expect_err("1001 is not");
    let DecodeError::TooLarge {
        found_bytes,
        limit_bytes,
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!((found_bytes, limit_bytes), (1001, 1000));
}

#[test]
fn what_no_message_begins_with_is_refused() {
    for flag in [1, 2, 255] {
        let mut decoder = Decoder::new(Side::Relay, MOST_BYTES);
        decoder.push(Bytes::copy_from_slice(&[flag, 0, 0, 0, 0]));
        let error = decoder.next_batch().expect_err("a flag");
        assert!(matches!(error, DecodeError::Flag(said) if said == flag));
    }
    let zero = prefixed(&[0x12, 4, 0x08, 0, 0x22, 0]);
    let error = read(Side::Agent, &zero, &[100]).expect_err("no stream has that id");
    let unknown = ProtocolError::UnknownStream(0);
    assert!(matches!(error, DecodeError::Protocol(error) if error == unknown));
}

#[test]
fn nothing_is_read_behind_what_was_no_message() {
    let whole = own(Side::Agent, body(Bytes::from_static(b"x")));
    // In turn: a flag, a length over the limit, no protobuf, and a field that means nothing with a frame behind it.
    let mut field = vec![0x12, 4, 0x08, 0, 0x22, 0];
    field.extend_from_slice(&whole[MESSAGE_PREFIX_BYTES..]);
    for bad in [
        vec![1, 0, 0, 0, 0],
        vec![0, 255, 255, 255, 255],
        prefixed(&[0xff]),
        prefixed(&field),
    ] {
        let mut decoder = Decoder::new(Side::Agent, MOST_BYTES);
        decoder.push(Bytes::from([whole.clone(), bad, whole.clone()].concat()));
        assert!(decoder.next_batch().expect("valid").is_some());
        let error = decoder.next_batch().expect_err("no message");
        assert!(!matches!(error, DecodeError::Broken), "{error}");
        decoder.push(Bytes::from(whole.clone()));
        assert_eq!(decoder.kept_pieces(), 0, "{error}");
        assert!(matches!(decoder.next_batch(), Err(DecodeError::Broken)));
        assert!(matches!(decoder.end(), Err(DecodeError::Broken)));
    }
}

#[test]
fn a_piece_within_a_message_keeps_no_buffer_much_larger_than_itself() {
    const READ_BUFFER_BYTES: usize = 8 * 1024;
    let line = own(Side::Agent, body(vec![1; 100_000].into()));
    let mut decoder = Decoder::new(Side::Agent, MOST_BYTES);
    let mut held = Vec::new();
    for piece in line[..line.len() - 1].chunks(READ_BUFFER_BYTES / 4) {
        let mut buffer = piece.to_vec();
        buffer.reserve_exact(READ_BUFFER_BYTES - piece.len());
        let buffer = Bytes::from(buffer);
        held.push(buffer.clone());
        decoder.push(buffer);
        assert!(decoder.next_batch().expect("valid").is_none());
    }
    let kept = held.iter().filter(|buffer| !buffer.is_unique()).count();
    assert_eq!(kept, 1, "the first alone, which may be a whole message");
}

#[test]
fn a_line_that_ends_within_a_message_is_torn() {
    let line = own(Side::Agent, body(Bytes::from_static(b"x")));
    assert!(read(Side::Agent, &line, &[3]).is_ok());
    for kept in [1, MESSAGE_PREFIX_BYTES, line.len() - 1] {
        let read = read(Side::Agent, &line[..kept], &[3]);
        assert!(matches!(read, Err(DecodeError::Torn)), "{kept}");
    }
}

#[test]
fn a_message_of_tiny_pieces_takes_no_more_than_its_bytes() {
    let line = own(Side::Agent, body(vec![1; 100_000].into()));
    let mut decoder = Decoder::new(Side::Agent, MOST_BYTES);
    for byte in &line[..line.len() - 1] {
        // Each with a buffer behind it, as a hostile peer would have it.
        let mut buffer = BytesMut::with_capacity(4096);
        buffer.extend_from_slice(&[*byte]);
        decoder.push(buffer.freeze());
        assert!(decoder.next_batch().expect("valid").is_none());
        assert!(decoder.kept_pieces() <= 4, "{}", decoder.kept_pieces());
    }
    decoder.push(Bytes::copy_from_slice(&line[line.len() - 1..]));
    assert!(decoder.next_batch().expect("valid").is_some());
}

#[test]
fn a_piece_is_read_across_its_parts() {
    let pieces = || {
        let mut pieces = VecDeque::new();
        Encoder::new(Side::Agent).encode(body(vec![1; 10_000].into()), &mut pieces);
        pieces
    };
    let whole = joined(pieces());
    let mut read = Vec::new();
    for mut piece in pieces() {
        while piece.has_remaining() {
            let mut slices = [IoSlice::new(&[]); 4];
            let filled = piece.chunks_vectored(&mut slices);
            let told: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
            assert_eq!(told, piece.remaining(), "a writer of slices sees all of it");
            let next = piece.remaining().min(7);
            read.extend_from_slice(&piece.copy_to_bytes(next));
        }
    }
    assert_eq!(read, whole);
}

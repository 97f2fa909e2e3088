//! Windows: who may send how much, and that nobody waits for ever.

use std::task::Poll;

use http::HeaderMap;

use super::peer::*;
use crate::{Frame, Limits, ProtocolError};

#[test]
fn a_sender_stops_at_its_credit_and_goes_on_with_more() {
    let mut peer = Peer::of_relay(small_limits());
    let handle = peer.open(false);
    assert_eq!(peer.send(&handle, 10_000), Ok(4096));
    assert_eq!(peer.send(&handle, 1), Ok(0));
    let writer = Task::default();
    assert!(writer.poll(|cx| handle.poll_capacity(cx)).is_pending());
    peer.frames();
    writer.wakes(); // room in the buffer, but still no credit
    assert!(writer.poll(|cx| handle.poll_capacity(cx)).is_pending());
    peer.say(vec![(1, Frame::Window(10))]).expect("fine");
    writer.assert_woken();
    let room = writer.poll(|cx| handle.poll_capacity(cx));
    assert_eq!(room, Poll::Ready(Ok(10)));
}

#[test]
fn a_sender_never_queues_more_than_the_buffer_however_large_its_credit() {
    let mut peer = Peer::of_relay(Limits::default());
    let handle = peer.open(false);
    peer.say(vec![(1, Frame::Window(1 << 30))]).expect("fine");
    assert_eq!(peer.send(&handle, 1 << 20), Ok(128 * 1024));
    let writer = Task::default();
    assert!(writer.poll(|cx| handle.poll_capacity(cx)).is_pending());
    peer.sent().expect("a batch");
    writer.assert_woken();
    assert_eq!(peer.send(&handle, 1 << 20), Ok(128 * 1024));
}

#[test]
fn res03_credit_comes_back_as_the_consumer_takes_and_not_before() {
    const PIECE: usize = 64 * 1024;
    let mut peer = Peer::of_relay(Limits::default());
    let handle = peer.open(true);
    let mut frames = vec![(1, answer_frame(false))];
    frames.extend((0..4).map(|_| (1, body(PIECE))));
    peer.say(frames).expect("within the window");
    peer.assert_frames(&[]);
    assert_eq!(peer.link.held_bytes(), 4 * PIECE);
    peer.writer.wakes();
    assert!(matches!(peer.take(&handle), Poll::Ready(Ok(Some(_)))));
    peer.writer.assert_woken();
    peer.assert_frames(&["1:window 65536"]);
    assert_eq!(peer.take_all(&handle).0, 3 * PIECE);
    peer.assert_frames(&["1:window 196608"]);
    peer.say(vec![(1, body(PIECE)); 4])
        .expect("all of it again");
}

#[test]
fn credit_is_given_back_in_few_frames() {
    let mut peer = Peer::of_relay(small_limits());
    let handle = peer.open(true);
    peer.say(vec![(1, answer_frame(false))]).expect("fine");
    let mut windows = 0;
    for _ in 0..4096 {
        peer.say(vec![(1, body(1))]).expect("fine");
        assert_eq!(peer.take_all(&handle).0, 1);
        windows += peer.frames().len();
    }
    assert_eq!(windows, 4);
}

#[test]
fn no_credit_is_given_back_for_a_body_that_is_whole() {
    let mut peer = Peer::of_relay(small_limits());
    let handle = peer.open(true);
    let mut frames = vec![(1, answer_frame(false))];
    frames.extend((0..4).map(|_| (1, body(1024))));
    frames.push((1, end()));
    peer.say(frames).expect("fine");
    assert_eq!(peer.take_all(&handle), (4096, Poll::Ready(Ok(()))));
    peer.assert_frames(&[]);
}

#[test]
fn one_byte_beyond_the_credit_breaks_the_protocol() {
    let mut peer = Peer::of_relay(small_limits());
    let _handle = peer.open(true);
    peer.say(vec![(1, answer_frame(false))]).expect("fine");
    peer.say(vec![(1, body(1024)); 4]).expect("the window");
    let excess = peer.say(vec![(1, body(1))]);
    assert_eq!(
        excess,
        Err(ProtocolError::CreditOverrun {
            id: id(1),
            excess_bytes: 1
        })
    );
}

#[test]
fn impossible_credit_breaks_the_protocol() {
    for credit in [0, u32::MAX, 1 << 31, (1 << 31) - 4096] {
        let mut peer = Peer::of_relay(small_limits());
        let _handle = peer.open(false);
        let broken = peer.say(vec![(1, Frame::Window(credit))]);
        assert_eq!(broken, Err(ProtocolError::BadCredit(id(1))), "{credit}");
    }
    let mut peer = Peer::of_relay(small_limits());
    let _handle = peer.open(false);
    peer.say(vec![(1, Frame::Window((1 << 31) - 1 - 4096))])
        .expect("the largest there is");
}

#[test]
fn a_reader_that_stops_holds_back_its_own_stream_alone() {
    let mut peer = Peer::of_relay(small_limits());
    let _stopped = peer.open(true);
    let other = peer.open(true);
    let mut frames = vec![(1, answer_frame(false)), (2, answer_frame(false))];
    frames.extend((0..4).map(|_| (1, body(1024))));
    peer.say(frames).expect("fine");
    for _ in 0..100 {
        peer.say(vec![(2, body(1024)); 4]).expect("fine");
        assert_eq!(peer.take_all(&other).0, 4096);
        assert!(!peer.frames().is_empty());
    }
}

#[test]
fn a_reader_that_stopped_makes_no_work() {
    let mut peer = Peer::of_agent(small_limits());
    let requests = vec![(1, request_frame(true)), (2, request_frame(true))];
    peer.say(requests).expect("fine");
    let (stopped, other) = (peer.accept(), peer.accept());
    for handle in [&stopped, &other] {
        handle.answer(answer(false)).expect("fine");
    }
    assert_eq!(peer.send(&stopped, 10_000), Ok(4096));
    assert_eq!(peer.frames().len(), 2 + 4);
    let upstream = Task::default();
    assert!(upstream.poll(|cx| stopped.poll_capacity(cx)).is_pending());
    let wakes = || [&upstream, &peer.writer, &peer.driver].map(Task::wakes);
    wakes();
    assert!(peer.sent().is_none());
    assert_eq!(wakes(), [0; 3], "there is nothing to do");
    for _ in 0..1000 {
        assert_eq!(peer.send(&other, 1), Ok(1));
        assert_eq!(wakes(), [0, 1, 0], "one message is to be written");
        assert_eq!(short(&peer.frames()), ["2:body 1"]);
    }
}

#[test]
fn the_smallest_window_does_not_come_to_a_halt() {
    let limits = Limits {
        max_body_frame_bytes: 1,
        initial_window_bytes: 1,
        ..small_limits()
    };
    let mut peer = Peer::of_relay(limits);
    let handle = peer.open(true);
    peer.say(vec![(1, answer_frame(false))]).expect("fine");
    for _ in 0..10 {
        peer.say(vec![(1, body(1))]).expect("fine");
        assert_eq!(peer.take_all(&handle).0, 1);
        peer.assert_frames(&["1:window 1"]);
    }
}

#[test]
fn credit_for_many_streams_is_written_even_when_most_of_them_are_gone() {
    let limits = Limits {
        max_concurrent_streams: 1000,
        ..small_limits()
    };
    let mut peer = Peer::of_agent(limits);
    let requests = (1..=257).map(|n| (n, request_frame(false)));
    peer.say(requests.collect()).expect("fine");
    let handles: Vec<_> = (1..=257).map(|_| peer.accept()).collect();
    peer.say((1..=257).map(|n| (n, body(1024))).collect())
        .expect("fine");
    for handle in &handles {
        assert_eq!(peer.take_all(handle).0, 1024);
    }
    // The peer gives up all but the last, and so do we; their credit stands in the queue before its own.
    peer.say(
        (1..257)
            .map(|n| (n, Frame::Reset(crate::Fault::caller_gone())))
            .collect(),
    )
    .expect("fine");
    let last = handles.into_iter().next_back().expect("one of them");
    peer.assert_frames(&["257:window 1024"]);
    last.answer(answer(false)).expect("fine");
    last.send_end(HeaderMap::new()).expect("fine");
}

//! One exchange: its two directions, how it fails, and that it is forgotten.

use std::task::Poll;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::peer::*;
use crate::{Answer, CloseReason, Fault, Frame, Kind, Limits, Origin, ProtocolError};

fn upstream_failed() -> Fault {
    Fault::new(Kind::UpstreamFailed, Origin::Upstream, "it broke off")
}

#[test]
fn an_exchange_passes_whole_and_is_forgotten_by_the_relay() {
    let mut peer = Peer::of_relay(Limits::default());
    let handle = peer.link.open(request(false), peer.now).expect("open");
    peer.send(&handle, 3).expect("room");
    handle.send_end(HeaderMap::new()).expect("fine");
    peer.assert_frames(&["1:request head", "1:body 3", "1:end"]);
    let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from(7))]);
    peer.say(vec![
        (1, answer_frame(false)),
        (1, body(5)),
        (1, Frame::End(trailers.clone())),
    ])
    .expect("fine");
    assert!(matches!(
        answer_of(&handle),
        Poll::Ready(Ok(Answer::Head(_)))
    ));
    assert_eq!(peer.take_all(&handle), (5, Poll::Ready(Ok(()))));
    assert_eq!(handle.take_trailers(), Some(trailers));
    assert_eq!(peer.link.active_streams(), 1);
    drop(handle);
    peer.assert_frames(&[]);
    assert_eq!(peer.link.active_streams(), 0);
    assert_eq!(peer.link.total_streams(), 1);
}

#[test]
fn an_exchange_passes_whole_and_is_forgotten_by_the_agent() {
    let mut peer = Peer::of_agent(Limits::default());
    peer.say(vec![(1, request_frame(false)), (1, body(2)), (1, end())])
        .expect("fine");
    let handle = peer.accept();
    assert_eq!(peer.take_all(&handle), (2, Poll::Ready(Ok(()))));
    handle.answer(answer(false)).expect("fine");
    peer.send(&handle, 3).expect("room");
    handle.send_end(HeaderMap::new()).expect("fine");
    peer.assert_frames(&["1:response head", "1:body 3", "1:end"]);
    drop(handle);
    peer.assert_frames(&[]);
    assert_eq!(peer.link.active_streams(), 0);
}

#[test]
fn an_answer_that_breaks_off_is_reset_behind_what_there_was_of_it() {
    let mut peer = Peer::of_agent(Limits::default());
    peer.say(vec![(1, request_frame(false)), (1, end())])
        .expect("fine");
    let handle = peer.accept();
    handle.answer(answer(false)).expect("fine");
    peer.send(&handle, 3).expect("room");
    handle.break_off(upstream_failed());
    assert!(peer.send(&handle, 3).is_err());
    drop(handle);
    peer.assert_frames(&["1:response head", "1:body 3", "1:reset upstream_failed"]);
    assert_eq!(peer.link.active_streams(), 0);
}

#[test]
fn an_answer_that_breaks_off_with_nothing_queued_is_reset_at_once() {
    let mut peer = Peer::of_agent(Limits::default());
    peer.say(vec![(1, request_frame(false)), (1, end())])
        .expect("fine");
    let handle = peer.accept();
    handle.break_off(upstream_failed());
    peer.assert_frames(&["1:reset upstream_failed"]);
    drop(handle);
    peer.assert_frames(&[]);
    assert_eq!(peer.link.active_streams(), 0);
}

#[test]
fn an_answer_may_begin_and_end_before_the_request_has() {
    let mut peer = Peer::of_relay(Limits::default());
    let handle = peer.open(false);
    peer.say(vec![(1, answer_frame(false)), (1, body(5)), (1, end())])
        .expect("fine");
    assert_eq!(peer.take_all(&handle), (5, Poll::Ready(Ok(()))));
    peer.send(&handle, 3).expect("the request goes on");
    handle.send_end(HeaderMap::new()).expect("fine");
    peer.assert_frames(&["1:body 3", "1:end"]);
}

#[test]
fn a_body_is_asked_for_before_it_is_sent() {
    let mut peer = Peer::of_agent(Limits::default());
    peer.say(vec![(1, request_frame(false))]).expect("fine");
    let handle = peer.accept();
    handle.ask_for_body().expect("fine");
    peer.assert_frames(&["1:continue"]);
    let mut peer = Peer::of_relay(Limits::default());
    let handle = peer.open(false);
    let reader = Task::default();
    assert!(reader.poll(|cx| handle.poll_answer(cx)).is_pending());
    peer.say(vec![(1, Frame::Continue)]).expect("fine");
    reader.assert_woken();
    assert!(matches!(
        answer_of(&handle),
        Poll::Ready(Ok(Answer::Continue))
    ));
    assert!(answer_of(&handle).is_pending(), "asked once");
}

#[test]
fn head_body_and_end_share_a_batch_when_they_are_ready() {
    let mut peer = Peer::of_agent(Limits::default());
    peer.say(vec![(1, request_frame(true))]).expect("fine");
    let handle = peer.accept();
    handle.answer(answer(false)).expect("fine");
    peer.send(&handle, 1000).expect("room");
    handle.send_end(HeaderMap::new()).expect("fine");
    let batch = peer.sent().expect("a batch");
    assert_eq!(
        short(&batch.frames),
        ["1:response head", "1:body 1000", "1:end"]
    );
}

#[test]
fn a_large_body_shares_the_batch_of_its_head_too() {
    let peer = Peer::of_relay(Limits::default());
    let handle = peer.link.open(request(false), peer.now).expect("open");
    peer.send(&handle, 64 * 1024).expect("room");
    handle.send_end(HeaderMap::new()).expect("fine");
    let batch = peer.sent().expect("a batch");
    assert_eq!(
        short(&batch.frames),
        ["1:request head", "1:body 65536", "1:end"]
    );
}

#[test]
fn res16_an_empty_piece_is_no_frame() {
    let peer = Peer::of_relay(Limits::default());
    let handle = peer.open(false);
    handle
        .send_body(&mut Bytes::new(), peer.now)
        .expect("nothing to object to");
    peer.assert_frames(&[]);
    handle.send_end(HeaderMap::new()).expect("fine");
    peer.assert_frames(&["1:end"]);
}

#[test]
fn every_task_of_a_stream_is_woken_by_a_reset_and_by_the_end_of_the_session() {
    for is_reset in [true, false] {
        let mut peer = Peer::of_relay(small_limits());
        let handle = peer.open(false);
        peer.send(&handle, 4096).expect("room");
        let [reader, writer, watcher] = [(); 3].map(|()| Task::default());
        assert!(reader.poll(|cx| handle.poll_answer(cx)).is_pending());
        assert!(writer.poll(|cx| handle.poll_capacity(cx)).is_pending());
        assert!(watcher.poll(|cx| handle.poll_fault(cx)).is_pending());
        match is_reset {
            true => peer
                .say(vec![(1, Frame::Reset(upstream_failed()))])
                .expect("unknown only if nothing was sent"),
            false => peer.link.close(CloseReason::ConnectionLost),
        }
        for task in [reader, writer, watcher] {
            task.assert_woken();
        }
        assert!(answer_of(&handle).is_ready() && fault_of(&handle).is_some());
    }
}

#[test]
fn the_task_that_polled_last_is_the_one_that_is_woken() {
    let mut peer = Peer::of_relay(Limits::default());
    let handle = peer.open(true);
    let [first, second] = [(); 2].map(|()| Task::default());
    assert!(first.poll(|cx| handle.poll_answer(cx)).is_pending());
    assert!(second.poll(|cx| handle.poll_answer(cx)).is_pending());
    peer.say(vec![(1, answer_frame(false))]).expect("fine");
    second.assert_woken();
    assert_eq!(first.wakes(), 0);
}

#[test]
fn what_arrived_before_a_reset_is_still_taken_and_never_looks_whole() {
    let mut peer = Peer::of_relay(Limits::default());
    let handle = peer.open(true);
    peer.say(vec![
        (1, answer_frame(false)),
        (1, body(5)),
        (1, Frame::Reset(upstream_failed())),
    ])
    .expect("fine");
    assert!(matches!(
        answer_of(&handle),
        Poll::Ready(Ok(Answer::Head(_)))
    ));
    assert_eq!(
        peer.take_all(&handle),
        (5, Poll::Ready(Err(upstream_failed())))
    );
}

#[test]
fn a_torn_answer_never_looks_whole_whatever_ends_the_session() {
    for reason in [
        CloseReason::ConnectionLost,
        CloseReason::PeerSilent(GAP),
        CloseReason::PeerStuck(GAP),
        CloseReason::Protocol(ProtocolError::NotReading),
        CloseReason::Replaced,
        CloseReason::TokenExpired,
        CloseReason::Drained,
    ] {
        let mut peer = Peer::of_relay(Limits::default());
        let torn = peer.open(true);
        let whole = peer.open(true);
        let unsent = peer.link.open(request(true), peer.now).expect("open");
        for n in [1, 2] {
            peer.say(vec![(n, answer_frame(false)), (n, body(5))])
                .expect("fine");
        }
        peer.say(vec![(2, end())]).expect("fine");
        peer.link.close(reason);
        let (taken, ended) = peer.take_all(&torn);
        assert_eq!(taken, 5);
        assert!(matches!(ended, Poll::Ready(Err(fault)) if !fault.is_retry_safe));
        assert_eq!(peer.take_all(&whole), (5, Poll::Ready(Ok(()))));
        let fault = fault_of(&unsent).expect("it never left");
        assert!(fault.is_retry_safe, "the agent never heard of it");
        drop((torn, whole, unsent));
        assert_eq!(peer.link.active_streams(), 0);
    }
}

#[test]
fn a_caller_that_leaves_resets_the_stream_at_once() {
    let mut peer = Peer::of_relay(Limits::default());
    let handle = peer.open(false);
    assert!(peer.sent().is_none());
    peer.writer.wakes();
    drop(handle);
    peer.writer.assert_woken();
    peer.assert_frames(&["1:reset caller_gone"]);
    assert_eq!(peer.link.active_streams(), 0);
    peer.say(vec![(1, answer_frame(false)), (1, body(1))])
        .expect("ISO-05: late frames are dropped");
}

#[test]
fn a_request_that_was_never_written_leaves_no_trace_when_its_caller_leaves() {
    let peer = Peer::of_relay(Limits::default());
    drop(peer.link.open(request(true), peer.now).expect("open"));
    peer.assert_frames(&[]);
    assert_eq!(peer.link.active_streams(), 0);
}

#[test]
fn an_agent_that_drops_a_request_does_not_say_that_the_caller_left() {
    let mut peer = Peer::of_agent(Limits::default());
    peer.say(vec![(1, request_frame(true)), (2, request_frame(true))])
        .expect("fine");
    let unanswered = peer.accept();
    let torn = peer.accept();
    torn.answer(answer(false)).expect("fine");
    peer.send(&torn, 9).expect("room");
    drop(unanswered);
    drop(torn);
    peer.assert_frames(&["1:reset internal", "2:reset internal"]);
    assert_eq!(peer.link.active_streams(), 0);
}

#[test]
fn a_whole_answer_is_written_after_its_handle_is_gone() {
    let mut peer = Peer::of_agent(Limits::default());
    peer.say(vec![(1, request_frame(true))]).expect("fine");
    let handle = peer.accept();
    handle.answer(answer(false)).expect("fine");
    let length = 2 * 64 * 1024;
    assert_eq!(peer.send(&handle, length), Ok(length));
    handle.send_end(HeaderMap::new()).expect("fine");
    drop(handle);
    assert_eq!(peer.link.active_streams(), 1);
    let frames = short(&peer.frames());
    assert_eq!(frames.last().map(String::as_str), Some("1:end"));
    assert_eq!(peer.link.active_streams(), 0);
}

#[test]
fn a_relay_that_still_sends_after_a_whole_answer_is_told_to_stop() {
    for is_written_first in [true, false] {
        let mut peer = Peer::of_agent(Limits::default());
        peer.say(vec![(1, request_frame(false)), (1, body(5))])
            .expect("fine");
        let handle = peer.accept();
        handle.answer(answer(true)).expect("fine");
        if is_written_first {
            peer.assert_frames(&["1:response head"]);
            drop(handle);
            peer.assert_frames(&["1:reset upstream_failed"]);
        } else {
            drop(handle);
            peer.assert_frames(&["1:response head", "1:reset upstream_failed"]);
        }
        assert_eq!(peer.link.active_streams(), 0);
    }
}

#[test]
fn a_reset_after_a_whole_answer_stops_the_request_and_leaves_the_answer_whole() {
    let mut peer = Peer::of_relay(small_limits());
    let handle = peer.open(false);
    peer.send(&handle, 4096).expect("room");
    peer.frames();
    let [writer, watcher] = [(); 2].map(|()| Task::default());
    assert!(writer.poll(|cx| handle.poll_capacity(cx)).is_pending());
    assert!(watcher.poll(|cx| handle.poll_fault(cx)).is_pending());
    peer.say(vec![
        (1, answer_frame(false)),
        (1, body(5)),
        (1, end()),
        (1, Frame::Reset(upstream_failed())),
    ])
    .expect("fine");
    writer.assert_woken();
    assert!(writer.poll(|cx| handle.poll_capacity(cx)).is_ready());
    assert!(peer.send(&handle, 1).is_err());
    assert_eq!(fault_of(&handle), None);
    assert_eq!(peer.take_all(&handle), (5, Poll::Ready(Ok(()))));
    drop(handle);
    peer.assert_frames(&[]);
    assert_eq!(peer.link.active_streams(), 0);
}

#[test]
fn an_end_that_is_awaited_without_a_handle_is_no_reset() {
    let mut peer = Peer::of_relay(Limits::default());
    let handle = peer.open(true);
    peer.say(vec![(1, answer_frame(false)), (1, body(5))])
        .expect("fine");
    assert_eq!(peer.take_all(&handle), (5, Poll::Pending));
    handle.await_end();
    drop(handle);
    peer.assert_frames(&[]);
    assert_eq!(peer.link.active_streams(), 1);
    peer.say(vec![(1, end())]).expect("fine");
    peer.assert_frames(&[]);
    assert_eq!(peer.link.active_streams(), 0);
}

#[test]
fn a_request_is_still_written_whole_while_the_end_of_its_answer_is_awaited() {
    for is_end_first in [true, false] {
        let mut peer = Peer::of_relay(Limits::default());
        let handle = peer.open(false);
        peer.say(vec![(1, answer_frame(false)), (1, body(5))])
            .expect("fine");
        assert_eq!(peer.take_all(&handle), (5, Poll::Pending));
        peer.send(&handle, 7).expect("room");
        handle.send_end(HeaderMap::new()).expect("fine");
        handle.await_end();
        drop(handle);
        if is_end_first {
            peer.say(vec![(1, end())]).expect("fine");
            peer.assert_frames(&["1:body 7", "1:end"]);
        } else {
            peer.assert_frames(&["1:body 7", "1:end"]);
            assert_eq!(peer.link.active_streams(), 1);
            peer.say(vec![(1, end())]).expect("fine");
        }
        peer.assert_frames(&[]);
        assert_eq!(peer.link.active_streams(), 0);
    }
}

#[test]
fn an_end_that_never_comes_is_not_awaited_for_ever() {
    let mut peer = Peer::of_relay(Limits::default());
    let handle = peer.open(true);
    peer.say(vec![(1, answer_frame(false)), (1, body(5))])
        .expect("fine");
    assert_eq!(peer.take_all(&handle), (5, Poll::Pending));
    handle.await_end();
    drop(handle);
    peer.pass(GAP);
    peer.tick();
    peer.assert_frames(&["1:reset timeout"]);
    assert_eq!(peer.link.active_streams(), 0);
}

#[test]
fn a_reset_reaches_the_peer_once_and_nothing_follows_it() {
    let peer = Peer::of_relay(Limits::default());
    let handle = peer.open(false);
    peer.send(&handle, 9).expect("room");
    handle.reset(upstream_failed());
    handle.reset(Fault::caller_gone());
    assert_eq!(peer.send(&handle, 9), Err(upstream_failed()));
    drop(handle);
    peer.assert_frames(&["1:reset upstream_failed"]);
}

#[test]
fn bytes_that_no_direction_can_carry_are_refused_instead_of_kept_for_ever() {
    let mut peer = Peer::of_agent(Limits::default());
    peer.say(vec![(1, request_frame(true))]).expect("fine");
    let handle = peer.accept();
    assert!(peer.send(&handle, 1).is_err(), "no head yet");
    handle.answer(answer(true)).expect("fine");
    assert!(peer.send(&handle, 1).is_err(), "whole already");
    peer.assert_frames(&["1:response head"]);
}

#[test]
fn a_head_that_the_peer_would_end_the_session_over_fails_its_stream_alone() {
    let mut large = HeaderMap::new();
    for _ in 0..=crate::wire::MAX_FIELDS {
        large.append("x", HeaderValue::from_static("v"));
    }
    let relay = Peer::of_relay(Limits::default());
    let mut head = request(true);
    head.headers = large.clone();
    let fault = relay.link.open(head, relay.now).unwrap_err();
    assert_eq!(fault.kind, Kind::InvalidRequest);
    let mut head = request(true);
    head.target = http::uri::PathAndQuery::from_static("*");
    assert!(relay.link.open(head, relay.now).is_err());
    assert_eq!(relay.link.active_streams(), 0);

    let mut agent = Peer::of_agent(Limits::default());
    let requests = (1..=3).map(|n| (n, request_frame(true))).collect();
    agent.say(requests).expect("fine");
    let [first, second, third] = [(); 3].map(|()| agent.accept());
    let mut head = answer(true);
    head.headers = large.clone();
    assert!(first.answer(head).is_err());
    let mut head = answer(true);
    head.status = StatusCode::from_u16(999).unwrap();
    assert!(second.answer(head).is_err());
    third.answer(answer(false)).expect("fine");
    assert!(third.send_end(large).is_err());
    let frames = [1, 2, 3].map(|n| format!("{n}:reset upstream_failed"));
    assert_eq!(short(&agent.frames()), frames);
    assert!(agent.link.is_open());
}

#[test]
fn res17_streams_come_and_go_without_a_trace() {
    let mut peer = Peer::of_relay(small_limits());
    for n in (1..20_000).step_by(5) {
        let handles: Vec<_> = (0..3).map(|_| peer.open(true)).collect();
        let [ok, failed, cancelled] = <[_; 3]>::try_from(handles).unwrap();
        drop(cancelled);
        peer.say(vec![
            (ok.id().get(), answer_frame(false)),
            (ok.id().get(), body(5)),
            (ok.id().get(), end()),
            (failed.id().get(), Frame::Reset(upstream_failed())),
        ])
        .expect("fine");
        assert_eq!(peer.take_all(&ok), (5, Poll::Ready(Ok(()))), "{n}");
        assert!(fault_of(&failed).is_some());
        drop((ok, failed));
        peer.frames();
    }
    assert_eq!((peer.link.active_streams(), peer.link.held_bytes()), (0, 0));
}

//! Go-away, both ways.

use std::{task::Poll, time::Duration};

use http::HeaderMap;

use super::peer::*;
use crate::{CloseReason, Control, Frame, Kind, Limits, Origin};

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn running_streams_finish_after_a_go_away() {
    let mut peer = Peer::of_agent(Limits::default());
    peer.say(vec![(1, request_frame(true))]).expect("fine");
    let handle = peer.accept();
    let notable = peer.control(go_away(LONG)).expect("fine");
    assert_eq!(notable, [go_away(LONG)]);
    handle.answer(answer(false)).expect("still fine");
    peer.send(&handle, 5).expect("room");
    handle.send_end(HeaderMap::new()).expect("fine");
    drop(handle);
    assert_eq!(peer.link.close_reason(), None, "not written yet");
    peer.assert_frames(&["1:response head", "1:body 5", "1:end"]);
    assert_eq!(peer.link.close_reason(), Some(CloseReason::Drained));
}

#[test]
fn the_last_reset_is_written_before_a_drained_session_ends() {
    let mut peer = Peer::of_agent(Limits::default());
    peer.say(vec![(1, request_frame(true))]).expect("fine");
    let handle = peer.accept();
    peer.control(go_away(LONG)).expect("fine");
    drop(handle);
    peer.assert_frames(&["1:reset internal"]);
    assert_eq!(peer.link.close_reason(), Some(CloseReason::Drained));
}

#[test]
fn a_go_away_that_is_said_again_is_told_once() {
    let mut peer = Peer::of_relay(Limits::default());
    let handle = peer.open(true);
    assert_eq!(peer.control(go_away(LONG)).expect("fine"), [go_away(LONG)]);
    for _ in 0..3 {
        assert_eq!(peer.control(go_away(LONG)).expect("fine"), []);
    }
    drop(handle);
}

#[test]
fn a_side_with_nothing_under_way_ends_at_the_peers_go_away() {
    let mut peer = Peer::of_relay(Limits::default());
    peer.control(go_away(LONG)).expect("fine");
    assert_eq!(peer.link.close_reason(), Some(CloseReason::Drained));
}

#[test]
fn a_go_away_is_not_said_before_the_last_head_that_waits() {
    let limits = Limits {
        max_concurrent_streams: 2000,
        ..Limits::default()
    };
    let peer = Peer::of_relay(limits);
    let _handles: Vec<_> = (0..1000)
        .map(|_| peer.link.open(request(true), peer.now).expect("open"))
        .collect();
    peer.link.go_away("bye", LONG, peer.now);
    let mut heads = 0;
    loop {
        let batch = peer.sent().expect("a batch");
        heads += batch.frames.len();
        if matches!(batch.control[..], [Control::GoAway { .. }]) {
            break;
        }
    }
    assert_eq!(heads, 1000, "an agent with no streams left would close");
}

#[test]
fn what_still_runs_when_the_grace_is_over_is_cut() {
    let mut peer = Peer::of_relay(Limits::default());
    let handle = peer.open(true);
    peer.link.go_away("bye", GAP, peer.now);
    assert!(matches!(
        peer.sent().expect("it").control[..],
        [Control::GoAway { .. }]
    ));
    peer.pass(GAP - MILLISECOND);
    assert!(peer.tick().is_some());
    assert_eq!(fault_of(&handle), None);
    peer.pass(MILLISECOND);
    assert_eq!(peer.tick(), None);
    assert_eq!(fault_of(&handle).expect("cut").kind, Kind::Draining);
}

#[test]
fn neither_side_can_stretch_the_others_grace() {
    let mut peer = Peer::of_relay(Limits::default());
    let _handle = peer.open(true);
    peer.link.go_away("bye", GAP, peer.now);
    let until = peer.now + GAP;
    for _ in 0..3 {
        peer.pass(MILLISECOND);
        peer.control(go_away(LONG)).expect("fine");
    }
    peer.pass(until - peer.now - MILLISECOND);
    peer.tick();
    assert_eq!(peer.link.close_reason(), None);
    peer.pass(MILLISECOND);
    peer.tick();
    assert_eq!(peer.link.close_reason(), Some(CloseReason::Drained));

    let mut peer = Peer::of_relay(Limits::default());
    let _handle = peer.open(true);
    peer.control(go_away(Duration::from_millis(u64::from(u32::MAX))))
        .expect("fine");
    peer.link.go_away("we leave, too", GAP, peer.now);
    peer.pass(GAP);
    peer.tick();
    assert_eq!(peer.link.close_reason(), Some(CloseReason::Drained));
}

#[test]
fn an_agent_takes_requests_that_were_on_their_way_when_it_said_go_away() {
    let mut peer = Peer::of_agent(Limits::default());
    peer.link.go_away("bye", LONG, peer.now);
    peer.say(vec![(1, request_frame(true))]).expect("fine");
    let handle = peer.accept();
    handle.answer(answer(true)).expect("fine");
    drop(handle);
    peer.assert_frames(&["1:response head"]);
}

#[test]
fn a_relay_that_hands_over_opens_streams_for_a_while() {
    let peer = &mut Peer::of_relay(Limits::default());
    peer.link.hand_over("bye", GAP, LONG, peer.now);
    let said = peer.sent().expect("it").control;
    assert_eq!(said, [handing_over(LONG)]);
    let late = peer.open(true);
    assert_eq!(late.id(), id(1));
    peer.pass(GAP - MILLISECOND);
    assert!(peer.link.takes_streams(peer.now));
    peer.pass(MILLISECOND);
    assert!(!peer.link.takes_streams(peer.now));
    let fault = peer.link.open(request(true), peer.now).unwrap_err();
    assert_eq!((fault.kind, fault.origin), (Kind::Draining, Origin::Relay));
    assert_eq!(fault_of(&late), None, "what runs has the whole grace");
}

#[test]
fn a_relay_never_opens_beyond_its_own_grace() {
    let peer = &mut Peer::of_relay(Limits::default());
    peer.link.hand_over("bye", LONG, GAP, peer.now);
    peer.pass(GAP);
    assert!(!peer.link.takes_streams(peer.now));
}

#[test]
fn an_agent_serves_a_relay_that_hands_over_until_that_ends_the_session() {
    let mut peer = Peer::of_agent(Limits::default());
    peer.control(handing_over(LONG)).expect("fine");
    assert_eq!(peer.link.close_reason(), None, "streams may still come");
    for number in 1..=2 {
        peer.say(vec![(number, request_frame(true))])
            .expect("a late one");
        let handle = peer.accept();
        handle.answer(answer(true)).expect("fine");
        drop(handle);
        peer.assert_frames(&[&format!("{number}:response head")]);
        assert_eq!(peer.link.close_reason(), None, "not with its last stream");
    }
    peer.control(go_away(LONG)).expect("fine");
    assert_eq!(peer.link.close_reason(), Some(CloseReason::Drained));
}

#[test]
fn an_agent_does_not_wait_for_a_relay_beyond_the_grace() {
    let mut peer = Peer::of_agent(Limits::default());
    peer.control(handing_over(GAP)).expect("fine");
    peer.pass(GAP);
    peer.tick();
    assert_eq!(peer.link.close_reason(), Some(CloseReason::Drained));
}

#[test]
fn an_agent_that_leaves_during_a_hand_over_is_heard() {
    let mut agent = Peer::of_agent(Limits::default());
    agent.control(handing_over(LONG)).expect("fine");
    agent.link.go_away("bye", GAP, agent.now);
    let said = agent.sent().expect("it").control;
    assert_eq!(said, [go_away(GAP)]);
    assert_eq!(agent.link.close_reason(), None, "one may be on its way");

    let mut relay = Peer::of_relay(Limits::default());
    let handle = relay.open(true);
    relay.link.hand_over("bye", LONG, LONG, relay.now);
    relay.control(go_away(GAP)).expect("fine");
    assert!(!relay.link.takes_streams(relay.now));
    drop(handle);
    drop(relay.sent());
    assert_eq!(relay.link.close_reason(), Some(CloseReason::Drained));
}

#[test]
fn only_a_relay_can_go_on_opening() {
    let mut peer = Peer::of_relay(Limits::default());
    peer.control(handing_over(LONG)).expect("fine");
    assert_eq!(peer.link.close_reason(), Some(CloseReason::Drained));
}

#[test]
fn a_request_that_nobody_accepted_is_forgotten_with_the_session() {
    let mut peer = Peer::of_agent(Limits::default());
    let acceptor = Task::default();
    assert!(acceptor.poll(|cx| peer.link.poll_accept(cx)).is_pending());
    peer.say(vec![(1, request_frame(false)), (1, body(9))])
        .expect("fine");
    acceptor.assert_woken();
    peer.link.close(CloseReason::ConnectionLost);
    assert_eq!((peer.link.active_streams(), peer.link.held_bytes()), (0, 0));
    let next = acceptor.poll(|cx| peer.link.poll_accept(cx));
    assert!(matches!(next, Poll::Ready(None)));
}

#[test]
fn a_closed_session_takes_in_and_says_nothing() {
    let mut peer = Peer::of_agent(Limits::default());
    peer.link.close(CloseReason::Replaced);
    peer.say(vec![(1, request_frame(true)), (9, Frame::Window(0))])
        .expect("ignored");
    peer.link.close(CloseReason::ConnectionLost);
    assert_eq!(
        peer.link.close_reason(),
        Some(CloseReason::Replaced),
        "the first counts"
    );
    let writer = peer.writer.poll(|cx| peer.link.poll_transmit(peer.now, cx));
    assert!(matches!(writer, Poll::Ready(None)));
    assert_eq!(peer.link.active_streams(), 0);
}

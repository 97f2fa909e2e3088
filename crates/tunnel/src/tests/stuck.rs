//! A peer that lives and takes nothing in, and a line that is slow and moves.

use std::time::Duration;

use super::peer::*;
use crate::{Batch, CloseReason, Control, Kind, Limits, Origin};

/// A sign of life that tells this count.
fn told(received: u64) -> Control {
    Control::Heartbeat {
        sequence: 1,
        acknowledged: 0,
        received,
    }
}

/// After this wait the peer tells this count.
#[track_caller]
fn tell(peer: &mut Peer, wait: Duration, received: u64) {
    peer.pass(wait);
    peer.control(told(received)).expect("a heartbeat");
    peer.tick();
}

#[test]
fn a_peer_that_beats_and_takes_nothing_in_is_left_after_two_intervals_and_three_heartbeats() {
    for wait in [BEAT, BEAT + MILLISECOND] {
        let mut peer = Peer::of_relay(Limits::default());
        tell(&mut peer, BEAT, 7);
        tell(&mut peer, wait, 7);
        assert!(peer.link.is_open(), "one interval can be jitter");
        let handle = peer.open(true);
        tell(&mut peer, wait, 7);
        let reason = Some(CloseReason::PeerStuck(2 * wait));
        assert_eq!(peer.link.close_reason(), reason);
        let fault = fault_of(&handle).expect("failed");
        assert_eq!((fault.kind, fault.origin), (Kind::AgentLost, Origin::Agent));
        assert!(!fault.is_retry_safe, "the request may be there");
        assert_eq!(peer.tick(), None);
    }
}

#[test]
fn the_agent_leaves_a_relay_that_takes_nothing_in_as_well() {
    let mut peer = Peer::of_agent(Limits::default());
    for _ in 0..3 {
        tell(&mut peer, BEAT, 1);
    }
    let reason = Some(CloseReason::PeerStuck(2 * BEAT));
    assert_eq!(peer.link.close_reason(), reason);
}

#[test]
fn a_count_that_moves_or_says_nothing_keeps_the_session() {
    let mut peer = Peer::of_relay(Limits::default());
    for round in 1..20 {
        tell(&mut peer, BEAT, round);
        tell(&mut peer, BEAT, round);
    }
    // A peer that does not count, since it is older than the count.
    for _ in 0..20 {
        tell(&mut peer, BEAT, 0);
    }
    assert!(peer.link.is_open());
}

#[test]
fn heartbeats_that_come_in_a_rush_or_late_do_not_make_a_peer_look_stuck() {
    let mut peer = Peer::of_relay(Limits::default());
    for _ in 0..10 {
        tell(&mut peer, MILLISECOND, 7); // faster than the interval: nothing of ours could have come in between
    }
    assert!(peer.link.is_open());
    // Two that tell the same and lie far apart: the second was made soon after the first, and then waited on a slow
    // line, pieces of which came all the time.
    tell(&mut peer, MILLISECOND, 8);
    for _ in 0..40 {
        peer.pass(BEAT);
        peer.link.heard(peer.now);
        peer.tick();
    }
    tell(&mut peer, MILLISECOND, 8);
    assert!(peer.link.is_open());
    tell(&mut peer, BEAT, 9);
    assert!(peer.link.is_open());
}

#[test]
fn what_stands_behind_the_heartbeat_that_ends_a_session_does_not_bring_it_back() {
    let mut peer = Peer::of_relay(Limits::default());
    tell(&mut peer, BEAT, 7);
    tell(&mut peer, BEAT, 7);
    peer.pass(BEAT);
    let batch = Batch {
        control: vec![told(7), go_away(BEAT)],
        frames: vec![(1, body(1))]
            .into_iter()
            .map(|(number, frame)| (id(number), frame))
            .collect(),
    };
    peer.link.receive(batch, peer.now).expect("over already");
    let reason = Some(CloseReason::PeerStuck(2 * BEAT));
    assert_eq!(peer.link.close_reason(), reason);
}

#[test]
fn pieces_of_a_long_message_are_signs_of_life_and_are_counted() {
    let mut peer = Peer::of_agent(Limits::default());
    let count = |peer: &Peer| match peer.sent().expect("a beat").control[..] {
        [Control::Heartbeat { received, .. }] => received,
        ref other => panic!("{other:?}"),
    };
    let mut last = 1; // the welcome
    // Two minutes for one message: 128 KiB at 1 KiB/s.
    for _ in 0..8 {
        for _ in 0..15 {
            peer.pass(BEAT / 15);
            peer.link.heard(peer.now);
        }
        peer.tick().expect("alive");
        let next = count(&peer);
        assert_eq!(next, last + 15);
        last = next;
    }
    // The same moment again is no news, and silence still ends it, to the millisecond.
    peer.link.heard(peer.now);
    peer.pass(2 * BEAT - MILLISECOND);
    assert_eq!(peer.tick(), Some(peer.now + MILLISECOND));
    assert_eq!(count(&peer), last);
    peer.pass(MILLISECOND);
    assert_eq!(peer.tick(), None);
    let reason = Some(CloseReason::PeerSilent(2 * BEAT));
    assert_eq!(peer.link.close_reason(), reason);
}

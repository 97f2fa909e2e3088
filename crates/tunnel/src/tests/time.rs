//! Heartbeats and time limits, to the millisecond.

use std::{task::Poll, time::Duration};

use http::HeaderMap;

use super::peer::*;
use crate::{CloseReason, Control, Frame, Kind, Limits, Origin, Settings, Side, StreamLimits};

/// Moves on to just before and then to `due`, keeping the session alive; `early` must hold before, `late` after.
#[track_caller]
fn assert_due(peer: &mut Peer, wait: Duration, is_over: impl Fn() -> bool) {
    let due = peer.now + wait;
    while peer.now + BEAT < due {
        peer.pass(BEAT - MILLISECOND);
        peer.control(heartbeat()).expect("fine");
        peer.tick();
    }
    peer.pass(due - peer.now - MILLISECOND);
    peer.control(heartbeat()).expect("fine");
    let next = peer.tick().expect("open");
    assert!(next <= due, "the driver would come too late");
    assert!(!is_over(), "too early");
    peer.pass(MILLISECOND);
    peer.tick();
    assert!(is_over(), "too late");
}

#[test]
fn heartbeats_go_out_on_time_and_count_up() {
    let mut peer = Peer::of_agent(Limits::default());
    for sequence in 1..5 {
        assert_eq!(peer.tick(), Some(peer.now + BEAT));
        peer.pass(BEAT - MILLISECOND);
        peer.tick();
        assert!(peer.sent().is_none());
        peer.pass(MILLISECOND);
        peer.control(Control::Heartbeat {
            sequence: sequence * 10,
            acknowledged: 0,
            received: 0,
        })
        .expect("fine");
        peer.tick();
        let acknowledged = sequence * 10;
        let beat = Control::Heartbeat {
            sequence,
            acknowledged,
            received: 1 + sequence, // the welcome was a message, too
        };
        assert_eq!(peer.sent().expect("a beat").control, [beat]);
    }
}

#[test]
fn heartbeats_do_not_pile_up_behind_a_peer_that_does_not_read() {
    let mut peer = Peer::of_agent(Limits::default());
    for _ in 0..10 {
        peer.pass(BEAT);
        peer.control(heartbeat()).expect("fine");
        peer.tick();
    }
    assert_eq!(peer.sent().expect("a beat").control.len(), 1);
}

#[test]
fn tun05_two_intervals_of_silence_end_the_session_and_its_streams() {
    let mut peer = Peer::of_relay(Limits::default());
    let handle = peer.open(true);
    let watcher = Task::default();
    assert!(watcher.poll(|cx| handle.poll_fault(cx)).is_pending());
    peer.tick();
    peer.pass(2 * BEAT - MILLISECOND);
    assert_eq!(peer.tick(), Some(peer.now + MILLISECOND));
    peer.frames();
    peer.pass(MILLISECOND);
    assert_eq!(peer.tick(), None);
    assert_eq!(
        peer.link.close_reason(),
        Some(CloseReason::PeerSilent(2 * BEAT))
    );
    watcher.assert_woken();
    let fault = fault_of(&handle).expect("failed");
    assert_eq!((fault.kind, fault.origin), (Kind::AgentLost, Origin::Agent));
    let writer = peer.writer.poll(|cx| peer.link.poll_transmit(peer.now, cx));
    assert!(matches!(writer, Poll::Ready(None)));
}

#[test]
fn a_side_that_stood_still_reads_what_lies_there_before_it_calls_the_peer_silent() {
    let mut peer = Peer::of_relay(Limits::default());
    peer.tick();
    peer.pass(3 * BEAT);
    let certain = peer.now + BEAT / 8;
    assert_eq!(peer.tick(), Some(certain));
    assert_eq!(peer.tick(), Some(certain), "looking again gains no time");
    peer.control(heartbeat()).expect("it lay there");
    peer.tick().expect("alive");
    // Whoever looks in time gives no time, and whoever was late once gets nothing more out of it.
    peer.pass(2 * BEAT);
    assert_eq!(peer.tick(), None);

    let mut peer = Peer::of_relay(Limits::default());
    peer.pass(3 * BEAT);
    peer.tick().expect("in doubt");
    peer.pass(BEAT / 8 - MILLISECOND);
    peer.tick().expect("still in doubt");
    peer.pass(MILLISECOND);
    assert_eq!(peer.tick(), None);
    let reason = Some(CloseReason::PeerSilent(2 * BEAT));
    assert_eq!(peer.link.close_reason(), reason);
}

#[test]
fn anything_heard_is_a_sign_of_life_of_the_session() {
    let mut peer = Peer::of_relay(Limits::default());
    peer.pass(2 * BEAT - MILLISECOND);
    peer.say(Vec::new()).expect("even an empty message");
    peer.pass(2 * BEAT - MILLISECOND);
    assert!(peer.tick().is_some());
}

#[test]
fn tim02_no_answer_is_a_timeout_of_the_upstream() {
    let mut peer = Peer::of_relay(Limits::default());
    let handle = peer.open(true);
    assert_due(&mut peer, FIRST_BYTE, || fault_of(&handle).is_some());
    let fault = fault_of(&handle).expect("failed");
    assert_eq!(
        (fault.kind, fault.origin),
        (Kind::Timeout, Origin::Upstream)
    );
    assert!(fault.message.contains("30s"), "{fault}");
    peer.assert_frames(&["1:reset timeout"]);
}

#[test]
fn tim03_silence_within_an_answer_is_a_timeout_and_heartbeats_do_not_count() {
    let mut peer = Peer::of_relay(Limits::default());
    let handle = peer.open(true);
    peer.say(vec![(1, answer_frame(false))]).expect("fine");
    for _ in 0..3 {
        peer.pass(GAP - MILLISECOND);
        peer.say(vec![(1, body(1))]).expect("fine");
        assert_eq!(peer.take_all(&handle), (1, Poll::Pending));
        peer.tick();
    }
    assert_due(&mut peer, GAP, || fault_of(&handle).is_some());
    let (_, ended) = peer.take_all(&handle);
    assert!(matches!(ended, Poll::Ready(Err(fault)) if fault.origin == Origin::Upstream));
}

#[test]
fn tim05_an_upload_that_stops_is_a_timeout_of_the_caller() {
    let mut peer = Peer::of_relay(Limits::default());
    let handle = peer.open(false);
    for _ in 0..3 {
        peer.pass(FIRST_BYTE / 2);
        peer.control(heartbeat()).expect("fine");
        assert_eq!(peer.send(&handle, 10), Ok(10), "a sign of life");
        peer.tick();
        peer.frames();
    }
    let moved_at = peer.now;
    peer.pass(MILLISECOND);
    assert_eq!(peer.send(&handle, 0), Ok(0), "an empty piece is none");
    assert_due(&mut peer, FIRST_BYTE - MILLISECOND, || {
        fault_of(&handle).is_some()
    });
    assert_eq!(peer.now, moved_at + FIRST_BYTE);
    let fault = fault_of(&handle).expect("failed");
    assert_eq!((fault.kind, fault.origin), (Kind::Timeout, Origin::Caller));
    peer.assert_frames(&["1:reset timeout"]);
}

#[test]
fn a_sender_that_is_held_back_does_not_keep_its_stream_alive_by_trying() {
    let mut peer = Peer::of_relay(small_limits());
    let handle = peer.open(false);
    assert_eq!(peer.send(&handle, 5000), Ok(4096));
    peer.frames();
    peer.pass(MILLISECOND);
    assert_eq!(peer.send(&handle, 1), Ok(0));
    assert_due(&mut peer, FIRST_BYTE - MILLISECOND, || {
        fault_of(&handle).is_some()
    });
}

#[test]
fn res03_an_answer_that_its_caller_does_not_read_is_given_up_and_never_looks_whole() {
    for is_whole in [false, true] {
        let mut peer = Peer::of_relay(Limits::default());
        let handle = peer.open(true);
        let mut frames = vec![(1, answer_frame(false)), (1, body(1000))];
        frames.extend(is_whole.then(|| (1, end())));
        peer.say(frames).expect("fine");
        let link = peer.link.clone();
        assert_due(&mut peer, GAP, || link.held_bytes() == 0);
        let (taken, ended) = peer.take_all(&handle);
        assert_eq!(taken, 0);
        assert!(matches!(ended, Poll::Ready(Err(fault)) if fault.origin == Origin::Caller));
        let told: &[&str] = if is_whole { &[] } else { &["1:reset timeout"] };
        peer.assert_frames(told);
    }
}

#[test]
fn a_slow_reader_that_reads_keeps_its_stream() {
    let mut peer = Peer::of_relay(Limits::default());
    let handle = peer.open(true);
    let mut frames = vec![(1, answer_frame(false))];
    frames.extend((0..4).map(|_| (1, body(64 * 1024))));
    frames.push((1, end()));
    peer.say(frames).expect("fine");
    for _ in 0..4 {
        peer.pass(GAP - MILLISECOND);
        peer.control(heartbeat()).expect("fine");
        peer.tick();
        assert!(matches!(peer.take(&handle), Poll::Ready(Ok(Some(_)))));
    }
    assert_eq!(peer.take(&handle), Poll::Ready(Ok(None)));
}

#[test]
fn an_interim_answer_is_no_sign_of_life() {
    let mut peer = Peer::of_relay(Limits::default());
    let handle = peer.open(false);
    peer.pass(MILLISECOND);
    peer.say(vec![(1, Frame::Continue)]).expect("fine");
    assert_due(&mut peer, FIRST_BYTE - MILLISECOND, || {
        fault_of(&handle).is_some()
    });
}

#[test]
fn a_timeout_of_one_stream_leaves_the_others_alone() {
    let mut peer = Peer::of_relay(Limits::default());
    let silent = peer.open(true);
    let lively = peer.open(true);
    peer.pass(FIRST_BYTE - MILLISECOND);
    peer.say(vec![(2, answer_frame(false))]).expect("fine");
    peer.pass(MILLISECOND);
    peer.tick();
    assert!(fault_of(&silent).is_some() && fault_of(&lively).is_none());
    assert!(peer.link.is_open());
}

#[test]
fn the_driver_is_woken_when_a_limit_comes_closer() {
    let slow_beat = Duration::from_secs(600);
    let told = crate::Welcome {
        heartbeat_interval: slow_beat,
        ..welcome(Limits::default())
    };
    let mut peer = Peer::greeting(Side::Relay, Limits::default());
    peer.link.welcome(told, peer.now);
    assert_eq!(peer.tick(), Some(peer.now + slow_beat));
    peer.driver.wakes();
    let handle = peer.open(true);
    peer.driver.assert_woken();
    assert_eq!(peer.tick(), Some(peer.now + FIRST_BYTE));
    peer.driver.wakes();
    peer.say(vec![(1, answer_frame(false))]).expect("fine");
    peer.driver.assert_woken();
    assert_eq!(peer.tick(), Some(peer.now + GAP));
    drop(handle);
    peer.driver.wakes();
    peer.link.go_away("bye", MILLISECOND, peer.now);
    peer.driver.assert_woken();
    assert_eq!(peer.tick(), Some(peer.now + MILLISECOND));
    peer.driver.wakes();
    peer.link.close(CloseReason::Replaced);
    peer.driver.assert_woken();
    assert_eq!(peer.tick(), None);
}

#[test]
fn limits_that_mean_never_do_not_overflow_the_clock() {
    let base = Peer::of_relay(Limits::default());
    let settings = Settings {
        side: Side::Relay,
        limits: Limits::default(),
        greeting_timeout: Duration::MAX,
        heartbeat_interval: Duration::MAX,
        stream_limits: Some(StreamLimits {
            first_byte: Duration::MAX,
            gap: Duration::MAX,
        }),
    };
    let link = crate::Link::new(&settings, base.now);
    let told = crate::Welcome {
        heartbeat_interval: Duration::MAX,
        ..welcome(Limits::default())
    };
    link.welcome(told, base.now);
    let handle = link.open(request(true), base.now).expect("open");
    assert!(base.driver.poll(|cx| link.tick(base.now, cx)).is_some());
    link.go_away("bye", Duration::MAX, base.now);
    assert!(base.driver.poll(|cx| link.tick(base.now, cx)).is_some());
    handle
        .send_end(HeaderMap::new())
        .expect("ignored: it was whole");
}

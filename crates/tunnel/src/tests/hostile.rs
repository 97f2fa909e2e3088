//! A peer that breaks the protocol ends its own session; one that keeps to it barely cannot make this side grow.

use bytes::Bytes;

use super::peer::*;
use crate::{
    CloseReason, Control, Fault, Frame, Kind, Limits, Origin, Phase, ProtocolError, Session,
    Settings, Side,
};

#[test]
fn iso04_an_id_that_was_never_minted_ends_the_session_as_agent_protocol() {
    let mut peer = Peer::of_relay(Limits::default());
    let handle = peer.open(true);
    let broken = peer.say(vec![(2, answer_frame(true))]);
    assert_eq!(broken, Err(ProtocolError::UnknownStream(2)));
    assert_eq!(
        peer.link.close_reason(),
        Some(CloseReason::Protocol(ProtocolError::UnknownStream(2)))
    );
    assert_eq!(fault_of(&handle).expect("failed").kind, Kind::AgentProtocol);
}

#[test]
fn iso04_an_id_that_was_minted_and_never_told_is_as_unknown() {
    let mut peer = Peer::of_relay(Limits::default());
    let _handle = peer.link.open(request(true), peer.now).expect("open");
    let guessed = peer.say(vec![(1, answer_frame(true))]);
    assert_eq!(guessed, Err(ProtocolError::UnknownStream(1)));
}

#[test]
fn iso05_late_frames_of_a_cancelled_stream_are_dropped_and_its_id_is_not_used_again() {
    let mut peer = Peer::of_relay(Limits::default());
    drop(peer.open(false));
    let next = peer.open(true);
    assert_eq!(next.id().get(), 2);
    peer.say(vec![
        (1, answer_frame(false)),
        (1, body(9)),
        (1, Frame::Window(5)),
        (1, end()),
        (1, Frame::Reset(Fault::caller_gone())),
    ])
    .expect("the agent could not know");
    assert!(peer.link.is_open());
    assert!(answer_of(&next).is_pending());
    assert_eq!(peer.link.held_bytes(), 0);
}

#[test]
fn res08_a_body_frame_over_its_limit_or_empty_ends_the_session() {
    for length in [0, 1025] {
        let mut peer = Peer::of_relay(small_limits());
        let _handle = peer.open(true);
        peer.say(vec![(1, answer_frame(false))]).expect("fine");
        let broken = peer.say(vec![(1, body(length))]);
        let expected = ProtocolError::BadBodyLength {
            id: id(1),
            bytes: length,
        };
        assert_eq!(broken, Err(expected));
    }
}

#[test]
fn frames_in_the_wrong_state_end_the_session() {
    let head = || answer_frame(false);
    let wrong: [Vec<Frame>; 9] = [
        vec![body(1)],
        vec![end()],
        vec![head(), head()],
        vec![head(), end(), body(1)],
        vec![head(), end(), end()],
        vec![answer_frame(true), body(1)],
        vec![answer_frame(true), end()],
        vec![head(), end(), head()],
        vec![request_frame(true)],
    ];
    for frames in wrong {
        let mut peer = Peer::of_relay(Limits::default());
        let _handle = peer.open(false);
        let frames: Vec<_> = frames.into_iter().map(|frame| (1, frame)).collect();
        assert!(peer.say(frames.clone()).is_err(), "{frames:?}");
        assert!(matches!(peer.link.phase(), Phase::Closed(_)));
    }
}

#[test]
fn a_relay_cannot_open_a_stream_twice_or_answer_itself() {
    for frames in [
        vec![(1, request_frame(true)), (1, request_frame(true))],
        vec![(5, request_frame(true)), (4, request_frame(true))],
        vec![(1, request_frame(true)), (1, answer_frame(true))],
        vec![(1, request_frame(true)), (1, Frame::Continue)],
        vec![(1, request_frame(true)), (1, body(1))],
        vec![(7, body(1))],
    ] {
        let mut peer = Peer::of_agent(Limits::default());
        assert!(peer.say(frames.clone()).is_err(), "{frames:?}");
    }
}

#[test]
fn control_frames_of_the_wrong_side_end_the_session() {
    let token = Control::TokenRenewal(crate::frame::SecretToken(String::new()));
    let hello = Control::Hello(Box::new(hello()));
    let welcome = Control::Welcome(Box::new(welcome(Limits::default())));
    for control in [token, hello.clone(), welcome.clone()] {
        let mut agent = Peer::of_agent(Limits::default());
        assert!(agent.control(control).is_err());
    }
    for control in [hello, welcome] {
        let mut relay = Peer::of_relay(Limits::default());
        assert!(relay.control(control).is_err());
    }
}

#[test]
fn more_streams_than_allowed_are_refused_and_a_flood_ends_the_session() {
    let mut peer = Peer::of_agent(small_limits());
    peer.say((1..=9).map(|n| (n, request_frame(true))).collect())
        .expect("fine");
    assert_eq!(peer.link.active_streams(), 8);
    peer.assert_frames(&["9:reset overloaded"]);
    // All in one message: the session ends in the middle of it, and the rest of it means nothing.
    peer.say((10..=1000).map(|n| (n, request_frame(true))).collect())
        .expect("it is closed, that says it");
    assert_eq!(
        peer.link.close_reason(),
        Some(CloseReason::Protocol(ProtocolError::NotReading))
    );
    assert_eq!(peer.link.active_streams(), 0, "nobody had accepted them");
}

#[test]
fn a_session_that_a_flood_closed_opens_nothing_for_the_rest_of_the_message() {
    let mut peer = Peer::of_agent(small_limits());
    peer.say((1..=8).map(|n| (n, request_frame(true))).collect())
        .expect("fine");
    let handles: Vec<_> = (0..8).map(|_| peer.accept()).collect();
    peer.say((9..=24).map(|n| (n, request_frame(true))).collect())
        .expect("16 refusals");
    drop(handles);
    peer.say((25..=60).map(|n| (n, request_frame(true))).collect())
        .expect("fine");
    assert!(peer.link.close_reason().is_some());
    assert_eq!(peer.link.active_streams(), 0);
}

fn session(side: Side) -> (Session, Peer) {
    let peer = Peer::of_relay(Limits::default()); // for its clock
    let settings = Settings {
        side,
        limits: small_limits(),
        greeting_timeout: GREETING,
        heartbeat_interval: BEAT,
        stream_limits: None,
    };
    let mut session = Session::new(&settings, peer.now);
    match side {
        Side::Relay => session.welcome(welcome(small_limits()), peer.now),
        Side::Agent => {
            let control = vec![Control::Welcome(Box::new(welcome(small_limits())))];
            let frames = Vec::new();
            session
                .receive(crate::Batch { control, frames }, peer.now)
                .expect("fine");
        }
    }
    (session, peer)
}

fn frames(frames: Vec<(u64, Frame)>) -> crate::Batch {
    crate::Batch {
        control: Vec::new(),
        frames: frames
            .into_iter()
            .map(|(n, frame)| (id(n), frame))
            .collect(),
    }
}

/// A relay that opens and resets without end and never reads a word.
#[test]
fn streams_that_come_and_go_while_the_peer_does_not_read_leave_no_queue_behind() {
    let (mut session, peer) = session(Side::Agent);
    for n in 1..50_000 {
        let open = vec![(n, request_frame(false)), (n, body(1024))];
        session.receive(frames(open), peer.now).expect("fine");
        let (at, _) = match peer.driver.poll(|cx| session.poll_arrival(cx)) {
            std::task::Poll::Ready(Some(arrival)) => arrival,
            other => panic!("{other:?}"),
        };
        session.answer(at, answer(false)).expect("fine");
        let taken = peer.driver.poll(|cx| session.poll_body(at, peer.now, cx));
        assert!(taken.is_ready());
        let reset = vec![(n, Frame::Reset(Fault::caller_gone()))];
        session.receive(frames(reset), peer.now).expect("fine");
        session.release(at);
        assert!(session.queued() <= 3 * 256 + 16, "{}", session.queued());
    }
    assert_eq!((session.active_streams(), session.held_bytes()), (0, 0));
}

#[test]
fn callers_that_come_and_go_while_the_agent_does_not_read_leave_no_queue_behind() {
    let (mut session, peer) = session(Side::Relay);
    for _ in 0..50_000 {
        let at = session.open(request(true), peer.now).expect("room");
        session.release(at);
        assert!(session.queued() <= 3 * 256 + 16, "{}", session.queued());
    }
}

#[test]
fn control_frames_without_end_queue_nothing() {
    let mut peer = Peer::of_relay(Limits::default());
    let _handle = peer.open(true);
    for _ in 0..10_000 {
        peer.control(heartbeat()).expect("fine");
        peer.control(go_away(GAP)).expect("fine");
    }
    assert!(peer.sent().is_none());
}

#[test]
fn a_stalled_reader_holds_the_window_and_not_the_messages_it_came_in() {
    let mut peer = Peer::of_relay(small_limits());
    let _handle = peer.open(true);
    peer.say(vec![(1, answer_frame(false))]).expect("fine");
    let message = Bytes::from(vec![7; 1024 * 1024]);
    for at in 0..4096 {
        let piece = message.slice(at..=at);
        peer.say(vec![(1, Frame::Body(piece))]).expect("fine");
    }
    assert_eq!(peer.link.held_bytes(), 4096);
    assert!(message.is_unique());
}

#[test]
fn what_a_closed_session_says_blames_the_right_one() {
    let reasons = [
        (CloseReason::ConnectionLost, Kind::AgentLost),
        (CloseReason::PeerSilent(BEAT), Kind::AgentLost),
        (CloseReason::PeerStuck(BEAT), Kind::AgentLost),
        (CloseReason::Replaced, Kind::AgentLost),
        (CloseReason::NoGreeting(BEAT), Kind::AgentLost),
        (CloseReason::TokenExpired, Kind::AgentLost),
        (CloseReason::Drained, Kind::Draining),
        (
            CloseReason::Protocol(ProtocolError::NotReading),
            Kind::AgentProtocol,
        ),
    ];
    for (reason, kind) in reasons {
        let peer = Peer::of_relay(Limits::default());
        let handle = peer.open(true);
        peer.link.close(reason);
        let fault = fault_of(&handle).expect("failed");
        assert_eq!(fault.kind, kind);
        assert_ne!(fault.origin, Origin::Upstream);
    }
}

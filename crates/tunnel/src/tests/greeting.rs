//! How a session begins.

use std::time::Duration;

use super::peer::*;
use crate::{CloseReason, Control, Fault, Limits, Phase, ProtocolError, Side, frame::SecretToken};

#[test]
fn an_agent_says_hello_and_is_open_with_the_welcome() {
    let mut peer = Peer::greeting(Side::Agent, Limits::default());
    peer.link.say_hello(hello());
    let batch = peer.sent().expect("the hello");
    assert_eq!(batch.control, [Control::Hello(Box::new(hello()))]);
    assert!(!peer.link.is_open());
    let notable = peer.control(Control::Welcome(Box::new(welcome(small_limits()))));
    assert_eq!(notable.expect("a welcome").len(), 1);
    assert!(peer.link.is_open());
}

#[test]
fn a_relay_hands_the_hello_on_and_opens_when_told_to() {
    let mut peer = Peer::greeting(Side::Relay, Limits::default());
    let notable = peer
        .control(Control::Hello(Box::new(hello())))
        .expect("fine");
    assert_eq!(notable, [Control::Hello(Box::new(hello()))]);
    assert!(peer.link.open(request(true), peer.now).is_err(), "not yet");
    peer.link.welcome(welcome(Limits::default()), peer.now);
    assert!(peer.link.is_open());
}

#[test]
fn both_sides_keep_to_what_the_welcome_says() {
    let peer = Peer::greeting(Side::Relay, Limits::default());
    let interval = Duration::from_secs(3);
    let told = crate::Welcome {
        heartbeat_interval: interval,
        ..welcome(small_limits())
    };
    peer.link.welcome(told, peer.now);
    assert_eq!(peer.tick(), Some(peer.now + interval));
    for _ in 0..small_limits().max_concurrent_streams {
        std::mem::forget(peer.link.open(request(true), peer.now).expect("room"));
    }
    assert!(peer.link.open(request(true), peer.now).is_err());
}

#[test]
fn a_second_hello_breaks_the_protocol() {
    let mut peer = Peer::greeting(Side::Relay, Limits::default());
    peer.control(Control::Hello(Box::new(hello())))
        .expect("fine");
    let again = peer.control(Control::Hello(Box::new(hello())));
    assert_eq!(again, Err(ProtocolError::Unexpected { frame: "hello" }));
}

#[test]
fn anything_before_the_greeting_breaks_the_protocol() {
    for control in [
        heartbeat(),
        go_away(GREETING),
        Control::TokenRenewal(SecretToken("t".to_owned())),
        Control::Welcome(Box::new(welcome(Limits::default()))),
    ] {
        let mut peer = Peer::greeting(Side::Relay, Limits::default());
        assert!(peer.control(control).is_err());
        assert!(matches!(
            peer.link.phase(),
            Phase::Closed(CloseReason::Protocol(_))
        ));
    }
    let mut peer = Peer::greeting(Side::Relay, Limits::default());
    assert!(peer.say(vec![(1, body(1))]).is_err());
}

#[test]
fn a_peer_that_does_not_greet_is_given_up_to_the_millisecond() {
    let mut peer = Peer::greeting(Side::Relay, Limits::default());
    let until = peer.now + GREETING;
    assert_eq!(peer.tick(), Some(until));
    peer.pass(GREETING - MILLISECOND);
    assert_eq!(peer.tick(), Some(until));
    peer.pass(MILLISECOND);
    assert_eq!(peer.tick(), None);
    let reason = peer.link.close_reason();
    assert!(
        matches!(reason, Some(CloseReason::NoGreeting(_))),
        "{reason:?}"
    );
}

#[test]
fn the_welcome_wakes_the_driver_that_slept_for_the_greeting() {
    let peer = Peer::greeting(Side::Relay, Limits::default());
    peer.tick();
    peer.link.welcome(welcome(Limits::default()), peer.now);
    peer.driver.assert_woken();
    let mut agent = Peer::greeting(Side::Agent, Limits::default());
    agent.tick();
    let told = Control::Welcome(Box::new(welcome(Limits::default())));
    agent.control(told).expect("a welcome");
    agent.driver.assert_woken();
}

#[test]
fn a_token_is_renewed_in_an_open_session_only_and_the_latest_counts() {
    let token = |text: &str| SecretToken(text.to_owned());
    let peer = Peer::greeting(Side::Agent, Limits::default());
    peer.link.renew_token(token("early"));
    assert!(
        peer.sent().is_none(),
        "the relay would take it for an error"
    );
    let peer = Peer::of_agent(Limits::default());
    peer.link.renew_token(token("first"));
    peer.link.renew_token(token("second"));
    let batch = peer.sent().expect("the renewal");
    assert_eq!(batch.control, [Control::TokenRenewal(token("second"))]);
    assert!(!format!("{batch:?}").contains("second"), "a token in a log");
}

#[test]
fn a_message_full_of_renewals_is_worth_one_check() {
    let mut peer = Peer::of_relay(Limits::default());
    let renewal = |n: usize| Control::TokenRenewal(SecretToken(n.to_string()));
    let batch = crate::Batch {
        control: (0..1000).map(renewal).collect(),
        frames: Vec::new(),
    };
    let notable = peer.link.receive(batch, peer.now).expect("fine");
    assert_eq!(notable, [renewal(999)]);
    peer.pass(MILLISECOND);
}

#[test]
fn a_session_that_is_not_open_says_why_no_stream_is_opened() {
    let fault = |peer: &Peer| -> Fault { peer.link.open(request(true), peer.now).unwrap_err() };
    let peer = Peer::of_relay(Limits::default());
    peer.link.go_away("bye", GAP, peer.now);
    assert_eq!(fault(&peer).kind, crate::Kind::Draining);
    peer.link.close(CloseReason::Replaced);
    assert_eq!(fault(&peer).kind, crate::Kind::AgentOffline);
    assert!(fault(&peer).is_retry_safe);
}

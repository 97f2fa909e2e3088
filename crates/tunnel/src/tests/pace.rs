//! What is small does not wait behind bulk, wherever on the way it lies, and the line stays full.

use std::time::Duration;

use super::{
    line::{Way, World},
    peer::{MILLISECOND, Peer, hello, request_frame, small_limits, welcome},
};
use crate::{Batch, Control, Limits, PROGRESS, ProtocolError, Side, StreamHandle};

const SECOND: Duration = Duration::from_secs(1);
/// A home's uplink: 20 Mbit/s, 40 ms there and back.
const HOME: u64 = 2_500_000;
const HOME_DELAY: Duration = Duration::from_millis(20);
/// Half a round trip and 25 ms.
const SOON: Duration = Duration::from_millis(45);

/// Bytes that come in this time, as a share of what the line can carry.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn share(world: &mut World, time: Duration) -> f64 {
    world.taken();
    world.delays.clear();
    world.move_for(time);
    world.taken() as f64 / (world.ahead.rate as f64 * time.as_secs_f64())
}

fn at_home(way: Way) -> World {
    let mut world = World::new(way, HOME, HOME_DELAY, true);
    world.begin_bulk(way);
    world.move_for(SECOND);
    world
}

#[track_caller]
fn assert_well(world: &mut World, time: Duration) {
    let share = share(world, time);
    let p99 = world.p99();
    println!("p99 {p99:?}, {share:.3} of the line");
    assert!(p99 <= SOON, "{p99:?}");
    assert!(share >= 0.95, "{share}");
}

#[test]
fn a_token_beside_bulk_comes_within_25_ms_of_half_a_round_trip_and_the_line_stays_full() {
    for way in [Way::Down, Way::Up] {
        let mut world = at_home(way);
        // Longer than the least round trip is believed: the line is drained once to see it again.
        assert_well(&mut world, 12 * SECOND);
    }
}

#[test]
fn without_marks_a_token_waits_behind_all_that_the_credit_allows() {
    let mut world = World::new(Way::Down, HOME, HOME_DELAY, false);
    world.begin_bulk(Way::Down);
    world.move_for(SECOND);
    assert!(share(&mut world, 2 * SECOND) >= 0.95);
    assert!(
        world.p99() > SOON + 25 * MILLISECOND,
        "nothing to be better than"
    );
}

#[test]
fn a_line_that_becomes_ten_times_as_fast_is_full_within_forty_round_trips() {
    let mut world = World::new(Way::Down, HOME / 10, HOME_DELAY, true);
    world.begin_bulk(Way::Down);
    world.move_for(2 * SECOND);
    world.ahead.rate = HOME;
    world.move_for(40 * 2 * HOME_DELAY);
    assert_well(&mut world, 2 * SECOND);
}

#[test]
fn on_a_line_that_becomes_ten_times_as_slow_tokens_are_soon_as_fast_as_it_can() {
    let mut world = at_home(Way::Down);
    world.ahead.rate = HOME / 10;
    // What is under way takes half a second on the new line; then ten round trips.
    world.move_for(500 * MILLISECOND + 20 * 2 * HOME_DELAY);
    let share = share(&mut world, 4 * SECOND);
    // Two messages of 4 KiB, which are the least, are 33 ms of this line.
    let p99 = world.p99();
    assert!(p99 <= SOON + 33 * MILLISECOND, "{p99:?}");
    assert!(share >= 0.95, "{share}");
}

#[test]
fn a_way_that_becomes_three_times_as_long_is_full_again_once_that_is_seen() {
    // Eight chats have more under way there than two messages: what is small must not keep bulk out.
    for chats in [4, 8] {
        let mut world = World::with_chats(chats, Way::Down, HOME / 4, HOME_DELAY, true);
        world.begin_bulk(Way::Down);
        world.move_for(SECOND);
        world.ahead.delay = 3 * HOME_DELAY;
        world.back.delay = 3 * HOME_DELAY;
        // What the least round trip was is believed for ten seconds; then the line is drained, and grows.
        world.move_for(12 * SECOND);
        let share = share(&mut world, 4 * SECOND);
        let p99 = world.p99();
        // All chats send at once: eight tokens take three milliseconds of this line.
        let most = 2 * HOME_DELAY + SOON + 3 * MILLISECOND;
        assert!(share >= 0.95, "{share} beside {chats} chats");
        assert!(p99 <= most, "{p99:?} beside {chats} chats");
    }
}

#[test]
fn short_transfers_do_not_make_the_rate_forgotten() {
    let mut world = at_home(Way::Down);
    world.end_bulk();
    world.move_for(SECOND);
    let mut times = Vec::new();
    for _ in 0..6 {
        times.push(world.transfer(Way::Down, 30_000));
        world.move_for(SECOND);
    }
    println!("{times:?}");
    assert!(times[5] <= times[0] + HOME_DELAY, "{times:?}");
}

#[test]
fn bulk_in_pieces_as_small_as_tokens_is_bulk() {
    let mut world = World::new(Way::Down, HOME, HOME_DELAY, true);
    world.piece_bytes = 4096;
    world.begin_bulk(Way::Down);
    world.move_for(SECOND);
    assert_well(&mut world, 2 * SECOND);
}

#[test]
fn bulk_that_comes_back_after_a_rest_is_as_good_at_once() {
    let mut world = at_home(Way::Down);
    world.end_bulk();
    world.move_for(60 * SECOND);
    world.begin_bulk(Way::Down);
    world.move_for(2 * HOME_DELAY + 5 * MILLISECOND);
    assert_well(&mut world, 2 * SECOND);
}

#[test]
fn a_line_that_stood_still_goes_on_as_before() {
    let mut world = at_home(Way::Down);
    for time in [SECOND, 7 * SECOND] {
        world.stand_still(time);
        world.move_for(time + SECOND);
        assert_well(&mut world, 2 * SECOND);
    }
}

#[test]
fn a_fast_line_is_never_held_back_and_bears_few_marks() {
    let received = [false, true].map(|answers_marks| {
        let delay = Duration::from_micros(100);
        let mut world = World::new(Way::Down, 400_000_000, delay, answers_marks);
        world.begin_bulk(Way::Down);
        world.move_for(20 * MILLISECOND);
        world.taken();
        world.move_for(200 * MILLISECOND);
        // One a millisecond; each costs both sides as much as a token.
        assert!(
            world.ahead.progress.len() <= 200,
            "{}",
            world.ahead.progress.len()
        );
        world.taken()
    });
    let [without, with] = received;
    assert!(with * 100 >= without * 99, "{with} of {without} bytes");
}

#[test]
fn nothing_is_said_of_progress_while_there_is_no_bulk() {
    for way in [Way::Down, Way::Up] {
        let mut world = World::new(way, HOME, HOME_DELAY, true);
        world.move_for(2 * SECOND);
        let tokens = world.delays.len();
        assert!(tokens > 300, "{tokens}");
        let said = [&world.ahead.progress[..], &world.back.progress[..]].concat();
        assert_eq!(said, [(0, 0)], "only what the greeting says");
    }
}

#[test]
fn a_peer_that_did_not_say_that_it_answers_gets_no_marks_and_holds_nothing_back() {
    let mut world = World::new(Way::Up, HOME, HOME_DELAY, false);
    world.begin_bulk(Way::Up);
    let before = world.ahead.bytes;
    world.move_for(2 * MILLISECOND);
    assert!(
        world.ahead.bytes - before >= 256 * 1024,
        "all of the credit"
    );
    world.move_for(SECOND);
    assert_eq!(world.ahead.progress, []);
    assert_eq!(world.back.progress, []);
}

#[test]
fn a_peer_that_leaves_marks_without_an_answer_holds_bulk_back_once_and_for_five_seconds() {
    let mut world = World::new(Way::Down, HOME, HOME_DELAY, true);
    world.is_mute = true;
    world.begin_bulk(Way::Down);
    world.move_for(SECOND);
    let first = world.taken();
    // And a second of tokens.
    assert!((32 * 1024..96 * 1024).contains(&first), "{first}");
    world.move_for(4 * SECOND);
    assert!(share(&mut world, 10 * SECOND) >= 0.95);
    // Each kept until it is answered, and so not without end.
    assert!(
        world.ahead.progress.len() <= 257,
        "{}",
        world.ahead.progress.len()
    );
}

fn progress(mark: u64, seen: u64) -> Control {
    Control::Progress { mark, seen }
}

/// An open relay whose agent says marks back, with 4 KiB of a body on its way and the mark that is in it.
fn marked() -> (Peer, StreamHandle, u64) {
    let mut peer = Peer::greeting(Side::Relay, Limits::default());
    let mut hello = hello();
    hello.capabilities.push(PROGRESS.to_owned());
    peer.control(Control::Hello(Box::new(hello)))
        .expect("a hello");
    peer.link.welcome(welcome(Limits::default()), peer.now);
    let batch = peer.sent().expect("the welcome");
    assert!(matches!(
        batch.control[..],
        [Control::Welcome(_), Control::Progress { mark: 0, seen: 0 }]
    ));
    let stream = peer.open(false);
    peer.send(&stream, 100 * 1024).expect("room");
    let batch = peer.sent().expect("a body");
    let [Control::Progress { mark, seen: 0 }] = batch.control[..] else {
        panic!("{:?}", batch.control);
    };
    (peer, stream, mark)
}

#[test]
fn what_was_never_marked_and_is_said_back_ends_the_session() {
    let (mut peer, _stream, mark) = marked();
    let wrong = ProtocolError::BadField { field: "seen" };
    assert_eq!(peer.control(progress(0, mark + 1_000_000)), Err(wrong));
    assert!(peer.link.close_reason().is_some());
}

#[test]
fn what_is_said_back_twice_or_late_changes_nothing() {
    let (mut peer, _stream, mark) = marked();
    while peer.sent().is_some() {}
    peer.pass(40 * MILLISECOND);
    for seen in [mark, mark, 1, 0, mark - 1] {
        peer.control(progress(0, seen)).expect("no error");
    }
    peer.writer.assert_woken();
    assert!(peer.sent().is_some(), "bulk goes on");
}

#[test]
fn marks_are_said_back_at_once_and_once_for_each_message() {
    let mut peer = Peer::of_agent(small_limits());
    let batch = Batch {
        control: (1..=1000).map(|mark| progress(mark * 7, 0)).collect(),
        frames: vec![(super::peer::id(1), request_frame(true))],
    };
    peer.link.receive(batch, peer.now).expect("no error");
    assert_eq!(peer.sent().expect("an answer").control, [progress(0, 7000)]);
    assert!(peer.sent().is_none());
    // A mark means nothing to the one who says it back.
    for mark in [u64::MAX, 1] {
        peer.control(progress(mark, 0)).expect("no error");
        assert_eq!(peer.sent().expect("an answer").control, [progress(0, mark)]);
    }
}

#[test]
fn progress_before_the_greeting_has_no_place() {
    let mut peer = Peer::greeting(Side::Relay, small_limits());
    let wrong = ProtocolError::Unexpected { frame: "progress" };
    assert_eq!(peer.control(progress(1, 0)), Err(wrong));
}

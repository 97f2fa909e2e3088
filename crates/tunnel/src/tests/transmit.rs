//! What goes out, and in which order.

use http::HeaderMap;

use super::peer::*;
use crate::{Batch, Control, Fault, Frame, Limits, RequestHead, StreamHandle};

const PIECE: usize = 64 * 1024;
const BATCH: usize = 2 * PIECE;

fn body_bytes(batch: &Batch, of: impl Fn(u64) -> bool) -> usize {
    let frames = batch.frames.iter();
    frames
        .map(|(id, frame)| match frame {
            Frame::Body(bytes) if of(id.get()) => bytes.len(),
            _ => 0,
        })
        .sum()
}

/// An agent whose streams 1 to `count` are in the middle of a bulk answer.
fn with_downloads(count: u64) -> (Peer, Vec<StreamHandle>) {
    let limits = Limits {
        initial_window_bytes: 16 * 1024 * 1024,
        ..Limits::default()
    };
    let mut peer = Peer::of_agent(limits);
    peer.say((1..=count).map(|n| (n, request_frame(true))).collect())
        .expect("fine");
    let downloads: Vec<_> = (0..count).map(|_| peer.accept()).collect();
    for download in &downloads {
        download.answer(answer(false)).expect("fine");
    }
    while peer.sent().is_some() {}
    for download in &downloads {
        peer.send(download, BATCH).expect("room");
    }
    (peer, downloads)
}

#[test]
fn control_frames_jump_every_queue() {
    let (mut peer, _downloads) = with_downloads(4);
    peer.tick();
    peer.pass(BEAT);
    peer.tick();
    let batch = peer.sent().expect("a batch");
    assert!(matches!(
        batch.control[..],
        [Control::Heartbeat { sequence: 1, .. }]
    ));
    assert!(!batch.frames.is_empty(), "and share it with what is ready");
}

#[test]
fn the_line_is_shared_byte_by_byte() {
    let (peer, downloads) = with_downloads(5);
    let mut written = [0; 5];
    for _ in 0..100 {
        let batch = peer.sent().expect("a batch");
        for (place, download) in downloads.iter().enumerate() {
            written[place] += body_bytes(&batch, |id| id == download.id().get());
            while peer.send(download, 10_000 * (1 + place)).expect("fine") > 0 {}
        }
    }
    let (least, most) = (written.iter().min(), written.iter().max());
    assert!(most.unwrap() - least.unwrap() <= PIECE, "{written:?}");
}

/// How many messages four downloads of 4 MiB take, where a fifth has used up its credit, or is not there.
fn messages_of_four(is_beside_a_stalled_one: bool) -> usize {
    const WINDOW: u32 = 512 * 1024;
    const WHOLE: usize = 4 * 1024 * 1024;
    let limits = Limits {
        initial_window_bytes: WINDOW,
        ..Limits::default()
    };
    let mut peer = Peer::of_agent(limits);
    peer.say((1..=5).map(|n| (n, request_frame(true))).collect())
        .expect("fine");
    let handles: Vec<_> = (0..5).map(|_| peer.accept()).collect();
    for handle in &handles {
        handle.answer(answer(false)).expect("fine");
    }
    while peer.sent().is_some() {}
    if is_beside_a_stalled_one {
        // Nobody gives it credit: its reader has stopped. What it could not send stays in its queue.
        while peer.send(&handles[0], BATCH).expect("fine") > 0 || peer.sent().is_some() {}
    }
    let (mut written, mut messages) = ([0; 5], 0);
    while written[1..].iter().any(|&bytes| bytes < WHOLE) {
        for (place, handle) in handles.iter().enumerate().skip(1) {
            while written[place] < WHOLE && peer.send(handle, PIECE).expect("fine") > 0 {}
        }
        let batch = peer.sent().expect("a batch");
        messages += 1;
        assert_eq!(body_bytes(&batch, |id| id == 1), 0, "without credit");
        for (sum, id) in written.iter_mut().zip(1..).skip(1) {
            let bytes = body_bytes(&batch, |other| other == id);
            *sum += bytes;
            if let Some(credit) = u32::try_from(bytes).ok().filter(|&credit| credit > 0) {
                peer.say(vec![(id, Frame::Window(credit))]).expect("fine");
            }
        }
    }
    messages
}

#[test]
fn iso_12_a_stream_that_nobody_reads_takes_no_turn_of_the_others() {
    assert_eq!(messages_of_four(true), messages_of_four(false));
}

#[test]
fn a_batch_holds_at_most_two_full_pieces_of_body() {
    let (peer, _downloads) = with_downloads(7);
    while let Some(batch) = peer.sent() {
        assert!(body_bytes(&batch, |_| true) <= BATCH);
    }
}

#[test]
fn a_token_never_waits_behind_more_than_one_batch_of_others() {
    for downloads in [1, 2, 4, 50] {
        let (mut peer, _downloads) = with_downloads(downloads);
        let chat = downloads + 1;
        peer.say(vec![(chat, request_frame(true))]).expect("fine");
        let handle = peer.accept();
        handle.answer(answer(false)).expect("fine");
        while body_bytes(&peer.sent().expect("the head"), |_| true) == 0 {}
        peer.send(&handle, 20).expect("room");
        let mut others = 0;
        loop {
            let batch = peer.sent().expect("a batch");
            others += body_bytes(&batch, |id| id != chat);
            if body_bytes(&batch, |id| id == chat) > 0 {
                break;
            }
        }
        assert!(others <= BATCH, "{others} bytes of {downloads} downloads");
    }
}

#[test]
fn tokens_of_many_streams_do_not_starve_a_download() {
    let limits = Limits {
        max_concurrent_streams: 2000,
        ..Limits::default()
    };
    let mut peer = Peer::of_agent(limits);
    peer.say((1..=1001).map(|n| (n, request_frame(true))).collect())
        .expect("fine");
    let handles: Vec<_> = (0..1001).map(|_| peer.accept()).collect();
    for handle in &handles {
        handle.answer(answer(false)).expect("fine");
    }
    while peer.sent().is_some() {}
    let (download, chats) = handles.split_first().expect("some");
    peer.send(download, BATCH).expect("room");
    for chat in chats {
        peer.send(chat, 20).expect("room");
    }
    let batch = peer.sent().expect("a batch");
    assert_eq!(body_bytes(&batch, |id| id == 1), PIECE);
    assert!(body_bytes(&batch, |id| id != 1) >= 100 * 20);
}

#[test]
fn heads_reach_the_peer_in_the_order_of_their_ids_whatever_their_bodies() {
    let peer = Peer::of_relay(Limits::default());
    let handles: Vec<_> = (0..9)
        .map(|_| peer.link.open(request(false), peer.now).expect("open"))
        .collect();
    for (n, handle) in handles.iter().enumerate() {
        peer.send(handle, (n % 3) * 40_000).expect("room");
    }
    let heads = peer
        .frames()
        .into_iter()
        .filter_map(|(id, frame)| matches!(frame, Frame::RequestHead(_)).then_some(id.get()));
    assert_eq!(heads.collect::<Vec<_>>(), (1..=9).collect::<Vec<_>>());
}

#[test]
fn a_batch_stays_below_the_limit_of_a_message_however_large_the_heads() {
    let limits = Limits::default();
    let peer = Peer::of_relay(limits);
    let large = |name: &'static str| {
        let value = http::HeaderValue::from_bytes(&vec![b'v'; 127 * 1024]).unwrap();
        HeaderMap::from_iter([(http::HeaderName::from_static(name), value)])
    };
    let handles: Vec<_> = (0..200)
        .map(|_| {
            let headers = large("x-large");
            let head = RequestHead {
                headers,
                ..request(false)
            };
            peer.link.open(head, peer.now).expect("open")
        })
        .collect();
    for handle in &handles {
        peer.send(handle, 1 << 20).expect("room");
        handle.send_end(large("x-trailer")).expect("fine");
    }
    let mut heads = 0;
    while let Some(batch) = peer.sent() {
        let is_head = |(_, frame): &&(_, Frame)| matches!(frame, Frame::RequestHead(_));
        heads += batch.frames.iter().filter(is_head).count();
        let message = crate::wire::encode_relay(batch);
        let length = prost::Message::encoded_len(&message);
        assert!(length <= limits.max_message_bytes as usize, "{length}");
    }
    assert_eq!(heads, 200);
}

#[test]
fn a_thousand_resets_fit_in_messages_too() {
    let peer = Peer::of_relay(Limits::default());
    let handles: Vec<_> = (0..1000).map(|_| peer.open(false)).collect();
    for handle in handles {
        handle.reset(Fault {
            message: "long ".repeat(10_000).into(),
            model: "m".repeat(crate::wire::MAX_MODEL_NAME_BYTES),
            ..Fault::caller_gone()
        });
    }
    let mut resets = 0;
    while let Some(batch) = peer.sent() {
        resets += batch.frames.len();
        let message = crate::wire::encode_relay(batch);
        let length = prost::Message::encoded_len(&message);
        assert!(length <= Limits::default().max_message_bytes as usize);
    }
    assert_eq!(resets, 1000);
}

#[test]
fn small_pieces_that_wait_for_the_writer_share_a_frame() {
    let (mut peer, _) = with_downloads(0);
    peer.say(vec![(1, request_frame(true))]).expect("fine");
    let handle = peer.accept();
    handle.answer(answer(false)).expect("fine");
    for _ in 0..1000 {
        peer.send(&handle, 16).expect("room");
    }
    peer.assert_frames(&["1:response head", "1:body 16000"]);
}

#[test]
fn the_writer_is_woken_by_everything_there_is_to_say() {
    let mut peer = Peer::of_agent(Limits::default());
    peer.say(vec![(1, request_frame(false))]).expect("fine");
    let handle = peer.accept();
    let says: [(&str, &dyn Fn()); 6] = [
        ("continue", &|| handle.ask_for_body().expect("fine")),
        ("head", &|| handle.answer(answer(false)).expect("fine")),
        ("body", &|| assert_eq!(peer.send(&handle, 1), Ok(1))),
        ("end", &|| handle.send_end(HeaderMap::new()).expect("fine")),
        ("reset", &|| handle.reset(Fault::caller_gone())),
        ("go-away", &|| peer.link.go_away("bye", GAP, peer.now)),
    ];
    for (name, say) in says {
        assert!(peer.sent().is_none(), "before {name}");
        peer.writer.wakes();
        say();
        assert!(peer.writer.wakes() > 0, "{name} does not wake the writer");
        assert!(peer.sent().is_some(), "{name} is not sent");
    }
}

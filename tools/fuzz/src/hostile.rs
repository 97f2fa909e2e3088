//! A peer that says anything: either side takes it in, or ends the session, and holds no more than it promised.

use std::{
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use c2l_proto::tunnel as proto;
use c2l_tunnel::{
    Answer, Batch, Limits, Link, PROGRESS, Phase, RequestHead, ResponseHead, Scopes, Settings,
    Side, StreamHandle, StreamLimits, Welcome,
    wire::{self, Decoder},
};
use http::{HeaderMap, Method, StatusCode};
use prost::Message;

use crate::choices::{Choices, Clock};

const WINDOW_BYTES: u32 = 4096;
const SEND_BUFFER_BYTES: usize = 128 * 1024;
const MOST_STREAMS: u32 = 4;

/// Messages as they come from the socket: two bytes of length each, then anything.
pub fn frames(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut victim = Victim::new(&mut choices);
    while !choices.is_empty() {
        let length = choices.number();
        let message = choices.bytes(length);
        victim.hear(message);
        victim.act(&mut choices);
        victim.begin_anew_if_closed(&mut choices);
    }
}

/// Frames that decode, so that more of them reach the state machine.
pub fn structured(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut victim = Victim::new(&mut choices);
    while !choices.is_empty() {
        let frames = choices.below(8);
        match victim.side {
            Side::Relay => {
                let message = proto::AgentMessage {
                    control: agent_control(&mut choices).into_iter().collect(),
                    responses: (0..frames).map(|_| response(&mut choices)).collect(),
                };
                victim.hear(&message.encode_to_vec());
            }
            Side::Agent => {
                let message = proto::RelayMessage {
                    control: relay_control(&mut choices).into_iter().collect(),
                    requests: (0..frames).map(|_| request(&mut choices)).collect(),
                };
                victim.hear(&message.encode_to_vec());
            }
        }
        victim.act(&mut choices);
        victim.begin_anew_if_closed(&mut choices);
    }
}

/// A message as `side` understands it, if it does: as the generated types do, wherever the line cuts it.
fn decoded(side: Side, message: &[u8]) -> Option<Batch> {
    let (sender, stock) = match side {
        Side::Relay => {
            let stock = proto::AgentMessage::decode(message).ok();
            (
                Side::Agent,
                stock.and_then(|it| wire::decode_agent(it).ok()),
            )
        }
        Side::Agent => {
            let stock = proto::RelayMessage::decode(message).ok();
            (
                Side::Relay,
                stock.and_then(|it| wire::decode_relay(it).ok()),
            )
        }
    };
    let length = u32::try_from(message.len()).expect("short");
    let mut decoder = Decoder::new(sender, message.len());
    let (first, second) = message.split_at(message.len() / 3);
    for piece in [&[0], &length.to_be_bytes()[..], first, second] {
        decoder.push(Bytes::copy_from_slice(piece));
    }
    let own = decoder.next_batch().ok();
    let own = own.map(|whole| whole.expect("all of it is here"));
    assert_eq!(format!("{own:?}"), format!("{stock:?}"), "{message:x?}");
    own
}

/// The side that is attacked, and a program around it that does what programs do.
struct Victim {
    side: Side,
    link: Link,
    clock: Clock,
    handles: Vec<StreamHandle>,
}

impl Victim {
    fn new(choices: &mut Choices<'_>) -> Self {
        let side = match choices.one_in(2) {
            true => Side::Relay,
            false => Side::Agent,
        };
        let clock = Clock::start();
        let limits = Limits {
            max_body_frame_bytes: 1024,
            initial_window_bytes: WINDOW_BYTES,
            max_concurrent_streams: MOST_STREAMS,
            ..Limits::default()
        };
        let link = Link::new(
            &Settings {
                side,
                limits,
                greeting_timeout: Duration::from_secs(10),
                heartbeat_interval: Duration::from_secs(10),
                stream_limits: (side == Side::Relay).then_some(StreamLimits {
                    first_byte: Duration::from_secs(30),
                    gap: Duration::from_secs(30),
                }),
            },
            clock.0,
        );
        // Half of the time the greeting is over already.
        if side == Side::Relay && choices.one_in(2) {
            link.welcome(
                Welcome {
                    session_id: "session".to_owned(),
                    protocol_version: 1,
                    limits,
                    heartbeat_interval: Duration::from_secs(10),
                    build: String::new(),
                    token_holds: None,
                },
                clock.0,
            );
        }
        Self {
            side,
            link,
            clock,
            handles: Vec::new(),
        }
    }

    /// Once closed, a session has little more to show; what its streams do then is looked at for a while.
    fn begin_anew_if_closed(&mut self, choices: &mut Choices<'_>) {
        if self.link.close_reason().is_some() && choices.one_in(4) {
            self.handles.clear();
            assert_eq!(self.link.active_streams(), 0, "leaked");
            *self = Self::new(choices);
        }
    }

    fn hear(&mut self, message: &[u8]) {
        let Some(batch) = decoded(self.side, message) else {
            return;
        };
        match self.link.receive(batch, self.clock.0) {
            Ok(notable) => assert!(notable.len() <= 4, "at most one of each kind"),
            Err(_) => assert!(matches!(self.link.phase(), Phase::Closed(_))),
        }
        let limits = 2 * MOST_STREAMS as usize;
        assert!(self.link.active_streams() <= limits.max(self.handles.len()));
    }

    fn act(&mut self, choices: &mut Choices<'_>) {
        let cx = &mut Context::from_waker(Waker::noop());
        let now = self.clock.0;
        match choices.below(16) {
            0 if self.side == Side::Relay => {
                self.handles.extend(self.link.open(head(choices), now).ok());
            }
            0 => {
                if let Poll::Ready(Some((_, handle))) = self.link.poll_accept(cx) {
                    self.handles.push(handle);
                }
            }
            1 | 2 => {
                if let Poll::Ready(Some(batch)) = self.link.poll_transmit(self.clock.0, cx) {
                    assert!(!batch.is_empty());
                }
            }
            3 => {
                self.clock
                    .pass(Duration::from_millis(choices.number() as u64));
                _ = self.link.tick(self.clock.0, cx);
            }
            4 if !self.handles.is_empty() => {
                let place = choices.below(self.handles.len());
                drop(self.handles.swap_remove(place));
            }
            action if !self.handles.is_empty() => {
                let place = choices.below(self.handles.len());
                use_stream(&self.handles[place], self.side, action, now, cx, choices);
            }
            _ => {}
        }
        // What the peer sends is bound by the window that it was given in the welcome, at most this one.
        let window = match self.side {
            Side::Relay => WINDOW_BYTES as usize,
            Side::Agent => 16 * 1024 * 1024,
        };
        let most = self.link.active_streams() * (window + SEND_BUFFER_BYTES);
        assert!(self.link.held_bytes() <= most, "more held than promised");
    }
}

fn use_stream(
    handle: &StreamHandle,
    side: Side,
    action: usize,
    now: std::time::Instant,
    cx: &mut Context<'_>,
    choices: &mut Choices<'_>,
) {
    // Whatever comes of it: a stream that has failed says so, and that is all right here.
    match action {
        5 | 6 => drop(handle.poll_body(now, cx)),
        7 if side == Side::Relay => {
            if let Poll::Ready(Ok(Answer::Head(head))) = handle.poll_answer(cx) {
                let model = head.model;
                assert!(model.is_empty() || wire::is_model_name(&model), "{model:?}");
            }
        }
        7 => drop(handle.ask_for_body()),
        8 if side == Side::Agent => drop(handle.answer(ResponseHead {
            status: StatusCode::from_u16(100 + choices.below(900) as u16).unwrap_or_default(),
            headers: HeaderMap::new(),
            is_whole: choices.one_in(4),
            model: model(choices),
        })),
        9 | 10 => drop(handle.send_body(&mut Bytes::from(vec![7; choices.number()]), now)),
        11 => drop(handle.send_end(HeaderMap::new())),
        12 => drop(handle.poll_capacity(cx)),
        13 => drop(handle.poll_fault(cx)),
        _ => {
            _ = handle.take_trailers();
        }
    }
}

fn head(choices: &mut Choices<'_>) -> RequestHead {
    RequestHead {
        method: Method::POST,
        target: http::uri::PathAndQuery::from_static("/api/chat"),
        headers: HeaderMap::new(),
        is_whole: choices.one_in(2),
        expects_continue: false,
        request_id: String::new(),
        scopes: Scopes::default(),
        models: Vec::new(),
    }
}

fn fields(choices: &mut Choices<'_>) -> Vec<proto::Header> {
    let count = match choices.below(32) {
        0 => 300,
        few => few % 3,
    };
    let field = proto::Header {
        name: Bytes::copy_from_slice(choices.bytes(1)),
        value: Bytes::from(vec![b'v'; choices.below(256)]),
    };
    vec![field; count]
}

/// Mostly near those that exist.
fn stream_id(choices: &mut Choices<'_>) -> u64 {
    match choices.below(64) {
        63 => u64::MAX,
        62 => choices.number() as u64,
        near => near as u64 / 4,
    }
}

fn body(choices: &mut Choices<'_>) -> Bytes {
    Bytes::from(vec![b'b'; choices.below(1100)])
}

fn reset(choices: &mut Choices<'_>) -> proto::Reset {
    proto::Reset {
        kind: i32::from(choices.byte()) - 8,
        origin: i32::from(choices.byte()) - 8,
        message: "\u{1b}[31m".repeat(choices.below(200)),
        is_retry_safe: choices.one_in(2),
        model: model(choices),
    }
}

/// Mostly none; those that are too long or not to be shown as well.
fn model(choices: &mut Choices<'_>) -> String {
    match choices.below(8) {
        0 => "m".repeat(choices.below(600)),
        1 => "\u{9b}".repeat(choices.below(2)),
        2 => "mod\u{e8}le:1b".to_owned(),
        _ => String::new(),
    }
}

fn window(choices: &mut Choices<'_>) -> proto::Window {
    let credit_bytes = match choices.below(16) {
        0 => u32::MAX,
        1 => 0,
        2 => 1 << 30,
        _ => choices.number() as u32,
    };
    proto::Window { credit_bytes }
}

fn response(choices: &mut Choices<'_>) -> proto::TunnelResponse {
    use proto::tunnel_response::Frame;
    proto::TunnelResponse {
        stream_id: stream_id(choices),
        frame: match choices.below(16) {
            0 => None,
            1 => Some(Frame::Informational(proto::Informational {
                status: 99 + choices.below(3) as u32,
            })),
            2..=4 => Some(Frame::Head(proto::ResponseHead {
                status: 200 + choices.number() as u32 % 512,
                headers: fields(choices),
                is_whole: choices.one_in(4),
                model: model(choices),
            })),
            5..=9 => Some(Frame::Body(body(choices))),
            10 | 11 => Some(Frame::End(proto::End {
                trailers: fields(choices),
            })),
            12 | 13 => Some(Frame::Reset(reset(choices))),
            _ => Some(Frame::Window(window(choices))),
        },
    }
}

fn request(choices: &mut Choices<'_>) -> proto::TunnelRequest {
    use proto::tunnel_request::Frame;
    proto::TunnelRequest {
        stream_id: stream_id(choices),
        frame: match choices.below(16) {
            0 => None,
            1..=4 => Some(Frame::Head(proto::RequestHead {
                method: "POST".to_owned(),
                path_and_query: Bytes::from_static(b"/v1/models?a=b#c"),
                headers: fields(choices),
                is_whole: choices.one_in(2),
                expects_continue: false,
                request_id: String::new(),
                scopes: vec![i32::from(choices.byte())],
                models: Vec::new(),
            })),
            5..=9 => Some(Frame::Body(body(choices))),
            10 | 11 => Some(Frame::End(proto::End {
                trailers: fields(choices),
            })),
            12 | 13 => Some(Frame::Reset(reset(choices))),
            _ => Some(Frame::Window(window(choices))),
        },
    }
}

fn heartbeat(choices: &mut Choices<'_>) -> proto::Heartbeat {
    proto::Heartbeat {
        received: choices.number() as u64,
        sequence: u64::MAX - u64::from(choices.byte()),
        acknowledged: choices.number() as u64,
    }
}

/// Marks that were set, and others; most are small numbers, which are set sooner.
fn progress(choices: &mut Choices<'_>) -> proto::Progress {
    let mut number = || match choices.below(4) {
        0 => 0,
        1 => u64::MAX - u64::from(choices.byte()),
        _ => choices.number() as u64,
    };
    proto::Progress {
        mark: number(),
        seen: number(),
    }
}

fn go_away(choices: &mut Choices<'_>) -> proto::GoAway {
    proto::GoAway {
        message: String::new(),
        grace_ms: u32::MAX >> choices.below(32),
        still_opens: choices.one_in(2),
    }
}

fn agent_control(choices: &mut Choices<'_>) -> Option<proto::AgentControl> {
    use proto::agent_control::Control;
    let control = match choices.below(32) {
        0 => Control::Hello(proto::Hello {
            protocol_version: 1,
            device_id: Bytes::from(vec![0; 16]),
            capabilities: vec![PROGRESS.to_owned()],
            ..proto::Hello::default()
        }),
        1..=3 => Control::Heartbeat(heartbeat(choices)),
        4 => Control::GoAway(go_away(choices)),
        5 | 6 => Control::Progress(progress(choices)),
        7 => Control::TokenRenewal(proto::TokenRenewal {
            token: "t".repeat(choices.number()),
        }),
        _ => return None,
    };
    Some(proto::AgentControl {
        control: Some(control),
    })
}

fn relay_control(choices: &mut Choices<'_>) -> Option<proto::RelayControl> {
    use proto::relay_control::Control;
    let control = match choices.below(8) {
        0 | 1 => Control::Welcome(proto::Welcome {
            protocol_version: 1,
            limits: Some(proto::Limits {
                max_body_frame_bytes: 1024 + choices.number() as u32,
                initial_window_bytes: 1024 + choices.number() as u32,
                max_concurrent_streams: 1 + choices.below(4) as u32,
                max_message_bytes: 1024 * 1024,
            }),
            heartbeat_interval_ms: 9 + choices.number() as u32,
            ..proto::Welcome::default()
        }),
        2 => Control::Heartbeat(heartbeat(choices)),
        3 if choices.one_in(8) => Control::GoAway(go_away(choices)),
        4 => Control::Progress(progress(choices)),
        _ => return None,
    };
    Some(proto::RelayControl {
        control: Some(control),
    })
}

//! What is encoded decodes to the same; what cannot mean anything is refused.

use std::time::Duration;

use bytes::Bytes;
use c2l_proto::tunnel as proto;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, uri::PathAndQuery};
use prop::collection::vec;
use proptest::prelude::*;
use prost::Message as _;

use super::codec::own;
use super::peer::{hello, id, welcome};
use crate::{
    Batch, Control, Fault, Frame, Kind, Limits, Origin, ProtocolError, RequestHead, ResponseHead,
    Scopes, Side,
    frame::SecretToken,
    wire::{self, MESSAGE_PREFIX_BYTES},
};

fn headers() -> impl Strategy<Value = HeaderMap> {
    let field = ("[a-z][a-z0-9-]{0,8}", "[ -~\t]{0,12}");
    vec(field, 0..6).prop_map(|fields| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().expect("a name");
            let value = [value.as_bytes(), &[0xE4]].concat(); // not all of them are text
            headers.append(name, HeaderValue::from_bytes(&value).expect("a value"));
        }
        headers
    })
}

fn fault() -> impl Strategy<Value = Fault> {
    let origins = [
        Origin::Caller,
        Origin::Relay,
        Origin::Agent,
        Origin::Upstream,
    ];
    let kind = prop::sample::select(&Kind::ALL[..]);
    let origin = prop::sample::select(origins.to_vec());
    let parts = (kind, origin, "[ -~]{0,40}", any::<bool>(), model());
    parts.prop_map(|(kind, origin, message, safe, model)| Fault {
        kind,
        origin,
        message: message.into(),
        is_retry_safe: safe,
        retry_after: None,
        model,
    })
}

/// Mostly none.
fn model() -> impl Strategy<Value = String> {
    prop_oneof![3 => Just(String::new()), 1 => "[a-z0-9:./\u{e4}]{1,64}"]
}

/// What both sides send.
pub(super) fn frame() -> BoxedStrategy<Frame> {
    prop_oneof![
        4 => vec(any::<u8>(), 1..40).prop_map(|bytes| Frame::Body(bytes.into())),
        1 => (8000usize..9000).prop_map(|length| Frame::Body(vec![7; length].into())),
        2 => headers().prop_map(Frame::End),
        2 => fault().prop_map(Frame::Reset),
        2 => (1..u32::MAX).prop_map(Frame::Window),
    ]
    .boxed()
}

pub(super) fn request() -> impl Strategy<Value = Frame> {
    let method = prop::sample::select(&["GET", "POST", "DELETE", "PROPFIND"][..]);
    let flags = any::<[bool; 4]>();
    let head = (
        method,
        "/[a-z/%?=&.]{0,20}",
        headers(),
        flags,
        "[a-z0-9]{0,9}",
        vec("[a-z0-9:*?]{1,9}", 0..4),
    );
    head.prop_map(|(method, target, headers, flags, request_id, models)| {
        let [is_whole, expects_continue, infer, manage] = flags;
        Frame::RequestHead(Box::new(RequestHead {
            method: Method::from_bytes(method.as_bytes()).expect("a method"),
            target: PathAndQuery::try_from(target).expect("a target"),
            headers,
            is_whole,
            expects_continue,
            request_id,
            scopes: Scopes { infer, manage },
            models,
        }))
    })
}

pub(super) fn response() -> impl Strategy<Value = Frame> {
    let parts = (200u16..=599, headers(), any::<bool>(), model());
    parts.prop_map(|(status, headers, is_whole, model)| {
        Frame::ResponseHead(Box::new(ResponseHead {
            status: StatusCode::from_u16(status).expect("a status"),
            headers,
            is_whole,
            model,
        }))
    })
}

pub(super) fn control() -> BoxedStrategy<Control> {
    prop_oneof![
        any::<(u64, u64, u64)>().prop_map(|(sequence, acknowledged, received)| {
            Control::Heartbeat {
                sequence,
                acknowledged,
                received,
            }
        }),
        any::<(u64, u64)>().prop_map(|(mark, seen)| Control::Progress { mark, seen }),
        ("[ -~]{0,20}", any::<(u32, bool)>()).prop_map(|(message, (grace, still_opens))| {
            Control::GoAway {
                message,
                grace: Duration::from_millis(u64::from(grace)),
                still_opens,
            }
        }),
    ]
    .boxed()
}

pub(super) fn batch(
    control: impl Strategy<Value = Control>,
    frame: impl Strategy<Value = Frame>,
) -> impl Strategy<Value = Batch> {
    let frames = vec(
        (1..u64::MAX, frame).prop_map(|(n, frame)| (id(n), frame)),
        0..6,
    );
    (vec(control, 0..3), frames).prop_map(|(control, frames)| Batch { control, frames })
}

proptest! {
    #[test]
    fn what_an_agent_sends_is_what_the_relay_hears(
        batch in batch(
            prop_oneof![
                4 => control(),
                1 => Just(Control::Hello(Box::new(hello()))),
                1 => "[a-z.]{1,40}".prop_map(|token| Control::TokenRenewal(SecretToken(token))),
            ],
            prop_oneof![3 => frame(), 1 => response(), 1 => Just(Frame::Continue)],
        )
    ) {
        let stock = wire::encode_agent(batch.clone()).encode_to_vec();
        let message = proto::AgentMessage::decode(&stock[..]).expect("protobuf");
        let heard = wire::decode_agent(message).expect("valid");
        prop_assert_eq!(&own(Side::Agent, batch.clone())[MESSAGE_PREFIX_BYTES..], &stock[..]);
        prop_assert_eq!(&heard.control, &batch.control);
        // An agent cannot say that the relay is at fault.
        let mut said = batch.frames;
        for (_, frame) in &mut said {
            if let Frame::Reset(fault) = frame && fault.origin == Origin::Relay {
                fault.origin = Origin::Agent;
            }
        }
        prop_assert_eq!(format!("{:?}", heard.frames), format!("{said:?}"));
    }

    #[test]
    fn what_a_relay_sends_is_what_the_agent_hears(
        batch in batch(
            prop_oneof![
                4 => control(),
                1 => Just(Control::Welcome(Box::new(welcome(Limits::default())))),
            ],
            prop_oneof![3 => frame(), 1 => request()],
        )
    ) {
        let stock = wire::encode_relay(batch.clone()).encode_to_vec();
        let message = proto::RelayMessage::decode(&stock[..]).expect("protobuf");
        let heard = wire::decode_relay(message).expect("valid");
        prop_assert_eq!(&own(Side::Relay, batch.clone())[MESSAGE_PREFIX_BYTES..], &stock[..]);
        prop_assert_eq!(&heard.control, &batch.control);
        prop_assert_eq!(format!("{:?}", heard.frames), format!("{:?}", batch.frames));
    }
}

#[test]
fn repeated_fields_keep_their_order() {
    let mut headers = HeaderMap::new();
    for (name, value) in [("b", "1"), ("a", "2"), ("b", "3")] {
        headers.append(name, HeaderValue::from_static(value));
    }
    let sent = Batch {
        frames: vec![(id(1), Frame::End(headers.clone()))],
        ..Batch::default()
    };
    let heard = wire::decode_agent(wire::encode_agent(sent)).expect("valid");
    let [(_, Frame::End(trailers))] = &heard.frames[..] else {
        panic!("{heard:?}");
    };
    assert_eq!(*trailers, headers);
    assert_eq!(trailers.get_all("b").iter().collect::<Vec<_>>(), ["1", "3"]);
}

fn response_of(frame: Option<proto::tunnel_response::Frame>) -> proto::AgentMessage {
    proto::AgentMessage {
        control: Vec::new(),
        responses: vec![proto::TunnelResponse {
            stream_id: 1,
            frame,
        }],
    }
}

fn head_with(fields: Vec<(&[u8], &[u8])>) -> Result<Batch, ProtocolError> {
    let headers = fields.into_iter().map(|(name, value)| proto::Header {
        name: Bytes::copy_from_slice(name),
        value: Bytes::copy_from_slice(value),
    });
    let head = proto::ResponseHead {
        status: 200,
        headers: headers.collect(),
        is_whole: true,
        model: String::new(),
    };
    let frame = proto::tunnel_response::Frame::Head(head);
    wire::decode_agent(response_of(Some(frame)))
}

#[test]
fn fields_that_could_split_a_message_are_refused() {
    for (name, value) in [
        (&b"x y"[..], &b"v"[..]),
        (b"X", b"v"),
        (b"", b"v"),
        (b":path", b"v"),
        (b"x:", b"v"),
        (b"x\r\ny", b"v"),
        (b"x", b"a\r\nb: c"),
        (b"x", b"a\nb"),
        (b"x", b"\0"),
    ] {
        assert!(
            head_with(vec![(name, value)]).is_err(),
            "{name:?}: {value:?}"
        );
    }
    assert!(head_with(vec![(b"x", b"\xE4 v\t")]).is_ok());
}

#[test]
fn heads_have_a_bound_and_what_fits_is_what_is_taken() {
    assert!(head_with(vec![(b"x", b"v"); wire::MAX_FIELDS]).is_ok());
    assert!(head_with(vec![(b"x", b"v"); wire::MAX_FIELDS + 1]).is_err());
    let long = vec![b'v'; wire::MAX_FIELD_BYTES - 1];
    assert!(head_with(vec![(b"x", &long)]).is_ok());
    assert!(head_with(vec![(b"xy", &long)]).is_err());
    let mut headers = HeaderMap::new();
    headers.append("x", HeaderValue::from_bytes(&long).unwrap());
    assert!(wire::fits(&headers));
    headers.append("y", HeaderValue::from_static(""));
    assert!(!wire::fits(&headers));
}

#[test]
fn impossible_heads_are_refused() {
    for status in [0, 99, 100, 101, 199, 600, 65_736] {
        let head = proto::ResponseHead {
            status,
            ..proto::ResponseHead::default()
        };
        let frame = proto::tunnel_response::Frame::Head(head);
        assert!(
            wire::decode_agent(response_of(Some(frame))).is_err(),
            "{status}"
        );
    }
    for (method, target) in [
        ("", "/"),
        ("GE T", "/"),
        ("GET", ""),
        ("GET", "*"),
        ("GET", "http://x/"),
        ("GET", "/a b"),
        ("GET", "/a\r\nb"),
    ] {
        let head = proto::RequestHead {
            method: method.to_owned(),
            path_and_query: Bytes::copy_from_slice(target.as_bytes()),
            ..proto::RequestHead::default()
        };
        let request = proto::TunnelRequest {
            stream_id: 1,
            frame: Some(proto::tunnel_request::Frame::Head(head)),
        };
        let message = proto::RelayMessage {
            requests: vec![request],
            ..proto::RelayMessage::default()
        };
        assert!(wire::decode_relay(message).is_err(), "{method} {target}");
    }
    let many = vec!["a".to_owned(); wire::MAX_MODELS + 1];
    let long = "a".repeat(wire::MAX_MODEL_PATTERN_BYTES + 1);
    for models in [
        many,
        vec![long],
        vec![String::new()],
        vec!["a b".to_owned()],
    ] {
        let head = proto::RequestHead {
            method: "GET".to_owned(),
            path_and_query: Bytes::from_static(b"/"),
            models,
            ..proto::RequestHead::default()
        };
        let request = proto::TunnelRequest {
            stream_id: 1,
            frame: Some(proto::tunnel_request::Frame::Head(head)),
        };
        let message = proto::RelayMessage {
            requests: vec![request],
            ..proto::RelayMessage::default()
        };
        let field = "models";
        let refusal = wire::decode_relay(message).unwrap_err();
        assert_eq!(refusal, ProtocolError::BadField { field });
    }
    let zero = proto::AgentMessage {
        responses: vec![proto::TunnelResponse::default()],
        ..proto::AgentMessage::default()
    };
    assert_eq!(
        wire::decode_agent(zero).unwrap_err(),
        ProtocolError::UnknownStream(0)
    );
}

#[test]
fn kinds_that_a_newer_peer_may_send_are_ignored() {
    let informational = proto::Informational { status: 103 };
    for frame in [
        None,
        Some(proto::tunnel_response::Frame::Informational(informational)),
    ] {
        let batch = wire::decode_agent(response_of(frame)).expect("fine");
        assert!(batch.is_empty());
    }
    let reset = proto::Reset {
        kind: 9999,
        origin: -1,
        ..proto::Reset::default()
    };
    let frame = proto::tunnel_response::Frame::Reset(reset);
    let batch = wire::decode_agent(response_of(Some(frame))).expect("fine");
    let [(_, Frame::Reset(fault))] = &batch.frames[..] else {
        panic!("{batch:?}");
    };
    assert_eq!((fault.kind, fault.origin), (Kind::Internal, Origin::Agent));
}

#[test]
fn the_name_of_a_model_is_told_as_it_is_or_not_at_all() {
    let longest = "m".repeat(wire::MAX_MODEL_NAME_BYTES);
    for (said, heard) in [
        ("", ""),
        ("hf.co/a/b:q4", "hf.co/a/b:q4"),
        ("mod\u{e8}le", "mod\u{e8}le"),
        (&longest, &longest),
        (&format!("{longest}m"), ""),
        ("a\nb", ""),
        ("\u{1b}[31m", ""),
        ("\u{9b}31m", ""),
    ] {
        let head = proto::ResponseHead {
            status: 200,
            model: said.to_owned(),
            ..proto::ResponseHead::default()
        };
        let reset = proto::Reset {
            model: said.to_owned(),
            ..proto::Reset::default()
        };
        for frame in [
            proto::tunnel_response::Frame::Head(head),
            proto::tunnel_response::Frame::Reset(reset),
        ] {
            let batch = wire::decode_agent(response_of(Some(frame))).expect("no reason to end");
            let told = match &batch.frames[..] {
                [(_, Frame::ResponseHead(head))] => &head.model,
                [(_, Frame::Reset(fault))] => &fault.model,
                other => panic!("{other:?}"),
            };
            assert_eq!(told, heard, "{said:?}");
        }
    }
}

#[test]
fn text_from_the_peer_is_short_and_fit_for_a_log() {
    let reset = proto::Reset {
        message: "\u{1b}[31mä\r\n".repeat(1000),
        ..proto::Reset::default()
    };
    let frame = proto::tunnel_response::Frame::Reset(reset);
    let batch = wire::decode_agent(response_of(Some(frame))).expect("fine");
    let [(_, Frame::Reset(fault))] = &batch.frames[..] else {
        panic!("{batch:?}");
    };
    assert!(fault.message.len() <= 512 && !fault.message.contains(char::is_control));
}

#[test]
fn a_welcome_cannot_ask_for_unbounded_memory_or_for_a_window_in_which_nothing_fits() {
    let good = Limits::default();
    let bad = [
        Limits {
            max_body_frame_bytes: 0,
            ..good
        },
        Limits {
            max_body_frame_bytes: u32::MAX,
            ..good
        },
        Limits {
            initial_window_bytes: 0,
            ..good
        },
        Limits {
            initial_window_bytes: u32::MAX,
            ..good
        },
        Limits {
            max_concurrent_streams: 0,
            ..good
        },
        Limits {
            max_concurrent_streams: u32::MAX,
            ..good
        },
        Limits {
            max_message_bytes: wire::MIN_MESSAGE_BYTES - 1,
            ..good
        },
        Limits {
            max_message_bytes: u32::MAX,
            ..good
        },
    ];
    let decode = |limits| {
        let control = vec![Control::Welcome(Box::new(welcome(limits)))];
        let frames = Vec::new();
        wire::decode_relay(wire::encode_relay(Batch { control, frames }))
    };
    assert!(decode(good).is_ok());
    for limits in bad {
        assert!(decode(limits).is_err(), "{limits:?}");
    }
}

#[test]
fn every_kind_and_origin_crosses_as_itself() {
    for kind in Kind::ALL {
        let sent = Batch {
            frames: vec![(id(1), Frame::Reset(Fault::new(kind, Origin::Upstream, "m")))],
            ..Batch::default()
        };
        let heard = wire::decode_relay(wire::encode_relay(sent.clone())).expect("valid");
        assert_eq!(format!("{heard:?}"), format!("{sent:?}"));
    }
}

//! From and to the generated types of the wire contract, checking every field on the way in.
//!
//! Invariant: the peer is hostile until parsed. A decoded [`Batch`] holds valid HTTP and bounded text; what cannot be
//! decoded is a [`ProtocolError`], never a panic. Unknown frame kinds and enum values are ignored or read as the
//! safest known one, since a newer peer may send them.

use std::{ops::RangeInclusive, time::Duration};

use bytes::Bytes;
use c2l_proto::tunnel as proto;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, uri::PathAndQuery};

use crate::{
    error::{Fault, Kind, Origin, ProtocolError},
    frame::{
        Batch, Control, Frame, Hello, Limits, RequestHead, ResponseHead, Scopes, SecretToken,
        StreamId, Welcome,
    },
};

/// Most fields in one head.
pub const MAX_FIELDS: usize = 256;
/// Most bytes of all names and values of one head.
pub const MAX_FIELD_BYTES: usize = 128 * 1024;
/// Most patterns of models in one request head.
pub const MAX_MODELS: usize = 64;
/// Most bytes of one such pattern.
pub const MAX_MODEL_PATTERN_BYTES: usize = 256;
/// Least that `max_message_bytes` may be: every batch that a session makes fits, whatever is ready at once.
pub const MIN_MESSAGE_BYTES: u32 = 1024 * 1024;
/// What the status of an answer may be.
pub(crate) const STATUSES: RangeInclusive<u16> = 200..=599;
/// Most bytes of a sentence from the peer; the rest is cut.
const MAX_TEXT_BYTES: usize = 512;
/// Most bytes of a token in a renewal.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

type Decoded<T> = Result<T, ProtocolError>;

/// Encodes a batch of the agent's.
#[must_use]
pub fn encode_agent(batch: Batch) -> proto::AgentMessage {
    proto::AgentMessage {
        control: batch
            .control
            .into_iter()
            .filter_map(agent_control)
            .map(|control| proto::AgentControl {
                control: Some(control),
            })
            .collect(),
        responses: batch
            .frames
            .into_iter()
            .filter_map(|(id, frame)| {
                Some(proto::TunnelResponse {
                    stream_id: id.get(),
                    frame: Some(response_frame(frame)?),
                })
            })
            .collect(),
    }
}

/// Encodes a batch of the relay's.
#[must_use]
pub fn encode_relay(batch: Batch) -> proto::RelayMessage {
    proto::RelayMessage {
        control: batch
            .control
            .into_iter()
            .filter_map(relay_control)
            .map(|control| proto::RelayControl {
                control: Some(control),
            })
            .collect(),
        requests: batch
            .frames
            .into_iter()
            .filter_map(|(id, frame)| {
                Some(proto::TunnelRequest {
                    stream_id: id.get(),
                    frame: Some(request_frame(frame)?),
                })
            })
            .collect(),
    }
}

/// Decodes what an agent sent.
///
/// # Errors
/// When a field cannot mean anything.
pub fn decode_agent(message: proto::AgentMessage) -> Decoded<Batch> {
    let mut batch = Batch::default();
    for control in message.control.into_iter().filter_map(|c| c.control) {
        batch.control.push(from_agent_control(control)?);
    }
    batch.frames.reserve_exact(message.responses.len());
    for response in message.responses {
        let id = stream_id(response.stream_id)?;
        if let Some(frame) = response.frame
            && let Some(frame) = from_response_frame(frame)?
        {
            batch.frames.push((id, frame));
        }
    }
    Ok(batch)
}

/// Decodes what a relay sent.
///
/// # Errors
/// When a field cannot mean anything.
pub fn decode_relay(message: proto::RelayMessage) -> Decoded<Batch> {
    let mut batch = Batch::default();
    for control in message.control.into_iter().filter_map(|c| c.control) {
        batch.control.push(from_relay_control(control)?);
    }
    batch.frames.reserve_exact(message.requests.len());
    for request in message.requests {
        let id = stream_id(request.stream_id)?;
        if let Some(frame) = request.frame {
            batch.frames.push((id, from_request_frame(frame)?));
        }
    }
    Ok(batch)
}

fn stream_id(number: u64) -> Decoded<StreamId> {
    StreamId::new(number).ok_or(ProtocolError::UnknownStream(0))
}

// ---- control frames

/// `None` for what an agent never sends.
fn agent_control(control: Control) -> Option<proto::agent_control::Control> {
    use proto::agent_control::Control as Wire;
    Some(match control {
        Control::Hello(hello) => Wire::Hello(proto::Hello {
            protocol_version: hello.protocol_version,
            build: hello.build,
            device_name: hello.device_name,
            device_id: Bytes::copy_from_slice(&hello.device_id),
            capabilities: hello.capabilities,
        }),
        Control::Heartbeat {
            sequence,
            acknowledged,
            received,
        } => Wire::Heartbeat(proto::Heartbeat {
            sequence,
            acknowledged,
            received,
        }),
        Control::GoAway {
            message,
            grace,
            still_opens,
        } => Wire::GoAway(go_away(message, grace, still_opens)),
        Control::TokenRenewal(token) => Wire::TokenRenewal(proto::TokenRenewal { token: token.0 }),
        Control::Welcome(_) | Control::TokenState { .. } => return None,
    })
}

/// `None` for what a relay never sends.
fn relay_control(control: Control) -> Option<proto::relay_control::Control> {
    use proto::relay_control::Control as Wire;
    Some(match control {
        Control::Welcome(welcome) => Wire::Welcome(proto::Welcome {
            session_id: welcome.session_id,
            protocol_version: welcome.protocol_version,
            limits: Some(proto::Limits {
                max_body_frame_bytes: welcome.limits.max_body_frame_bytes,
                initial_window_bytes: welcome.limits.initial_window_bytes,
                max_concurrent_streams: welcome.limits.max_concurrent_streams,
                max_message_bytes: welcome.limits.max_message_bytes,
            }),
            heartbeat_interval_ms: milliseconds(welcome.heartbeat_interval),
            build: welcome.build,
            token_holds_ms: welcome.token_holds.map_or(0, long_milliseconds),
        }),
        Control::TokenState {
            is_accepted,
            holds,
            message,
        } => Wire::TokenState(proto::TokenState {
            is_accepted,
            holds_ms: long_milliseconds(holds),
            message,
        }),
        Control::Heartbeat {
            sequence,
            acknowledged,
            received,
        } => Wire::Heartbeat(proto::Heartbeat {
            sequence,
            acknowledged,
            received,
        }),
        Control::GoAway {
            message,
            grace,
            still_opens,
        } => Wire::GoAway(go_away(message, grace, still_opens)),
        Control::Hello(_) | Control::TokenRenewal(_) => return None,
    })
}

fn from_agent_control(control: proto::agent_control::Control) -> Decoded<Control> {
    use proto::agent_control::Control as Wire;
    Ok(match control {
        Wire::Hello(hello) => Control::Hello(Box::new(Hello {
            protocol_version: hello.protocol_version,
            build: text(hello.build),
            device_name: hello.device_name, // an identity: judged as it was written, not mended
            device_id: <[u8; 16]>::try_from(&hello.device_id[..])
                .map_err(|_| ProtocolError::BadField { field: "device_id" })?,
            capabilities: hello.capabilities.into_iter().take(32).map(text).collect(),
        })),
        Wire::Heartbeat(beat) => heartbeat(&beat),
        Wire::GoAway(away) => from_go_away(away),
        Wire::TokenRenewal(renewal) if renewal.token.len() <= MAX_TOKEN_BYTES => {
            Control::TokenRenewal(SecretToken(renewal.token))
        }
        Wire::TokenRenewal(_) => return Err(ProtocolError::BadField { field: "token" }),
    })
}

fn from_relay_control(control: proto::relay_control::Control) -> Decoded<Control> {
    use proto::relay_control::Control as Wire;
    Ok(match control {
        Wire::Welcome(welcome) => Control::Welcome(Box::new(from_welcome(welcome)?)),
        Wire::Heartbeat(beat) => heartbeat(&beat),
        Wire::GoAway(away) => from_go_away(away),
        Wire::TokenState(state) => Control::TokenState {
            is_accepted: state.is_accepted,
            holds: Duration::from_millis(state.holds_ms),
            message: text(state.message),
        },
    })
}

/// Checks limits against what every agent accepts: an agent does not let a relay talk it into unbounded memory, nor into
/// a window in which nothing fits.
///
/// # Errors
/// Names the field, and the least and the most that it may be.
pub fn check_limits(
    limits: &Limits,
    heartbeat_interval: Duration,
) -> Result<(), (&'static str, u32, u32)> {
    const MIB: u32 = 1024 * 1024;
    let heartbeat_ms = milliseconds(heartbeat_interval);
    [
        (
            "max_body_frame_bytes",
            limits.max_body_frame_bytes,
            1024,
            MIB,
        ),
        (
            "initial_window_bytes",
            limits.initial_window_bytes,
            1024,
            MIB,
        ),
        (
            "max_concurrent_streams",
            limits.max_concurrent_streams,
            1,
            16_384,
        ),
        (
            "max_message_bytes",
            limits.max_message_bytes,
            MIN_MESSAGE_BYTES,
            64 * MIB,
        ),
        ("heartbeat_interval_ms", heartbeat_ms, 10, 600_000),
    ]
    .into_iter()
    .find(|(_, value, low, high)| !(low..=high).contains(&value))
    .map_or(Ok(()), |(field, _, low, high)| Err((field, low, high)))
}

fn from_welcome(welcome: proto::Welcome) -> Decoded<Welcome> {
    let bad = |field| ProtocolError::BadField { field };
    let limits = welcome.limits.ok_or(bad("limits"))?;
    let limits = Limits {
        max_body_frame_bytes: limits.max_body_frame_bytes,
        initial_window_bytes: limits.initial_window_bytes,
        max_concurrent_streams: limits.max_concurrent_streams,
        max_message_bytes: limits.max_message_bytes,
    };
    let heartbeat_interval = Duration::from_millis(u64::from(welcome.heartbeat_interval_ms));
    check_limits(&limits, heartbeat_interval).map_err(|(field, ..)| bad(field))?;
    Ok(Welcome {
        session_id: text(welcome.session_id),
        protocol_version: welcome.protocol_version,
        limits,
        heartbeat_interval,
        build: text(welcome.build),
        token_holds: Some(welcome.token_holds_ms)
            .filter(|holds| *holds > 0)
            .map(Duration::from_millis),
    })
}

fn heartbeat(beat: &proto::Heartbeat) -> Control {
    Control::Heartbeat {
        sequence: beat.sequence,
        acknowledged: beat.acknowledged,
        received: beat.received,
    }
}

fn go_away(message: String, grace: Duration, still_opens: bool) -> proto::GoAway {
    proto::GoAway {
        message,
        grace_ms: milliseconds(grace),
        still_opens,
    }
}

fn from_go_away(away: proto::GoAway) -> Control {
    Control::GoAway {
        message: text(away.message),
        grace: Duration::from_millis(u64::from(away.grace_ms)),
        still_opens: away.still_opens,
    }
}

fn long_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

// ---- stream frames

/// `None` for what a relay never sends.
fn request_frame(frame: Frame) -> Option<proto::tunnel_request::Frame> {
    use proto::tunnel_request::Frame as Wire;
    Some(match frame {
        Frame::RequestHead(head) => Wire::Head(request_head(*head)),
        Frame::Body(bytes) => Wire::Body(bytes),
        Frame::End(trailers) => Wire::End(proto::End {
            trailers: fields(trailers),
        }),
        Frame::Reset(fault) => Wire::Reset(reset(fault)),
        Frame::Window(credit_bytes) => Wire::Window(proto::Window { credit_bytes }),
        Frame::Continue | Frame::ResponseHead(_) => return None,
    })
}

/// `None` for what an agent never sends.
fn response_frame(frame: Frame) -> Option<proto::tunnel_response::Frame> {
    use proto::tunnel_response::Frame as Wire;
    Some(match frame {
        Frame::Continue => Wire::Informational(proto::Informational { status: 100 }),
        Frame::ResponseHead(head) => Wire::Head(proto::ResponseHead {
            status: u32::from(head.status.as_u16()),
            headers: fields(head.headers),
            is_whole: head.is_whole,
        }),
        Frame::Body(bytes) => Wire::Body(bytes),
        Frame::End(trailers) => Wire::End(proto::End {
            trailers: fields(trailers),
        }),
        Frame::Reset(fault) => Wire::Reset(reset(fault)),
        Frame::Window(credit_bytes) => Wire::Window(proto::Window { credit_bytes }),
        Frame::RequestHead(_) => return None,
    })
}

fn from_request_frame(frame: proto::tunnel_request::Frame) -> Decoded<Frame> {
    use proto::tunnel_request::Frame as Wire;
    Ok(match frame {
        Wire::Head(head) => Frame::RequestHead(Box::new(from_request_head(head)?)),
        Wire::Body(bytes) => Frame::Body(bytes),
        Wire::End(end) => Frame::End(from_fields(end.trailers)?),
        Wire::Reset(reset) => Frame::Reset(from_reset(reset)),
        Wire::Window(window) => Frame::Window(window.credit_bytes),
    })
}

fn from_response_frame(frame: proto::tunnel_response::Frame) -> Decoded<Option<Frame>> {
    use proto::tunnel_response::Frame as Wire;
    Ok(Some(match frame {
        // Other interim answers mean nothing to us; a newer agent may send them.
        Wire::Informational(interim) if interim.status == 100 => Frame::Continue,
        Wire::Informational(_) => return Ok(None),
        Wire::Head(head) => Frame::ResponseHead(Box::new(from_response_head(head)?)),
        Wire::Body(bytes) => Frame::Body(bytes),
        Wire::End(end) => Frame::End(from_fields(end.trailers)?),
        Wire::Reset(reset) => Frame::Reset(of_agent(from_reset(reset))),
        Wire::Window(window) => Frame::Window(window.credit_bytes),
    }))
}

fn request_head(head: RequestHead) -> proto::RequestHead {
    let mut scopes = Vec::new();
    if head.scopes.infer {
        scopes.push(proto::Scope::Infer.into());
    }
    if head.scopes.manage {
        scopes.push(proto::Scope::Manage.into());
    }
    proto::RequestHead {
        method: head.method.as_str().to_owned(),
        path_and_query: Bytes::copy_from_slice(head.target.as_str().as_bytes()),
        headers: fields(head.headers),
        is_whole: head.is_whole,
        expects_continue: head.expects_continue,
        request_id: head.request_id,
        scopes,
        models: head.models,
    }
}

fn from_request_head(head: proto::RequestHead) -> Decoded<RequestHead> {
    let target = PathAndQuery::from_maybe_shared(head.path_and_query)
        .ok()
        .filter(|target| target.as_str().starts_with('/'))
        .ok_or(ProtocolError::BadField {
            field: "path_and_query",
        })?;
    Ok(RequestHead {
        method: Method::from_bytes(head.method.as_bytes())
            .map_err(|_| ProtocolError::BadField { field: "method" })?,
        target,
        headers: from_fields(head.headers)?,
        is_whole: head.is_whole,
        expects_continue: head.expects_continue,
        request_id: text(head.request_id),
        scopes: Scopes {
            infer: head.scopes.contains(&proto::Scope::Infer.into()),
            manage: head.scopes.contains(&proto::Scope::Manage.into()),
        },
        models: from_models(head.models)?,
    })
}

/// Never cut or mended: half a pattern could allow more than the whole one.
fn from_models(models: Vec<String>) -> Decoded<Vec<String>> {
    let is_good = models.len() <= MAX_MODELS && models.iter().all(|m| is_model_pattern(m));
    is_good
        .then_some(models)
        .ok_or(ProtocolError::BadField { field: "models" })
}

/// True for a pattern of models that can cross: a peer ends the session over another one. 1 to
/// [`MAX_MODEL_PATTERN_BYTES`] visible ASCII characters.
#[must_use]
pub fn is_model_pattern(pattern: &str) -> bool {
    (1..=MAX_MODEL_PATTERN_BYTES).contains(&pattern.len())
        && pattern.bytes().all(|byte| byte.is_ascii_graphic())
}

fn from_response_head(head: proto::ResponseHead) -> Decoded<ResponseHead> {
    let status = u16::try_from(head.status)
        .ok()
        .filter(|status| STATUSES.contains(status))
        .and_then(|status| StatusCode::from_u16(status).ok())
        .ok_or(ProtocolError::BadField { field: "status" })?;
    Ok(ResponseHead {
        status,
        headers: from_fields(head.headers)?,
        is_whole: head.is_whole,
    })
}

/// True when these fields can cross: a peer ends the session over more or larger ones.
#[must_use]
pub fn fits(headers: &HeaderMap) -> bool {
    headers.len() <= MAX_FIELDS && bytes_of(headers) <= MAX_FIELD_BYTES
}

/// What a head or an end adds to a message beside its body, in bytes.
pub(crate) fn field_bytes(frame: &Frame) -> usize {
    match frame {
        Frame::RequestHead(head) => {
            let models: usize = head.models.iter().map(String::len).sum();
            head.target.as_str().len() + head.request_id.len() + models + bytes_of(&head.headers)
        }
        Frame::ResponseHead(head) => bytes_of(&head.headers),
        Frame::End(trailers) => bytes_of(trailers),
        Frame::Body(_) | Frame::Continue | Frame::Reset(_) | Frame::Window(_) => 0,
    }
}

fn bytes_of(headers: &HeaderMap) -> usize {
    let fields = headers.iter();
    fields
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum()
}

fn fields(headers: HeaderMap) -> Vec<proto::Header> {
    let mut fields = Vec::with_capacity(headers.len());
    let mut last = Bytes::new();
    for (name, value) in headers {
        // `HeaderMap` names only the first of several values of one name.
        if let Some(name) = name {
            last = Bytes::from(name.as_str().to_owned());
        }
        fields.push(proto::Header {
            name: last.clone(),
            value: Bytes::copy_from_slice(value.as_bytes()),
        });
    }
    fields
}

fn from_fields(fields: Vec<proto::Header>) -> Decoded<HeaderMap> {
    let bad = |field| ProtocolError::BadField { field };
    let total: usize = fields.iter().map(|f| f.name.len() + f.value.len()).sum();
    if fields.len() > MAX_FIELDS || total > MAX_FIELD_BYTES {
        return Err(bad("headers"));
    }
    let mut headers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_lowercase(&field.name).map_err(|_| bad("header name"))?;
        let value = HeaderValue::from_maybe_shared(field.value).map_err(|_| bad("header value"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn reset(fault: Fault) -> proto::Reset {
    proto::Reset {
        kind: kind(fault.kind).into(),
        origin: origin(fault.origin).into(),
        message: text(fault.message.into_owned()),
        is_retry_safe: fault.is_retry_safe,
    }
}

/// An agent cannot say that the relay is at fault.
fn of_agent(mut fault: Fault) -> Fault {
    if fault.origin == Origin::Relay {
        fault.origin = Origin::Agent;
    }
    fault
}

fn from_reset(reset: proto::Reset) -> Fault {
    let kind = from_kind(reset.kind());
    let origin = match reset.origin() {
        proto::Origin::Caller => Origin::Caller,
        proto::Origin::Agent => Origin::Agent,
        proto::Origin::Upstream => Origin::Upstream,
        proto::Origin::Relay | proto::Origin::Unspecified => Origin::Relay,
    };
    Fault {
        kind,
        origin,
        message: text(reset.message).into(),
        is_retry_safe: reset.is_retry_safe,
        retry_after: None,
    }
}

fn origin(origin: Origin) -> proto::Origin {
    match origin {
        Origin::Caller => proto::Origin::Caller,
        Origin::Relay => proto::Origin::Relay,
        Origin::Agent => proto::Origin::Agent,
        Origin::Upstream => proto::Origin::Upstream,
    }
}

fn kind(kind: Kind) -> proto::ErrorKind {
    use proto::ErrorKind as Wire;
    match kind {
        Kind::InvalidRequest => Wire::InvalidRequest,
        Kind::Unauthenticated => Wire::Unauthenticated,
        Kind::Forbidden => Wire::Forbidden,
        Kind::RouteUnknown => Wire::RouteUnknown,
        Kind::MethodNotAllowed => Wire::MethodNotAllowed,
        Kind::BodyTooLarge => Wire::BodyTooLarge,
        Kind::ExpectationFailed => Wire::ExpectationFailed,
        Kind::UserOverLimit => Wire::UserOverLimit,
        Kind::UpstreamUnreachable => Wire::UpstreamUnreachable,
        Kind::UpstreamFailed => Wire::UpstreamFailed,
        Kind::AgentLost => Wire::AgentLost,
        Kind::AgentProtocol => Wire::AgentProtocol,
        Kind::AgentOffline => Wire::AgentOffline,
        Kind::Overloaded => Wire::Overloaded,
        Kind::Draining => Wire::Draining,
        Kind::IssuerUnreachable => Wire::IssuerUnreachable,
        Kind::Timeout => Wire::Timeout,
        Kind::Internal => Wire::Internal,
        Kind::CallerGone => Wire::CallerGone,
    }
}

fn from_kind(kind: proto::ErrorKind) -> Kind {
    use proto::ErrorKind as Wire;
    match kind {
        Wire::InvalidRequest => Kind::InvalidRequest,
        Wire::Unauthenticated => Kind::Unauthenticated,
        Wire::Forbidden => Kind::Forbidden,
        Wire::RouteUnknown => Kind::RouteUnknown,
        Wire::MethodNotAllowed => Kind::MethodNotAllowed,
        Wire::BodyTooLarge => Kind::BodyTooLarge,
        Wire::ExpectationFailed => Kind::ExpectationFailed,
        Wire::UserOverLimit => Kind::UserOverLimit,
        Wire::UpstreamUnreachable => Kind::UpstreamUnreachable,
        Wire::UpstreamFailed => Kind::UpstreamFailed,
        Wire::AgentLost => Kind::AgentLost,
        Wire::AgentProtocol => Kind::AgentProtocol,
        Wire::AgentOffline => Kind::AgentOffline,
        Wire::Overloaded => Kind::Overloaded,
        Wire::Draining => Kind::Draining,
        Wire::IssuerUnreachable => Kind::IssuerUnreachable,
        Wire::Timeout => Kind::Timeout,
        Wire::CallerGone => Kind::CallerGone,
        Wire::Internal | Wire::Unspecified => Kind::Internal,
    }
}

/// Text from the peer: cut to a bound, and without control characters, since it ends in logs and error bodies.
fn text(mut text: String) -> String {
    if text.len() > MAX_TEXT_BYTES {
        let end = text.floor_char_boundary(MAX_TEXT_BYTES);
        text.truncate(end);
    }
    if text.chars().any(char::is_control) {
        text.retain(|c| !c.is_control());
    }
    text
}

//! Frames of streams, from and to the generated types.
//!
//! Invariant: what comes out is valid HTTP; one field that is not refuses the message.

use bytes::Bytes;
use c2l_proto::tunnel as proto;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, uri::PathAndQuery};

use super::{
    Decoded, MAX_FIELD_BYTES, MAX_FIELDS, MAX_MODELS, STATUSES, is_model_name, is_model_pattern,
    stream_id, text,
};
use crate::{
    error::{Fault, Kind, Origin, ProtocolError},
    frame::{Frame, RequestHead, ResponseHead, Scopes, StreamId},
};

/// So many fields a relay adds to an answer.
pub(super) const ADDED_FIELDS: usize = 8;

/// `None` for a kind that this version does not know.
pub(super) fn from_response(frame: proto::TunnelResponse) -> Decoded<Option<(StreamId, Frame)>> {
    let id = stream_id(frame.stream_id)?;
    let frame = frame.frame.map(from_response_frame).transpose()?.flatten();
    Ok(frame.map(|frame| (id, frame)))
}

/// `None` for a kind that this version does not know.
pub(super) fn from_request(frame: proto::TunnelRequest) -> Decoded<Option<(StreamId, Frame)>> {
    let id = stream_id(frame.stream_id)?;
    let frame = frame.frame.map(from_request_frame).transpose()?;
    Ok(frame.map(|frame| (id, frame)))
}

/// `None` for what a relay never sends.
pub(super) fn request_frame(frame: Frame) -> Option<proto::tunnel_request::Frame> {
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
pub(super) fn response_frame(frame: Frame) -> Option<proto::tunnel_response::Frame> {
    use proto::tunnel_response::Frame as Wire;
    Some(match frame {
        Frame::Continue => Wire::Informational(proto::Informational { status: 100 }),
        Frame::ResponseHead(head) => Wire::Head(proto::ResponseHead {
            status: u32::from(head.status.as_u16()),
            headers: fields(head.headers),
            is_whole: head.is_whole,
            model: head.model,
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
        Wire::End(end) => Frame::End(from_fields(end.trailers, 0)?),
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
        Wire::End(end) => Frame::End(from_fields(end.trailers, 0)?),
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
        headers: from_fields(head.headers, 0)?,
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

fn from_response_head(head: proto::ResponseHead) -> Decoded<ResponseHead> {
    let status = u16::try_from(head.status)
        .ok()
        .filter(|status| STATUSES.contains(status))
        .and_then(|status| StatusCode::from_u16(status).ok())
        .ok_or(ProtocolError::BadField { field: "status" })?;
    Ok(ResponseHead {
        status,
        headers: from_fields(head.headers, ADDED_FIELDS)?,
        is_whole: head.is_whole,
        model: from_model(head.model),
    })
}

/// A name for people to read: nothing depends on it, so a bad one is dropped and no reason to end the session.
pub(super) fn from_model(model: String) -> String {
    if is_model_name(&model) {
        return model;
    }
    String::new()
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

/// With room for `more`, so that whoever adds them does not move the others.
fn from_fields(fields: Vec<proto::Header>, more: usize) -> Decoded<HeaderMap> {
    let bad = |field| ProtocolError::BadField { field };
    let total: usize = fields.iter().map(|f| f.name.len() + f.value.len()).sum();
    if fields.len() > MAX_FIELDS || total > MAX_FIELD_BYTES {
        return Err(bad("headers"));
    }
    let mut headers = HeaderMap::with_capacity(match fields.len() {
        0 => 0,
        fields => fields + more,
    });
    for field in fields {
        let name = HeaderName::from_lowercase(&field.name).map_err(|_| bad("header name"))?;
        let value = HeaderValue::from_maybe_shared(field.value).map_err(|_| bad("header value"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

pub(super) fn reset(fault: Fault) -> proto::Reset {
    proto::Reset {
        kind: kind(fault.kind).into(),
        origin: origin(fault.origin).into(),
        message: text(fault.message.into_owned()),
        is_retry_safe: fault.is_retry_safe,
        model: from_model(fault.model),
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
        model: from_model(reset.model),
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

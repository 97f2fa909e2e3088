//! Kinds of failure as callers see them: one table to HTTP and gRPC, and the shapes that clients parse.
//!
//! Invariant: a kind maps to both codes in one place, matched without `_`, so a new kind cannot be forgotten.

use std::io;

use c2l_tunnel::{Fault, Kind, Origin};
use http::StatusCode;
use tonic::Code;

/// Why [`crate::run`] ended other than by its shutdown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A listener does not say where it listens.
    #[error("the listener has no address")]
    Listener(#[source] io::Error),
    /// The public port cannot be taken over.
    #[error("cannot take the public port over")]
    Handover(#[source] io::Error),
    /// The descriptors of the gRPC services cannot be served.
    #[error("gRPC reflection cannot be set up")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// Keys and revocations cannot be read or kept.
    #[error("the database of keys and revocations cannot be used")]
    Store(#[source] c2l_store::StoreError),
    /// There is no secret to hash keys with.
    #[error("keys cannot be hashed")]
    Pepper(#[source] c2l_auth::KeyError),
}

/// What a kind of failure is in HTTP and in gRPC, and when to come back, if that is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codes {
    /// HTTP status.
    pub http: StatusCode,
    /// gRPC status.
    pub grpc: Code,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
}

/// The table.
#[must_use]
pub fn codes(kind: Kind) -> Codes {
    let (http, grpc, retry_after) = match kind {
        Kind::InvalidRequest => (StatusCode::BAD_REQUEST, Code::InvalidArgument, None),
        Kind::Unauthenticated => (StatusCode::UNAUTHORIZED, Code::Unauthenticated, None),
        Kind::Forbidden => (StatusCode::FORBIDDEN, Code::PermissionDenied, None),
        Kind::RouteUnknown => (StatusCode::NOT_FOUND, Code::NotFound, None),
        Kind::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented, None),
        Kind::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, Code::ResourceExhausted, None),
        Kind::ExpectationFailed => (
            StatusCode::EXPECTATION_FAILED,
            Code::FailedPrecondition,
            None,
        ),
        Kind::UserOverLimit => (
            StatusCode::TOO_MANY_REQUESTS,
            Code::ResourceExhausted,
            Some(1),
        ),
        Kind::UpstreamUnreachable | Kind::UpstreamFailed | Kind::AgentLost => {
            (StatusCode::BAD_GATEWAY, Code::Unavailable, None)
        }
        Kind::AgentProtocol => (StatusCode::BAD_GATEWAY, Code::Internal, None),
        Kind::AgentOffline => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, Some(5)),
        Kind::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, Some(1)),
        Kind::Draining => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, Some(2)),
        Kind::IssuerUnreachable => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, Some(5)),
        Kind::Timeout => (StatusCode::GATEWAY_TIMEOUT, Code::DeadlineExceeded, None),
        // A caller who has gone gets nothing; the pair is for the log alone.
        Kind::Internal | Kind::CallerGone => {
            (StatusCode::INTERNAL_SERVER_ERROR, Code::Internal, None)
        }
    };
    Codes {
        http,
        grpc,
        retry_after,
    }
}

/// When to come back: as the fault itself knows, rounded up, else as its kind says.
pub(crate) fn retry_after_seconds(fault: &Fault) -> Option<u64> {
    let known = fault.retry_after.map(|wait| {
        let begun = u64::from(wait.subsec_nanos() > 0);
        wait.as_secs().saturating_add(begun).max(1)
    });
    known.or(codes(fault.kind).retry_after)
}

/// The gRPC status of a fault. When to come back, where that is known, is in its metadata.
pub(crate) fn to_status(fault: &Fault) -> tonic::Status {
    let mut status = tonic::Status::new(codes(fault.kind).grpc, fault.message.clone());
    if fault.retry_after.is_some()
        && let Some(seconds) = retry_after_seconds(fault)
    {
        let seconds = tonic::metadata::MetadataValue::from(seconds);
        status.metadata_mut().insert("retry-after", seconds);
    }
    status
}

/// A fault of the caller's.
pub(crate) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Fault {
    Fault::new(Kind::InvalidRequest, Origin::Caller, message).retry_safe()
}

/// No credential, or not a good one; the message says which.
pub(crate) fn unauthenticated(message: impl Into<std::borrow::Cow<'static, str>>) -> Fault {
    Fault::new(Kind::Unauthenticated, Origin::Caller, message).retry_safe()
}

/// Whose API a path belongs to: decides the shape of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `/api`, and everything that is not below `/v1`.
    Ollama,
    /// `/v1`.
    OpenAi,
    /// `/v1/messages`.
    Anthropic,
}

impl Dialect {
    /// The dialect of a path without credential and device.
    #[must_use]
    pub fn of_path(path: &str) -> Self {
        match path.strip_prefix('/').filter(|path| path.starts_with("v1")) {
            Some(path) => Self::of_segments(path.split('/')),
            None => Self::Ollama,
        }
    }

    /// The same, from what stands between the slashes.
    pub(crate) fn of_segments<'a>(mut segments: impl Iterator<Item = &'a str>) -> Self {
        match (segments.next(), segments.next()) {
            (Some("v1"), Some("messages")) => Self::Anthropic,
            (Some("v1"), _) => Self::OpenAi,
            _ => Self::Ollama,
        }
    }

    /// The error as this dialect's clients parse it, each with `code`, `request_id` and `origin` beside.
    #[must_use]
    pub fn error_body(self, fault: &Fault, request_id: &str) -> String {
        let message = fault.message.as_ref();
        let code = fault.kind.as_str();
        let origin = fault.origin.as_str();
        let is_retry_safe = fault.is_retry_safe;
        match self {
            Self::Ollama => serde_json::json!({
                "error": message,
                "code": code,
                "origin": origin,
                "retry_safe": is_retry_safe,
                "request_id": request_id,
            }),
            Self::OpenAi => serde_json::json!({
                "error": {
                    "message": message,
                    "type": openai_type(fault.kind),
                    "param": null,
                    "code": code,
                },
                "code": code,
                "origin": origin,
                "retry_safe": is_retry_safe,
                "request_id": request_id,
            }),
            Self::Anthropic => serde_json::json!({
                "type": "error",
                "error": { "type": anthropic_type(fault.kind), "message": message },
                "code": code,
                "origin": origin,
                "retry_safe": is_retry_safe,
                "request_id": request_id,
            }),
        }
        .to_string()
    }
}

fn openai_type(kind: Kind) -> &'static str {
    match kind {
        Kind::InvalidRequest
        | Kind::MethodNotAllowed
        | Kind::BodyTooLarge
        | Kind::ExpectationFailed => "invalid_request_error",
        Kind::Unauthenticated => "authentication_error",
        Kind::Forbidden => "permission_error",
        Kind::RouteUnknown => "not_found_error",
        Kind::UserOverLimit => "rate_limit_error",
        Kind::UpstreamUnreachable
        | Kind::UpstreamFailed
        | Kind::AgentLost
        | Kind::AgentProtocol
        | Kind::AgentOffline
        | Kind::Overloaded
        | Kind::Draining
        | Kind::IssuerUnreachable
        | Kind::Timeout
        | Kind::Internal
        | Kind::CallerGone => "api_error",
    }
}

fn anthropic_type(kind: Kind) -> &'static str {
    match kind {
        Kind::BodyTooLarge => "request_too_large",
        Kind::Overloaded | Kind::Draining | Kind::AgentOffline | Kind::IssuerUnreachable => {
            "overloaded_error"
        }
        Kind::Timeout => "timeout_error",
        Kind::InvalidRequest
        | Kind::MethodNotAllowed
        | Kind::ExpectationFailed
        | Kind::Unauthenticated
        | Kind::Forbidden
        | Kind::RouteUnknown
        | Kind::UserOverLimit
        | Kind::UpstreamUnreachable
        | Kind::UpstreamFailed
        | Kind::AgentLost
        | Kind::AgentProtocol
        | Kind::Internal
        | Kind::CallerGone => openai_type(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The README's table of errors, written a second time and differently, so that a slip in one of them shows.
    #[test]
    fn every_kind_has_the_codes_of_the_table() {
        let expected = [
            ("invalid_request", 400, Code::InvalidArgument, false),
            ("unauthenticated", 401, Code::Unauthenticated, false),
            ("forbidden", 403, Code::PermissionDenied, false),
            ("route_unknown", 404, Code::NotFound, false),
            ("method_not_allowed", 405, Code::Unimplemented, false),
            ("body_too_large", 413, Code::ResourceExhausted, false),
            ("expectation_failed", 417, Code::FailedPrecondition, false),
            ("user_over_limit", 429, Code::ResourceExhausted, true),
            ("upstream_unreachable", 502, Code::Unavailable, false),
            ("upstream_failed", 502, Code::Unavailable, false),
            ("agent_lost", 502, Code::Unavailable, false),
            ("agent_protocol", 502, Code::Internal, false),
            ("agent_offline", 503, Code::Unavailable, true),
            ("overloaded", 503, Code::Unavailable, true),
            ("draining", 503, Code::Unavailable, true),
            ("issuer_unreachable", 503, Code::Unavailable, true),
            ("timeout", 504, Code::DeadlineExceeded, false),
            ("internal", 500, Code::Internal, false),
            ("caller_gone", 500, Code::Internal, false),
        ];
        assert_eq!(expected.len(), Kind::ALL.len());
        for (kind, (name, http, grpc, has_retry_after)) in Kind::ALL.into_iter().zip(expected) {
            let codes = codes(kind);
            assert_eq!(kind.as_str(), name);
            assert_eq!(codes.http.as_u16(), http, "{name}");
            assert_eq!(codes.grpc, grpc, "{name}");
            assert_eq!(codes.retry_after.is_some(), has_retry_after, "{name}");
        }
    }

    #[test]
    fn the_time_to_wait_is_rounded_up_and_never_nothing() {
        use std::time::Duration;
        let told = |wait| {
            let fault = Fault::new(Kind::UserOverLimit, Origin::Caller, "").retry_after(wait);
            let status = to_status(&fault);
            let said = status.metadata().get("retry-after").expect("a time");
            let seconds = retry_after_seconds(&fault).expect("a time");
            assert_eq!(said.to_str().expect("text"), seconds.to_string());
            seconds
        };
        assert_eq!(told(Duration::ZERO), 1);
        assert_eq!(told(Duration::from_nanos(1)), 1);
        assert_eq!(told(Duration::from_secs(2)), 2);
        assert_eq!(told(Duration::from_millis(2_001)), 3);
        let plain = Fault::new(Kind::AgentOffline, Origin::Agent, "");
        assert_eq!(retry_after_seconds(&plain), Some(5));
        assert!(to_status(&plain).metadata().get("retry-after").is_none());
    }

    #[test]
    fn error_bodies_have_the_shape_of_their_dialect() {
        let fault = Fault::new(
            Kind::AgentOffline,
            Origin::Relay,
            "no device \"x\" is connected",
        );
        let parse = |dialect: Dialect| -> serde_json::Value {
            serde_json::from_str(&dialect.error_body(&fault, "r-1")).expect("valid JSON")
        };
        let ollama = parse(Dialect::of_path("/api/chat"));
        assert_eq!(ollama["error"], "no device \"x\" is connected");
        let openai = parse(Dialect::of_path("/v1/chat/completions"));
        assert_eq!(openai["error"]["type"], "api_error");
        assert_eq!(openai["error"]["code"], "agent_offline");
        let anthropic = parse(Dialect::of_path("/v1/messages"));
        assert_eq!(anthropic["type"], "error");
        assert_eq!(anthropic["error"]["type"], "overloaded_error");
        for body in [ollama, openai, anthropic] {
            assert_eq!(body["code"], "agent_offline");
            assert_eq!(body["origin"], "relay");
            assert_eq!(body["request_id"], "r-1");
        }
    }
}

//! The answers of logins, and what is read of a request: the parts that devices and pages have in common.
//!
//! Invariant: no answer is kept on the way or framed, and none says more than its own page needs.

use std::{borrow::Cow, sync::Arc, time::Duration};

use c2l_tunnel::{Fault, Kind, Origin};
use http::{HeaderValue, Response, StatusCode, header, request};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Logins, form::Form};
use crate::{
    Relay,
    audit::Who,
    error::invalid,
    gateway::{
        body::GatewayBody,
        headers::{NO_REFERRER, NO_STORE, NOSNIFF},
        rest,
    },
    limits::Asker,
};

/// When trouble of the relay's own may be over.
pub(super) const SOON: Duration = Duration::from_secs(5);

/// A request, its body read. Nothing of it is borrowed: whoever asks may leave, and what was begun is done.
pub(super) struct Asked {
    pub(super) relay: Arc<Relay>,
    pub(super) logins: Arc<Logins>,
    pub(super) asker: Asker,
    /// What the asker calls this relay.
    pub(super) host: Option<String>,
    pub(super) form: Form,
}

impl Asked {
    /// Reads the form.
    ///
    /// # Errors
    /// `RouteUnknown` where no device may ask, `InvalidRequest`, `BodyTooLarge` or `Timeout`.
    pub(super) async fn read(
        relay: &Arc<Relay>,
        head: &request::Parts,
        body: Incoming,
    ) -> Result<Self, Fault> {
        let logins = relay.logins.as_ref().ok_or_else(rest::unknown)?;
        let body = timeout(relay.config.head_timeout, rest::collect(body));
        let body = body.await.map_err(|_| {
            let message = "the form did not come in time (limit: head)";
            Fault::new(Kind::Timeout, Origin::Caller, message).retry_safe()
        })??;
        let form = Form::parse(&body);
        Ok(Self {
            relay: Arc::clone(relay),
            logins: Arc::clone(logins),
            asker: Asker::of(&head.extensions),
            host: host(head).map(str::to_owned),
            form: form.ok_or_else(|| invalid("the body is no form, or has a field twice"))?,
        })
    }

    /// Whoever it is: from where, with which request.
    pub(super) fn who(&self) -> Who<'_> {
        self.asker.who()
    }
}

/// What the asker calls this relay.
pub(super) fn host(head: &request::Parts) -> Option<&str> {
    let of_target = head.uri.authority().map(|authority| authority.as_str());
    of_target.or_else(|| head.headers.get(header::HOST)?.to_str().ok())
}

/// RFC 6749 §5.1.
pub(super) fn said(value: &Value) -> Response<GatewayBody> {
    answered(StatusCode::OK, format!("{value}\n"), "application/json")
}

/// What a device is told that gets nothing (RFC 6749 §5.2).
#[derive(Debug)]
pub(super) struct No {
    status: StatusCode,
    /// One of the words of OAuth.
    error: &'static str,
    said: Cow<'static, str>,
    wait: Option<Duration>,
}

impl No {
    /// For good, as far as this request goes.
    pub(super) fn new(error: &'static str, said: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error,
            said: said.into(),
            wait: None,
        }
    }

    /// For now: the relay is at its end, or in trouble.
    pub(super) fn busy(wait: Duration, said: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            wait: Some(wait),
            ..Self::new("temporarily_unavailable", said)
        }
    }

    /// For now: there is too much of this asker.
    pub(super) fn too_many(wait: Duration, said: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status: StatusCode::TOO_MANY_REQUESTS,
            wait: Some(wait),
            ..Self::new("slow_down", said)
        }
    }

    pub(super) fn answer(&self) -> Response<GatewayBody> {
        let value = json!({ "error": self.error, "error_description": self.said });
        let response = answered(self.status, format!("{value}\n"), "application/json");
        match self.wait {
            Some(wait) => with_wait(response, wait),
            None => response,
        }
    }
}

impl From<Fault> for No {
    fn from(fault: Fault) -> Self {
        match fault.retry_after {
            Some(wait) => Self::too_many(wait, fault.message),
            None => Self::busy(SOON, fault.message),
        }
    }
}

pub(super) fn with_wait(
    mut response: Response<GatewayBody>,
    wait: Duration,
) -> Response<GatewayBody> {
    let wait = HeaderValue::from(seconds(wait));
    response.headers_mut().insert(header::RETRY_AFTER, wait);
    response
}

/// Whole seconds, rounded up: who comes back then does not come too early.
pub(super) fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// A page. Its own address may hold a code: no other origin is told it.
pub(super) fn html(status: StatusCode, text: String) -> Response<GatewayBody> {
    let mut response = answered(status, text, "text/html; charset=utf-8");
    let headers = response.headers_mut();
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
        // Not `no-referrer`: browsers would then not name the origin of the form either.
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

pub(super) fn answered(
    status: StatusCode,
    text: String,
    content_type: &'static str,
) -> Response<GatewayBody> {
    let mut response = Response::new(GatewayBody::text(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(header::REFERRER_POLICY, NO_REFERRER);
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    );
    response
}

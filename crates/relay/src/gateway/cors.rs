//! Cross-origin requests, answered by the relay: Ollama would refuse a foreign `Origin`, so it never sees one.
//!
//! Invariant: an origin that is not configured gets no permission, and a permission never includes cookies, which
//! authorise nothing here anyway (Fetch standard, CORS protocol).

use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request};

use crate::gateway::{
    body::GatewayBody,
    headers::ALLOW,
    present::{Field, Present},
};

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
const EXPOSED: HeaderValue = HeaderValue::from_static("x-request-id, x-c2l-device, retry-after");
const DAY: HeaderValue = HeaderValue::from_static("86400");

/// What the origin of one request may do.
#[derive(Debug)]
pub(crate) struct Grant {
    has_origin: bool,
    allowed: Option<HeaderValue>,
}

impl Grant {
    pub(crate) fn for_request(
        allowed: &[HeaderValue],
        headers: &HeaderMap,
        present: Present,
    ) -> Self {
        if !present.has(Field::OfBrowser) {
            return Self::none();
        }
        let origin = headers.get(header::ORIGIN);
        Self {
            has_origin: origin.is_some(),
            allowed: origin.filter(|origin| allowed.contains(origin)).cloned(),
        }
    }

    /// Nothing, whatever is configured.
    pub(crate) fn none() -> Self {
        Self {
            has_origin: false,
            allowed: None,
        }
    }

    /// Says on any answer what the origin may read of it.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        if self.has_origin {
            headers.append(header::VARY, HeaderValue::from_name(header::ORIGIN));
        }
        if let Some(origin) = &self.allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }

    /// Answers `OPTIONS`, preflight or not; it is never forwarded.
    pub(crate) fn answer_options(&self, head: &request::Parts) -> Response<GatewayBody> {
        let mut response = Response::new(GatewayBody::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(header::ALLOW, ALLOW);
        if self.allowed.is_some() {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, DAY);
            // The credential is what authorises; which fields come along is the client's affair.
            if let Some(asked) = head.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
                headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
            }
        }
        response
    }
}

//! The page's files, with what a browser has to know of each.
//!
//! Invariant (WEB-04): the document may run nothing but our own files, load nothing from elsewhere and stand in nobody's frame.

use c2l_tunnel::Fault;
use c2l_web::{Asset, Coding};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request};

use super::{unknown, wrong_method};
use crate::gateway::{
    body::GatewayBody,
    headers::{NO_REFERRER, NOSNIFF},
    rest,
    route::{Place, Route},
};

const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; \
     connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'",
);
/// There is no word for "everything else": what a browser has today is named.
const PERMISSIONS: HeaderValue = HeaderValue::from_static(
    "accelerometer=(), autoplay=(), browsing-topics=(), camera=(), \
     clipboard-read=(), clipboard-write=(self), display-capture=(), encrypted-media=(), fullscreen=(), gamepad=(), \
     geolocation=(), gyroscope=(), hid=(), identity-credentials-get=(), idle-detection=(), local-fonts=(), magnetometer=(), \
     microphone=(), midi=(), otp-credentials=(), payment=(), picture-in-picture=(), publickey-credentials-create=(), \
     publickey-credentials-get=(), screen-wake-lock=(), serial=(), storage-access=(), usb=(), \
     window-management=(), xr-spatial-tracking=()",
);
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");
/// Files whose names change with their content.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Everything else: kept, and asked about each time.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");

/// `/` is another thing to who shows pages.
const DOCUMENT_VARIES: &str = "accept, accept-encoding";

/// Whether whoever asks shows pages. A program that looks whether something answers does not.
pub(crate) fn wants_html(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter();
    let mut items = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    items.any(|item| {
        let essence = item.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("text/html")
    })
}

/// The page, or one of its files. Whoever shows no pages gets a text at `/`.
///
/// # Errors
/// `RouteUnknown`, `MethodNotAllowed`.
pub(crate) fn answer(route: &Route, head: &request::Parts) -> Result<Response<GatewayBody>, Fault> {
    if route.place == Place::File || wants_html(&head.headers) {
        return file(&route.path, head);
    }
    let mut response = rest::page(head)?;
    let varies = HeaderValue::from_static(DOCUMENT_VARIES);
    response.headers_mut().insert(header::VARY, varies);
    Ok(response)
}

fn file(path: &str, head: &request::Parts) -> Result<Response<GatewayBody>, Fault> {
    let accepted = head.headers.get_all(header::ACCEPT_ENCODING).iter();
    let accepted: Vec<&str> = accepted.filter_map(|value| value.to_str().ok()).collect();
    let asset = c2l_web::find(path, &accepted.join(",")).ok_or_else(unknown)?;
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return Err(wrong_method());
    }
    Ok(found(&asset, path == "/", &head.headers))
}

fn found(asset: &Asset, is_document: bool, asked: &HeaderMap) -> Response<GatewayBody> {
    let etag = asset.etag();
    let is_known = names(asked, &etag);
    let mut response = Response::new(match is_known {
        true => GatewayBody::empty(),
        false => GatewayBody::fixed(asset.bytes),
    });
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    if !is_known {
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(asset.content_type),
        );
        if asset.coding != Coding::Plain {
            let coding = HeaderValue::from_static(asset.coding.as_str());
            headers.insert(header::CONTENT_ENCODING, coding);
        }
    }
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    let kept = if asset.is_immutable {
        FOR_EVER
    } else {
        ASK_AGAIN
    };
    let varies = if is_document {
        DOCUMENT_VARIES
    } else {
        "accept-encoding"
    };
    for (name, value) in [
        (header::CACHE_CONTROL, kept),
        (header::VARY, HeaderValue::from_static(varies)),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, NOSNIFF),
        (header::REFERRER_POLICY, NO_REFERRER),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (
            header::HeaderName::from_static("cross-origin-opener-policy"),
            SAME_ORIGIN,
        ),
        (
            header::HeaderName::from_static("cross-origin-resource-policy"),
            SAME_ORIGIN,
        ),
        (
            header::HeaderName::from_static("permissions-policy"),
            PERMISSIONS,
        ),
    ] {
        headers.insert(name, value);
    }
    response
}

/// Whether the asker has this very form already (RFC 9110 §13.1.2).
fn names(asked: &HeaderMap, etag: &str) -> bool {
    let values = asked.get_all(header::IF_NONE_MATCH).iter();
    let mut tags = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

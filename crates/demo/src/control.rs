//! The side listener: what was seen, as JSON, for tests that are not written in Rust.
//!
//! `GET /counters`, `GET /requests`, `POST /reset`. It has no checks of any kind: bind it to loopback.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;

use crate::Demo;
use crate::json::{Go, Raw, base64, json, written};
use crate::recorder::RecordedRequest;

pub(crate) fn answer<B>(demo: &Demo, request: &Request<B>) -> Response<Full<Bytes>> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/counters") => (StatusCode::OK, counters(demo)),
        (&Method::GET, "/requests") => (StatusCode::OK, requests(&demo.recorded())),
        (&Method::POST, "/reset") => {
            demo.reset();
            (StatusCode::OK, counters(demo))
        }
        _ => (
            StatusCode::NOT_FOUND,
            Bytes::from_static(b"{\"error\":\"GET /counters, GET /requests, POST /reset\"}"),
        ),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn counters(demo: &Demo) -> Bytes {
    // A struct of numbers always serializes.
    serde_json::to_vec(&demo.counters())
        .unwrap_or_default()
        .into()
}

fn requests(requests: &[RecordedRequest]) -> Bytes {
    written(|out| {
        out.extend_from_slice(b"{\"requests\":");
        requests.write(out);
        out.extend_from_slice(b"}");
    })
}

impl Go for RecordedRequest {
    fn write(&self, out: &mut BytesMut) {
        let headers: Vec<Pair<'_>> = self
            .headers
            .iter()
            .map(|(name, value)| Pair(name, String::from_utf8_lossy(value).into_owned()))
            .collect();
        let text = self
            .body
            .as_ref()
            .map(|body| String::from_utf8_lossy(body).into_owned());
        let exact = self.body.as_ref().map(|body| base64(body));
        let ended = serde_json::to_vec(&self.ended).unwrap_or_default();
        let status = self.status.map(u64::from);
        json!(out, {
            "number": (self.number), "connection": (self.connection), "method": (self.method), "target": (self.target), "headers": headers,
            "body_bytes": (self.body_bytes), "body_complete": (self.body_complete), "body": text, "body_base64": exact,
            "status": status, "lines": (self.lines), "ended": (Raw(&ended)),
        });
    }
}

struct Pair<'a>(&'a str, String);

impl Go for Pair<'_> {
    fn write(&self, out: &mut BytesMut) {
        json!(out, [(self.0), (self.1)]);
    }
}

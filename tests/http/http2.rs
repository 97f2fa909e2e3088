//! HTTP-17 and HTTP-18: what is malformed in HTTP/2 ends its stream, and nothing beside it.

use bytes::Bytes;
use c2l_testkit::empty;
use http::{HeaderName, HeaderValue, Method};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};

use super::{
    Loop,
    frames::{Frames, Outcome, PROTOCOL_ERROR},
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

const CHAT: &str = r#"{"model":"tiny+lines=1","messages":[{"role":"user","content":"x"}]}"#;

/// The fields of a good request.
struct Good {
    authority: String,
    authorization: String,
}

impl Good {
    fn of(here: &Loop) -> Self {
        Self {
            authority: here.relay.address().to_string(),
            authorization: format!("Bearer {}", here.token),
        }
    }

    fn fields<'a>(&'a self, method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
        vec![
            (":method", method),
            (":scheme", "http"),
            (":path", path),
            (":authority", &self.authority),
            ("authorization", &self.authorization),
        ]
    }
}

#[tokio::test]
async fn http_17_a_malformed_head_ends_its_stream_and_no_other() {
    let here = Loop::start().await;
    let good = Good::of(&here);
    let authorization = ("authorization", good.authorization.as_str());
    let method = (":method", "GET");
    let scheme = (":scheme", "http");
    let path = (":path", "/api/tags");
    let authority = (":authority", good.authority.as_str());
    let whole = good.fields("GET", "/api/tags");
    let with = |more: (&'static str, &'static str)| {
        let mut fields = whole.clone();
        fields.push(more);
        fields
    };
    let reset = Outcome::Reset(PROTOCOL_ERROR);
    let refused = Outcome::Status(400);
    for (fields, expected, what) in [
        (
            vec![method, scheme, authority, authorization],
            reset,
            "no path",
        ),
        (
            vec![method, method, scheme, path, authority, authorization],
            reset,
            "two methods",
        ),
        (
            vec![method, scheme, path, path, authority, authorization],
            reset,
            "two paths",
        ),
        (
            vec![method, scheme, path, authorization, authority],
            reset,
            "a pseudo field after a regular one",
        ),
        (with((":status", "200")), reset, "a field of answers"),
        (with(("connection", "close")), reset, "connection"),
        (with(("transfer-encoding", "chunked")), reset, "a coding"),
        (with(("keep-alive", "1")), reset, "keep-alive"),
        (with(("te", "gzip")), reset, "te other than trailers"),
        (with(("host", "other.example")), refused, "another host"),
        (
            vec![method, scheme, path, authorization],
            refused,
            "no authority",
        ),
        (
            vec![(":method", "CONNECT"), authority, authorization],
            Outcome::Status(405),
            "a tunnel",
        ),
        (
            good.fields("TRACE", "/api/tags"),
            Outcome::Status(405),
            "a method that is not forwarded",
        ),
        (
            good.fields("GET", "/api/%2e%2e/x"),
            refused,
            "a dot segment",
        ),
        (
            vec![
                method,
                scheme,
                (":path", "api/tags"),
                authority,
                authorization,
            ],
            reset,
            "a path without a slash",
        ),
        (
            vec![method, scheme, (":path", ""), authority, authorization],
            reset,
            "an empty path",
        ),
    ] {
        let mut frames = Frames::open(here.relay.address()).await;
        // One stream is under way the whole time.
        frames
            .head(1, &good.fields("POST", "/api/chat"), false)
            .await;
        frames.head(3, &fields, true).await;
        assert_eq!(frames.outcome(3).await, expected, "{what}");
        frames.data(1, CHAT.as_bytes(), true).await;
        assert_eq!(frames.outcome(1).await, Outcome::Status(200), "{what}");
        frames.head(5, &whole, true).await;
        assert_eq!(frames.outcome(5).await, Outcome::Status(200), "{what}");
        assert_eq!(here.targets(), ["/api/chat", "/api/tags"], "{what}");
        here.upstream.demo.reset();
    }
}

#[tokio::test]
async fn http_17_a_name_that_cannot_be_decoded_ends_its_connection() {
    let here = Loop::start().await;
    let good = Good::of(&here);
    // The HTTP library takes both for a broken compression state, which is the whole connection's (RFC 9113 §5.4.2
    // permits that). What was under way on it is given up, and not completed.
    for (name, what) in [(":unknown", "a pseudo field"), ("X-Upper", "upper case")] {
        let mut frames = Frames::open(here.relay.address()).await;
        let mut fields = good.fields("GET", "/api/tags");
        fields.push((name, "1"));
        frames
            .head(1, &good.fields("POST", "/api/chat"), false)
            .await;
        frames.data(1, b"{\"mo", false).await;
        let began = here.upstream.wait_for(what, |c| c.bytes_received == 4);
        began.await;
        frames.head(3, &fields, true).await;
        let outcome = frames.outcome(3).await;
        assert_eq!(outcome, Outcome::GoneAway(PROTOCOL_ERROR), "{what}");
        let ended = here.upstream.wait_for(what, |c| c.requests_finished == 1);
        ended.await;
        let recorded = here.upstream.demo.recorded();
        assert_eq!(here.targets(), ["/api/chat"], "{what}");
        assert!(!recorded[0].body_complete, "{what}");
        here.upstream.demo.reset();
    }
}

#[tokio::test]
async fn http_18_a_body_that_is_not_as_long_as_announced_is_aborted() {
    let here = Loop::start().await;
    let good = Good::of(&here);
    for (bodies, what) in [
        (&[&b"{\"mo"[..], b""][..], "4 of 10 bytes"),
        (&[&b"{\"mo"[..], b"0123456789012345"][..], "20 of 10 bytes"),
    ] {
        let mut frames = Frames::open(here.relay.address()).await;
        let mut fields = good.fields("POST", "/api/chat");
        fields.push(("content-length", "10"));
        frames.head(1, &fields, false).await;
        frames.data(1, bodies[0], false).await;
        let began = here.upstream.wait_for(what, |c| c.bytes_received == 4);
        began.await;
        frames.data(1, bodies[1], true).await;
        let outcome = frames.outcome(1).await;
        assert_eq!(outcome, Outcome::Reset(PROTOCOL_ERROR), "{what}");
        let ended = here.upstream.wait_for(what, |c| c.requests_finished == 1);
        ended.await;
        let recorded = here.upstream.demo.recorded();
        assert_eq!(recorded.len(), 1, "{what}");
        assert!(!recorded[0].body_complete, "{what}");
        assert_eq!(recorded[0].body_bytes, 4, "{what}");
        here.upstream.demo.reset();
        // The connection lives.
        let tags = good.fields("GET", "/api/tags");
        frames.head(3, &tags, true).await;
        assert_eq!(frames.outcome(3).await, Outcome::Status(200), "{what}");
        here.upstream.demo.reset();
    }
}

#[tokio::test]
async fn http_18_two_lengths_are_refused() {
    let here = Loop::start().await;
    let good = Good::of(&here);
    let reset = Outcome::Reset(PROTOCOL_ERROR);
    for (lengths, expected, what) in [
        (["2", "3"], reset, "different"),
        (["3", "2"], reset, "different"),
        (["2", "2"], Outcome::Status(400), "equal"),
    ] {
        let mut frames = Frames::open(here.relay.address()).await;
        let mut fields = good.fields("POST", "/api/chat");
        fields.extend(lengths.map(|length| ("content-length", length)));
        frames.head(1, &fields, false).await;
        frames.data(1, b"{}", true).await;
        assert_eq!(frames.outcome(1).await, expected, "{what} {lengths:?}");
        here.is_untouched(what).await;
    }
}

#[tokio::test]
async fn http_07_over_http2_a_head_that_is_too_large_is_refused_and_hurts_nobody() {
    let here = Loop::start().await;
    let caller = here.caller.clone().over_http2();
    let mut running = here.caller.chat("tiny+silent=1", "x").await;
    assert!(running.piece().await.is_ok(), "the first line");
    here.upstream.demo.reset();
    // The HTTP library counts bytes; how many fields there are is a limit of the tunnel, and a plain 400.
    for (count, value, status) in [(300, "1".to_owned(), 400), (70, "a".repeat(1000), 431)] {
        let mut request = caller.request(Method::GET, "/api/tags");
        for number in 0..count {
            request = request.header(format!("x-{number}"), value.as_str());
        }
        let answer = caller.send(request.body(empty()).unwrap()).await;
        assert_eq!(answer.status(), status);
        here.is_untouched("a head that is too large").await;
    }
    let trailers = (0..300).map(|number| {
        let name: HeaderName = format!("x-{number}").parse().unwrap();
        (name, HeaderValue::from_static("1"))
    });
    let frames = [
        Frame::data(Bytes::from_static(CHAT.as_bytes())),
        Frame::trailers(trailers.collect()),
    ];
    let body = StreamBody::new(tokio_stream::iter(frames.map(Ok::<_, BoxError>))).boxed();
    let request = caller
        .request(Method::POST, "/api/chat")
        .body(body)
        .unwrap();
    assert_eq!(caller.send(request).await.status(), 400, "300 trailers");
    // One session carries them all, and still does.
    assert_eq!(here.upstream.demo.counters().callers_left, 0);
    drop(running);
}

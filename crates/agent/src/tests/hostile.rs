//! A relay that says whatever it likes: with every scope and every model on its lips it gets no further than the owner
//! of the machine allows. `JWT-09`, at the agent.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use c2l_tunnel::{Fault, Frame, Kind, Origin, RequestHead, Scopes, StreamId};
use http::{HeaderMap, HeaderValue, Method, header};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{Held, Relay, Running};

/// Answers each whole request and remembers it; what ends in the middle it forgets.
struct Upstream {
    whole: Arc<Mutex<Vec<String>>>,
    address: String,
    _task: tokio_util::task::AbortOnDropHandle<()>,
}

impl Upstream {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let whole = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&whole);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, Arc::clone(&seen)));
            }
        });
        Self {
            whole,
            address,
            _task: tokio_util::task::AbortOnDropHandle::new(task),
        }
    }

    fn whole(&self) -> Vec<String> {
        self.whole.lock().unwrap().clone()
    }
}

async fn answer(mut stream: TcpStream, whole: Arc<Mutex<Vec<String>>>) {
    let mut read = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut read).await {
        // Every body of these tests is chunked.
        if read.ends_with(b"\r\n0\r\n\r\n") {
            let text = String::from_utf8(std::mem::take(&mut read)).unwrap();
            whole.lock().unwrap().push(text);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    }
}

/// A request that the relay vouches for.
struct Asked {
    head: RequestHead,
    body: &'static str,
}

fn asked(method: Method, path: &str, body: &'static str) -> Asked {
    let head = RequestHead {
        method,
        target: path.parse().unwrap(),
        headers: HeaderMap::new(),
        is_whole: false,
        expects_continue: false,
        request_id: "r-1".to_owned(),
        scopes: Scopes {
            infer: true,
            manage: true,
        },
        models: Vec::new(),
    };
    Asked { head, body }
}

fn chat(body: &'static str) -> Asked {
    asked(Method::POST, "/api/chat", body)
}

impl Asked {
    fn of_models(mut self, models: &[&str]) -> Self {
        self.head.models = models.iter().map(|text| (*text).to_owned()).collect();
        self
    }

    fn empty(mut self) -> Self {
        let length = HeaderValue::from_static("0");
        self.head.headers.insert(header::CONTENT_LENGTH, length);
        self
    }

    fn encoded(mut self) -> Self {
        let coding = HeaderValue::from_static("zstd");
        self.head.headers.insert(header::CONTENT_ENCODING, coding);
        self
    }
}

/// Asks on a stream of its own, the body in pieces of this many bytes, and hears how it ends.
async fn ask(held: &mut Held, number: u64, asked: Asked, piece_bytes: usize) -> Result<(), Fault> {
    let id = StreamId::new(number).unwrap();
    let head = Frame::RequestHead(Box::new(asked.head));
    let pieces = asked.body.as_bytes().chunks(piece_bytes);
    let pieces = pieces.map(|piece| Frame::Body(Bytes::from_static(piece)));
    for frame in std::iter::once(head)
        .chain(pieces)
        .chain([Frame::End(HeaderMap::new())])
    {
        held.send_on(id, frame).await;
    }
    loop {
        let said = held.next().await.expect("the session lives");
        for (of, frame) in said.frames {
            match frame {
                Frame::Reset(fault) if of == id => return Err(fault),
                Frame::End(_) if of == id => return Ok(()),
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn jwt_09_a_hostile_relay_cannot_exceed_what_the_owner_allows() {
    let upstream = Upstream::start().await;
    let mut relay = Relay::start().await;
    let mut config = relay.config();
    config.upstream = upstream.address.parse().unwrap();
    config.policy.allow_models = vec!["tiny*".to_owned(), "gpt-oss*".to_owned()];
    config.policy.deny_routes = vec!["/api/generate".to_owned()];
    let mut agent = Running::start(config);
    let mut held = relay.session("s-1").await;
    agent.until_open("s-1").await;

    let (forbidden, invalid) = (Kind::Forbidden, Kind::InvalidRequest);
    let tiny = r#"{"model":"tiny"}"#;
    let mut number = 0;
    for piece_bytes in [1, 7, 1000] {
        for (asked, kind, origin) in [
            // what changes the machine, acts as its owner, or is nobody's business
            (
                asked(Method::POST, "/api/pull", tiny),
                forbidden,
                Origin::Agent,
            ),
            (
                asked(Method::DELETE, "/api/delete", tiny),
                forbidden,
                Origin::Agent,
            ),
            (
                asked(Method::POST, "/api/me", "{}"),
                forbidden,
                Origin::Agent,
            ),
            (
                asked(Method::POST, "/debug/pprof", "{}"),
                Kind::RouteUnknown,
                Origin::Caller,
            ),
            (
                asked(Method::POST, "/api/generate", tiny),
                forbidden,
                Origin::Agent,
            ),
            // models that are not allowed, however they are spelled
            (
                chat(r#"{"model":"gpt-oss:120b-cloud"}"#),
                forbidden,
                Origin::Agent,
            ),
            (
                chat(r#"{"model":"gpt-oss:120b:cloud"}"#),
                forbidden,
                Origin::Agent,
            ),
            (
                chat(r#"{"messages":[],"MODEL":"SECRET"}"#),
                forbidden,
                Origin::Agent,
            ),
            (
                chat(r#"{"\u006dodel":"secr\u0065t"}"#),
                forbidden,
                Origin::Agent,
            ),
            (chat(r#"{"model":"bob/tiny"}"#), forbidden, Origin::Agent),
            (chat(r#"{"model":"tiny secret"}"#), forbidden, Origin::Agent),
            (
                asked(Method::GET, "/v1/models/%73ecret", ""),
                forbidden,
                Origin::Agent,
            ),
            (chat("{}"), forbidden, Origin::Agent),
            // what somebody else could read otherwise
            (
                chat(r#"{"model":"tiny","model":"secret"}"#),
                invalid,
                Origin::Caller,
            ),
            (
                chat(r#"{"model":"tiny"}{"model":"secret"}"#),
                invalid,
                Origin::Caller,
            ),
            (chat(r#"[{"model":"secret"}]"#), invalid, Origin::Caller),
            (chat(r#"{"model":["secret"]}"#), invalid, Origin::Caller),
            (chat(tiny).encoded(), invalid, Origin::Caller),
            (chat("").empty(), invalid, Origin::Caller),
            (chat(""), invalid, Origin::Caller),
            (chat(r#"{"model":"tiny""#), invalid, Origin::Caller),
            // what the credential is for narrows, and never widens
            (chat(tiny).of_models(&["other"]), forbidden, Origin::Caller),
            (
                chat(r#"{"model":"secret"}"#).of_models(&["*"]),
                forbidden,
                Origin::Agent,
            ),
        ] {
            number += 1;
            let what = format!("{} {} {}", asked.head.method, asked.head.target, asked.body);
            let fault = ask(&mut held, number, asked, piece_bytes).await;
            let fault = fault.expect_err(&what);
            assert_eq!(
                (fault.kind, fault.origin),
                (kind, origin),
                "{what}: {fault:?}"
            );
            assert!(fault.is_retry_safe, "nothing was done: {what}");
        }
    }
    assert_eq!(
        upstream.whole(),
        [""; 0],
        "nothing whole has reached the upstream"
    );
    number += 1;
    let allowed = chat(r#"{"messages":[{"content":"{}"}],"model":"Tiny:1b"}"#);
    let allowed = allowed.of_models(&["tiny:*"]);
    ask(&mut held, number, allowed, 3).await.expect("allowed");
    let seen = upstream.whole();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].starts_with("POST /api/chat "), "{seen:?}");
    agent.leave_from(held).await;
}

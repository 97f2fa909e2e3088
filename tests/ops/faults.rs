//! What operators see: their own port, panics, and a relay that leaves.

use c2l_testkit::{
    Caller, PATIENCE, RawConnection, RequestBody, TestRelay, empty, eventually, within,
};
use http::{Method, Request};
use http_body_util::BodyExt as _;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{loop_of, metric};

#[tokio::test]
async fn ops_03_operators_pages_are_on_their_own_port_alone() {
    let (relay, _agent, upstream, caller) = loop_of().await;
    let pages = ["/metrics", "/livez", "/readyz"];
    let others = [
        "/healthz",
        "/health",
        "/debug/pprof",
        "/debug/vars",
        "/status",
        "/admin",
        "/.env",
    ];
    for path in pages.iter().chain(&others) {
        for caller in [&caller, &Caller::anonymous(relay.address())] {
            let answer = caller.get(path).await;
            assert_eq!(answer.status(), 404, "{path}");
            assert_eq!(answer.json().await["code"], "route_unknown", "{path}");
        }
        let below = format!("/k/{}{path}", relay.api_token("ada"));
        assert_eq!(caller.get(&below).await.status(), 404, "{below}");
    }
    let operator = Caller::anonymous(relay.ops_address());
    for path in pages {
        assert_eq!(operator.get(path).await.status(), 200, "{path}");
    }
    let token = Caller::new(relay.ops_address(), relay.api_token("ada"));
    for path in ["/", "/api/tags", "/relay/v1/devices", "/debug/pprof"] {
        assert_eq!(token.get(path).await.status(), 404, "{path}");
    }
    assert_eq!(upstream.demo.counters().requests_started, 0);
}

#[tokio::test]
async fn web_07_a_foreign_host_learns_nothing_on_the_operators_port() {
    let (relay, ..) = loop_of().await;
    let port = relay.ops_address().port();
    for (host, status) in [
        ("evil.example".to_owned(), 421),
        (format!("evil.example:{port}"), 421),
        (format!("localhost:{port}"), 200),
        (relay.ops_address().to_string(), 200),
    ] {
        for path in ["/livez", "/readyz", "/metrics"] {
            let mut connection = RawConnection::open(relay.ops_address()).await;
            let fields = format!("host: {host}\r\nconnection: close");
            connection
                .send(format!("GET {path} HTTP/1.1\r\n{fields}\r\n\r\n"))
                .await;
            let answer = connection.head(true).await;
            assert_eq!(answer.status, status, "{host} {path}");
            let body = String::from_utf8(connection.rest().await.to_vec()).expect("text");
            assert_eq!(
                body.contains("c2l_"),
                status == 200 && path == "/metrics",
                "{body}"
            );
        }
    }
}

#[tokio::test]
async fn ops_03_metrics_count_and_name_nobody() {
    let (relay, _agent, _upstream, caller) = loop_of().await;
    for _ in 0..3 {
        caller.chat("tiny+lines=2", "hello").await.text().await;
    }
    let refused = Caller::new(relay.address(), "x").get("/api/tags").await;
    assert_eq!(refused.status(), 401);
    drop(refused);
    let ops = relay.ops_address();
    let whole = || async { (metric(ops, "c2l_exchanges_whole_total").await == 3).then_some(()) };
    eventually(PATIENCE, "three are counted", whole).await;
    let failed = "c2l_exchanges_failed_total{kind=\"unauthenticated\"}";
    assert_eq!(metric(ops, failed).await, 1);
    assert_eq!(metric(ops, "c2l_sessions").await, 1);
    assert_eq!(metric(ops, "c2l_requests_active").await, 0);
    let page = Caller::anonymous(ops).get("/metrics").await.text().await;
    for name in ["ada", "laptop", "tiny", "/api"] {
        assert!(!page.contains(name), "{name} in\n{page}");
    }
}

#[tokio::test]
async fn ops_08_a_panic_is_one_callers_500_on_http1() {
    let (relay, _agent, _upstream, caller) = loop_of().await;
    let token = relay.api_token("ada");
    let mut connection = RawConnection::open(relay.address()).await;
    let get = |path: &str, more: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n{more}\r\n")
    };
    for (path, is_openai) in [("/api/tags", false), ("/v1/models", true)] {
        let panicking = get(path, "x-c2l-test-panic: 1\r\nx-request-id: mine\r\n");
        connection.send(panicking).await;
        let answer = connection.head(true).await;
        assert_eq!(answer.status, 500);
        assert!(
            answer.head.contains("x-request-id: mine"),
            "{}",
            answer.head
        );
        let body = connection.read_until(b"}").await.expect("a body");
        let body = String::from_utf8_lossy(&body).into_owned();
        assert!(body.contains("internal") || is_openai, "{body}");
        for told in ["panicked", "test hook", ".rs", "backtrace"] {
            assert!(!body.contains(told), "{body}");
        }
        if is_openai {
            connection.read_until(b"}").await.expect("the rest");
        }
    }
    // The connection lives, and so does everything else.
    connection.send(get("/api/version", "")).await;
    assert_eq!(connection.head(true).await.status, 200);
    assert_eq!(caller.get("/api/tags").await.status(), 200);
    let ops = relay.ops_address();
    assert_eq!(metric(ops, "c2l_panics_total").await, 2);
    let internal = "c2l_exchanges_failed_total{kind=\"internal\"}";
    assert_eq!(
        metric(ops, internal).await,
        2,
        "they are counted as what they are"
    );
}

#[tokio::test]
async fn ops_08_a_panic_leaves_the_other_streams_of_an_http2_connection_alone() {
    let (relay, _agent, _upstream, caller) = loop_of().await;
    let stream = TcpStream::connect(relay.address())
        .await
        .expect("a connection");
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let at = |mut request: Request<RequestBody>| {
        let url = format!("http://{}{}", relay.address(), request.uri());
        *request.uri_mut() = url.parse().expect("a URL");
        request
    };
    let chat = serde_json::json!({ "model": "tiny+lines=50+gap=2ms", "messages": [{ "role": "user", "content": "hello" }] });
    let running = sender
        .send_request(at(caller.json("/api/chat", &chat)))
        .await;
    let running = running.expect("an answer");
    for _ in 0..5 {
        let request = caller
            .request(Method::GET, "/api/tags")
            .header("x-c2l-test-panic", "1")
            .body(empty());
        let request = at(request.expect("a request"));
        let answer = sender.send_request(request).await.expect("an answer");
        assert_eq!(answer.status(), 500);
        assert!(answer.headers().contains_key("x-request-id"));
    }
    let rest = within(PATIENCE, "the answer beside", running.into_body().collect()).await;
    assert!(rest.expect("whole").to_bytes().ends_with(b"}\n"));
    connection.abort();
}

#[tokio::test]
async fn ops_09_a_relay_that_leaves_says_so_everywhere_and_finishes() {
    let (mut relay, mut agent, _upstream, caller) = loop_of().await;
    let operator = Caller::anonymous(relay.ops_address());
    let mut running = caller.chat("tiny+lines=800+gap=5ms", "go on").await;
    assert!(running.piece().await.expect("not torn").is_some());
    let channel = tonic::transport::Channel::from_shared(format!("http://{}", relay.address()))
        .expect("a URL");
    let channel = channel.connect().await.expect("a connection");
    let mut health = HealthClient::new(channel);
    let ask = |service: &str| HealthCheckRequest {
        service: service.to_owned(),
    };
    let mut watch = health.watch(ask("")).await.expect("a watch").into_inner();
    let first = watch.message().await.expect("a status").expect("one");
    assert_eq!(first.status(), ServingStatus::Serving);

    relay.begin_shutdown();
    let next = within(PATIENCE, "health changes", watch.message()).await;
    let next = next.expect("a status").expect("one");
    assert_eq!(next.status(), ServingStatus::NotServing);
    let answer = health.check(ask("c2l.tunnel.v1.TunnelService")).await;
    let answer = answer.expect("an answer").into_inner();
    assert_eq!(answer.status(), ServingStatus::NotServing);
    assert_eq!(operator.get("/readyz").await.status(), 503);
    assert_eq!(operator.get("/livez").await.status(), 200);
    let refused = caller.get("/api/tags").await;
    assert_eq!(refused.status(), 503);
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(refused.json().await["code"], "draining");

    let (body, is_whole) = running.rest().await;
    assert!(is_whole, "what ran before is finished");
    assert!(body.ends_with(b"}\n"));
    relay.stopped().await;
    agent.begin_shutdown();
    agent.ended().await.expect("a clean end");
    let gone = TcpStream::connect(relay.address()).await;
    assert!(gone.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn ops_09_a_relay_with_nothing_to_finish_is_gone_at_once() {
    let relay = TestRelay::start().await;
    within(PATIENCE / 2, "the relay ends", relay.shut_down()).await;
}

//! Callers who leave: whatever they had asked for ends at the upstream at once, and nothing of it stays.

use std::{fs, net::SocketAddr, time::Duration};

use bytes::Bytes;
use c2l_testkit::{
    Caller, PATIENCE, PlayedUpstream, TestAgent, TestRelay, empty, eventually, upload, within,
};
use http::Method;
use tokio::time::Instant;

use super::{begun_chat, simple_chat};

/// What must hold. What was measured is printed beside.
const LIMIT: Duration = Duration::from_secs(1);

struct Chain {
    relay: TestRelay,
    upstream: PlayedUpstream,
    callers: [(&'static str, Caller); 2],
    _agent: TestAgent,
}

impl Chain {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut c2l_relay::Config)) -> Self {
        let upstream = PlayedUpstream::start().await;
        let relay = TestRelay::start_with(change).await;
        let agent = TestAgent::connect_unjudging(&relay, "ada", upstream.address()).await;
        let caller = Caller::new(relay.address(), relay.api_token("ada"));
        let callers = [
            ("HTTP/1.1", caller.clone()),
            ("HTTP/2", caller.over_http2()),
        ];
        Self {
            relay,
            upstream,
            callers,
            _agent: agent,
        }
    }

    /// Waits until the relay counts no request any more.
    async fn is_idle(&self) {
        let ops = Caller::anonymous(self.relay.ops_address());
        eventually(PATIENCE, "no request under way", || async {
            let page = ops.get("/metrics").await.text().await;
            page.contains("\nc2l_requests_active 0\n").then_some(())
        })
        .await;
    }
}

/// Whether a connection is established toward this address. A side that has closed is not, whatever the other still has
/// to read.
fn is_established(to: SocketAddr) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").expect("the system's table of connections");
    let remote = format!("0100007F:{:04X}", to.port());
    table.lines().any(|row| {
        let mut columns = row.split_whitespace().skip(2);
        columns.next() == Some(&remote) && columns.next() == Some("01")
    })
}

#[tokio::test]
async fn tun_12_a_caller_who_leaves_before_the_head_ends_the_request_at_the_upstream() {
    let chain = Chain::start().await;
    for (name, caller) in &chain.callers {
        let asking = tokio::spawn({
            let caller = caller.clone();
            async move { simple_chat(&caller).await }
        });
        let (_head, connection) = chain.upstream.request().await;
        let began = Instant::now();
        asking.abort();
        connection.closed(LIMIT).await;
        println!(
            "left before the head over {name}: upstream closed after {:?}",
            began.elapsed()
        );
        chain.is_idle().await;
    }
}

#[tokio::test]
async fn tun_12_a_caller_who_leaves_in_mid_answer_ends_the_request_at_the_upstream() {
    let chain = Chain::start().await;
    for (name, caller) in &chain.callers {
        let (connection, answer) = begun_chat(caller, &chain.upstream, 5).await;
        let began = Instant::now();
        drop(answer);
        connection.closed(LIMIT).await;
        println!(
            "left in mid-answer over {name}: upstream closed after {:?}",
            began.elapsed()
        );
        chain.is_idle().await;
    }
}

#[tokio::test]
async fn tun_12_a_caller_who_leaves_in_mid_upload_ends_the_request_at_the_upstream() {
    let chain = Chain::start().await;
    for (name, caller) in &chain.callers {
        let (pieces, body) = upload();
        let request = caller.request(Method::POST, "/api/generate");
        let request = request.body(body).expect("a request");
        let asking = tokio::spawn({
            let caller = caller.clone();
            async move { caller.try_send(request).await }
        });
        let (_head, mut connection) = chain.upstream.request().await;
        for _ in 0..5 {
            pieces
                .send(Bytes::from_static(b"piece"))
                .await
                .expect("a caller who sends");
            assert_eq!(
                connection.chunk().await.expect("no tear"),
                Some("piece".into())
            );
        }
        let began = Instant::now();
        asking.abort();
        let last = connection.closed(LIMIT).await;
        println!(
            "left in mid-upload over {name}: upstream closed after {:?}",
            began.elapsed()
        );
        assert_eq!(last, "", "{name}: the upload must not look whole");
        chain.is_idle().await;
    }
}

/// Begins an upload to an upstream that does not read, fills every buffer on the way, and lets the caller leave. Says how
/// long the agent went on holding its connection to the upstream after that.
async fn leave_a_stalled_upload(chain: &Chain, caller: Caller, limit: Duration) -> Duration {
    let (pieces, body) = upload();
    let request = caller.request(Method::POST, "/api/generate");
    let request = request.body(body).expect("a request");
    let asking = tokio::spawn(async move { caller.try_send(request).await });
    let (_head, connection) = chain.upstream.request().await;
    // Every buffer on the way is full once a piece is not taken for a while.
    let piece = Bytes::from(vec![7; 64 * 1024]);
    let full = Duration::from_millis(200);
    while let Ok(Ok(())) = tokio::time::timeout(full, pieces.send(piece.clone())).await {}
    let address = chain.upstream.address();
    assert!(is_established(address));
    let began = Instant::now();
    asking.abort();
    // The upstream goes on not reading, so it cannot see the end; the agent's side of the connection shows it.
    eventually(limit, "the agent closes its connection", || async {
        // paced: the system's table is long, and to read it again and again would take the time that is measured
        tokio::time::sleep(Duration::from_millis(10)).await;
        (!is_established(address)).then_some(())
    })
    .await;
    let took = began.elapsed();
    let last = connection.closed(PATIENCE).await;
    assert!(
        !last.ends_with(b"\r\n0\r\n\r\n"),
        "the upload must not look whole"
    );
    chain.is_idle().await;
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tun_12_leaving_an_upload_that_the_upstream_does_not_read_ends_it_over_http_2() {
    let chain = Chain::start().await;
    let [_, (name, caller)] = chain.callers.clone();
    let took = leave_a_stalled_upload(&chain, caller, LIMIT).await;
    println!("left a stalled upload over {name}: upstream closed after {took:?}");
}

/// Over HTTP/1.1 the end of a connection stands behind the bytes that nobody reads, in the caller's own kernel: no relay
/// can see it before the upload moves. What ends it is the limit on silence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tun_12_leaving_an_upload_that_the_upstream_does_not_read_ends_it_over_http_1_by_the_limit()
{
    let silence = Duration::from_secs(1);
    let chain = Chain::start_with(|config| config.first_byte_timeout = silence).await;
    let [(name, caller), _] = chain.callers.clone();
    let took = leave_a_stalled_upload(&chain, caller, silence + LIMIT).await;
    println!(
        "left a stalled upload over {name}, limit {silence:?}: upstream closed after {took:?}"
    );
}

#[tokio::test]
async fn tun_12_leaving_one_stream_of_an_http_2_connection_leaves_the_others() {
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let chain = Chain::start().await;
    let address = chain.relay.address();
    let stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let token = chain.relay.api_token("ada");
    let ask = || {
        let request = http::Request::builder()
            .uri(format!("http://{address}/api/tags"))
            .header("authorization", format!("Bearer {token}"))
            .body(empty())
            .expect("a request");
        let mut sender = sender.clone();
        tokio::spawn(async move { sender.send_request(request).await })
    };
    let (leaving, staying) = (ask(), ask());
    let (_head, first) = chain.upstream.request().await;
    let (_head, second) = chain.upstream.request().await;
    // Which of the two came first is anybody's guess: both are told apart by what ends.
    let began = Instant::now();
    leaving.abort();
    let mut ends = tokio::task::JoinSet::new();
    for mut played in [first, second] {
        ends.spawn(async move {
            let gone = played.take(1).await.is_err();
            (gone, played)
        });
    }
    let ended = within(
        LIMIT,
        "the end of the stream that was left",
        ends.join_next(),
    )
    .await;
    let (is_gone, _) = ended.expect("one of two").expect("no panic");
    assert!(is_gone);
    println!(
        "left by a reset of an HTTP/2 stream: upstream closed after {:?}",
        began.elapsed()
    );
    assert!(!staying.is_finished(), "the other stream goes on");
    let metrics = Caller::anonymous(chain.relay.ops_address())
        .get("/metrics")
        .await;
    let page = metrics.text().await;
    assert!(page.contains("\nc2l_requests_active 1\n"), "{page}");
    staying.abort();
    connection.abort();
    drop(sender);
    chain.is_idle().await;
}

//! A torn answer says so in its own format where it has one, and is never ended cleanly.

use c2l_testkit::{Answer, Caller, PATIENCE, PlayedUpstream, RawConnection, within};
use serde_json::{Value, json};

use super::Loop;

/// What came before the tear, and whether the end was a clean one.
async fn torn(mut answer: Answer) -> String {
    assert_eq!(answer.status(), 200);
    let (body, is_whole) = answer.rest().await;
    let text = String::from_utf8(body.to_vec()).expect("text");
    assert!(!is_whole, "a torn answer ended cleanly: {text}");
    text
}

fn assert_is_of_the_upstream(record: &Value, request_id: &str) {
    assert_eq!(record["code"], "upstream_failed", "{record}");
    assert_eq!(record["origin"], "upstream", "{record}");
    assert_eq!(record["request_id"], request_id, "{record}");
}

async fn ask(caller: &Caller, path: &str, model: &str) -> Answer {
    let message = json!({ "role": "user", "content": "hello" });
    let body = json!({ "model": model, "messages": [message], "stream": true, "max_tokens": 100 });
    caller.post(path, &body).await
}

/// How an upstream breaks off in the middle of a body.
#[derive(Clone, Copy, Debug)]
enum Break {
    /// Its connection is reset, as when its process is killed.
    Reset,
    /// Its connection is closed before the end of the body.
    Close,
}

/// Ten events of a stream, then the break, as the caller sees them over HTTP/1.1 and over HTTP/2. The upstream breaks off
/// only when the caller has what came before: a reset may overtake it otherwise, and take it away.
async fn each_torn_stream(path: &str, content_type: &str, check: impl Fn(&str, &str)) {
    let upstream = PlayedUpstream::start().await;
    let ring = Loop::around(upstream.address()).await;
    for (name, caller) in ring.callers() {
        for how in [Break::Reset, Break::Close] {
            let playing = async {
                let (_head, mut connection) = upstream.request().await;
                connection.answer(content_type).await;
                connection
            };
            let (mut connection, mut answer) = tokio::join!(playing, ask(&caller, path, "tiny"));
            for _ in 0..10 {
                let event: &[u8] = match content_type {
                    "application/x-ndjson" => b"{\"done\":false}\n",
                    _ => b"data: {\"done\":false}\n\n",
                };
                connection.send_chunk(event).await;
                let piece = answer.piece().await.expect("no tear").expect("no end");
                assert_eq!(piece, event, "{name}");
            }
            match how {
                Break::Reset => connection.reset(),
                Break::Close => drop(connection),
            }
            let request_id = answer.header("x-request-id").to_owned();
            let rest = torn(answer).await;
            check(&rest, &request_id);
        }
    }
}

#[tokio::test]
async fn a_torn_ndjson_answer_ends_with_an_error_line_and_a_cut() {
    each_torn_stream("/api/chat", "application/x-ndjson", |rest, request_id| {
        let line = rest.strip_suffix('\n').expect("a whole line");
        let record: Value = serde_json::from_str(line).expect("a record");
        assert!(record["error"].is_string(), "{record}");
        assert_is_of_the_upstream(&record, request_id);
    })
    .await;
}

#[tokio::test]
async fn a_torn_openai_stream_ends_with_an_error_event_and_a_cut() {
    let path = "/v1/chat/completions";
    each_torn_stream(path, "text/event-stream", |rest, request_id| {
        let data = rest.strip_prefix("data: ").expect("a data event");
        let data = data.strip_suffix("\n\n").expect("a whole event");
        let record: Value = serde_json::from_str(data).expect("a record");
        assert!(record["error"]["message"].is_string(), "{record}");
        assert_eq!(record["error"]["code"], "upstream_failed");
        assert_is_of_the_upstream(&record, request_id);
    })
    .await;
}

#[tokio::test]
async fn a_torn_anthropic_stream_ends_with_an_error_event_and_a_cut() {
    each_torn_stream("/v1/messages", "text/event-stream", |rest, request_id| {
        let data = rest.strip_prefix("event: error\ndata: ");
        let data = data.and_then(|data| data.strip_suffix("\n\n"));
        let record: Value = serde_json::from_str(data.expect("an error event")).expect("a record");
        assert_eq!(record["type"], "error");
        assert!(record["error"]["message"].is_string(), "{record}");
        assert_is_of_the_upstream(&record, request_id);
    })
    .await;
}

#[tokio::test]
async fn a_torn_answer_in_no_such_format_is_only_cut() {
    let upstream = PlayedUpstream::start().await;
    let ring = Loop::around(upstream.address()).await;
    let heads = [
        "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: 100\r\n\r\n12345",
        "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n",
        // A record would not fit into the length that was promised.
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ncontent-length: 100\r\n\r\n12345",
    ];
    for head in heads {
        for (name, caller) in ring.callers() {
            let playing = async {
                let (_head, mut connection) = upstream.request().await;
                connection.send(head).await;
                connection
            };
            let asking = ask(&caller, "/api/chat", "tiny");
            let (connection, mut answer) = tokio::join!(playing, asking);
            let piece = answer.piece().await.expect("no tear").expect("no end");
            assert_eq!(piece, "12345", "{name}");
            connection.reset();
            assert_eq!(torn(answer).await, "", "{name}: something was added");
        }
    }
}

#[tokio::test]
async fn an_error_record_does_not_run_into_the_line_that_was_cut_off() {
    let upstream = PlayedUpstream::start().await;
    let ring = Loop::around(upstream.address()).await;
    let parts = [
        (
            "/api/chat",
            "application/x-ndjson",
            "{\"a\":1}\n{\"hal",
            "\n{",
        ),
        (
            "/v1/chat/completions",
            "text/event-stream",
            "data: {\"hal",
            "\n\ndata: {",
        ),
        (
            "/v1/chat/completions",
            "text/event-stream",
            "data: {}\n",
            "\ndata: {",
        ),
        (
            "/v1/messages",
            "text/event-stream",
            "data: {\"hal",
            "\n\nevent: error\ndata: {",
        ),
    ];
    for (path, content_type, sent, begin) in parts {
        for (name, caller) in ring.callers() {
            let playing = async {
                let (_head, mut connection) = upstream.request().await;
                connection.answer(content_type).await;
                connection.send_chunk(sent.as_bytes()).await;
                connection
            };
            let (connection, mut answer) = tokio::join!(playing, ask(&caller, path, "tiny"));
            let piece = answer.piece().await.expect("no tear").expect("no end");
            assert_eq!(piece, sent, "{name}");
            connection.reset();
            let text = torn(answer).await;
            assert!(text.starts_with(begin), "{name} {path}: {text:?}");
        }
    }
}

#[tokio::test]
async fn on_the_wire_a_torn_chunked_answer_has_no_last_chunk() {
    let upstream = PlayedUpstream::start().await;
    let ring = Loop::around(upstream.address()).await;
    for (content_type, has_record) in [
        ("application/x-ndjson", true),
        ("application/octet-stream", false),
    ] {
        let mut connection = RawConnection::open(ring.relay.address()).await;
        let request = format!(
            "POST /api/chat HTTP/1.1\r\nhost: relay\r\nauthorization: Bearer {}\r\ncontent-length: 2\r\n\r\n{{}}",
            ring.relay.api_token("ada"),
        );
        connection.send(request).await;
        let (_head, mut played) = upstream.request().await;
        played.answer(content_type).await;
        played.send_chunk(b"{}\n").await;
        let head = connection.head(true).await;
        assert_eq!(head.status, 200, "{}", head.head);
        let chunked = "transfer-encoding: chunked";
        assert!(head.head.contains(chunked), "{}", head.head);
        let first = connection.read_until(b"{}\n\r\n").await;
        assert_eq!(first.expect("a chunk"), "3\r\n{}\n\r\n");
        played.reset();
        let rest = connection.rest().await;
        let rest = std::str::from_utf8(&rest).expect("text");
        assert!(!rest.ends_with("0\r\n\r\n"), "a clean end: {rest:?}");
        assert_eq!(rest.contains("upstream_failed"), has_record, "{rest:?}");
    }
}

#[tokio::test]
async fn an_answer_torn_while_the_caller_uploads_is_torn_for_the_caller() {
    let upstream = PlayedUpstream::start().await;
    let ring = Loop::around(upstream.address()).await;
    for (name, caller) in ring.callers() {
        let (pieces, body) = c2l_testkit::upload();
        let request = super::uploads::post(&caller, "/api/generate", body);
        let playing = async {
            let (_head, mut connection) = upstream.request().await;
            connection.answer("application/x-ndjson").await;
            connection.send_chunk(b"{}\n").await;
            connection
        };
        let (connection, mut answer) = tokio::join!(playing, caller.send(request));
        let piece = answer.piece().await.expect("no tear").expect("no end");
        assert_eq!(piece, "{}\n", "{name}");
        connection.reset();
        let text = within(PATIENCE, "the tear", torn(answer)).await;
        let record: Value = serde_json::from_str(text.trim()).expect("a record");
        assert_eq!(record["origin"], "upstream", "{name}: {record}");
        drop(pieces);
    }
}

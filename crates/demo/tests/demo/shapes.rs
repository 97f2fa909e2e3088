//! Answers look as Ollama's do, byte for byte where clients could notice.

use c2l_demo::{DemoConfig, answer_text, paragraph_tokens};
use serde_json::{Value, json};

use crate::client::Server;

#[tokio::test]
async fn plain_routes_answer_with_a_length() {
    let server = Server::start().await;
    let root = server.get("/").await;
    assert_eq!(
        (
            root.status,
            root.text().as_str(),
            root.header("content-length")
        ),
        (200, "Ollama is running", Some("17"))
    );
    let head = server.call("HEAD /", "").await;
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("17"))
    );
    let version = server.get("/api/version").await;
    assert_eq!(version.text(), r#"{"version":"0.33.0"}"#);
    assert_eq!(
        version.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    assert!(
        version.head.contains("\r\nContent-Type: "),
        "names are written as Go writes them"
    );
    assert_eq!(
        server.get("/api/tags").await.json()["models"][0]["details"]["embedding_length"],
        448
    );
    assert_eq!(
        server.get("/api/ps").await.json()["models"][0]["name"],
        "tiny:latest"
    );
    assert_eq!(
        server.get("/api/status").await.text(),
        r#"{"cloud":{"disabled":false,"source":"none"}}"#
    );
    assert_eq!(
        server.get("/v1/models").await.json()["data"][0]["id"],
        "tiny:latest"
    );
    assert_eq!(
        server.get("/v1/models/tiny%3Alatest").await.json()["id"],
        "tiny:latest"
    );
    assert_eq!(
        server.get("/v1/models/other").await.json()["error"]["type"],
        "not_found_error"
    );
    let me = server.post("/api/me", "{}").await;
    assert!(
        me.status == 401
            && me
                .text()
                .contains(r#""signin_url":"https://ollama.com/connect?name=tiny\u0026key"#),
        "{me:?}"
    );
}

#[tokio::test]
async fn chat_is_a_line_a_chunk() {
    let server = Server::start().await;
    let answer = server
        .post(
            "/api/chat",
            r#"{"model":"tiny+lines=3","messages":[{"role":"user","content":"say <it>"}]}"#,
        )
        .await;
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(
        answer.text().lines().next().unwrap(),
        r#"{"model":"tiny+lines=3","created_at":"2026-08-21T18:48:22.123456789Z","message":{"role":"assistant","content":"This"},"done":false}"#
    );
    let lines = answer.lines();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[1]["message"]["content"], " is");
    assert_eq!(lines[3]["done_reason"], "stop");
    assert_eq!(lines[3]["eval_count"], 3);
    assert_eq!(lines[3]["prompt_eval_count"], 2);
}

#[tokio::test]
async fn generate_streams_unless_told_not_to() {
    let server = Server::start().await;
    let streamed = server
        .post("/api/generate", r#"{"model":"tiny","prompt":"hello"}"#)
        .await;
    let said: String = streamed
        .lines()
        .iter()
        .map(|line| line["response"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(said, answer_text(paragraph_tokens()));
    let whole = server
        .post(
            "/api/generate",
            r#"{"model":"tiny","prompt":"hello","stream":false}"#,
        )
        .await;
    assert_eq!(whole.json()["response"], said);
    assert_eq!(
        whole.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    let limited = server
        .post(
            "/api/generate",
            r#"{"model":"tiny","prompt":"hello","options":{"num_predict":2}}"#,
        )
        .await;
    assert_eq!(
        (
            limited.lines().len(),
            limited.lines()[2]["done_reason"].as_str()
        ),
        (3, Some("length"))
    );
    let again = server
        .post("/api/generate", r#"{"model":"tiny","prompt":"hello"}"#)
        .await;
    assert_eq!(
        again.pieces, streamed.pieces,
        "the same request has the same answer"
    );
}

#[tokio::test]
async fn small_answers_have_a_length_and_large_ones_are_chunked() {
    let server = Server::start().await;
    let small = server
        .post(
            "/api/embed",
            r#"{"model":"tiny","input":"x","dimensions":8}"#,
        )
        .await;
    assert!(small.header("content-length").is_some());
    let large = server
        .post("/api/embed", r#"{"model":"tiny","input":["x","y"]}"#)
        .await;
    assert_eq!(
        (
            large.header("content-length"),
            large.header("transfer-encoding")
        ),
        (None, Some("chunked"))
    );
    assert_eq!(large.json()["embeddings"][1].as_array().unwrap().len(), 448);
    let show = server
        .post("/api/show", r#"{"model":"tiny","verbose":true}"#)
        .await;
    assert!(show.bytes().len() > 1_000_000);
    assert_eq!(
        show.json()["model_info"]["tokenizer.ggml.tokens"]
            .as_array()
            .unwrap()
            .len(),
        128_000
    );
    assert_eq!(
        server.post("/api/show", r#"{"model":"tiny"}"#).await.json()["capabilities"],
        json!(["completion"])
    );
}

#[tokio::test]
async fn a_request_without_words_only_loads() {
    let server = Server::start().await;
    let load = server.post("/api/generate", r#"{"model":"tiny"}"#).await;
    assert_eq!(
        load.text(),
        r#"{"model":"tiny","created_at":"2026-08-21T18:48:22.123456789Z","response":"","done":true,"done_reason":"load"}"#
    );
    let unload = server
        .post(
            "/api/chat",
            r#"{"model":"tiny","messages":[],"keep_alive":0}"#,
        )
        .await;
    assert_eq!(unload.json()["done_reason"], "unload");
}

#[tokio::test]
async fn chat_completions_end_with_done() {
    let server = Server::start().await;
    let body = r#"{"model":"tiny+lines=2","messages":[{"role":"user","content":"x"}],"stream":true,"stream_options":{"include_usage":true}}"#;
    let answer = server.post("/v1/chat/completions", body).await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(
        answer.pieces.len(),
        3,
        "finish, usage and [DONE] leave together"
    );
    let events = answer.events();
    let event = |index: usize| serde_json::from_str::<Value>(&events[index].1).unwrap();
    assert_eq!(
        event(0)["choices"][0]["delta"],
        json!({"role": "assistant", "content": "This"})
    );
    assert_eq!(event(1)["choices"][0]["delta"], json!({"content": " is"}));
    assert_eq!(event(2)["choices"][0]["finish_reason"], "stop");
    assert_eq!(
        event(3)["usage"],
        json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})
    );
    assert_eq!(events[4].1, "[DONE]");
    let plain = server
        .post("/v1/chat/completions", &body.replace("true,", "false,"))
        .await;
    assert!(plain.text().ends_with("}\n"));
    assert_eq!(plain.json()["choices"][0]["message"]["content"], "This is");
    let text = server
        .post(
            "/v1/completions",
            r#"{"model":"tiny+lines=2","prompt":"x","stream":true}"#,
        )
        .await;
    assert!(
        text.text().ends_with("data: [DONE]\n\n")
            && text
                .text()
                .contains(r#""choices":[{"text":"This","index":0,"finish_reason":null}]"#)
    );
}

#[tokio::test]
async fn messages_and_responses_have_named_events() {
    let server = Server::start().await;
    let body = r#"{"model":"tiny+lines=2","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"x"}]}"#;
    let answer = server.post("/v1/messages", body).await;
    let names: Vec<String> = answer.events().into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    assert_eq!(
        (answer.header("cache-control"), answer.header("connection")),
        (Some("no-cache"), Some("keep-alive"))
    );
    let refused = server
        .post("/v1/messages", &body.replace(r#""max_tokens":9,"#, ""))
        .await;
    assert_eq!(
        (refused.status, refused.json()["error"]["type"].as_str()),
        (400, Some("invalid_request_error"))
    );

    let answer = server
        .post(
            "/v1/responses",
            r#"{"model":"tiny+lines=2","input":"x","stream":true}"#,
        )
        .await;
    let events = answer.events();
    for (index, (name, data)) in events.iter().enumerate() {
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(
            (data["type"].as_str(), data["sequence_number"].as_u64()),
            (Some(name.as_str()), Some(index as u64))
        );
    }
    assert_eq!(events.last().unwrap().0, "response.completed");
    let last: Value = serde_json::from_str(&events.last().unwrap().1).unwrap();
    assert_eq!(
        last["response"]["output"][0]["content"][0]["text"],
        "This is"
    );
}

#[tokio::test]
async fn vectors_are_floats_or_base64() {
    let server = Server::start().await;
    let floats = server
        .post(
            "/v1/embeddings",
            r#"{"model":"tiny","input":"x","dimensions":2}"#,
        )
        .await
        .json();
    assert_eq!(floats["data"][0]["embedding"].as_array().unwrap().len(), 2);
    let coded = server
        .post(
            "/v1/embeddings",
            r#"{"model":"tiny","input":"x","dimensions":2,"encoding_format":"base64"}"#,
        )
        .await
        .json();
    assert_eq!(coded["data"][0]["embedding"].as_str().unwrap().len(), 12);
    let old = server
        .post("/api/embeddings", r#"{"model":"tiny","prompt":"x"}"#)
        .await
        .json();
    assert_eq!(old["embedding"].as_array().unwrap().len(), 448);
    let missing = server
        .post("/api/embed", r#"{"model":"no","input":"x"}"#)
        .await;
    assert_eq!(
        (missing.status, missing.text().as_str()),
        (
            404,
            r#"{"error":"model \"no\" not found, try pulling it first"}"#
        )
    );
}

#[tokio::test]
async fn transfers_report_progress() {
    let server = Server::start().await;
    let pull = server
        .post("/api/pull", r#"{"model":"tiny+lines=2"}"#)
        .await;
    let lines = pull.lines();
    assert_eq!(lines[0], json!({"status": "pulling manifest"}));
    assert_eq!(lines[3]["completed"], lines[3]["total"]);
    assert_eq!(lines.last().unwrap(), &json!({"status": "success"}));
    let missing = server.post("/api/pull", r#"{"model":"no"}"#).await;
    assert_eq!(
        missing.text(),
        "{\"status\":\"pulling manifest\"}\n{\"error\":\"pull model manifest: file does not exist\"}\n"
    );
    assert_eq!(
        server
            .post("/api/push", r#"{"model":"me/mine"}"#)
            .await
            .lines()[0]["status"],
        "retrieving manifest"
    );
    let create = server
        .post("/api/create", r#"{"model":"mine","from":"tiny"}"#)
        .await;
    assert!(
        create.lines()[0]["status"]
            .as_str()
            .unwrap()
            .starts_with("using existing layer sha256:")
    );
    let copied = server
        .post("/api/copy", r#"{"source":"tiny","destination":"mine"}"#)
        .await;
    assert_eq!(
        (copied.status, copied.header("content-length")),
        (200, Some("0"))
    );
    let deleted = server
        .call("DELETE /api/delete", r#"{"model":"tiny"}"#)
        .await;
    assert_eq!((deleted.status, deleted.text().as_str()), (200, ""));
    assert_eq!(
        server
            .call("DELETE /api/delete", r#"{"model":"no"}"#)
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn errors_come_in_the_shape_of_the_api() {
    let server = Server::start().await;
    let refused = |answer: &crate::client::Answer| (answer.status, answer.text());
    let native = server
        .post("/api/chat", r#"{"model":"no","messages":[]}"#)
        .await;
    assert_eq!(
        refused(&native),
        (404, r#"{"error":"model 'no' not found"}"#.to_owned())
    );
    assert_eq!(
        refused(&server.post("/api/generate", "").await),
        (400, r#"{"error":"missing request body"}"#.to_owned())
    );
    assert_eq!(server.post("/api/generate", "{").await.status, 400);
    assert_eq!(
        refused(&server.post("/api/generate", "{}").await),
        (400, r#"{"error":"model is required"}"#.to_owned())
    );
    assert_eq!(
        server
            .post("/api/generate", r#"{"model":"tiny+what"}"#)
            .await
            .status,
        400
    );
    let openai = server
        .post(
            "/v1/chat/completions",
            r#"{"model":"no","messages":[{"role":"user","content":"x"}]}"#,
        )
        .await;
    assert_eq!(
        openai.json()["error"],
        json!({"message": "model 'no' not found", "type": "not_found_error", "param": null, "code": null})
    );
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_in_text() {
    let server = Server::start().await;
    let missing = server.get("/nothing").await;
    assert_eq!(
        (
            missing.status,
            missing.text().as_str(),
            missing.header("content-type")
        ),
        (404, "404 page not found", Some("text/plain"))
    );
    let wrong = server.get("/api/chat").await;
    assert_eq!(
        (wrong.status, wrong.text().as_str(), wrong.header("allow")),
        (405, "405 method not allowed", Some("POST"))
    );
    let double = server.post("//api/chat?ts=1", "{}").await;
    assert_eq!(
        (double.status, double.header("location")),
        (301, Some("/api/chat?ts=1"))
    );
    let slash = server.post("/api/chat/", "{}").await;
    assert_eq!(
        (slash.status, slash.header("location")),
        (307, Some("/api/chat"))
    );
    assert_eq!(server.get("/nothing/").await.status, 404);
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused() {
    let server = Server::start().await;
    let foreign = server
        .call("GET /api/tags\nHost: relay.example.com", "")
        .await;
    assert_eq!(
        (
            foreign.status,
            foreign.header("content-length"),
            foreign.header("content-type")
        ),
        (403, Some("0"), None)
    );
    assert_eq!(
        server
            .call("GET /api/tags\nOrigin: https://evil.example", "")
            .await
            .status,
        403
    );
    let page = server
        .call("GET /api/tags\nOrigin: http://localhost:3000", "")
        .await;
    assert_eq!(
        (page.status, page.header("access-control-allow-origin")),
        (200, Some("http://localhost:3000"))
    );
    let preflight = server
        .call("OPTIONS /api/chat\nOrigin: http://localhost:3000", "")
        .await;
    assert!(preflight.status == 204 && preflight.header("access-control-allow-headers").is_some());
    let open = Server::with(DemoConfig {
        check_host: false,
        ..DemoConfig::default()
    })
    .await;
    assert_eq!(
        open.call("GET /api/tags\nHost: relay.example.com", "")
            .await
            .status,
        200
    );
}

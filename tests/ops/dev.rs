//! `c2l dev` as a person meets it: what it prints is true, and each request shows.

use std::net::SocketAddr;

use c2l_testkit::{Caller, Nowhere, TestUpstream};
use tempfile::TempDir;

use super::program::{Running, c2l};

/// `c2l dev` with this upstream, once it has printed its block, and where its relay is with the key.
async fn dev(data: &TempDir, upstream: SocketAddr, more: &[&str]) -> (Running, SocketAddr, String) {
    let mut command = c2l(data);
    let upstream = format!("http://{upstream}");
    command.args(["dev", "--listen=127.0.0.1:0", "--upstream", &upstream]);
    command.args(more);
    let running = Running::start(command);
    running.says("  curl http").await;
    let text = running.text();
    let line = text.lines().find(|line| line.contains("OLLAMA_HOST="));
    let url = line.and_then(|line| line.split_once("http://"));
    let (_, place) = url.unwrap_or_else(|| panic!("no URL in {text}"));
    let (address, key) = place.split_once("/k/").expect("a key in it");
    let address = address.parse().expect("an address");
    (running, address, key.to_owned())
}

#[tokio::test]
async fn an_upstream_that_was_chosen_and_does_not_answer_is_used_all_the_same_and_said() {
    let data = TempDir::new().expect("a directory");
    let nobody = Nowhere::new();
    let upstream = nobody.address();
    let (running, relay, key) = dev(&data, upstream, &[]).await;
    let text = running.text();
    let said = format!("upstream  http://{upstream}, where nothing answers yet");
    assert!(text.contains(&said), "{text}");
    assert!(!text.contains("demonstration"), "{text}");
    let caller = Caller::anonymous(relay);
    let answer = caller.get(&format!("/k/{key}/api/tags")).await;
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.json().await["code"], "upstream_unreachable");
}

#[tokio::test]
async fn the_demonstration_model_answers_where_it_was_asked_for_whatever_runs_here() {
    let data = TempDir::new().expect("a directory");
    let upstream = TestUpstream::start().await;
    let (running, relay, key) = dev(&data, upstream.address(), &["--demo"]).await;
    let text = running.text();
    let said = "upstream  built-in demonstration model: as asked for";
    assert!(text.contains(said), "{text}");
    let caller = Caller::anonymous(relay);
    let answer = caller.get(&format!("/k/{key}/api/tags")).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(upstream.demo.recorded().len(), 0, "nobody asks it");
}

#[tokio::test]
async fn each_request_shows_on_the_terminal_and_no_credential_does() {
    let data = TempDir::new().expect("a directory");
    let upstream = TestUpstream::start().await;
    let (running, relay, key) = dev(&data, upstream.address(), &[]).await;
    let caller = Caller::anonymous(relay);
    let path = format!("/k/{key}/api/chat");
    let body = serde_json::json!({ "model": "tiny+lines=2", "messages": [] });
    caller.post(&path, &body).await.text().await;
    running.says("route=/k/…/api/chat status=200").await;
    let shown = running.text().matches(&key).count();
    assert_eq!(shown, 3, "in the block, and nowhere else");
}

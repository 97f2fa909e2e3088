//! The operator's own record: who did what with which credential from where, and how it ended.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use c2l_testkit::{Caller, FakeAgent, PATIENCE, TestUpstream, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::program::{Running, issue};

fn entries(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("audit.jsonl")).expect("an audit log");
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("one object a line")
}

fn of<'a>(entries: &'a [Value], event: &str) -> Vec<&'a Value> {
    entries
        .iter()
        .filter(|entry| entry["event"] == event)
        .collect()
}

#[tokio::test]
async fn everything_that_is_judged_is_in_the_audit_log_with_who_it_was() {
    let data = TempDir::new().expect("a directory");
    let folder = data.path().join("audit");
    let agent_token = issue(&data, "ada", "agent").await;
    let token = issue(&data, "ada", "api").await;
    let flag = format!("--audit-log={}", folder.display());
    let relay = Running::relay_with(&data, "text", &[&flag, "--limit-user-requests=6/1h"]);
    let (address, _) = relay.addresses().await;
    let upstream = TestUpstream::start().await;
    let agent = Running::agent(&data, address, upstream.address(), &agent_token).await;
    let caller = Caller::new(address, &token);
    for _ in 0..4 {
        assert_eq!(caller.get("/api/tags").await.status(), 200);
    }
    let body = json!({ "model": "tiny" });
    for path in ["/api/pull", "/api/delete"] {
        assert_eq!(caller.post(path, &body).await.status(), 403);
    }
    for _ in 0..20 {
        assert_eq!(caller.get("/api/tags").await.status(), 429);
    }
    for _ in 0..3 {
        let guess = Caller::new(address, "c2l_a-guess-that-is-long-enough-to-have-a-name");
        assert_eq!(guess.get("/api/tags").await.status(), 401);
    }
    // The same device again: the newest wins.
    let newest = FakeAgent::connect(address, &agent_token, "laptop").await;
    let newest = newest.expect("a session");
    let bad_name = FakeAgent::connect(address, &agent_token, "not a name").await;
    bad_name.expect_err("not a device's name");
    let replaced = async || {
        let entries = entries(&folder);
        (!of(&entries, "session_replaced").is_empty()).then_some(())
    };
    eventually(
        PATIENCE,
        "it is written without an end of the relay",
        replaced,
    )
    .await;
    drop((newest, agent));
    let closed = async || (!of(&entries(&folder), "session_closed").is_empty()).then_some(());
    eventually(PATIENCE, "the session's end is written", closed).await;
    let log = relay.end().await;

    let entries = entries(&folder);
    let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode(&folder.join("audit.jsonl")), 0o600);
    assert_eq!(mode(&folder), 0o700);
    for entry in &entries {
        assert!(
            entry["time"].as_str().expect("a time").ends_with('Z'),
            "{entry}"
        );
        assert_eq!(entry["by"], "caller", "{entry}");
        assert!(["ok", "refused"].contains(&entry["outcome"].as_str().expect("one")));
    }
    let accepted = of(&entries, "credential_accepted");
    let kinds: Vec<_> = accepted.iter().map(|entry| &entry["kind"]).collect();
    assert_eq!(kinds, ["agent", "api"], "each once, however often it came");
    let (ada, hash) = (accepted[1], &accepted[1]["user_hash"]);
    assert_eq!(
        (&ada["subject"], &ada["address"]),
        (&json!("ada"), &json!("127.0.0.1"))
    );
    assert!(ada["issuer"].is_string() && ada["request_id"].is_string());
    assert!(
        ada["credential"]
            .as_str()
            .expect("one")
            .starts_with("token:")
    );
    let line = format!("user={}", hash.as_str().expect("text"));
    assert!(
        log.contains(&line),
        "the ordinary log has the same hash: {line}"
    );

    let forbidden = of(&entries, "policy_refused");
    assert_eq!(forbidden.len(), 2);
    assert_eq!(forbidden[0]["route"], "/api/pull");
    assert_eq!(forbidden[0]["credential"], ada["credential"]);
    let limited = of(&entries, "limit_hit");
    let suppressed = limited.iter().map(|entry| entry["suppressed"].as_u64());
    let suppressed: u64 = suppressed.map(|count| count.expect("a count")).sum();
    assert!(
        limited
            .iter()
            .all(|entry| entry["limit"] == "user_requests")
    );
    assert!((1..20).contains(&limited.len()), "{} lines", limited.len());
    // A line that only tells the count stands for nobody's request.
    let told: u64 = limited
        .iter()
        .filter(|entry| entry["request_id"].is_string())
        .count() as u64;
    assert_eq!(told + suppressed, 20, "each is written or counted");
    let refused = of(&entries, "credential_refused");
    assert!(
        refused[0]["credential"]
            .as_str()
            .expect("one")
            .starts_with("sha256:")
    );
    assert!(refused[0].get("subject").is_none());
    assert_eq!(of(&entries, "session_opened").len(), 2);
    assert_eq!(of(&entries, "session_replaced").len(), 1);
    assert_eq!(of(&entries, "session_refused").len(), 1);
    assert_eq!(of(&entries, "session_closed")[0]["device"], "laptop");
    assert!(
        !log.contains("c2l::audit"),
        "it is not in the ordinary log as well"
    );
}

#[tokio::test]
async fn a_relay_that_cannot_keep_its_audit_log_does_not_start() {
    let data = TempDir::new().expect("a directory");
    let file = data.path().join("a-file");
    fs::write(&file, "x").expect("a file");
    let flag = format!("--audit-log={}", file.display());
    let output = super::program::run(&data, &["relay", "--listen=127.0.0.1:0", &flag]).await;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("a-file"), "{said}");
}

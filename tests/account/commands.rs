//! `c2l device list|label|disconnect`, and what the audit log says of it.

use std::{fs, path::Path};

use c2l_testkit::{FakeAgent, PATIENCE, Program, eventually};
use serde_json::{Value, json};
use tonic::Code;

const BINARY: &str = env!("CARGO_BIN_EXE_c2l");

async fn c2l(folder: &Path, words: &[&str]) -> Result<String, String> {
    let data_dir = folder.to_str().expect("a plain name");
    let variables = [("C2L_DATA_DIR", data_dir)];
    let output = Program::output(BINARY, folder, words.iter().copied(), &variables).await;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(text(output.stderr))
    }
}

async fn listed(folder: &Path) -> Value {
    let text = c2l(folder, &["device", "list", "--json"]).await;
    serde_json::from_str(&text.expect("a list")).expect("JSON")
}

#[tokio::test]
async fn the_operator_lists_labels_and_disconnects_a_users_devices() {
    let folder = tempfile::tempdir().expect("a directory");
    let here = folder.path();
    let audit = here.join("audit");
    let flag = format!("--audit-log={}", audit.display());
    let (relay, address, _) = Program::relay(BINARY, here, "127.0.0.1:0", &[&flag]).await;
    let token = Program::issue_token(BINARY, here, "ada", &["--kind=agent"]).await;
    let agent = FakeAgent::connect(address, &token, "desk").await;
    let mut agent = agent.expect("a session");
    let of_ada = ["--user=ada"];
    let words = |words: &[&'static str]| [words, &of_ada[..]].concat();
    let labelled = c2l(here, &words(&["device", "label", "desk", "Desk upstairs"])).await;
    assert_eq!(
        labelled.as_deref(),
        Ok("Device desk is called \"Desk upstairs\".\n")
    );
    let shown = c2l(here, &words(&["device", "list"]))
        .await
        .expect("a list");
    for part in [
        "No device waits.",
        "desk \"Desk upstairs\"  connected since ",
        "from 127.0.0.1 by grpc · fake",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // Nobody's but ada's.
    assert_eq!(
        listed(here).await,
        json!({ "devices": [], "offline": [], "logins": [] })
    );
    let refused = c2l(here, &["device", "disconnect", "desk"]).await;
    assert!(
        refused
            .expect_err("not the owner's")
            .contains("no such device")
    );

    let ended = c2l(here, &words(&["device", "disconnect", "desk"])).await;
    assert!(ended.expect("done").contains("connects again by itself"));
    assert_eq!(agent.end().await.code(), Code::Unavailable);
    let cleared = c2l(here, &words(&["device", "label", "desk"])).await;
    assert_eq!(cleared.as_deref(), Ok("Device desk has no label.\n"));
    let written = async || {
        let text = fs::read_to_string(audit.join("audit.jsonl")).expect("an audit log");
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let entries: Vec<Value> = lines.collect();
        let of_devices = entries.into_iter().filter(|entry| {
            let event = entry["event"].as_str().unwrap_or_default();
            event.starts_with("device_")
        });
        let entries: Vec<Value> = of_devices.collect();
        (entries.len() == 3).then_some(entries)
    };
    let entries = eventually(PATIENCE, "the audit log", written).await;
    let wanted = [
        ("device_labelled", json!("Desk upstairs")),
        ("device_disconnected", Value::Null),
        ("device_labelled", Value::Null),
    ];
    for (entry, (event, name)) in entries.iter().zip(wanted) {
        assert_eq!((&entry["event"], &entry["name"]), (&json!(event), &name));
        assert_eq!(
            (&entry["device"], &entry["by"], &entry["subject"]),
            (&json!("desk"), &json!("operator"), &json!("ada"))
        );
    }

    relay.kill().await;
    // Without a relay: what is kept, and nothing that waits.
    let shown = c2l(here, &words(&["device", "list"]))
        .await
        .expect("a list");
    assert!(
        shown.starts_with("desk  not connected, last seen "),
        "{shown}"
    );
}

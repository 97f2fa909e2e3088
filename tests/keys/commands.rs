//! The commands that manage keys, tokens and devices: through a running relay's socket, and without one.

#![cfg(unix)]

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Output};

use c2l_testkit::{Caller, PATIENCE, Program, eventually};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_c2l");

async fn c2l(folder: &Path, words: &[&str]) -> Output {
    let data_dir = folder.to_str().expect("a plain name");
    Program::output(
        BINARY,
        folder,
        words.iter().copied(),
        &[("C2L_DATA_DIR", data_dir)],
    )
    .await
}

/// What it printed, when it went well.
async fn said(folder: &Path, words: &[&str]) -> String {
    let output = c2l(folder, words).await;
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

async fn json(folder: &Path, words: &[&str]) -> Value {
    let text = said(folder, words).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

#[tokio::test]
async fn keys_are_made_listed_rotated_and_revoked_beside_a_running_relay() {
    let folder = tempfile::tempdir().expect("a directory");
    let here = folder.path();
    let (relay, address, _) = Program::relay(BINARY, here, "127.0.0.1:0", &[]).await;
    let socket = std::fs::metadata(here.join("run/relay.sock")).expect("a socket");
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    let status = async |credential: &str| {
        let caller = Caller::new(address, credential);
        caller.get("/relay/v1/whoami").await.status().as_u16()
    };

    let shown = said(
        here,
        &[
            "key",
            "create",
            "a job",
            "--public-url",
            "https://relay.example",
            "--expires=90d",
        ],
    )
    .await;
    let key = shown
        .lines()
        .find_map(|line| {
            line.trim()
                .strip_prefix("export OLLAMA_HOST=https://relay.example/k/")
        })
        .expect("a line to copy");
    assert_eq!(status(key).await, 200, "{shown}");
    assert!(shown.contains(&format!("OPENAI_API_KEY={key}")), "{shown}");

    let listed = json(here, &["key", "list", "--json"]).await;
    assert_eq!(listed["keys"][0]["name"], "a job");
    assert!(
        listed["keys"][0]["last_used_unix_seconds"].is_i64(),
        "{listed}"
    );
    assert!(!listed.to_string().contains(key));
    let id = text(&listed["keys"][0]["id"]);
    let rotated = json(here, &["key", "rotate", &id, "--overlap=1h", "--json"]).await;
    assert_eq!(rotated["replaces"], id.as_str());
    let newer = text(&rotated["key"]);
    for good in [key, &newer] {
        assert_eq!(status(good).await, 200);
    }
    said(here, &["key", "revoke", &id]).await;
    assert_eq!(
        (status(key).await, status(&newer).await),
        (401, 200),
        "from when it has ended on"
    );
    // Each user's are their own, here too.
    let of_another = c2l(
        here,
        &["key", "revoke", text(&rotated["id"]).as_str(), "--user=ada"],
    )
    .await;
    assert!(!of_another.status.success());
    assert!(
        String::from_utf8_lossy(&of_another.stderr).contains("no such key"),
        "{of_another:?}"
    );
    assert_eq!(status(&newer).await, 200);

    let token = said(here, &["token", "issue", "--user=owner", "--kind=api"]).await;
    let token = token.trim();
    assert_eq!(status(token).await, 200);
    let file = here.join("a.token");
    std::fs::write(&file, token).expect("a file");
    let file = file.to_str().expect("a plain name");
    said(here, &["token", "revoke", "--file", file]).await;
    assert_eq!(status(token).await, 401);
    let token = said(here, &["token", "issue", "--user=owner", "--kind=api"]).await;
    said(here, &["user", "sign-out", "--keys"]).await;
    assert_eq!(
        (status(token.trim()).await, status(&newer).await),
        (401, 401)
    );
    let removed = json(here, &["device", "remove", "desk", "--json"]).await;
    assert_eq!(removed["removed"], "desk");
    let wrong = c2l(here, &["key", "create", "x", "--expires=soon"]).await;
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    assert!(!relay.log().join("\n").contains(&newer[14..]));
    relay.kill().await;
}

#[tokio::test]
async fn without_a_relay_the_database_itself_is_changed() {
    let folder = tempfile::tempdir().expect("a directory");
    let here = folder.path();
    // Where no relay ever kept anything, none is invented.
    let nowhere = tempfile::tempdir().expect("a directory");
    let refused = c2l(nowhere.path(), &["key", "list"]).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(!nowhere.path().join("c2l.db").exists());
    said(here, &["token", "issue", "--user=owner", "--kind=api"]).await;
    let made = json(here, &["key", "create", "early", "--json"]).await;
    let revoked = json(here, &["key", "create", "gone", "--json"]).await;
    said(here, &["key", "revoke", &text(&revoked["id"])]).await;
    let mode = |name: &str| {
        let metadata = std::fs::metadata(here.join(name)).expect("a file");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!((mode("c2l.db"), mode("key-secret")), (0o600, 0o600));
    let (relay, address, _) = Program::relay(BINARY, here, "127.0.0.1:0", &[]).await;
    let status = async |key: &Value| {
        let caller = Caller::new(address, text(&key["key"]));
        caller.get("/relay/v1/whoami").await.status().as_u16()
    };
    assert_eq!((status(&made).await, status(&revoked).await), (200, 401));
    // A relay whose socket was taken away hears of it all the same, a moment later.
    std::fs::remove_file(here.join("run/relay.sock")).expect("the socket");
    said(here, &["key", "revoke", &text(&made["id"])]).await;
    eventually(PATIENCE, "the relay hears of it", async || {
        (status(&made).await == 401).then_some(())
    })
    .await;
    relay.kill().await;
    assert_eq!(
        json(here, &["key", "list", "--json"]).await["keys"],
        serde_json::json!([])
    );
}

#[tokio::test]
async fn ops_05_a_relay_does_not_start_with_a_database_that_others_may_read() {
    let folder = tempfile::tempdir().expect("a directory");
    let here = folder.path();
    said(here, &["token", "issue", "--user=owner", "--kind=api"]).await;
    said(here, &["key", "create", "x", "--json"]).await;
    for name in ["c2l.db", "key-secret"] {
        let file = here.join(name);
        for open in [0o644, 0o660] {
            let open = std::fs::Permissions::from_mode(open);
            std::fs::set_permissions(&file, open).expect("permissions");
            for words in [
                &["relay", "--listen=127.0.0.1:0", "--ops-listen=off"][..],
                &["key", "list"],
            ] {
                let output = c2l(here, words).await;
                assert!(!output.status.success(), "{name}: {output:?}");
                let why = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(why.contains(name) && why.contains("chmod 600"), "{why}");
            }
        }
        let closed = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&file, closed).expect("permissions");
    }
    std::fs::write(
        here.join("c2l.db"),
        "no database, but long enough to look like something else",
    )
    .expect("a file");
    let output = c2l(here, &["key", "list"]).await;
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(why.contains("damaged or is none"), "{why}");
}

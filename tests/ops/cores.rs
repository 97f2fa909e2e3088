//! What a crash leaves behind.

#![cfg(target_os = "linux")]

use std::{fs, os::unix::process::ExitStatusExt as _, path::Path, process::ExitStatus};

use c2l_testkit::{PATIENCE, within};
use tempfile::TempDir;
use tokio::process::Command;

use super::program::{Running, issue};

const SIGABRT: i32 = 6;

/// `c2l` with these words, started in `folder` by somebody who allows cores of any size.
fn with_cores_allowed(folder: &TempDir, words: &str) -> Command {
    let mut shell = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_c2l");
    shell
        .arg("-c")
        .arg(format!("ulimit -c unlimited; exec {program} {words}"))
        .current_dir(folder.path())
        .env_clear()
        .env("HOME", folder.path())
        .env("C2L_DATA_DIR", folder.path().join("data"))
        .kill_on_drop(true);
    shell
}

/// Has it abort as a crash would, once it says this. Returns what it wrote, too.
async fn crash(command: Command, once_it_says: &str) -> (ExitStatus, String) {
    let mut running = Running::start(command);
    running.says(once_it_says).await;
    let id = running.child.id().expect("still running").to_string();
    let sent = Command::new("kill").args(["-ABRT", &id]).status().await;
    assert!(sent.expect("a signal").success());
    let ended = within(PATIENCE, "the program is gone", running.child.wait()).await;
    (ended.expect("a status"), running.text())
}

/// Whether the system would put a core beside the process, where it is the test's to remove.
fn cores_are_plain_files() -> bool {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    !pattern.trim().is_empty() && !pattern.contains(['|', '/'])
}

fn files_beside(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let names = entries.map(|entry| entry.expect("one").file_name());
    let mut names: Vec<_> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.retain(|name| name != "data");
    names
}

const RELAY: &str = "relay --listen=127.0.0.1:0 --ops-listen=off";

#[tokio::test]
async fn ops_06_a_crash_leaves_no_core_file_and_tells_no_secret() {
    let folder = TempDir::new().expect("a directory");
    let (status, _) = crash(with_cores_allowed(&folder, RELAY), "relay is ready").await;
    assert_eq!(status.signal(), Some(SIGABRT));
    assert!(!status.core_dumped(), "the system says that it made one");
    assert_eq!(files_beside(folder.path()), Vec::<String>::new());

    let token = issue(&folder, "ada", "agent").await;
    let words = "agent --relay=http://127.0.0.1:1 --device=laptop --log-level=trace";
    let mut agent = with_cores_allowed(&folder, words);
    agent.env("C2L_TOKEN", &token);
    let (status, text) = crash(agent, "WARN").await;
    assert!(!text.contains(&token), "{text}");
    assert_eq!(status.signal(), Some(SIGABRT));
    assert!(!status.core_dumped(), "the system says that it made one");
}

/// Shows that the test above can fail, and that developers get what they ask for.
#[tokio::test]
async fn a_core_file_is_there_for_who_asks_for_it() {
    if !cores_are_plain_files() {
        return; // elsewhere it would be left on this machine
    }
    let folder = TempDir::new().expect("a directory");
    let words = format!("{RELAY} --allow-core-dumps");
    let (status, _) = crash(with_cores_allowed(&folder, &words), "relay is ready").await;
    assert_eq!(status.signal(), Some(SIGABRT));
    assert!(status.core_dumped());
    assert_eq!(files_beside(folder.path()).len(), 1);
}

//! Who may read what is kept on disk.

#![cfg(unix)]

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use tempfile::TempDir;

use super::program::{Running, c2l, issue, run};

fn mode(path: &Path) -> u32 {
    let metadata = fs::metadata(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    metadata.permissions().mode() & 0o777
}

/// `c2l` with a data directory that is not there yet, under a mask that would let everybody in.
async fn under_an_open_mask(data: &TempDir, words: &str) -> std::process::Output {
    let mut shell = tokio::process::Command::new("sh");
    let program = env!("CARGO_BIN_EXE_c2l");
    shell
        .arg("-c")
        .arg(format!("umask 000; exec {program} {words}"));
    shell.env_clear().env("HOME", data.path());
    shell.env("C2L_DATA_DIR", data.path().join("deep/data"));
    shell.output().await.expect("a shell")
}

#[tokio::test]
async fn ops_05_what_is_kept_is_its_owners_alone() {
    let data = TempDir::new().expect("a directory");
    let made = under_an_open_mask(&data, "token issue --user ada --kind api").await;
    assert!(made.status.success(), "{made:?}");
    let kept = data.path().join("deep/data");
    assert_eq!(mode(&kept), 0o700);
    assert_eq!(mode(&kept.join("signing-key.pem")), 0o600);
    let names = fs::read_dir(&kept).expect("a directory");
    let names: Vec<_> = names.map(|entry| entry.expect("one").file_name()).collect();
    assert_eq!(
        names,
        ["signing-key.pem"],
        "nothing half made is left beside"
    );
    // The second use keeps the key.
    let before = fs::read(kept.join("signing-key.pem")).expect("a key");
    let again = under_an_open_mask(&data, "token issue --user ada --kind api").await;
    assert!(again.status.success(), "{again:?}");
    let after = fs::read(kept.join("signing-key.pem")).expect("a key");
    assert_eq!(before, after);
}

#[tokio::test]
async fn ops_05_a_relay_does_not_start_with_a_key_that_others_may_read() {
    let data = TempDir::new().expect("a directory");
    issue(&data, "ada", "api").await;
    let key = data.path().join("signing-key.pem");
    for open in [0o644, 0o640, 0o660, 0o604] {
        fs::set_permissions(&key, Permissions::from_mode(open)).expect("permissions");
        for words in [
            &["relay", "--listen=127.0.0.1:0", "--ops-listen=off"][..],
            &["token", "issue", "--user=ada", "--kind=api"],
        ] {
            let output = run(&data, words).await;
            assert!(!output.status.success(), "{open:o}: {output:?}");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                said.contains("signing-key.pem") && said.contains("chmod 600"),
                "{said}"
            );
            assert!(output.stdout.is_empty(), "{output:?}");
        }
        assert_eq!(mode(&key), open, "it is not mended behind the owner's back");
    }
    fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("permissions");
    fs::set_permissions(data.path(), Permissions::from_mode(0o777)).expect("permissions");
    let output = run(&data, &["token", "issue", "--user=ada", "--kind=api"]).await;
    assert!(
        !output.status.success(),
        "anybody may replace the key: {output:?}"
    );
    fs::set_permissions(data.path(), Permissions::from_mode(0o700)).expect("permissions");
    let relay = Running::relay(&data, "text");
    relay.addresses().await;
    relay.end().await;
}

#[tokio::test]
async fn ops_05_an_agents_token_file_that_others_may_read_is_not_used_silently() {
    let data = TempDir::new().expect("a directory");
    let token = issue(&data, "ada", "agent").await;
    let file = data.path().join("token");
    fs::write(&file, &token).expect("a file");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("permissions");
    let mut command = c2l(&data);
    command.args(["agent", "--device=laptop", "--relay=http://127.0.0.1:1"]);
    command.arg(format!("--token-file={}", file.display()));
    let agent = Running::start(command);
    // It refuses, or says so.
    let line = agent.says("others").await;
    assert!(!line.contains(&token), "{line}");
}

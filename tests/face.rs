//! Promise: a running agent tells its owner, and nobody else, how it is; and the system can keep one running without being
//! told a secret.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use c2l_testkit::{
    Caller, Nowhere, PATIENCE, Program, TestRelay, TestTransport, TestUpstream, eventually, within,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    process::Command,
};

const BINARY: &str = env!("CARGO_BIN_EXE_c2l");
const DEVICE: &str = "desk.home";

/// A relay, a model, and a folder for agents.
struct Place {
    relay: TestRelay,
    upstream: TestUpstream,
    folder: TempDir,
    token: String,
}

impl Place {
    async fn new() -> Self {
        let why = "the programs are given no authority to trust";
        let relay = TestRelay::start_plain(why, |_| {}).await;
        Self {
            upstream: TestUpstream::start().await,
            folder: tempfile::tempdir().expect("a folder"),
            token: relay.agent_token("ada"),
            relay,
        }
    }

    async fn agent(&self) -> Program {
        let (relay, upstream) = (self.relay.address(), self.upstream.address());
        let more = ["--device", DEVICE];
        let folder = self.folder.path();
        Program::agent(BINARY, folder, relay, &self.token, upstream, &more).await
    }

    fn socket(&self) -> PathBuf {
        let name = format!("run/agent-{DEVICE}.sock");
        self.folder.path().join(name)
    }

    /// Runs `c2l` with these words to its end.
    async fn run(&self, words: &[&str]) -> Output {
        let mut command = command(self.folder.path());
        command.args(words);
        output(command).await
    }

    async fn status(&self, more: &[&str]) -> Output {
        let folder = self.folder.path().to_str().expect("a plain name");
        let words = ["agent", "status", "--data-dir", folder, "--device", DEVICE];
        self.run(&[&words[..], more].concat()).await
    }

    async fn object(&self) -> Value {
        let output = self.status(&["--json"]).await;
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).expect("an object")
    }
}

/// `c2l` with a home and a path of its own: no system is found that would be told anything.
fn command(folder: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command
        .env_clear()
        .env("HOME", folder)
        .env("PATH", folder.join("bin"))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn output(mut command: Command) -> Output {
    let output = within(2 * PATIENCE, "the program ends", command.output()).await;
    output.expect("a program that starts")
}

fn mode(path: &Path) -> u32 {
    let found = fs::metadata(path).expect("a file");
    found.permissions().mode() & 0o777
}

#[tokio::test]
async fn a_running_agent_tells_how_it_is_and_no_secret() {
    let place = Place::new().await;
    let mut agent = place.agent().await;
    let object = place.object().await;
    assert_eq!(object["state"], "connected");
    let way = match TestTransport::of_this_run() {
        TestTransport::Grpc | TestTransport::Tls => "grpc",
        TestTransport::WebSocket | TestTransport::TlsWebSocket => "websocket",
    };
    assert_eq!(object["way"], way);
    assert_eq!(object["device"], DEVICE);
    assert_eq!(
        object["relay"],
        format!("http://{}/", place.relay.address())
    );
    assert_eq!(
        object["upstream"],
        format!("http://{}/", place.upstream.address())
    );
    assert_eq!(object["requests_total"], 0);
    assert_eq!(object["last_error"], Value::Null);
    assert!(
        object["since"]
            .as_str()
            .is_some_and(|since| since.ends_with('Z'))
    );
    let session = object["session_id"].as_str().expect("a session");
    assert!(!session.is_empty());

    let caller = Caller::new(place.relay.address(), place.relay.api_token("ada"));
    let body = json!({ "model": "tiny+gap=20ms+lines=2000", "messages": [{ "role": "user", "content": "m4rk3r" }] });
    let mut answer = caller.post("/api/chat", &body).await;
    assert!(answer.piece().await.expect("not torn").is_some());
    let object = place.object().await;
    let counts = (&object["requests_now"], &object["requests_total"]);
    assert_eq!(counts, (&json!(1), &json!(1)));
    drop(answer);
    eventually(PATIENCE, "the request is over", || async {
        let object = place.object().await;
        (object["requests_now"] == 0 && object["requests_total"] == 1).then_some(())
    })
    .await;

    let said = place.status(&[]).await;
    let text = String::from_utf8(said.stdout).expect("text");
    assert!(text.starts_with("state       connected\n"), "{text}");
    assert!(text.contains("requests    0 now, 1 in all\n"), "{text}");
    let all = format!("{text}{}", place.object().await);
    let secrets = place.token.split('.').skip(1).chain(["m4rk3r"]);
    for secret in secrets {
        assert!(!all.contains(secret), "{all}");
    }
    agent.signal("TERM").await;
    assert!(agent.ended().await.success());
    assert!(!place.socket().exists(), "it is taken away at the end");
    let log = agent.log().join("\n");
    assert!(
        !log.contains('\r') && !log.contains("requests 0 now"),
        "no status line: {log}"
    );
}

#[tokio::test]
async fn the_socket_is_for_its_owner_and_replaces_one_that_was_left_behind() {
    let place = Place::new().await;
    let agent = place.agent().await;
    let socket = place.socket();
    let found = fs::symlink_metadata(&socket).expect("a socket");
    assert!(found.file_type().is_socket());
    assert_eq!(mode(&socket), 0o600);
    assert_eq!(mode(socket.parent().expect("a folder")), 0o700);
    agent.kill().await;
    assert!(socket.exists(), "it was left behind");
    let output = place.status(&["--json"]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(
        said.contains("no agent called desk.home runs here"),
        "{said}"
    );

    let first = place.agent().await;
    assert_eq!(place.object().await["state"], "connected");
    // A newer agent of the name takes the socket with the session; the end of the older one leaves it alone.
    let _second = place.agent().await;
    let mut first = first;
    assert_eq!(first.ended().await.code(), Some(4));
    assert_eq!(place.object().await["state"], "connected");
    // One that starts and fails gives it back.
    let folder = place.folder.path().to_str().expect("a plain name");
    let relay = place.relay.url();
    let words = ["agent", "--data-dir", folder, "--device", DEVICE];
    let bad = ["--relay", &relay, "--token-command", "echo bad"];
    let failed = place.run(&[&words[..], &bad].concat()).await;
    assert_eq!(failed.status.code(), Some(3), "{failed:?}");
    eventually(PATIENCE, "the socket is back", || async {
        place.status(&[]).await.status.success().then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_agent_without_a_relay_tells_why() {
    let mut place = Place::new().await;
    let _agent = place.agent().await;
    place.relay.begin_shutdown();
    place.relay.stopped().await;
    let object = eventually(PATIENCE, "an error", || async {
        let object = place.object().await;
        object["last_error"].is_object().then_some(object)
    })
    .await;
    assert_ne!(object["state"], "connected");
    assert_eq!(object["since"], Value::Null);
    let message = object["last_error"]["message"]
        .as_str()
        .expect("a sentence");
    assert!(!message.is_empty());
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_told_to_the_owner() {
    let place = Place::new().await;
    let nobody = Nowhere::new();
    let upstream = nobody.address();
    let (folder, relay) = (place.folder.path(), place.relay.address());
    let more = ["--device", DEVICE];
    let _agent = Program::agent(BINARY, folder, relay, &place.token, upstream, &more).await;
    let caller = Caller::new(relay, place.relay.api_token("ada"));
    assert_eq!(caller.get("/api/tags").await.status(), 502);
    let object = eventually(PATIENCE, "the error is told", || async {
        let object = place.object().await;
        object["last_error"].is_object().then_some(object)
    })
    .await;
    assert_eq!(object["state"], "connected");
    let message = object["last_error"]["message"].as_str();
    let message = message.expect("a sentence");
    assert!(message.contains(&upstream.to_string()), "{message}");
}

#[tokio::test]
async fn a_flag_before_the_command_is_not_passed_over() {
    let place = Place::new().await;
    let refused = place.run(&["agent", "--relay=http://x", "status"]).await;
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let general = place.run(&["agent", "--log-level=debug", "status"]).await;
    assert_eq!(
        general.status.code(),
        Some(1),
        "there is no agent: {general:?}"
    );
}

#[tokio::test]
async fn whoever_misuses_the_socket_holds_nobody_up() {
    let place = Place::new().await;
    let _agent = place.agent().await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        let stream = UnixStream::connect(place.socket()).await;
        silent.push(stream.expect("a connection"));
    }
    assert_eq!(place.object().await["state"], "connected");
    for mut stream in silent {
        let mut rest = Vec::new();
        let ended = within(2 * PATIENCE, "it is cut off", stream.read_to_end(&mut rest)).await;
        ended.expect("an end");
        assert!(rest.is_empty());
    }
    for hostile in [&b"quit\n"[..], b"status", b"status\r\n", &[b'x'; 64 * 1024]] {
        let mut stream = UnixStream::connect(place.socket())
            .await
            .expect("a connection");
        // One that is cut off while it still writes sees an error here, or a refusal there.
        let is_written = stream.write_all(hostile).await.is_ok();
        drop(stream.shutdown().await);
        let mut answer = String::new();
        let reading = stream.read_to_string(&mut answer);
        let is_read = within(PATIENCE, "an end", reading).await.is_ok();
        if is_written && is_read {
            assert!(answer.contains("error"), "{answer:?}");
        }
    }
    assert_eq!(place.object().await["state"], "connected");
}

#[tokio::test]
async fn what_is_installed_runs_and_tells_no_secret() {
    let place = Place::new().await;
    let folder = place.folder.path();
    let token_file = folder.join("agent-token");
    fs::write(&token_file, &place.token).expect("a file");
    fs::set_permissions(&token_file, fs::Permissions::from_mode(0o600)).expect("a mode");
    // Takes the place of the system's own, and writes down what it is asked.
    fs::create_dir(folder.join("bin")).expect("a folder");
    let systemctl = folder.join("bin/systemctl");
    fs::write(&systemctl, "#!/bin/sh\necho \"$*\" >> \"$HOME/asked\"\n").expect("a file");
    fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).expect("a mode");
    let relay = place.relay.url();
    let upstream = format!("http://{}", place.upstream.address());
    let words = [
        "agent",
        "install",
        "--relay",
        &relay,
        "--upstream",
        &upstream,
        "--token-file",
        "agent-token",
        "--device",
        DEVICE,
    ];
    let with_proxy = [&words[..], &["--proxy", "http://ada:hunter2@127.0.0.1:1"]].concat();

    let unit = folder.join(".config/systemd/user/c2l-agent.service");
    let config = folder.join(".config/c2l/agent-service.toml");
    let shown = place.run(&[&with_proxy[..], &["--print"]].concat()).await;
    let shown = String::from_utf8(shown.stdout).expect("text");
    assert!(
        shown.contains("ExecStart=") && shown.contains("(hidden)"),
        "{shown}"
    );
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(!unit.exists() && !config.exists(), "nothing was written");

    for words in [&with_proxy[..], &words[..]] {
        let mut installing = command(folder);
        installing.args(words).current_dir(folder);
        let output = output(installing).await;
        assert!(output.status.success(), "{output:?}");
        let said = format!("{output:?}");
        let unit = fs::read_to_string(&unit).expect("a unit");
        for secret in [&place.token, "hunter2"] {
            assert!(
                !unit.contains(secret) && !said.contains(secret),
                "{unit}{said}"
            );
        }
        assert!(!unit.contains("token"), "{unit}");
        assert_eq!(mode(&config), 0o600);
    }
    let asked = fs::read_to_string(folder.join("asked")).expect("what was asked");
    let expected = [
        "--user daemon-reload",
        "--user enable --now c2l-agent.service",
        "--user restart c2l-agent.service",
    ];
    assert_eq!(
        asked.lines().collect::<Vec<_>>(),
        [expected, expected].concat()
    );

    // What the unit starts, from somewhere else.
    let config_text = config.to_str().expect("a plain name");
    let mut agent = Program::start(BINARY, folder, ["agent", "--config", config_text]);
    agent.line("session opened").await;
    agent.kill().await;

    let output = place.run(&["agent", "uninstall"]).await;
    assert!(output.status.success(), "{output:?}");
    assert!(!unit.exists() && !config.exists() && token_file.exists());
    let asked = fs::read_to_string(folder.join("asked")).expect("what was asked");
    assert!(
        asked.contains("--user disable --now c2l-agent.service"),
        "{asked}"
    );
    let again = place.run(&["agent", "uninstall"]).await;
    assert!(String::from_utf8_lossy(&again.stdout).contains("not installed"));
}

#[tokio::test]
async fn a_service_is_not_made_with_a_token_that_it_would_not_have() {
    let place = Place::new().await;
    let relay = place.relay.url();
    let mut installing = command(place.folder.path());
    installing
        .args(["agent", "install", "--relay", &relay])
        .env("C2L_TOKEN", &place.token);
    let refused = output(installing).await;
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).expect("text");
    assert!(
        said.contains("--token-file") && !said.contains(&place.token),
        "{said}"
    );
    // Without systemd the files are written, and it says what is left to do.
    let words = [
        "agent",
        "install",
        "--relay",
        &relay,
        "--token-command",
        "true",
    ];
    let installed = place.run(&words).await;
    assert!(installed.status.success(), "{installed:?}");
    let said = String::from_utf8(installed.stdout).expect("text");
    assert!(said.contains("systemctl --user enable --now"), "{said}");
}

//! The program itself: `c2l login`, the agent that lives on it, `c2l logout`.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use c2l_testkit::{Caller, PATIENCE, Program, TestUpstream, eventually, within};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, Command},
    task::JoinSet,
};

const BINARY: &str = env!("CARGO_BIN_EXE_c2l");
/// So that a test sees several lives of a token.
const SHORT: [&str; 4] = ["--login-interval", "1s", "--login-token-ttl", "4s"];

/// A relay on one machine, a model and a folder on another.
struct Machines {
    relay: Program,
    address: SocketAddr,
    server: TempDir,
    desk: TempDir,
    upstream: TestUpstream,
}

impl Machines {
    async fn new() -> Self {
        Self::with(&["--log-level=trace"]).await
    }

    async fn with(more: &[&str]) -> Self {
        let server = tempfile::tempdir().expect("a folder");
        let audit = format!("--audit-log={}", server.path().join("audit").display());
        let mut more = [&SHORT[..], more].concat();
        more.push(&audit);
        let started = Program::relay(BINARY, server.path(), "127.0.0.1:0", &more).await;
        Self {
            relay: started.0,
            address: started.1,
            server,
            desk: tempfile::tempdir().expect("a folder"),
            upstream: TestUpstream::start().await,
        }
    }

    /// The relay ends, as it ends in a power cut, and comes back.
    async fn restart_relay(self) -> Self {
        self.relay.kill().await;
        let listen = self.address.to_string();
        let folder = self.server.path();
        let (relay, address, _) = Program::relay(BINARY, folder, &listen, &SHORT).await;
        Self {
            relay,
            address,
            ..self
        }
    }

    /// The relay's record of who did what.
    fn audit(&self) -> String {
        let file = self.server.path().join("audit/audit.jsonl");
        fs::read_to_string(file).unwrap_or_default()
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn login(&self) -> Login {
        Login::start(
            self.desk.path(),
            &["--relay", &self.url(), "--device", "desk"],
        )
        .await
    }

    /// Runs `c2l device` on the relay's machine.
    async fn device(&self, words: &[&str]) -> Output {
        let data_dir = plain(self.server.path());
        let words = [&["device"], words, &["--data-dir", data_dir]].concat();
        Program::output(BINARY, self.server.path(), words, &[]).await
    }

    /// A login that the operator has approved.
    async fn logged_in(&self) {
        let login = self.login().await;
        let approved = self.device(&["approve", &login.code]).await;
        assert!(approved.status.success(), "{approved:?}");
        let output = login.ended().await;
        assert!(output.status.success(), "{output:?}");
    }

    /// An agent that is told nothing but where Ollama is.
    fn agent(&self) -> Program {
        let upstream = format!("http://{}", self.upstream.address());
        let words = [
            "agent",
            "--upstream",
            &upstream,
            "--data-dir",
            plain(self.desk.path()),
            "--backoff-min=50ms",
            "--backoff-max=200ms",
            "--log-level=trace",
        ];
        Program::start(BINARY, self.desk.path(), words)
    }

    async fn on_desk(&self, words: &[&str]) -> Output {
        let more = ["--data-dir", plain(self.desk.path())];
        let words = [words, &more].concat();
        Program::output(BINARY, self.desk.path(), words, &[]).await
    }

    /// The file that keeps the login, if there is one.
    fn kept(&self) -> Option<PathBuf> {
        let folder = fs::read_dir(self.desk.path().join("logins")).ok()?;
        let mut files = folder.map(|entry| entry.expect("an entry").path());
        files.find(|path| path.extension().is_some_and(|end| end == "json"))
    }

    fn secrets(&self) -> Value {
        let text = fs::read_to_string(self.kept().expect("a login")).expect("a file");
        let kept: Value = serde_json::from_str(&text).expect("an object");
        kept["secrets"].clone()
    }

    /// One word of the model's, all the way through.
    async fn chat(&self) {
        let folder = self.server.path();
        let token = Program::issue_token(BINARY, folder, "owner", &["--kind", "api"]).await;
        let answer = Caller::new(self.address, token).chat("tiny", "hello").await;
        assert_eq!(answer.status(), 200);
        assert!(answer.text().await.contains("\"done\":true"));
    }
}

fn plain(path: &Path) -> &str {
    path.to_str().expect("a plain name")
}

/// `c2l login` while it waits.
struct Login {
    child: Child,
    code: String,
    said: String,
}

impl Login {
    async fn start(folder: &Path, words: &[&str]) -> Self {
        Self::start_with(folder, words, &[]).await
    }

    async fn start_with(folder: &Path, words: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(BINARY)
            .args(["login", "--data-dir", plain(folder), "--log-level=trace"])
            .args(words)
            .env_clear()
            .env("HOME", folder)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("a program that starts");
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut said = String::new();
        let reading = async {
            while !said.contains("Waiting") {
                let length = output.read_line(&mut said).await.expect("text");
                assert!(length > 0, "it ended: {said}");
            }
        };
        within(PATIENCE, "a code", reading).await;
        child.stdout = Some(output.into_inner());
        let is_code = |word: &&str| word.len() == 9 && word.as_bytes()[4] == b'-';
        let code = said.split_whitespace().find(is_code).expect("a code");
        Self {
            child,
            code: code.to_owned(),
            said,
        }
    }

    /// Its end, with all that it wrote.
    async fn ended(mut self) -> Output {
        let mut output = self.child.stdout.take().expect("it is piped");
        let mut rest = self.said.into_bytes();
        let reading = output.read_to_end(&mut rest);
        within(2 * PATIENCE, "the login ends", reading)
            .await
            .expect("text");
        let mut ended = within(PATIENCE, "an end", self.child.wait_with_output())
            .await
            .expect("a status");
        ended.stdout = rest;
        ended
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn a_machine_logs_in_serves_over_many_token_lives_and_logs_out() {
    let machines = Machines::new().await;
    let login = machines.login().await;
    assert!(
        login
            .said
            .contains(&format!("{}/login?code={}", machines.url(), login.code))
    );
    assert!(
        machines.kept().is_none(),
        "nothing is kept before somebody said yes"
    );
    let listed = machines.device(&["list"]).await;
    let listed = text(&listed.stdout);
    assert!(
        listed.contains("desk") && listed.contains("127.0.0.1"),
        "{listed}"
    );
    assert!(!listed.contains(&login.code), "a list is no word: {listed}");
    let approved = machines
        .device(&["approve", &login.code.to_lowercase()])
        .await;
    assert!(approved.status.success(), "{approved:?}");
    assert!(text(&approved.stdout).contains("desk"));
    let output = login.ended().await;
    assert!(output.status.success(), "{output:?}");
    assert!(
        text(&output.stdout).contains("logged in as a device of owner"),
        "{output:?}"
    );

    let kept = machines.kept().expect("a login");
    let mode = |path: &Path| {
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    for entry in fs::read_dir(kept.parent().expect("its folder")).expect("a folder") {
        assert_eq!(mode(&entry.expect("an entry").path()), 0o600);
    }
    assert_eq!(mode(kept.parent().expect("its folder")), 0o700);

    let first = machines.secrets();
    let mut agent = machines.agent();
    agent.line("session opened").await;
    machines.chat().await;
    for life in 1..=3 {
        agent.nth_line("token renewed", life).await; // each of 4 s
    }
    machines.chat().await;
    let opened = agent
        .log()
        .iter()
        .filter(|line| line.contains("session opened"))
        .count();
    assert_eq!(opened, 1, "one session all the time");
    let last = machines.secrets();
    assert_ne!(first["refresh"], last["refresh"]);

    let logout = machines.on_desk(&["logout"]).await;
    assert!(
        logout.status.success() && text(&logout.stdout).contains("Logged out"),
        "{logout:?}"
    );
    assert!(machines.kept().is_none());
    assert_eq!(agent.ended().await.code(), Some(3));
    agent.line("c2l login").await;
    let again = machines.on_desk(&["logout"]).await;
    assert!(
        again.status.success() && text(&again.stdout).contains("not logged in"),
        "{again:?}"
    );

    let logs = [
        agent.log(),
        machines.relay.log(),
        vec![text(&output.stdout), text(&output.stderr)],
    ];
    let logs = logs.concat().join("\n");
    assert!(logs.contains("TRACE"), "they say everything");
    for secrets in [&first, &last] {
        for name in ["refresh", "access"] {
            let secret = secrets[name].as_str().expect("a secret");
            assert!(!logs.contains(secret), "{name}");
            let end = secret.rsplit('.').next().expect("a part");
            assert!(!logs.contains(end), "not even the end of {name}");
        }
    }
}

#[tokio::test]
async fn a_denied_login_keeps_nothing_and_says_so() {
    let machines = Machines::new().await;
    let login = machines.login().await;
    let denied = machines.device(&["deny", &login.code]).await;
    assert!(denied.status.success(), "{denied:?}");
    let output = login.ended().await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("somebody said no"),
        "{output:?}"
    );
    assert!(machines.kept().is_none());
    let unknown = machines.device(&["approve", "BCDF-GHJK"]).await;
    assert!(!unknown.status.success());
    assert!(
        text(&unknown.stderr).contains("No login waits"),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn a_login_outlives_a_relay_that_is_killed_and_an_agent_that_waits_for_it() {
    let machines = Machines::new().await;
    machines.logged_in().await;
    let mut agent = machines.agent();
    agent.nth_line("token renewed", 1).await;
    let machines = machines.restart_relay().await;
    agent.nth_line("session opened", 2).await;
    agent.nth_line("token renewed", 2).await;
    machines.chat().await;
    agent.kill().await;

    // One that starts while there is no relay, and whose token has run out, waits and does not give up.
    let Machines {
        relay,
        address,
        server,
        desk,
        upstream,
    } = machines;
    let mut kept: Value = {
        let folder = fs::read_dir(desk.path().join("logins")).expect("a folder");
        let mut files = folder.map(|entry| entry.expect("an entry").path());
        let file = files.find(|path| path.extension().is_some_and(|end| end == "json"));
        let file = file.expect("a login");
        let kept = fs::read_to_string(&file).expect("a file");
        let mut kept: Value = serde_json::from_str(&kept).expect("an object");
        kept["secrets"]["until"] = json!(1);
        fs::write(&file, kept.to_string()).expect("a file");
        kept
    };
    relay.kill().await;
    let machines = Machines {
        relay: Program::start(BINARY, server.path(), ["config", "show"]),
        address,
        server,
        desk,
        upstream,
    };
    let mut agent = machines.agent();
    agent.line("cannot refresh the login").await;
    // The attempt was written down before it was made, and is made again.
    let attempt = machines.secrets()["attempt"].clone();
    assert!(attempt.is_string(), "{attempt}");
    kept["secrets"]["attempt"] = attempt;
    let listen = machines.address.to_string();
    let folder = machines.server.path();
    let (_relay, ..) = Program::relay(BINARY, folder, &listen, &SHORT).await;
    agent.line("session opened").await;
    machines.chat().await;
}

#[tokio::test]
async fn a_relay_that_cannot_be_told_is_said_to_keep_the_login() {
    let machines = Machines::new().await;
    machines.logged_in().await;
    let url = machines.url();
    machines.relay.signal("KILL").await;
    let folder = plain(machines.desk.path());
    let words = ["logout", "--relay", &url, "--data-dir", folder];
    let logout = Program::output(BINARY, machines.desk.path(), words, &[]).await;
    assert!(logout.status.success(), "{logout:?}");
    let said = text(&logout.stdout);
    assert!(
        said.contains("forgotten here") && said.contains("was not told"),
        "{said}"
    );
    assert!(machines.kept().is_none());
}

#[tokio::test]
async fn programs_that_ask_at_once_never_use_a_refresh_token_twice() {
    let machines = Machines::with(&["--log-level=info"]).await;
    machines.logged_in().await;
    let mut agent = machines.agent();
    agent.line("session opened").await;
    let mut doctors = JoinSet::new();
    for _ in 0..4 {
        let folder = machines.desk.path().to_owned();
        let upstream = format!("http://{}", machines.upstream.address());
        doctors.spawn(async move {
            let mut sound = 0;
            for _ in 0..3 {
                let data_dir = plain(&folder);
                let words = [
                    "doctor",
                    "--json",
                    "--upstream",
                    &upstream,
                    "--data-dir",
                    data_dir,
                ];
                let output = Program::output(BINARY, &folder, words, &[]).await;
                let found: Value = serde_json::from_slice(&output.stdout).expect("an object");
                let checks = found["checks"].as_array().expect("checks");
                let token = checks.iter().find(|check| check["name"] == "token");
                let token = token.expect("the check of the token");
                assert_ne!(token["status"], "failed", "{token}");
                sound += 1;
            }
            sound
        });
    }
    let sound: u32 = doctors.join_all().await.into_iter().sum();
    assert_eq!(sound, 12);
    let renewed = agent
        .log()
        .iter()
        .filter(|line| line.contains("token renewed"))
        .count();
    for life in 1..=2 {
        agent.nth_line("token renewed", renewed + life).await;
    }
    machines.chat().await;
    let refreshed = async || machines.audit().contains("login_refreshed").then_some(());
    eventually(PATIENCE, "the refreshes are on record", refreshed).await;
    let record = machines.audit();
    assert!(!record.contains("refresh_reused"), "{record}");
}

#[tokio::test]
async fn a_copy_of_a_login_is_found_out_and_ends_the_agent() {
    let machines = Machines::new().await;
    machines.logged_in().await;
    let copied = machines.secrets()["refresh"]
        .as_str()
        .expect("a token")
        .to_owned();
    let mut agent = machines.agent();
    agent.nth_line("token renewed", 1).await;
    let forms = super::Forms::to(machines.address);
    let (status, said) = forms.refresh(&copied, "").await;
    assert_eq!((status, &said["error"]), (400, &json!("invalid_grant")));
    let ended = within(Duration::from_secs(5), "the agent ends", agent.ended()).await;
    assert_eq!(ended.code(), Some(3));
    agent.line("c2l login").await;
}

#[tokio::test]
async fn what_is_said_counts_before_a_login_and_must_fit_it() {
    let machines = Machines::new().await;
    machines.logged_in().await;
    let mistaken = machines.on_desk(&["agent", "--device", "lap"]).await;
    assert_eq!(mistaken.status.code(), Some(2));
    assert!(
        text(&mistaken.stderr).contains("logged in as desk"),
        "{mistaken:?}"
    );
    let missing = machines
        .on_desk(&["agent", "--token-file", "/nowhere"])
        .await;
    assert_eq!(missing.status.code(), Some(3), "{missing:?}");
    // Whoever looks for what is wrong opens a session as this device, while no agent does.
    let upstream = format!("http://{}", machines.upstream.address());
    let found = machines
        .on_desk(&["doctor", "--json", "--upstream", &upstream])
        .await;
    let found: Value = serde_json::from_slice(&found.stdout).expect("an object");
    let session = |found: &Value| {
        let checks = found["checks"].as_array().expect("checks").clone();
        checks.into_iter().find(|check| check["name"] == "session")
    };
    let opened = session(&found).expect("its check");
    assert_eq!(opened["status"], "ok", "{found}");
    let mut agent = machines.agent();
    agent.line("session opened").await;
    let found = machines
        .on_desk(&["doctor", "--json", "--upstream", &upstream])
        .await;
    let found: Value = serde_json::from_slice(&found.stdout).expect("an object");
    let skipped = session(&found).expect("its check");
    assert_eq!(skipped["status"], "skipped", "{found}");
    assert!(
        !agent.log().join("\n").contains("replaced"),
        "it is not disturbed"
    );
    let status = machines.on_desk(&["agent", "status"]).await;
    assert!(
        text(&status.stdout).contains("desk"),
        "its name is known: {status:?}"
    );
    // A service is told the relay, and needs no token of its own.
    let printed = machines.on_desk(&["agent", "install", "--print"]).await;
    let printed = text(&printed.stdout);
    assert!(
        printed.contains(&machines.url()) && !printed.contains("token"),
        "{printed}"
    );
    for secret in ["refresh", "access"] {
        let secrets = machines.secrets();
        assert!(!printed.contains(secrets[secret].as_str().expect("a secret")));
    }
}

/// Plays the program that speaks with a desktop's keyring, and writes down with which words it was called.
const SECRET_TOOL: &str = r#"#!/bin/sh
echo "$@" >> "$KEYRING.words"
case $1 in
    search) exit 0 ;;
    store) cat > "$KEYRING" ;;
    lookup) cat "$KEYRING" ;;
    clear) rm "$KEYRING" ;;
esac
"#;

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_keyring_keeps_the_secrets_and_the_file_none_of_them() {
    let machines = Machines::new().await;
    let tools = tempfile::tempdir().expect("a folder");
    let program = tools.path().join("secret-tool");
    fs::write(&program, SECRET_TOOL).expect("a file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a program");
    let keyring = tools.path().join("keyring");
    let path = format!("{}:/usr/bin:/bin", plain(tools.path()));
    let variables = [
        ("PATH", path.as_str()),
        ("KEYRING", plain(&keyring)),
        ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere"),
    ];
    let (folder, url) = (machines.desk.path(), machines.url());
    let words = ["--relay", &url, "--device", "desk"];
    let login = Login::start_with(folder, &words, &variables).await;
    let approved = machines.device(&["approve", &login.code]).await;
    assert!(approved.status.success(), "{approved:?}");
    let output = login.ended().await;
    assert!(
        text(&output.stdout).contains("in the system's keyring"),
        "{output:?}"
    );

    let secrets = || -> Value {
        let kept = fs::read_to_string(&keyring).expect("what the keyring has");
        serde_json::from_str(&kept).expect("an object")
    };
    let first = secrets();
    let mut worn = first.clone();
    worn["until"] = json!(1);
    fs::write(&keyring, worn.to_string()).expect("a file");
    let upstream = format!("http://{}", machines.upstream.address());
    let words = [
        "doctor",
        "--json",
        "--upstream",
        &upstream,
        "--data-dir",
        plain(folder),
    ];
    let found = Program::output(BINARY, folder, words, &variables).await;
    let last = secrets();
    assert_ne!(first["refresh"], last["refresh"], "{found:?}");
    assert!(last["attempt"].is_null(), "it was answered");

    let file = fs::read_to_string(machines.kept().expect("a login")).expect("a file");
    let called = fs::read_to_string(tools.path().join("keyring.words")).expect("the words");
    assert!(
        called.contains("store --label=c2l login service c2l account"),
        "{called}"
    );
    for kept in [&first, &last] {
        for name in ["refresh", "access"] {
            let secret = kept[name].as_str().expect("a secret");
            assert!(!file.contains(secret) && !called.contains(secret), "{name}");
        }
    }
    let words = ["logout", "--data-dir", plain(folder)];
    let logout = Program::output(BINARY, folder, words, &variables).await;
    assert!(text(&logout.stdout).contains("Logged out"), "{logout:?}");
    assert!(!keyring.exists() && machines.kept().is_none());
}

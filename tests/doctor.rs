//! Promise: `c2l doctor` names what is wrong between the models and the relay and what to do about it, disturbs no
//! running agent, and tells no secret.

use std::{net::SocketAddr, path::Path, process::Output};

use c2l_agent::Status;
use c2l_testkit::{
    Caller, Nowhere, Program, RawUpstream, TestAgent, TestRelay, TestUpstream, blocker,
    certificates::Authority, tokens,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const BINARY: &str = env!("CARGO_BIN_EXE_c2l");

/// How a user would start it, with a token in the environment.
struct Doctor {
    folder: TempDir,
    arguments: Vec<String>,
    variables: Vec<(&'static str, String)>,
}

impl Doctor {
    fn of(relay: impl Into<String>, token: impl Into<String>, upstream: SocketAddr) -> Self {
        let folder = TempDir::new().expect("a directory");
        let relay = relay.into();
        let data = folder.path().join("data").display().to_string();
        let upstream = format!("http://{upstream}");
        let arguments = ["doctor", "--device=laptop", "--relay", &relay]
            .into_iter()
            .chain(["--data-dir", &data, "--upstream", &upstream]);
        Self {
            arguments: arguments.map(str::to_owned).collect(),
            variables: vec![("C2L_TOKEN", token.into())],
            folder,
        }
    }

    fn with(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    fn variable(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    async fn run(&self) -> Output {
        let arguments = self.arguments.iter().map(String::as_str);
        let variables = self.variables.iter();
        let variables: Vec<_> = variables
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        Program::output(BINARY, self.folder.path(), arguments, &variables).await
    }

    async fn findings(self) -> Findings {
        let output = self.with("--json").run().await;
        let json = serde_json::from_slice(&output.stdout).expect("one object");
        Findings {
            json,
            code: output.status.code(),
        }
    }
}

/// What `--json` said.
struct Findings {
    json: Value,
    code: Option<i32>,
}

impl Findings {
    fn check(&self, name: &str) -> &Value {
        let checks = self.json["checks"].as_array().expect("a list");
        let found = checks.iter().find(|check| check["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {:#}", self.json))
    }

    fn seen(&self, name: &str) -> String {
        let seen = self.check(name)["seen"].as_array().expect("a list");
        let seen: Vec<_> = seen.iter().filter_map(Value::as_str).collect();
        seen.join("; ")
    }

    /// Asserts how these checks went. What failed has a fix; the exit code says whether anything did.
    fn assert(&self, status: &str, names: &[&str]) {
        for name in names {
            assert_eq!(
                self.check(name)["status"],
                status,
                "{name}: {:#}",
                self.json
            );
        }
        let checks = self.json["checks"].as_array().expect("a list");
        let failed = checks.iter().filter(|check| check["status"] == "failed");
        let has_failed = failed
            .map(|check| assert!(check["fix"].is_string(), "{check:#}"))
            .count()
            > 0;
        assert_eq!(self.code, Some(i32::from(has_failed)), "{:#}", self.json);
        assert_eq!(self.json["ok"], !has_failed);
    }
}

/// A relay in clear whatever the transport of this run is: the doctor is told by its flags which way to go.
async fn plain_relay() -> TestRelay {
    TestRelay::start_plain("the checks of TLS have tests of their own", |_| {}).await
}

/// Answers whatever comes first with these bytes.
async fn answering(answer: &'static str) -> RawUpstream {
    RawUpstream::start(move |mut stream: TcpStream| async move {
        let mut head = vec![0; 64 * 1024];
        while matches!(stream.read(&mut head).await, Ok(1..)) {
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn where_all_is_well_every_check_says_so() {
    let relay = plain_relay().await;
    let upstream = TestUpstream::start().await;
    let doctor = Doctor::of(relay.url(), relay.agent_token("ada"), upstream.address())
        .variable("C2L_API_TOKEN", relay.api_token("ada"));
    let findings = doctor.findings().await;
    let applicable = [
        "config",
        "token",
        "dns",
        "tcp",
        "http2",
        "websocket",
        "clock",
        "session",
        "upstream",
        "host",
        "models",
        "first token",
    ];
    findings.assert("ok", &applicable);
    findings.assert("skipped", &["proxy", "tls"]);
    assert_eq!(findings.json["summary"], "all is well");
    assert!(
        findings.seen("upstream").contains("Ollama"),
        "{:#}",
        findings.json
    );
    assert!(
        findings.seen("first token").contains("tiny"),
        "{:#}",
        findings.json
    );
    relay.metric_becomes("c2l_sessions", 0).await;
}

#[tokio::test]
async fn without_an_api_token_the_loop_is_not_tried_and_that_is_no_failure() {
    let relay = plain_relay().await;
    let upstream = TestUpstream::start().await;
    let doctor = Doctor::of(relay.url(), relay.agent_token("ada"), upstream.address());
    let output = doctor.run().await;
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text}");
    let line = text.lines().find(|line| line.contains("first token"));
    let line = line.unwrap_or_else(|| panic!("no word of it in {text}"));
    assert!(
        line.starts_with("skipped") && line.contains("--api-token-file"),
        "{line}"
    );
    assert!(text.ends_with("all is well\n"), "{text}");
}

#[tokio::test]
async fn a_wrong_token_is_told_by_the_relay_and_by_itself() {
    let relay = plain_relay().await;
    let stranger = plain_relay().await;
    let upstream = TestUpstream::start().await;

    let foreign = stranger.agent_token("ada");
    let findings = Doctor::of(relay.url(), foreign, upstream.address())
        .findings()
        .await;
    findings.assert("failed", &["websocket", "session"]);
    findings.assert("ok", &["token", "http2", "models"]);
    assert!(
        findings.check("session")["fix"]
            .as_str()
            .expect("a fix")
            .contains("c2l token issue")
    );

    let findings = Doctor::of(relay.url(), "nonsense", upstream.address())
        .findings()
        .await;
    findings.assert("warning", &["token"]);
    findings.assert("failed", &["websocket", "session"]);

    let expired = relay.sign(&tokens::expired("ada").of_kind(c2l_auth::Kind::Agent));
    for (token, word) in [
        (expired, "ran out"),
        (relay.api_token("ada"), "of kind api"),
    ] {
        let findings = Doctor::of(relay.url(), token, upstream.address())
            .findings()
            .await;
        findings.assert("failed", &["token"]);
        assert!(findings.seen("token").contains(word), "{:#}", findings.json);
        findings.assert("skipped", &["websocket", "session", "first token"]);
        assert!(findings.seen("session").contains("token, which failed"));
        findings.assert("ok", &["http2", "clock", "models"]);
    }
}

#[tokio::test]
async fn a_relay_that_is_down_leaves_the_near_end_to_be_checked() {
    let upstream = TestUpstream::start().await;
    let relay = plain_relay().await;
    let token = relay.agent_token("ada");
    let nobody = Nowhere::new();
    let url = format!("http://{}", nobody.address());
    let findings = Doctor::of(url, token, upstream.address()).findings().await;
    findings.assert("failed", &["tcp"]);
    findings.assert(
        "skipped",
        &[
            "tls",
            "http2",
            "websocket",
            "clock",
            "session",
            "first token",
        ],
    );
    assert!(findings.seen("http2").contains("tcp, which failed"));
    findings.assert(
        "ok",
        &["config", "token", "dns", "upstream", "host", "models"],
    );
}

#[tokio::test]
async fn a_certificate_is_judged_by_its_names_and_by_who_signed_it() {
    let authority = Authority::new();
    let certificate = authority.issue(&["127.0.0.1", "relay.example"]);
    let relay = TestRelay::start_plain("its certificate is of an authority of its own", |config| {
        config.tls = Some(certificate.server(&[b"h2", b"http/1.1"]));
    })
    .await;
    let upstream = TestUpstream::start().await;
    let (right, wrong) = (authority.file(), Authority::new().file());
    let port = relay.address().port();
    let doctor = |host: &str, authority: &Path| {
        let url = format!("https://{host}:{port}");
        Doctor::of(url, relay.agent_token("ada"), upstream.address())
            .with("--ca-file")
            .with(authority.display().to_string())
    };

    let findings = doctor("127.0.0.1", right.path()).findings().await;
    findings.assert("ok", &["http2", "websocket", "clock", "session"]);
    let seen = findings.seen("tls");
    for part in [
        "trusted",
        "relay.example",
        "it holds for",
        "h2 and http/1.1",
    ] {
        assert!(seen.contains(part), "{part} is missing in {seen}");
    }

    let findings = doctor("localhost", right.path()).findings().await;
    findings.assert("failed", &["tls"]);
    let fix = findings.check("tls")["fix"].as_str().expect("a fix");
    assert!(fix.contains("a name in --relay"), "{fix}");

    let findings = doctor("127.0.0.1", wrong.path()).findings().await;
    findings.assert("failed", &["tls"]);
    let fix = findings.check("tls")["fix"].as_str().expect("a fix");
    assert!(fix.contains("--ca-file"), "{fix}");
}

#[tokio::test]
async fn a_port_that_speaks_no_tls_is_told_as_that() {
    let relay = plain_relay().await;
    let upstream = TestUpstream::start().await;
    let url = format!("https://{}", relay.address());
    let doctor = Doctor::of(url, relay.agent_token("ada"), upstream.address());
    let findings = doctor.with("--insecure-skip-verify").findings().await;
    findings.assert("failed", &["tls"]);
    findings.assert("skipped", &["http2", "websocket", "session"]);
}

#[tokio::test]
async fn an_upstream_that_is_down_leaves_the_far_end_to_be_checked() {
    let relay = plain_relay().await;
    let nobody = Nowhere::new();
    let token = relay.agent_token("ada");
    let findings = Doctor::of(relay.url(), token, nobody.address())
        .findings()
        .await;
    findings.assert("failed", &["upstream"]);
    findings.assert("skipped", &["host", "models", "first token"]);
    findings.assert("ok", &["http2", "websocket", "session"]);
    let fix = findings.check("upstream")["fix"].as_str().expect("a fix");
    assert!(fix.contains("ollama serve"), "{fix}");
}

#[tokio::test]
async fn an_upstream_that_refuses_the_agents_host_is_told_as_that() {
    let relay = plain_relay().await;
    let refusing = answering("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
    let token = relay.agent_token("ada");
    let findings = Doctor::of(relay.url(), token, refusing.address())
        .findings()
        .await;
    findings.assert("ok", &["upstream"]);
    findings.assert("failed", &["host"]);
    findings.assert("skipped", &["models"]);
}

#[tokio::test]
async fn where_http2_is_blocked_the_web_socket_is_enough_unless_it_may_not_be_used() {
    let relay = plain_relay().await;
    let upstream = TestUpstream::start().await;
    let token = relay.agent_token("ada");
    for kind in blocker::Kind::ALL {
        let blocker = blocker::start(relay.address(), kind).await;
        let url = format!("http://{}", blocker.address());
        let findings = Doctor::of(url, &token, upstream.address()).findings().await;
        findings.assert("warning", &["http2"]);
        findings.assert("ok", &["websocket", "clock", "session"]);
        assert!(
            findings.seen("session").contains("over websocket"),
            "{kind:?}"
        );
    }
    let blocker = blocker::start(relay.address(), blocker::Kind::Resets).await;
    let url = format!("http://{}", blocker.address());
    let doctor = Doctor::of(url, &token, upstream.address()).with("--transport=grpc");
    let findings = doctor.findings().await;
    findings.assert("failed", &["http2"]);
    findings.assert("ok", &["websocket"]);
    findings.assert("skipped", &["session"]);
}

#[tokio::test]
async fn the_proxys_own_answer_is_told_without_its_password() {
    let relay = plain_relay().await;
    let upstream = TestUpstream::start().await;
    let proxy = answering(
        "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 14\r\n\r\n<b>go away</b>",
    )
    .await;
    let address = format!("http://ada:hunter2@{}", proxy.address());
    let doctor = Doctor::of(relay.url(), relay.agent_token("ada"), upstream.address());
    let findings = doctor.with("--proxy").with(address).findings().await;
    findings.assert("skipped", &["dns", "tls", "http2"]);
    findings.assert("ok", &["tcp"]);
    findings.assert("failed", &["proxy"]);
    let seen = findings.seen("proxy");
    assert!(seen.contains("407") && seen.contains("go away"), "{seen}");
    assert!(!findings.json.to_string().contains("hunter2"));
}

#[tokio::test]
async fn every_mistake_in_the_settings_is_a_finding() {
    let upstream = TestUpstream::start().await;
    let doctor = Doctor::of("http://relay.example", "x", upstream.address());
    let findings = doctor
        .with("--dial-timeout=5")
        .with("--transport=pigeon")
        .findings()
        .await;
    findings.assert("failed", &["config"]);
    let seen = findings.seen("config");
    for mistake in [
        "--dial-timeout",
        "--transport",
        "http:// to another machine",
    ] {
        assert!(seen.contains(mistake), "{mistake} is missing in {seen}");
    }
    findings.assert(
        "skipped",
        &["token", "dns", "session", "upstream", "first token"],
    );
}

#[tokio::test]
async fn a_running_agent_of_the_same_device_is_not_disturbed() {
    let relay = plain_relay().await;
    let upstream = TestUpstream::start().await;
    let agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
    let session = |agent: &TestAgent| match &*agent.status().borrow() {
        Status::Open { session_id, .. } => Some(session_id.clone()),
        _ => None,
    };
    let before = session(&agent);
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    let mut running = caller.chat("tiny+bytes=20000000", "hello").await;

    let doctor = Doctor::of(relay.url(), relay.agent_token("ada"), upstream.address())
        .variable("C2L_API_TOKEN", relay.api_token("ada"));
    let findings = doctor.findings().await;
    findings.assert("ok", &["websocket", "session", "first token"]);

    assert!(before.is_some());
    assert_eq!(session(&agent), before, "the session is still the same one");
    let (rest, is_whole) = running.rest().await;
    assert!(rest.len() >= 20_000_000 && is_whole, "{} bytes", rest.len());
    relay.metric_becomes("c2l_sessions", 1).await;
    assert_eq!(caller.get("/api/version").await.status(), 200);
}

#[tokio::test]
async fn no_secret_is_in_what_it_prints_or_writes() {
    let relay = plain_relay().await;
    let upstream = TestUpstream::start().await;
    let (token, api_token) = (relay.agent_token("ada"), relay.api_token("ada"));
    let echoing =
        answering("HTTP/1.1 403 Forbidden\r\ncontent-length: 24\r\n\r\nnot with planted-marker!")
            .await;
    let with_proxy = format!("http://ada:planted-marker@{}", echoing.address());
    for (is_json, proxy) in [
        (true, "none"),
        (false, "none"),
        (false, with_proxy.as_str()),
    ] {
        let mut doctor = Doctor::of(relay.url(), "", upstream.address())
            .variable("C2L_API_TOKEN", &api_token)
            .with("--token-command")
            .with(format!("printf %s {token} # planted-marker"))
            .with("--log-level=trace")
            .with("--proxy")
            .with(proxy);
        let bundle = doctor.folder.path().join("bundle.json");
        doctor = doctor.with("--bundle").with(bundle.display().to_string());
        if is_json {
            doctor = doctor.with("--json");
        }
        let output = doctor.run().await;
        let bundle = std::fs::read_to_string(bundle).expect("a bundle");
        let parsed: Value = serde_json::from_str(&bundle).expect("one object");
        assert_eq!(
            parsed["doctor"]["checks"].as_array().map(Vec::len),
            Some(14)
        );
        for part in ["version", "system", "configuration", "doctor"] {
            assert!(!parsed[part].is_null(), "{part}: {bundle}");
        }
        assert!(bundle.contains("agent.token-command"), "{bundle}");
        let out = String::from_utf8_lossy(&output.stdout);
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(
            log.contains("TRACE") || proxy != "none",
            "the log is at trace level"
        );
        for secret in [&token, &api_token, "planted-marker"] {
            for text in [&out, &log, &bundle.as_str().into()] {
                assert!(!text.contains(secret), "{secret} in {text}");
            }
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_token_file_that_others_may_read_is_worth_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let relay = plain_relay().await;
    let upstream = TestUpstream::start().await;
    let doctor = Doctor::of(relay.url(), "", upstream.address());
    let file = doctor.folder.path().join("token");
    std::fs::write(&file, relay.agent_token("ada")).expect("a file");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("a mode");
    let findings = doctor
        .with("--token-file")
        .with(file.display().to_string())
        .findings()
        .await;
    findings.assert("warning", &["token"]);
    assert!(
        findings.seen("token").contains("644"),
        "{:#}",
        findings.json
    );
}

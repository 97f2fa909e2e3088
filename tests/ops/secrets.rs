//! Markers are put wherever something private can stand, and then looked for wherever it must not be.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use c2l_proto::relay::{WhoAmIRequest, status_service_client::StatusServiceClient};
use c2l_testkit::{
    Answer, Caller, CapturedLog, FakeAgent, PATIENCE, RawConnection, TestUpstream, empty, full,
    tokens,
    websocket::{self, RawWebSocket},
    within,
};
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{
    loop_of, metric,
    needles::Needles,
    program::{Running, c2l, issue, run},
};

/// Whatever is private has this in it.
const MARKER: &str = "m4rk3r";
const LOGIN_INTERVAL: Duration = Duration::from_secs(1);

/// A mix of good and bad exchanges, each with private things in every place that takes any. Returns the answers of
/// ours: refusals, and nothing that the upstream said.
async fn exchanges(caller: &Caller, anonymous: &Caller, token: &str, bad: &str) -> Vec<String> {
    let mut refusals = Vec::new();
    let prompt = format!("{MARKER} in a prompt, {} times", "long ".repeat(500));
    let chat = |model: &str, stream: bool| {
        json!({
            "model": model, "stream": stream,
            "messages": [{ "role": "user", "content": prompt }],
        })
    };
    for (path, model) in [
        ("/api/chat", "tiny+echo"),
        ("/api/chat", "tiny+echo+cut=3"),
        ("/api/chat", "tiny+echo+tear=3"),
        ("/api/chat", "tiny+echo+error=3"),
        ("/api/chat", "tiny+status=500"),
        ("/api/chat?q=m4rk3r", "tiny+echo"),
        ("/v1/chat/completions", "tiny+echo"),
        ("/v1/chat/completions", "tiny+echo+cut=3"),
        ("/v1/messages", "tiny+echo+tear=3"),
        ("/api/chat", "m4rk3r-no-such-model"),
    ] {
        for is_streamed in [true, false] {
            let mut request = caller.json(path, &chat(model, is_streamed));
            let fields = request.headers_mut();
            for (name, value) in [
                ("cookie", "session=m4rk3r"),
                ("x-secret", "m4rk3r"),
                ("referer", "https://x.example/k/m4rk3r/"),
                ("x-forwarded-for", "m4rk3r"),
                ("proxy-authorization", "Basic bTRyazNy"),
            ] {
                fields.insert(name, value.parse().expect("a value"));
            }
            if let Ok(mut answer) = caller.try_send(request).await {
                answer.rest().await; // what the upstream said is the caller's own
            }
        }
    }
    // One who leaves in the middle.
    let mut leaving = caller
        .post("/api/chat", &chat("tiny+echo+gap=5ms", true))
        .await;
    assert!(leaving.piece().await.expect("not torn").is_some());
    drop(leaving);
    // In the path: good, bad, with an unknown device, with what is not forwarded.
    let whole = anonymous.get(&format!("/k/{token}/api/tags")).await;
    assert_eq!(whole.status(), 200);
    for path in [
        format!("/k/{bad}/api/chat"),
        format!("/k/{MARKER}/api/chat"),
        format!("/k/{token}/d/nowhere/api/tags"),
        format!("/k/{token}/relay/v1/whoami"),
        format!("/k/{token}/../x"),
        format!("/k/{token}"),
        format!("/api/tags?access_token={token}"),
        format!("/relay/v1/whoami?key={token}"),
    ] {
        let answer = anonymous.get(&path).await;
        if answer.status() != 200 {
            refusals.push(refusal(answer).await);
        }
    }
    for (name, value) in [
        ("authorization", format!("Bearer {bad}")),
        ("authorization", format!("Basic {MARKER}")),
        ("authorization", format!("Digest {MARKER}")),
        ("x-api-key", format!("c2l_{MARKER}")),
        ("expect", MARKER.to_owned()),
        ("x-c2l-device", MARKER.to_owned()),
    ] {
        let mut request = caller.request(Method::GET, "/api/tags");
        if matches!(name, "authorization" | "x-api-key") {
            request = anonymous.request(Method::GET, "/api/tags");
        }
        let request = request.header(name, value).body(empty());
        let answer = caller.send(request.expect("a request")).await;
        refusals.push(refusal(answer).await);
    }
    refusals
}

async fn refusal(answer: Answer) -> String {
    let status = answer.status().as_u16();
    assert!((400..600).contains(&status), "{status}");
    let fields = format!("{:?}", answer.headers());
    format!("{status} {fields} {}", answer.text().await)
}

/// What strangers and agents say at the doors for agents, with private things in it. Returns what they were told.
async fn at_the_tunnel(relay: SocketAddr, token: &str, agents_token: &str) -> Vec<String> {
    let mut told = Vec::new();
    for bad in [
        MARKER,
        token,
        "a.m4rk3r.c",
        "c2l_m4rk3rm4rk3rm4rk3rm4rk3rm4rk3r",
    ] {
        let status = FakeAgent::connect(relay, bad, "desk").await;
        told.push(format!("{:?}", status.expect_err("no agent's token")));
        let fields = format!("authorization: Bearer {bad}\r\n");
        let (_socket, answer) = RawWebSocket::ask(relay, &fields).await;
        assert_eq!(answer.status, 401);
        told.push(answer.head);
    }
    let status = FakeAgent::connect(relay, agents_token, "m4rk3r in a name").await;
    told.push(format!("{:?}", status.expect_err("no device's name")));
    // One that breaks the protocol, with something private in the middle of it.
    let fields = format!("authorization: Bearer {agents_token}\r\n");
    let (mut socket, answer) = RawWebSocket::ask(relay, &fields).await;
    assert_eq!(answer.status, 101);
    let nonsense = websocket::frame(0x82, b"POST /m4rk3r HTTP/1.1\r\n\r\nm4rk3r", true);
    socket.send(nonsense).await;
    let channel = tonic::transport::Channel::from_shared(format!("http://{relay}"));
    let channel = channel.expect("a URL").connect().await;
    let mut service = StatusServiceClient::new(channel.expect("a connection"));
    let mut request = tonic::Request::new(WhoAmIRequest::default());
    let bearer = format!("Bearer {agents_token}").parse().expect("a value");
    request.metadata_mut().insert("authorization", bearer);
    let status = service.who_am_i(request).await.expect_err("an agent's");
    told.push(format!("{status:?}"));
    told
}

/// A proxy that takes any password, and CONNECTs. The counter says how often.
async fn proxy() -> (SocketAddr, Arc<AtomicUsize>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let count = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&count);
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(connect(stream, Arc::clone(&counted)));
        }
    });
    (address, count, task)
}

async fn connect(mut client: TcpStream, count: Arc<AtomicUsize>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    assert!(head.to_lowercase().contains("proxy-authorization: basic "));
    count.fetch_add(1, Ordering::Relaxed);
    let target = head.split_whitespace().nth(1).expect("a target");
    let mut server = TcpStream::connect(target).await?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// What the commands beside a running agent print.
async fn commands(data: &TempDir, relay: SocketAddr, variables: &[(&str, &str)]) -> Vec<String> {
    let relay = format!("--relay=http://{relay}");
    let bundle = format!("--bundle={}", data.path().join("bundle.json").display());
    let mut printed = Vec::new();
    for words in [
        &["agent", "status", "--device=laptop"][..],
        &["agent", "status", "--device=laptop", "--json"],
        &["config", "show"],
        &["config", "show", "agent", &relay],
        &[
            "doctor",
            &relay,
            "--device=laptop",
            "--log-level=trace",
            &bundle,
        ],
        &[
            "doctor",
            &relay,
            "--device=laptop",
            "--log-level=trace",
            "--json",
        ],
        &[
            "agent",
            "install",
            "--print",
            &relay,
            "--token-file=/nowhere",
        ],
        &["agent", "--relay=:::", "--backoff-min=m4nifest-nonsense"],
        &["relay", "--listen=nonsense"],
        &["--version"],
    ] {
        let mut command = c2l(data);
        command.args(words).envs(variables.iter().copied());
        let output = within(4 * PATIENCE, "the program ends", command.output()).await;
        let output = output.expect("a program that starts");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let text = format!("{}\n{}", text(&output.stdout), text(&output.stderr));
        assert!(!text.trim().is_empty(), "{words:?}");
        printed.push(text);
    }
    printed
}

/// What a command of the operator's answers.
async fn object(data: &TempDir, words: &[&str]) -> Value {
    let output = run(data, words).await;
    assert!(output.status.success(), "{words:?}: {output:?}");
    serde_json::from_slice(&output.stdout).expect("an object")
}

fn text_of(object: &Value, name: &str) -> String {
    let text = object[name].as_str();
    text.unwrap_or_else(|| panic!("{name} in {object}"))
        .to_owned()
}

/// Keys: made, used in every place, rotated, revoked, mistyped. Returns what callers were told.
async fn keys(data: &TempDir, relay: SocketAddr, needles: &mut Needles) -> Vec<String> {
    let words = ["key", "create", "scripts", "--user=ada", "--json"];
    let made = object(data, &words).await;
    let (key, id) = (text_of(&made, "key"), text_of(&made, "id"));
    let words = ["key", "rotate", &id, "--user=ada", "--overlap=1h", "--json"];
    let newer = object(data, &words).await;
    let (new_key, new_id) = (text_of(&newer, "key"), text_of(&newer, "id"));
    needles.plant(&key);
    needles.plant(&new_key);
    let anonymous = Caller::anonymous(relay);
    for key in [&key, &new_key] {
        let whoami = Caller::new(relay, key).get("/relay/v1/whoami").await;
        assert_eq!(whoami.status(), 200);
        let in_path = anonymous.get(&format!("/k/{key}/api/tags")).await;
        assert_eq!(in_path.status(), 200);
    }
    let mut told = Vec::new();
    let mistyped = tokens::mistyped(&new_key);
    needles.plant(&mistyped);
    object(data, &["key", "revoke", &new_id, "--user=ada", "--json"]).await;
    for bad in [&mistyped, &new_key] {
        told.push(refusal(Caller::new(relay, bad).get("/api/tags").await).await);
        told.push(refusal(anonymous.get(&format!("/k/{bad}/api/tags")).await).await);
    }
    object(data, &["user", "sign-out", "--user=carol", "--json"]).await;
    let words = ["device", "remove", "castle", "--user=carol", "--json"];
    object(data, &words).await;
    let words = ["token", "revoke", "--id=an-id", "--user=carol", "--json"];
    object(data, &words).await;
    told.push(
        object(data, &["key", "list", "--user=ada", "--json"])
            .await
            .to_string(),
    );
    told
}

/// A device's login: asked for, allowed, refreshed, its old token used once more. Returns what it was told.
async fn login(data: &TempDir, relay: SocketAddr, needles: &mut Needles) -> Vec<String> {
    let device = Caller::anonymous(relay);
    let post = async |what: &str, form: String| {
        let path = format!("/relay/v1/login/{what}");
        let request = device.request(Method::POST, &path);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        device
            .send(request.body(full(form)).expect("a request"))
            .await
    };
    let begun = post("device", "client_id=c2l&device_name=shelf".to_owned()).await;
    let begun = begun.json().await;
    let (code, shown) = (text_of(&begun, "device_code"), text_of(&begun, "user_code"));
    needles.plant(&code);
    let approved = run(data, &["device", "approve", &shown, "--user=ada"]).await;
    assert!(approved.status.success(), "{approved:?}");
    let grant = "urn:ietf:params:oauth:grant-type:device_code";
    let form = format!("client_id=c2l&grant_type={grant}&device_code={code}");
    tokio::time::sleep(LOGIN_INTERVAL).await; // paced: a device asks no sooner than it was told
    let mut tokens = post("token", form).await.json().await;
    let refresh = |token: &str| format!("grant_type=refresh_token&refresh_token={token}");
    let first = text_of(&tokens, "refresh_token");
    for _ in 0..2 {
        needles.plant_token(&text_of(&tokens, "access_token"));
        let token = text_of(&tokens, "refresh_token");
        needles.plant(&token);
        tokens = post("token", refresh(&token)).await.json().await;
    }
    needles.plant_token(&text_of(&tokens, "access_token"));
    needles.plant(&text_of(&tokens, "refresh_token"));
    let reused = post("token", refresh(&first)).await;
    vec![refusal(reused).await]
}

/// Everything the programs do, with private things wherever any can be; then a search of everything that is left.
async fn a_whole_run(relay_format: &str, agent_format: &str, transport: &str) {
    let data = TempDir::new().expect("a directory");
    let mut needles = Needles::default();
    needles.plant(MARKER);
    let mut users = Vec::new();
    for user in ["ada", "bob"] {
        let agents = issue(&data, user, "agent").await;
        let callers = issue(&data, user, "api").await;
        needles.plant_token(&agents);
        needles.plant_token(&callers);
        users.push((agents, callers));
    }
    let key = std::fs::read_to_string(data.path().join("signing-key.pem")).expect("a key");
    needles.plant(key.lines().nth(1).expect("a line of the key"));

    let audit = format!("--audit-log={}", data.path().join("audit").display());
    let relay = Running::relay_with(&data, relay_format, &[&audit, "--login-interval=1s"]);
    let (address, ops) = relay.addresses().await;
    let upstream = TestUpstream::start().await;
    let (proxy, proxied, proxying) = proxy().await;
    let proxy = format!("http://m4rk3r-user:m4rk3r-password@{proxy}");
    let (mut agents, mut homes) = (Vec::new(), Vec::new());
    let mut mix = JoinSet::new();
    for (agents_token, token) in users.clone() {
        let home = TempDir::new().expect("a directory");
        let flags = ["--log-format", agent_format, "--transport", transport];
        let secrets = [("C2L_PROXY", proxy.as_str())];
        let running = Running::agent_with(
            &home,
            address,
            upstream.address(),
            &agents_token,
            &flags,
            &secrets,
        );
        agents.push(running.await);
        homes.push(home);
        mix.spawn(async move {
            let caller = Caller::new(address, &token);
            let anonymous = Caller::anonymous(address);
            let mut told = exchanges(&caller, &anonymous, &token, &agents_token).await;
            told.extend(at_the_tunnel(address, &token, &agents_token).await);
            told
        });
    }
    assert!(
        proxied.load(Ordering::Relaxed) >= users.len(),
        "both came through the proxy"
    );
    let told = mix.join_all().await.concat();
    assert!(told.len() > 40, "{} refusals", told.len());
    needles.assert_absent("an error", &told.join("\n"));
    let mut told = keys(&data, address, &mut needles).await;
    told.extend(login(&data, address, &mut needles).await);
    needles.assert_absent("an error", &told.join("\n"));
    let secret = std::fs::read(data.path().join("key-secret")).expect("the keys' secret");
    needles.plant(String::from_utf8_lossy(&secret).trim());
    let page = Caller::anonymous(ops).get("/metrics").await.text().await;
    needles.assert_absent("the metrics page", &page);
    assert!(metric(ops, "c2l_exchanges_whole_total").await > 20);
    let (agents_token, token) = &users[0];
    let secrets = [
        ("C2L_TOKEN", agents_token.as_str()),
        ("C2L_API_TOKEN", token),
        ("C2L_PROXY", &proxy),
    ];
    for printed in commands(&homes[0], address, &secrets).await {
        needles.assert_absent("what a command prints", &printed);
    }

    for agent in agents {
        let log = agent.end().await;
        assert!(log.contains("TRACE"), "the agent's log is at trace level");
        needles.assert_absent("the agent's log", &log);
    }
    let log = relay.end().await;
    assert!(log.contains("TRACE") && log.matches("exchange ended").count() > 50);
    needles.assert_absent("the relay's log", &log);
    assert!(
        log.contains("/k/…/api/tags"),
        "OPS-02: the path is there without the key"
    );
    let record = std::fs::read_to_string(data.path().join("audit/audit.jsonl"));
    let record = record.expect("an audit log");
    for event in [
        "key_created",
        "key_rotated",
        "key_revoked",
        "token_revoked",
        "signed_out",
        "device_revoked",
        "login_started",
        "login_approved",
        "login_refreshed",
        "refresh_reused",
    ] {
        let named = format!("\"event\":\"{event}\"");
        assert!(record.contains(&named), "{event} is not on record");
    }
    let kept = needles.assert_absent_in_files(data.path(), &["signing-key.pem", "key-secret"]);
    assert!(kept >= 2, "the audit log and the database at least");
    for home in homes {
        needles.assert_absent_in_files(home.path(), &[]);
    }
    proxying.abort();
}

#[tokio::test]
async fn ops_01_a_whole_run_at_trace_level_leaves_no_secret_anywhere() {
    a_whole_run("text", "json", "grpc").await;
}

#[tokio::test]
async fn ops_01_nor_does_one_inside_of_websockets() {
    a_whole_run("json", "text", "websocket").await;
}

#[tokio::test]
async fn ops_02_a_credential_in_the_path_is_in_no_log_error_metric_or_panic() {
    let log = CapturedLog::start();
    let (relay, _agent, _upstream, _) = loop_of().await;
    let anonymous = Caller::anonymous(relay.address());
    let good = relay.api_token("ada");
    let bad = relay.sign(&tokens::expired("ada"));
    let offline = relay.api_token("bob");
    for (token, status) in [(&good, 200), (&bad, 401), (&offline, 503)] {
        let body = json!({ "model": "tiny", "messages": [] });
        let answer = anonymous.post(&format!("/k/{token}/api/chat"), &body).await;
        assert_eq!(answer.status(), status);
        let fields = format!("{:?}", answer.headers());
        let text = answer.text().await;
        assert!(
            !text.contains(token.as_str()) && !fields.contains(token.as_str()),
            "{text}"
        );
    }
    let panicking = anonymous
        .request(Method::GET, &format!("/k/{good}/api/chat"))
        .header("x-c2l-test-panic", "1")
        .body(empty());
    let answer = anonymous.send(panicking.expect("a request")).await;
    assert_eq!(answer.status(), 500);
    let text = answer.text().await;
    assert!(!text.contains(&good), "{text}");

    let page = Caller::anonymous(relay.ops_address());
    let page = page.get("/metrics").await.text().await;
    let secrets = [good, bad, offline];
    assert!(!secrets.iter().any(|secret| page.contains(secret)));
    log.assert_without(secrets.iter().map(String::as_str));
    let routes = log.text().matches("route=/k/…/api/chat").count();
    assert_eq!(routes, 4, "each of them is logged once, redacted");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn ops_06_no_secret_is_in_what_the_system_shows_of_a_process() {
    let data = TempDir::new().expect("a directory");
    let token = issue(&data, "ada", "agent").await;
    let relay = Running::relay(&data, "text");
    let (address, _) = relay.addresses().await;
    let upstream = TestUpstream::start().await;
    let agent = Running::agent(&data, address, upstream.address(), &token).await;
    for child in [&relay.child, &agent.child] {
        let id = child.id().expect("running");
        let line = std::fs::read(format!("/proc/{id}/cmdline")).expect("a command line");
        let line = String::from_utf8_lossy(&line).into_owned();
        assert!(line.contains("c2l") && !line.contains(&token), "{line}");
    }
    let key = std::fs::read_to_string(data.path().join("signing-key.pem")).expect("a key");
    let secret = key.lines().nth(1).expect("a line of the key");
    for words in [&["--version"][..], &["config", "show"]] {
        let output = run(&data, words).await;
        let text = format!("{output:?}");
        assert!(!text.contains(secret) && !text.contains(&token), "{text}");
    }
    // A token on the command line would be in the list of processes: there is no flag that takes one.
    let flag = format!("--token={token}");
    let refused = run(&data, &["agent", "--relay=http://127.0.0.1:1", &flag]).await;
    assert!(!refused.status.success());
    for log in [agent.end().await, relay.end().await] {
        assert!(!log.contains(secret) && !log.contains(&token));
    }
}

#[tokio::test]
async fn ops_07_hostile_text_stays_in_one_escaped_line() {
    for format in ["text", "json"] {
        let data = TempDir::new().expect("a directory");
        let relay = Running::relay(&data, format);
        let (address, _) = relay.addresses().await;
        // DEL, the C1 control that begins a sequence, a line separator, a change of writing direction.
        for target in [
            "/api/\u{7f}x",
            "/api/\u{9b}2Jx",
            "/api/\u{2028}forged",
            "/api/\u{202e}x",
            "/api/\x1b[31mred",
            "/k/a/api/%0a%1b[31m",
        ] {
            send(
                address,
                &format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n"),
            )
            .await;
        }
        for field in [
            "x-request-id: a\x1b[31mb",
            "x-request-id: a\u{9b}b",
            "x-c2l-device: a\tb\u{9b}",
            "authorization: Bearer \u{202e}x",
            "user-agent: a\x1b[2Jb",
            "x-folded: a\r\n 2026-01-01T00:00:00Z ERROR forged",
        ] {
            let request = format!("GET /api/tags HTTP/1.1\r\nhost: x\r\n{field}\r\n\r\n");
            send(address, &request).await;
        }
        let token = issue(&data, "ada", "agent").await;
        for name in ["a\x1b[31m", "a\nb", "a\n", "\u{202e}", "a b", ""] {
            let agent = c2l_testkit::FakeAgent::connect(address, &token, name).await;
            let status = agent.expect_err("not a name of a device");
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(!status.message().chars().any(char::is_control));
        }
        let log = relay.end().await;
        assert!(log.contains("exchange ended") && log.contains("forged"));
        for line in log.lines() {
            let is_event = match format {
                "json" => serde_json::from_str::<Value>(line).is_ok(),
                _ => line.starts_with("20") && line.contains('Z'),
            };
            assert!(is_event, "{format}: not an event of ours: {line:?}");
            let is_hostile =
                |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202e}');
            assert!(!line.contains(is_hostile), "{format}: {line:?}");
        }
    }
}

/// Sends it, and waits for an answer or the end of the connection.
async fn send(address: std::net::SocketAddr, request: &str) {
    let mut connection = RawConnection::open(address).await;
    connection.send(request).await;
    let answer = connection.head(true).await;
    assert!(answer.status == 0 || answer.status >= 400, "{answer:?}");
}

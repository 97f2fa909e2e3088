//! Promise: under TLS nobody is trusted who should not be, and a new certificate needs no restart.

use std::{net::SocketAddr, time::Duration};

use c2l_agent::{Error, Status, Transport, Way};
use c2l_testkit::{
    CapturedLog, PATIENCE, Program, RawConnection, TestAgent, TestRelay, TestUpstream,
    certificates::Authority, eventually,
};
use rustls::{CipherSuite, ClientConnection};

/// Stands for the authority's file, which a relay's folder gets a moment before its relay starts.
const CA_FILE: &str = "{ca}";
const BINARY: &str = env!("CARGO_BIN_EXE_c2l");

/// The program as a relay under TLS, and what its agents need.
struct Place {
    folder: tempfile::TempDir,
    authority: Authority,
    relay: Program,
    url: String,
    address: SocketAddr,
    token: String,
}

impl Place {
    async fn start(names: &[&str], further: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new();
        let (certificate, key) = authority.issue(names).write(folder.path(), "relay");
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, authority.pem()).expect("written");
        let [certificate, key, ca_file] =
            [certificate, key, ca_file].map(|path| path.to_str().expect("plain").to_owned());
        let mut more = vec!["--tls-cert", &certificate, "--tls-key", &key];
        let further: Vec<_> = further
            .iter()
            .map(|it| it.replace(CA_FILE, &ca_file))
            .collect();
        more.extend(further.iter().map(String::as_str));
        let (relay, address, _) = Program::relay(BINARY, folder.path(), "127.0.0.1:0", &more).await;
        let kind = ["--kind", "agent"];
        let token = Program::issue_token(BINARY, folder.path(), "ada", &kind).await;
        Self {
            url: format!("https://{address}"),
            address,
            folder,
            authority,
            relay,
            token,
        }
    }

    /// An agent that trusts this authority.
    fn agent(
        &self,
        trusted: &Authority,
        upstream: &TestUpstream,
        change: impl FnOnce(&mut c2l_agent::Config),
    ) -> TestAgent {
        let file = trusted.file();
        let path = file.path().to_owned();
        TestAgent::start(
            &self.url,
            self.token.clone(),
            upstream.address(),
            |config| {
                config.ca_file = Some(path);
                change(config);
            },
        )
    }
}

/// Waits for a lost try, and returns what was said of it.
async fn setback(agent: &TestAgent) -> String {
    let mut status = agent.status();
    let waiting = status.wait_for(|status| matches!(status, Status::BackingOff { .. }));
    let status = c2l_testkit::within(2 * PATIENCE, "a setback", waiting).await;
    match &*status.expect("an agent that goes on") {
        Status::BackingOff { last_error, .. } => last_error.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_connections_and_old_ones_go_on() {
    let mut place = Place::start(&["127.0.0.1"], &[]).await;
    let upstream = TestUpstream::start().await;
    let mut old = place.agent(&place.authority, &upstream, |_| {});
    old.connected().await;
    let session = old.status().borrow().clone();

    let next = Authority::new();
    let written = next
        .issue(&["127.0.0.1"])
        .write(place.folder.path(), "relay");
    assert!(written.0.exists());
    let mut newcomer = place.agent(&next, &upstream, |config| {
        config.device_name = "newcomer".to_owned();
    });
    newcomer.connected().await;
    place.relay.line("certificate read again").await;
    assert_eq!(*old.status().borrow(), session, "the old one was disturbed");
    old.shut_down().await;
    newcomer.shut_down().await;
}

#[tokio::test]
async fn a_relay_that_asks_agents_for_a_certificate_takes_no_agent_without() {
    let place = Place::start(&["127.0.0.1"], &["--tls-client-ca", CA_FILE]).await;
    let upstream = TestUpstream::start().await;
    for transport in [Transport::Grpc, Transport::WebSocket] {
        let mut bare = place.agent(&place.authority, &upstream, |config| {
            config.transport = transport;
        });
        let refused = bare.ended().await.expect_err("a refusal");
        let text = format!("{refused:?}");
        assert!(matches!(refused, Error::Refused { .. }), "{text}");
        assert!(text.contains("certificate"), "{text}");

        let own = place.authority.issue(&["agent"]);
        let files = own.write(place.folder.path(), "agent");
        let mut certified = place.agent(&place.authority, &upstream, |config| {
            config.transport = transport;
            config.client_certificate = Some(files);
        });
        certified.connected().await;
        certified.shut_down().await;
    }
}

#[tokio::test]
async fn a_caller_gets_the_cheaper_cipher_unless_it_has_no_aes() {
    use CipherSuite::{
        TLS13_AES_128_GCM_SHA256 as AES_128, TLS13_AES_256_GCM_SHA384 as AES_256,
        TLS13_CHACHA20_POLY1305_SHA256 as CHACHA20,
    };
    let place = Place::start(&["127.0.0.1"], &[]).await;
    for (offered, agreed) in [
        (&[AES_256, CHACHA20, AES_128][..], AES_128),
        (&[AES_256, CHACHA20], AES_256),
        (&[CHACHA20, AES_128, AES_256], CHACHA20),
    ] {
        let client = place.authority.client_with(offered);
        let tcp = std::net::TcpStream::connect(place.address).expect("a connection");
        let handshake = move || {
            let name = "127.0.0.1".try_into().expect("a name");
            let mut tls = ClientConnection::new(client, name).expect("a client");
            let mut tcp = tcp;
            tls.complete_io(&mut tcp).expect("a handshake");
            tls.negotiated_cipher_suite().map(|suite| suite.suite())
        };
        let found = tokio::task::spawn_blocking(handshake).await.expect("done");
        assert_eq!(found, Some(agreed), "{offered:?}");
    }
}

#[tokio::test]
async fn clear_text_is_taken_beside_tls_only_from_where_it_may_come() {
    const REQUEST: &str = "GET /relay/v1/version HTTP/1.1\r\nhost: relay\r\n\r\n";
    let upstream = TestUpstream::start().await;
    for (from, status) in [("127.0.0.0/8", 200), ("192.0.2.0/24", 0)] {
        let place = Place::start(&["127.0.0.1"], &["--clear-from", from]).await;
        let mut agent = place.agent(&place.authority, &upstream, |_| {});
        agent.connected().await;
        let mut caller = RawConnection::open(place.address).await;
        caller.send(REQUEST).await;
        assert_eq!(caller.head(true).await.status, status, "{from}");
        agent.shut_down().await;
    }
}

#[tokio::test]
async fn a_connection_that_may_be_clear_and_says_nothing_is_closed() {
    let more = ["--clear-from", "127.0.0.1", "--head-timeout", "100ms"];
    let place = Place::start(&["127.0.0.1"], &more).await;
    let mut caller = RawConnection::open(place.address).await;
    assert_eq!(caller.read_until(b"\r\n").await, None);
}

#[tokio::test]
async fn a_relay_with_a_strange_certificate_or_another_name_is_not_trusted() {
    let upstream = TestUpstream::start().await;
    let place = Place::start(&["127.0.0.1"], &[]).await;
    let agent = place.agent(&Authority::new(), &upstream, |_| {});
    let said = setback(&agent).await;
    assert!(said.contains("cannot trust the relay"), "{said}");

    let elsewhere = Place::start(&["relay.example"], &[]).await;
    let agent = elsewhere.agent(&elsewhere.authority, &upstream, |_| {});
    let said = setback(&agent).await;
    assert!(said.contains("cannot trust the relay"), "{said}");
}

#[tokio::test]
async fn skipping_verification_connects_and_warns_each_time() {
    let log = CapturedLog::start();
    let place = Place::start(&["relay.example"], &[]).await;
    let upstream = TestUpstream::start().await;
    for times in 1..=2 {
        let mut agent = place.agent(&Authority::new(), &upstream, |config| {
            config.skip_verify = true;
        });
        agent.connected().await;
        agent.shut_down().await;
        let warnings = log.text().matches("certificate is not verified").count();
        assert_eq!(warnings, times);
    }
}

#[tokio::test]
async fn clear_text_to_another_machine_is_refused_unless_it_is_allowed() {
    let folder = tempfile::tempdir().expect("a folder");
    for (allow, wanted) in [
        (&[][..], "allow-insecure"),
        (&["--allow-insecure"][..], "no session"),
    ] {
        let arguments = [
            "agent",
            "--relay",
            "http://192.0.2.1:1",
            "--upstream",
            "http://127.0.0.1:1",
            "--dial-timeout",
            "1s",
            "--token-file",
            "token",
        ];
        std::fs::write(folder.path().join("token"), "x").expect("written");
        let file = folder.path().join("token");
        let mut arguments: Vec<_> = arguments.to_vec();
        let path = file.to_str().expect("plain").to_owned();
        arguments.pop();
        arguments.push(&path);
        arguments.extend(allow);
        let mut agent = Program::start(BINARY, folder.path(), arguments);
        agent.line(wanted).await;
    }
}

#[tokio::test]
async fn where_alpn_is_stripped_the_bridge_is_taken_under_tls() {
    let authority = Authority::new();
    let certificate = authority.issue(&["127.0.0.1"]);
    let why = "its TLS is without ALPN, as a middlebox leaves it";
    let relay = TestRelay::start_plain(why, |config| {
        config.tls = Some(certificate.server(&[]));
    })
    .await;
    let upstream = TestUpstream::start().await;
    let file = authority.file();
    let path = file.path().to_owned();
    let url = format!("https://{}", relay.address());
    let token = relay.agent_token("ada");
    let mut agent = TestAgent::start(&url, token, upstream.address(), |config| {
        config.transport = Transport::Auto;
        config.ca_file = Some(path);
    });
    agent.connected().await;
    let status = agent.status().borrow().clone();
    let is_bridged = matches!(
        status,
        Status::Open {
            way: Way::WebSocket,
            ..
        }
    );
    assert!(is_bridged, "{status:?}");
    eventually(Duration::from_secs(5), "its session", async || {
        (relay.metric("c2l_sessions").await == 1).then_some(())
    })
    .await;
}

//! One address, whoever is behind it, and the proxies in front of a relay.

use c2l_testkit::{
    Caller, FakeAgent, PATIENCE, RawConnection, TestRelay, empty, eventually, tokens,
    websocket::RawWebSocket,
};
use http::Method;
use tokio::net::TcpStream;

use super::{hits, rate, stand, told, told_by, wait_as_told};

#[tokio::test]
async fn who_guesses_is_slowed_and_the_others_behind_the_address_are_not() {
    let (relay, _agent, upstream) = stand(|limits| limits.address_failures = rate(5, 25)).await;
    let known = Caller::new(relay.address(), relay.api_token("ada"));
    for _ in 0..20 {
        assert_eq!(known.get("/api/version").await.status(), 200, "no failure");
    }
    let agent_token = relay.agent_token("bob");
    FakeAgent::connect(relay.address(), &agent_token, "desk")
        .await
        .expect("a session");
    for number in 0..5 {
        let guess = Caller::new(relay.address(), format!("guess-{number}"));
        assert_eq!(guess.get("/api/version").await.status(), 401);
    }
    let guess = Caller::new(relay.address(), relay.sign(&tokens::expired("ada")));
    let fresh = Caller::new(relay.address(), relay.api_token("eve"));
    let seconds = told(&guess.get("/api/version").await);
    told(&guess.get("/relay/v1/whoami").await);
    told(&fresh.get("/relay/v1/whoami").await); // nobody can tell it from a guess without judging it
    let status = FakeAgent::connect(relay.address(), "guess", "desk").await;
    let status = status.expect_err("a guess");
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert!(status.metadata().contains_key("retry-after"));

    // Known good: a caller, an agent that comes back, the devices of one who was here.
    assert_eq!(known.get("/api/version").await.status(), 200);
    FakeAgent::connect(relay.address(), &agent_token, "desk")
        .await
        .expect("a session");
    let anonymous = Caller::anonymous(relay.address());
    assert_eq!(
        anonymous.get("/api/version").await.status(),
        401,
        "nothing was guessed"
    );
    assert_eq!(hits(&relay, "address_failures").await, 4);
    assert!((1..=5).contains(&seconds), "{seconds} s");
    wait_as_told(seconds).await;
    assert_eq!(fresh.get("/relay/v1/whoami").await.status(), 200);
    drop(upstream);
}

#[tokio::test]
async fn attempts_to_open_a_session_are_limited_on_both_ways() {
    let relay = TestRelay::start_with(|config| config.rates.address_sessions = rate(4, 20)).await;
    let token = relay.agent_token("ada");
    let fields = format!("authorization: Bearer {token}\r\n");
    for _ in 0..2 {
        FakeAgent::connect(relay.address(), &token, "desk")
            .await
            .expect("a session");
        let (_connection, answer) = RawWebSocket::ask(relay.address(), &fields).await;
        assert_eq!(answer.status, 101);
    }
    let status = FakeAgent::connect(relay.address(), &token, "desk").await;
    let status = status.expect_err("one too many");
    let seconds = told_by(&status);
    assert!((1..=5).contains(&seconds), "{seconds} s");
    let (_connection, answer) = RawWebSocket::ask(relay.address(), &fields).await;
    assert_eq!(answer.status, 429);
    let (_, later) = answer.head.split_once("retry-after: ").expect("a time");
    let later: u64 = later
        .lines()
        .next()
        .expect("a line")
        .parse()
        .expect("seconds");
    assert!((1..=5).contains(&later), "{later} s");
    assert_eq!(hits(&relay, "address_sessions").await, 2);
    // Callers are something else.
    let caller = Caller::new(relay.address(), relay.api_token("ada"));
    assert_eq!(caller.get("/relay/v1/whoami").await.status(), 200);
    wait_as_told(seconds).await;
    FakeAgent::connect(relay.address(), &token, "desk")
        .await
        .expect("a session, as was told");
}

#[tokio::test]
async fn connections_beyond_the_rate_are_told_so_and_a_flood_is_closed_unread() {
    let why = "the door of a relay with TLS would make connections of its own";
    let relay = TestRelay::start_plain(why, |config| {
        config.rates.address_connections = rate(5, 20);
    })
    .await;
    let get = format!(
        "GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        relay.api_token("ada")
    );
    for _ in 0..5 {
        let mut connection = RawConnection::open(relay.address()).await;
        connection.send(&get).await;
        assert_eq!(
            connection.head(true).await.status,
            503,
            "served: nobody is connected"
        );
    }
    let mut connection = RawConnection::open(relay.address()).await;
    connection.send(&get).await;
    let answer = connection.head(true).await;
    assert_eq!(answer.status, 429);
    let (_, later) = answer.head.split_once("retry-after: ").expect("a time");
    let later: u64 = later
        .lines()
        .next()
        .expect("a line")
        .parse()
        .expect("seconds");
    assert!((1..=5).contains(&later), "{later} s");
    assert!(answer.head.contains("connection: close"), "{}", answer.head);
    let body = String::from_utf8_lossy(&connection.rest().await).into_owned();
    assert!(body.contains("rate_limit_error"), "{body}");
    let token = relay.agent_token("ada");
    let status = FakeAgent::connect(relay.address(), &token, "desk").await;
    let status = status.expect_err("one too many");
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);

    let before = relay.metric("c2l_connections_total").await;
    let mut flood = Vec::new();
    for _ in 0..500 {
        flood.push(
            TcpStream::connect(relay.address())
                .await
                .expect("the kernel's answer"),
        );
    }
    let all = async || (hits(&relay, "address_connections").await >= 497).then_some(()); // a few may have become free meanwhile
    eventually(PATIENCE, "all are judged", all).await;
    let mut closed = 0;
    for connection in &mut flood {
        let mut byte = [0];
        let read = tokio::io::AsyncReadExt::read(connection, &mut byte);
        // Those that are served with a refusal say nothing until they are asked.
        let limit = std::time::Duration::from_millis(5);
        closed += usize::from(tokio::time::timeout(limit, read).await.is_ok());
    }
    assert!(closed > 0, "none of 500 was closed unread");
    let served = relay.metric("c2l_connections_total").await - before;
    assert!(
        served + closed as u64 >= 500,
        "{served} were served, {closed} closed"
    );
    drop(flood);
    wait_as_told(4).await; // a fifth of 20 s is the longest that it can have said
    let mut connection = RawConnection::open(relay.address()).await;
    connection.send(&get).await;
    assert_eq!(connection.head(true).await.status, 503, "as was told");
}

/// A guess that comes, as a proxy says, from there.
async fn guess_from(relay: &TestRelay, field: &str, value: &str) -> u16 {
    let caller = Caller::new(relay.address(), "guess");
    let request = caller
        .request(Method::GET, "/api/version")
        .header(field, value)
        .body(empty());
    let answer = caller.send(request.expect("a request")).await;
    answer.status().as_u16()
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_of_its_callers_has_limits_of_their_own() {
    let relay = TestRelay::start_with(|config| {
        config.rates.address_failures = rate(2, 60);
        config.rates.address_connections = rate(1, 60);
        config.rates.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    })
    .await;
    let field = "x-forwarded-for";
    for _ in 0..2 {
        assert_eq!(
            guess_from(&relay, field, "9.9.9.9, 198.51.100.7").await,
            401
        );
    }
    assert_eq!(
        guess_from(&relay, field, "8.8.8.8, 198.51.100.7").await,
        429,
        "made up in front"
    );
    assert_eq!(guess_from(&relay, field, "198.51.100.8").await, 401);
    assert_eq!(
        guess_from(&relay, "forwarded", "for=198.51.100.9").await,
        401,
        "not believed:"
    );
    assert_eq!(
        guess_from(&relay, "forwarded", "for=198.51.100.10").await,
        401
    );
    assert_eq!(
        guess_from(&relay, "forwarded", "for=198.51.100.11").await,
        429,
        "the proxy's own"
    );
}

#[tokio::test]
async fn without_trusted_proxies_nobody_is_believed() {
    let relay = TestRelay::start_with(|config| config.rates.address_failures = rate(3, 60)).await;
    for number in 0..3 {
        let made_up = format!("198.51.100.{number}");
        assert_eq!(guess_from(&relay, "x-forwarded-for", &made_up).await, 401);
    }
    assert_eq!(
        guess_from(&relay, "x-forwarded-for", "198.51.100.9").await,
        429
    );
    assert_eq!(
        guess_from(&relay, "forwarded", "for=198.51.100.9").await,
        429
    );
}

#[tokio::test]
async fn metrics_of_limits_name_no_address() {
    let relay = TestRelay::start_with(|config| config.rates.address_failures = rate(1, 60)).await;
    guess_from(&relay, "x-forwarded-for", "198.51.100.9").await;
    guess_from(&relay, "x-forwarded-for", "198.51.100.9").await;
    let page = Caller::anonymous(relay.ops_address()).get("/metrics").await;
    let page = page.text().await;
    assert!(
        page.contains("c2l_limited_total{limit=\"address_failures\"} 1\n"),
        "{page}"
    );
    for address in ["127.0.0.1", "198.51.100"] {
        assert!(!page.contains(address), "{page}");
    }
}

//! Promise: HTTP means the same to the caller, to the relay, to the agent and to the upstream. What they could read
//! differently is refused before the upstream sees any of it. Ids as in the list of cases, `HTTP-01` to `HTTP-24`.

#[path = "http/answers.rs"]
mod answers;
#[path = "http/browsers.rs"]
mod browsers;
#[path = "http/errors.rs"]
mod errors;
#[path = "http/exchange.rs"]
mod exchange;
#[path = "http/expect.rs"]
mod expect;
#[path = "http/fields.rs"]
mod fields;
#[path = "http/frames.rs"]
mod frames;
#[path = "http/http2.rs"]
mod http2;
#[path = "http/scripted.rs"]
mod scripted;
#[path = "http/smuggling.rs"]
mod smuggling;
#[path = "http/targets.rs"]
mod targets;

use c2l_relay::Config;
use c2l_testkit::{Caller, RawAnswer, RawConnection, TestAgent, TestRelay, TestUpstream, tokens};

/// A relay, an agent of `ada` whose owner allows changes, a demonstration model, and callers.
struct Loop {
    relay: TestRelay,
    upstream: TestUpstream,
    /// May use models.
    caller: Caller,
    /// May also change what the machine holds.
    manager: Caller,
    token: String,
    _agent: TestAgent,
}

impl Loop {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let upstream = TestUpstream::start().await;
        let relay = TestRelay::start_with(change).await;
        let agent = TestAgent::connect_with(&relay, "ada", upstream.address(), |config| {
            config.allow_manage = true;
        })
        .await;
        let token = relay.api_token("ada");
        Self {
            caller: Caller::new(relay.address(), token.as_str()),
            manager: Caller::new(relay.address(), relay.sign(&tokens::managing("ada"))),
            relay,
            upstream,
            token,
            _agent: agent,
        }
    }

    async fn connection(&self) -> RawConnection {
        RawConnection::open(self.relay.address()).await
    }

    /// A head with host and credential; `lines` are more fields, each ended by CRLF.
    fn head(&self, method_and_target: &str, lines: &str) -> String {
        let (address, token) = (self.relay.address(), &self.token);
        format!(
            "{method_and_target} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n{lines}\r\n"
        )
    }

    /// Sends these bytes on a connection of their own: the first final answer, and what came after it until the close.
    async fn exchange(&self, bytes: impl AsRef<[u8]>) -> (RawAnswer, String) {
        let mut connection = self.connection().await;
        connection.send(bytes).await;
        let answer = connection.head(true).await;
        let rest = connection.rest().await;
        (answer, String::from_utf8_lossy(&rest).into_owned())
    }

    /// Sends these bytes and expects this status, the close of the connection, no second answer, and that the upstream
    /// saw none of it.
    async fn refuses(&self, bytes: impl AsRef<[u8]>, status: u16, what: &str) -> RawAnswer {
        let (answer, rest) = self.exchange(bytes).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.head);
        assert!(!rest.contains("HTTP/1.1"), "{what}: a second answer {rest}");
        self.is_untouched(what).await;
        answer
    }

    /// The upstream has seen nothing. Another request goes all the way first, so that what was on its way has arrived.
    async fn is_untouched(&self, what: &str) {
        assert_eq!(self.caller.get("/api/version").await.status(), 200);
        let seen = self.targets();
        assert_eq!(seen, ["/api/version"], "{what}: the upstream was reached");
        self.upstream.demo.reset();
    }

    /// What the upstream was asked for so far.
    fn targets(&self) -> Vec<String> {
        let recorded = self.upstream.demo.recorded();
        recorded.into_iter().map(|request| request.target).collect()
    }
}

/// The value of a field in a raw head; names in any case.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

//! Promise: a machine is let in by a code and somebody's word, stays in by itself for as long as that is wanted, and a copy
//! of what it keeps is found out.

#[path = "login/machine.rs"]
mod machine;
#[path = "login/page.rs"]
mod page;
#[path = "login/refresh.rs"]
mod refresh;
#[path = "login/strangers.rs"]
mod strangers;
#[path = "login/word.rs"]
mod word;

use std::{net::SocketAddr, time::Duration};

use c2l_auth::{Scope, Scopes};
use c2l_relay::{Config, LoginConfig, Rate};
use c2l_testkit::{Answer, Caller, TestRelay, full, tokens};
use http::Method;
use serde_json::{Value, json};

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// A relay that logs devices in, with these changes to how.
async fn relay_with(change: impl FnOnce(&mut LoginConfig)) -> TestRelay {
    let add = |config: &mut Config, key| {
        let mut login = LoginConfig::new(key);
        login.interval = Duration::ZERO; // tests need not wait
        change(&mut login);
        config.login = Some(login);
    };
    TestRelay::start_with_key(add).await
}

/// A relay that takes so many bad credentials a minute from one address.
async fn relay_with_failures(most: u64) -> TestRelay {
    let add = |config: &mut Config, key| {
        let mut login = LoginConfig::new(key);
        login.interval = Duration::ZERO; // tests need not wait
        config.login = Some(login);
        config.rates.address_failures = Rate::new(most, Duration::from_secs(60));
    };
    TestRelay::start_with_key(add).await
}

async fn relay() -> TestRelay {
    relay_with(|_| {}).await
}

/// A token that may manage its user's account.
fn account(relay: &TestRelay, user: &str) -> String {
    let scopes = Scopes::INFER.with(Scope::Account);
    relay.sign(&tokens::api(user).allowing(scopes))
}

/// Somebody who sends forms, as a device does.
struct Forms(Caller);

impl Forms {
    fn to(address: SocketAddr) -> Self {
        Self(Caller::anonymous(address))
    }

    async fn send(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.send_with(path, fields, &[]).await
    }

    async fn send_with(
        &self,
        path: &str,
        fields: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Answer {
        let pairs = fields
            .iter()
            .map(|(name, value)| format!("{name}={}", c2l_relay::control::encoded(value)));
        let body = pairs.collect::<Vec<_>>().join("&");
        let mut request = self
            .0
            .request(Method::POST, path)
            .header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.0
            .send(request.body(full(body)).expect("a request"))
            .await
    }

    /// The status and the object of an answer.
    async fn ask(&self, what: &str, fields: &[(&str, &str)]) -> (u16, Value) {
        let answer = self.send(&format!("/relay/v1/login/{what}"), fields).await;
        assert_eq!(answer.header("cache-control"), "no-store");
        (answer.status().as_u16(), answer.json().await)
    }

    async fn start(&self, device: &str) -> Begun {
        let fields = [("client_id", "c2l"), ("device_name", device)];
        let (status, said) = self.ask("device", &fields).await;
        assert_eq!(status, 200, "{said}");
        let text = |name: &str| said[name].as_str().expect("a text").to_owned();
        Begun {
            device_code: text("device_code"),
            user_code: text("user_code"),
            said,
        }
    }

    async fn poll(&self, begun: &Begun) -> (u16, Value) {
        let fields = [
            ("client_id", "c2l"),
            ("grant_type", DEVICE_GRANT),
            ("device_code", &begun.device_code),
        ];
        self.ask("token", &fields).await
    }

    /// The word of OAuth that a poll is refused with.
    async fn refusal(&self, begun: &Begun) -> String {
        let (status, said) = self.poll(begun).await;
        assert_eq!(status, 400, "{said}");
        said["error"].as_str().expect("a word").to_owned()
    }

    async fn refresh(&self, token: &str, attempt: &str) -> (u16, Value) {
        let fields = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            ("attempt", attempt),
        ];
        self.ask("token", &fields).await
    }
}

struct Begun {
    device_code: String,
    user_code: String,
    said: Value,
}

/// A logged-in device's tokens: the agent's, and the one for the next.
async fn logged_in(relay: &TestRelay, user: &str, device: &str) -> (String, String) {
    let forms = Forms::to(relay.address());
    let begun = forms.start(device).await;
    let (status, said) = say(relay, user, "approve", &begun.user_code).await;
    assert_eq!(status, 200, "{said}");
    let (status, said) = forms.poll(&begun).await;
    assert_eq!(status, 200, "{said}");
    tokens_of(&said)
}

fn tokens_of(said: &Value) -> (String, String) {
    let text = |name: &str| said[name].as_str().expect("a token").to_owned();
    (text("access_token"), text("refresh_token"))
}

/// Somebody's word over `/relay/v1`.
async fn say(relay: &TestRelay, user: &str, word: &str, code: &str) -> (u16, Value) {
    let caller = Caller::new(relay.address(), account(relay, user));
    let path = format!("/relay/v1/logins/{word}");
    let answer = caller.post(&path, &json!({ "user_code": code })).await;
    (answer.status().as_u16(), answer.json().await)
}

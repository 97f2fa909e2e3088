//! Promise: a key is good for what it was made for until it is taken back; and what was taken back, a key, a token, a
//! user's or a device's, opens nothing once that was answered, also not what had begun.

#[path = "keys/commands.rs"]
mod commands;
#[path = "keys/connection.rs"]
mod connection;
#[path = "keys/model.rs"]
mod model;
#[path = "keys/rest.rs"]
pub(crate) mod rest;
#[path = "keys/revoked.rs"]
mod revoked;
#[path = "keys/storage.rs"]
mod storage;
#[path = "keys/strangers.rs"]
mod strangers;
#[path = "keys/use_of.rs"]
mod use_of;

use c2l_auth::{Scope, Scopes};
use c2l_testkit::{
    Answer, Caller, TestAgent, TestRelay, TestUpstream, empty, full,
    tokens::{self, Token},
};
use http::Method;
use serde_json::{Value, json};

/// A relay, and the machine of `ada`.
struct Stand {
    relay: TestRelay,
    upstream: TestUpstream,
    agent: TestAgent,
}

impl Stand {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut c2l_relay::Config)) -> Self {
        let relay = TestRelay::start_with(change).await;
        let upstream = TestUpstream::named("ada").await;
        let agent = TestAgent::connect(&relay, "ada", upstream.address()).await;
        Self {
            relay,
            upstream,
            agent,
        }
    }

    fn bearer(&self, credential: &str) -> Caller {
        Caller::new(self.relay.address(), credential)
    }

    fn account(&self, user: &str) -> Account {
        Account::of(&self.relay, user)
    }
}

/// A token of kind `api` that may manage its user's account, and call models.
fn account_token(user: &str) -> Token {
    tokens::api(user).allowing(Scopes::INFER.with(Scope::Account))
}

/// A user who manages their account.
struct Account(Caller);

impl Account {
    fn of(relay: &TestRelay, user: &str) -> Self {
        let token = relay.sign(&account_token(user));
        Self(Caller::new(relay.address(), token))
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let request = self.0.request(method, path);
        let request = match body {
            Some(body) => request
                .header("content-type", "application/json")
                .body(full(body.to_string())),
            None => request.body(empty()),
        };
        self.0.send(request.expect("a request")).await
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.ask(Method::POST, path, Some(body)).await;
        (answer.status().as_u16(), answer.json().await)
    }

    async fn delete(&self, path: &str) -> (u16, Value) {
        let answer = self.ask(Method::DELETE, path, None).await;
        (answer.status().as_u16(), answer.json().await)
    }

    /// A new key, and its id.
    async fn make(&self, more: Value) -> (String, String) {
        let mut asked = json!({ "name": "test" });
        for (name, value) in more.as_object().expect("an object") {
            asked[name] = value.clone();
        }
        let (status, made) = self.post("/relay/v1/keys", &asked).await;
        assert_eq!(status, 201, "{made}");
        let text = |name: &str| made[name].as_str().expect("a text").to_owned();
        (text("key"), text("id"))
    }

    async fn revoke(&self, id: &str) {
        let (status, said) = self.delete(&format!("/relay/v1/keys/{id}")).await;
        assert_eq!((status, said), (200, json!({ "revoked": id })));
    }

    async fn keys(&self) -> Vec<Value> {
        let listed = self.ask(Method::GET, "/relay/v1/keys", None).await;
        assert_eq!(listed.status(), 200);
        listed.json().await["keys"]
            .as_array()
            .expect("a list")
            .clone()
    }
}

/// What is said to a credential that is no longer good: status and code.
async fn refusal(answer: Answer) -> (u16, String, String) {
    let status = answer.status().as_u16();
    let said = answer.json().await;
    let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
    (status, text("code"), text("error"))
}

//! Promise: a user sees what their own devices and requests do, all of it and nothing else, and can end and name what is
//! theirs.

#[cfg(unix)]
#[path = "account/commands.rs"]
mod commands;
#[path = "account/devices.rs"]
mod devices;
#[path = "account/requests.rs"]
mod requests;

use c2l_auth::{Scope, Scopes};
use c2l_testkit::{Answer, Caller, TestRelay, empty, full, tokens};
use http::Method;
use serde_json::Value;

/// With a token that calls models and manages the account.
fn owner(relay: &TestRelay, user: &str) -> Caller {
    let scopes = Scopes::INFER.with(Scope::Account);
    let token = relay.sign(&tokens::api(user).allowing(scopes));
    Caller::new(relay.address(), token)
}

async fn ask(caller: &Caller, method: Method, path: &str, body: Option<&Value>) -> Answer {
    let request = caller.request(method, path);
    let request = match body {
        Some(body) => request
            .header("content-type", "application/json")
            .body(full(body.to_string())),
        None => request.body(empty()),
    };
    caller.send(request.expect("a request")).await
}

async fn get(caller: &Caller, path: &str) -> Value {
    let answer = caller.get(path).await;
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await
}

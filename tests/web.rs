//! Promise: the web page is this relay's own and runs nothing else; a browser that has signed in reaches its own user's
//! machines and account below `/web/v1/` and nothing by any other door; and what was signed out stays out.

#[path = "web/doors.rs"]
mod doors;
#[path = "web/files.rs"]
mod files;
#[path = "web/links.rs"]
mod links;
#[path = "web/model.rs"]
mod model;
#[path = "web/origins.rs"]
mod origins;
#[path = "web/providers.rs"]
mod providers;
#[path = "web/sessions.rs"]
mod sessions;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use c2l_auth::{Scope, Scopes};
use c2l_testkit::{Answer, Caller, RequestBody, TestRelay, empty, full, tokens};
use http::{HeaderMap, Method, Request};
use serde_json::{Value, json};

/// What a browser keeps of who has signed in.
const COOKIE: &str = "__Host-c2l";

/// A browser that shows the relay's page: it keeps cookies, and says of each request that the page sends it.
struct Browser {
    caller: Caller,
    cookies: Mutex<BTreeMap<String, String>>,
}

impl Browser {
    fn at(relay: &TestRelay) -> Self {
        Self::at_address(relay.address())
    }

    fn at_address(address: SocketAddr) -> Self {
        Self {
            caller: Caller::anonymous(address),
            cookies: Mutex::default(),
        }
    }

    /// One that has signed in with a token of this user.
    async fn of(relay: &TestRelay, user: &str) -> Self {
        let browser = Self::at(relay);
        let said = browser.sign_in(&account_token(relay, user)).await;
        assert_eq!(said["user"], user);
        browser
    }

    /// One that holds this very cookie.
    fn with(relay: &TestRelay, cookie: &str) -> Self {
        let browser = Self::at(relay);
        browser.put(COOKIE, cookie);
        browser
    }

    fn put(&self, name: &str, value: &str) {
        let mut cookies = self.cookies.lock().unwrap_or_else(PoisonError::into_inner);
        cookies.insert(name.to_owned(), value.to_owned());
    }

    fn cookie(&self, name: &str) -> Option<String> {
        let cookies = self.cookies.lock().unwrap_or_else(PoisonError::into_inner);
        cookies.get(name).cloned()
    }

    fn session(&self) -> String {
        self.cookie(COOKIE).expect("a browser that has signed in")
    }

    /// A request of the page, with what the browser adds.
    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        self.bare(method, path)
            .header("x-c2l-web", "1")
            .header("sec-fetch-site", "same-origin")
    }

    /// A request with nothing but the cookies.
    fn bare(&self, method: Method, path: &str) -> http::request::Builder {
        let request = self.caller.request(method, path);
        let cookies = self.cookies.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let pairs: Vec<_> = pairs.collect();
        match pairs.is_empty() {
            true => request,
            false => request.header("cookie", pairs.join("; ")),
        }
    }

    async fn send(&self, request: Request<RequestBody>) -> Answer {
        let answer = self.caller.send(request).await;
        self.keep(answer.headers());
        answer
    }

    /// Keeps and forgets cookies as it is told.
    fn keep(&self, headers: &HeaderMap) {
        let mut cookies = self.cookies.lock().unwrap_or_else(PoisonError::into_inner);
        for line in headers.get_all("set-cookie") {
            let line = line.to_str().expect("text");
            let (pair, attributes) = line.split_once(';').expect("attributes");
            let (name, value) = pair.split_once('=').expect("a pair");
            match attributes.contains("Max-Age=0;") {
                true => cookies.remove(name),
                false => cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let request = self.request(method, path);
        let request = match body {
            Some(body) => request
                .header("content-type", "application/json")
                .body(full(body.to_string())),
            None => request.body(empty()),
        };
        self.send(request.expect("a request")).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// What the page is told of who has signed in.
    async fn look(&self) -> Value {
        let answer = self.get("/web/v1/session").await;
        assert_eq!(answer.status(), 200);
        answer.json().await
    }

    async fn sign_in(&self, token: &str) -> Value {
        let answer = self
            .post("/web/v1/session", &json!({ "token": token }))
            .await;
        assert_eq!(answer.status(), 200);
        answer.json().await
    }

    async fn sign_out(&self) {
        let answer = self.ask(Method::DELETE, "/web/v1/session", None).await;
        assert_eq!(answer.status(), 204);
    }

    /// Whose account this cookie opens, if it opens one.
    async fn whose(&self) -> Option<String> {
        let answer = self.get("/web/v1/account/whoami").await;
        let status = answer.status().as_u16();
        let said = answer.json().await;
        match status {
            200 => Some(said["user"].as_str().expect("a name").to_owned()),
            401 => {
                assert_eq!(said["code"], "unauthenticated");
                None
            }
            other => panic!("{other}: {said}"),
        }
    }
}

/// A token that somebody may sign in with.
fn account_token(relay: &TestRelay, user: &str) -> String {
    relay.sign(&tokens::api(user).allowing(Scopes::INFER.with(Scope::Account)))
}

/// Status and code of a refusal.
async fn refusal(answer: Answer) -> (u16, String) {
    let status = answer.status().as_u16();
    let said = answer.json().await;
    (status, said["code"].as_str().unwrap_or_default().to_owned())
}

//! Tokens for tests, signed by a relay's own key.

use std::time::{Duration, SystemTime};

use c2l_auth::{DeviceName, Kind, Scope, Scopes, SigningKey, TokenRequest};

/// How long tokens live unless a test says otherwise.
const TTL: Duration = Duration::from_secs(3600);

/// What a token is to say.
#[derive(Clone, Debug)]
pub struct Token {
    request: TokenRequest,
    issued: SystemTime,
}

/// A token for calling models.
#[must_use]
pub fn api(user: &str) -> Token {
    token(user, Kind::Api, Scopes::INFER)
}

/// A token for calling models and changing what the machine holds.
#[must_use]
pub fn managing(user: &str) -> Token {
    token(user, Kind::Api, Scopes::INFER.with(Scope::Manage))
}

/// A token for opening a session.
#[must_use]
pub fn agent(user: &str) -> Token {
    token(user, Kind::Agent, Scopes::NONE)
}

/// A token for calling models that ran out an hour ago.
#[must_use]
pub fn expired(user: &str) -> Token {
    let mut token = api(user);
    token.issued = SystemTime::now() - 2 * TTL;
    token
}

fn token(user: &str, kind: Kind, scopes: Scopes) -> Token {
    Token {
        request: TokenRequest {
            user: user.to_owned(),
            kind,
            scopes,
            ttl: TTL,
            device: None,
        },
        issued: SystemTime::now(),
    }
}

impl Token {
    /// The same, of another kind.
    #[must_use]
    pub fn of_kind(mut self, kind: Kind) -> Self {
        self.request.kind = kind;
        self
    }

    /// The same, with these scopes.
    #[must_use]
    pub fn allowing(mut self, scopes: Scopes) -> Self {
        self.request.scopes = scopes;
        self
    }

    /// The same, living so long.
    #[must_use]
    pub fn living(mut self, ttl: Duration) -> Self {
        self.request.ttl = ttl;
        self
    }

    /// The same, issued that long ago.
    #[must_use]
    pub fn issued_ago(mut self, ago: Duration) -> Self {
        self.issued = SystemTime::now() - ago;
        self
    }

    /// The same, bound to this device.
    ///
    /// # Panics
    /// When that is no name of a device.
    #[must_use]
    pub fn bound_to(mut self, device: &str) -> Self {
        self.request.device = Some(DeviceName::parse(device).expect("a device's name"));
        self
    }

    /// Signs it.
    ///
    /// # Panics
    /// When the request cannot be signed, which is a mistake of the test.
    #[must_use]
    pub fn signed_by(&self, key: &SigningKey) -> String {
        let secret = key
            .issue(&self.request, self.issued)
            .expect("a token that can be signed");
        secret.expose().to_owned()
    }
}

/// This token or key with another last letter: one that nobody was ever given.
#[must_use]
pub fn mistyped(text: &str) -> String {
    let mut text = text.to_owned();
    let last = text.pop();
    text.push(if last == Some('a') { 'b' } else { 'a' });
    text
}

//! Small requests to the relay itself, outside any session: for a login, and to give one up.
//!
//! Invariant: they take the very way that the agent takes, proxy, roots and all, and an answer that is not the relay's
//! own is not taken for its word.

use std::{fmt, time::Duration};

use http::{StatusCode, header};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    Config, Error,
    dialer::Dialer,
    error::DialError,
    probe::{Failure, failure},
};

/// What the relay says to a form.
#[derive(Clone)]
pub struct Said {
    /// The status.
    pub status: StatusCode,
    /// The object that it answers with. It may hold secrets.
    pub body: Value,
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Said")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Runs errands to one relay.
#[derive(Debug)]
pub struct Errands {
    config: Config,
    dialer: Dialer,
}

impl Errands {
    /// For the relay of this configuration; its token is not asked for. No socket is opened yet.
    ///
    /// # Errors
    /// [`Error::Config`] with every mistake at once, or [`Error::Roots`].
    pub fn new(config: Config) -> Result<Self, Error> {
        config.check()?;
        let dialer = Dialer::new(&config)?;
        Ok(Self { config, dialer })
    }

    /// Sends a form (already encoded) to a path of the relay's, within the time that dialing may take. Dropping the
    /// future closes the connection; the relay may have acted by then.
    ///
    /// # Errors
    /// When the relay cannot be reached, or what answers is not it.
    pub async fn post_form(&self, path: &str, form: String) -> Result<Said, Failure> {
        let limit: Duration = self.config.dial_timeout;
        let posted = timeout(limit, self.dialer.post_form(&self.config, path, form)).await;
        let answer = match posted {
            Ok(answer) => answer.map_err(failure)?,
            Err(_) => return Err(Failure::late("no answer from the relay", limit)),
        };
        let (head, body) = answer.into_parts();
        let content_type = head.headers.get(header::CONTENT_TYPE);
        let is_json =
            content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
        match serde_json::from_slice(&body) {
            Ok(body @ Value::Object(_)) if is_json => Ok(Said {
                status: head.status,
                body,
            }),
            _ => Err(failure(DialError::Blocked {
                status: head.status,
                said: String::new(),
            })),
        }
    }
}

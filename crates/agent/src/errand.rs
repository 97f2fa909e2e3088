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

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        task::JoinSet,
    };

    use super::*;
    use crate::probe::Cause;

    /// Posts to something that answers in these words, whatever it is asked.
    async fn posted(answer: &'static str) -> Result<Said, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            assert!(stream.read(&mut head).await.unwrap() > 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let mut config = crate::tests::config();
        config.relay = format!("http://{address}").parse().unwrap();
        let errands = Errands::new(config).unwrap();
        errands.post_form("/x", "a=b".to_owned()).await
    }

    #[tokio::test]
    async fn only_an_object_that_says_it_is_json_is_the_relays_word() {
        let said = posted(
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n{\"error\":1}\n",
        );
        let said = said.await.unwrap();
        assert_eq!(
            (said.status.as_u16(), &said.body["error"]),
            (400, &1.into())
        );
        assert!(!format!("{said:?}").contains("error"), "it may be a secret");
        for portal in [
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 12\r\n\r\n{\"error\":1}\n",
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 4\r\n\r\n[1]\n",
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{\"error\"",
            "HTTP/1.1 511 Network Authentication Required\r\ncontent-length: 0\r\n\r\n",
        ] {
            let failure = posted(portal).await.unwrap_err();
            assert_eq!(failure.cause, Cause::Blocked, "{portal}");
        }
        let silence = posted("").await.unwrap_err();
        assert_eq!(silence.cause, Cause::Relay);
    }
}

//! What the web page is started with.

use std::{fmt, sync::Arc, time::Duration};

use c2l_auth::SigningKey;
use http::{HeaderValue, Uri, uri::Scheme};

use super::links::SignInLinks;
use crate::identity::MAX_TOKEN_LIFE;

/// The web page and its sign-ins.
#[derive(Clone)]
pub struct WebConfig {
    /// Signs what browsers keep: the relay's own key.
    pub signing_key: Arc<SigningKey>,
    /// The relay's address as people know it: `https://relay.example`. Default none: then the page is served to those who
    /// ask by an address, as `localhost`, or by the name that the relay's certificate was shown for.
    pub public_url: Option<PublicUrl>,
    /// More names that the page is served under. Default none.
    pub hosts: Vec<String>,
    /// How long a browser stays signed in that does not come. Default 12 h, at most a day.
    pub session_life: Duration,
    /// How long it stays signed in at most. Default 30 days.
    pub longest_life: Duration,
    /// One-time links to sign in with. Default none of them, and room to make some.
    pub links: SignInLinks,
}

impl WebConfig {
    /// The defaults, around the one thing that has none.
    #[must_use]
    pub fn new(signing_key: Arc<SigningKey>) -> Self {
        Self {
            signing_key,
            public_url: None,
            hosts: Vec::new(),
            session_life: Duration::from_secs(12 * 3600),
            longest_life: Duration::from_secs(30 * 24 * 3600),
            links: SignInLinks::default(),
        }
    }

    pub(super) fn life(&self) -> Duration {
        self.session_life.min(MAX_TOKEN_LIFE)
    }
}

impl fmt::Debug for WebConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebConfig")
            .field("public_url", &self.public_url)
            .field("hosts", &self.hosts)
            .field("session_life", &self.session_life)
            .field("longest_life", &self.longest_life)
            .finish_non_exhaustive()
    }
}

/// Scheme, host and port of the relay as people know it: an origin, without a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    origin: String,
    host: String,
}

/// The text is no [`PublicUrl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address like https://relay.example, without a path")]
pub struct NotAnOrigin;

impl PublicUrl {
    /// Takes an address as it was written; a slash at its end is no path.
    ///
    /// # Errors
    /// [`NotAnOrigin`].
    pub fn parse(text: &str) -> Result<Self, NotAnOrigin> {
        let uri: Uri = text.parse().map_err(|_| NotAnOrigin)?;
        let scheme = uri.scheme().ok_or(NotAnOrigin)?;
        let authority = uri.authority().ok_or(NotAnOrigin)?.as_str();
        let is_web = *scheme == Scheme::HTTPS || *scheme == Scheme::HTTP;
        let is_bare = uri.path() == "/" && uri.query().is_none() && !authority.contains('@');
        // Browsers leave the usual port out of what they call an origin.
        let usual = if *scheme == Scheme::HTTPS {
            ":443"
        } else {
            ":80"
        };
        let authority = authority.strip_suffix(usual).unwrap_or(authority);
        let origin = format!("{scheme}://{authority}").to_ascii_lowercase();
        if !is_web || !is_bare || HeaderValue::from_str(&origin).is_err() {
            return Err(NotAnOrigin);
        }
        let host = uri.host().ok_or(NotAnOrigin)?.to_ascii_lowercase();
        Ok(Self { origin, host })
    }

    /// As browsers write it in `Origin`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.origin
    }

    /// The name in it.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_is_an_origin() {
        let url = |text| PublicUrl::parse(text).map(|url| url.origin);
        assert_eq!(
            url("https://Relay.example").as_deref(),
            Ok("https://relay.example")
        );
        assert_eq!(
            url("https://relay.example:443/").as_deref(),
            Ok("https://relay.example")
        );
        assert_eq!(url("http://[::1]:80").as_deref(), Ok("http://[::1]"));
        assert_eq!(url("http://relay:8080").as_deref(), Ok("http://relay:8080"));
        for bad in [
            "",
            "relay.example",
            "https://relay.example/x",
            "https://a@b",
            "ftp://x",
            "https://x/?y",
            "/x",
        ] {
            assert_eq!(url(bad), Err(NotAnOrigin), "{bad}");
        }
    }
}

//! Where an identity provider is fetched from.
//!
//! Invariant: a URL comes from the operator, or from a discovery document at the operator's URL. Nothing of a token ever
//! becomes one, and what is fetched in clear text is on this machine or was allowed by name.

use std::{fmt, net::IpAddr};

use http::{Uri, uri::Scheme};

/// The path of a discovery document below an issuer's name (OpenID Connect Discovery §4).
const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";

/// An absolute `https` URL, or an `http` one where that is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderUrl {
    uri: Uri,
    allows_clear_text: bool,
}

/// Why a text is no [`ProviderUrl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// No scheme that is fetched, no host, or a port that does not exist.
    #[error("not a URL like https://id.example/keys")]
    Malformed,
    /// It holds a user name or a password.
    #[error("a URL with a user name or password is not taken")]
    Userinfo,
    /// Whoever is on the way could put in keys of their own.
    #[error("clear text (http://) to another machine: keys could be exchanged on the way")]
    ClearText,
}

impl ProviderUrl {
    /// Takes a URL as it was written. Clear text is for this machine, or where `allows_clear_text`.
    ///
    /// # Errors
    /// [`UrlError`].
    pub fn parse(text: &str, allows_clear_text: bool) -> Result<Self, UrlError> {
        let uri: Uri = text.parse().map_err(|_| UrlError::Malformed)?;
        let authority = uri.authority().ok_or(UrlError::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(UrlError::Userinfo);
        }
        // `host:99999` is an authority without a port.
        let after_host = authority.as_str().strip_prefix(authority.host());
        let has_sound_port = match after_host {
            Some("") => true,
            _ => authority.port_u16().is_some_and(|port| port != 0),
        };
        if authority.host().is_empty() || !has_sound_port {
            return Err(UrlError::Malformed);
        }
        let url = Self {
            uri,
            allows_clear_text,
        };
        match url.uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => Ok(url),
            Some(scheme) if *scheme == Scheme::HTTP => {
                if allows_clear_text || url.is_loopback() {
                    Ok(url)
                } else {
                    Err(UrlError::ClearText)
                }
            }
            _ => Err(UrlError::Malformed),
        }
    }

    /// Where this issuer's discovery document is, by the standard.
    ///
    /// # Errors
    /// [`UrlError`], when the issuer's name is no URL.
    pub fn discovery_of(issuer: &str, allows_clear_text: bool) -> Result<Self, UrlError> {
        let base = issuer.strip_suffix('/').unwrap_or(issuer);
        Self::parse(&format!("{base}{DISCOVERY_PATH}"), allows_clear_text)
    }

    /// The URL that a document at this one names. A document that came over TLS does not lead to clear text.
    pub(super) fn leads_to(&self, text: &str) -> Result<Self, UrlError> {
        let next = Self::parse(text, self.allows_clear_text)?;
        if self.is_tls() && !next.is_tls() {
            return Err(UrlError::ClearText);
        }
        Ok(next)
    }

    pub(super) fn is_tls(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }

    /// Host without the brackets of an IPv6 address, and port.
    pub(super) fn place(&self) -> (&str, u16) {
        let host = self.uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let usual = if self.is_tls() { 443 } else { 80 };
        (host, self.uri.port_u16().unwrap_or(usual))
    }

    pub(super) fn authority(&self) -> &str {
        self.uri
            .authority()
            .map_or("", http::uri::Authority::as_str)
    }

    pub(super) fn target(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    fn is_loopback(&self) -> bool {
        let (host, _) = self.place();
        host.eq_ignore_ascii_case("localhost")
            || host
                .parse()
                .is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
    }
}

impl fmt::Display for ProviderUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_absolute_and_in_tls_unless_they_stay_here() {
        for good in [
            "https://id.example",
            "https://id.example:8443/keys?client=1",
            "http://127.0.0.1:9/keys",
            "http://[::1]:9",
            "http://localhost/x",
        ] {
            assert_eq!(ProviderUrl::parse(good, false).err(), None, "{good}");
        }
        for (bad, why) in [
            ("", UrlError::Malformed),
            ("id.example", UrlError::Malformed),
            ("/keys", UrlError::Malformed),
            ("file:///etc/passwd", UrlError::Malformed),
            ("ftp://id.example", UrlError::Malformed),
            ("https://", UrlError::Malformed),
            ("https://id.example:0", UrlError::Malformed),
            ("https://id.example:99999", UrlError::Malformed),
            ("https://id.example:", UrlError::Malformed),
            ("https://ada:pw@id.example", UrlError::Userinfo),
            ("http://id.example", UrlError::ClearText),
            ("http://169.254.169.254/latest", UrlError::ClearText),
            ("http://localhost.example", UrlError::ClearText),
        ] {
            assert_eq!(ProviderUrl::parse(bad, false), Err(why), "{bad}");
        }
        assert!(ProviderUrl::parse("http://keycloak:8080", true).is_ok());
    }

    #[test]
    fn a_discovery_document_is_below_its_issuer() {
        for issuer in ["https://id.example/realm", "https://id.example/realm/"] {
            let url = ProviderUrl::discovery_of(issuer, false).expect("a URL");
            let expected = "https://id.example/realm/.well-known/openid-configuration";
            assert_eq!(url.to_string(), expected);
        }
        assert!(ProviderUrl::discovery_of("home", false).is_err());
    }

    #[test]
    fn tls_leads_to_tls_alone() {
        let leads = |from: &str, allowed, to: &str| {
            let from = ProviderUrl::parse(from, allowed).expect("a URL");
            from.leads_to(to).map(|url| url.is_tls())
        };
        assert_eq!(
            leads("https://a.example", false, "https://b.example"),
            Ok(true)
        );
        // Not even to this machine: that would let the provider ask around here.
        let inside = "http://127.0.0.1:8081/metrics";
        assert_eq!(
            leads("https://a.example", true, inside),
            Err(UrlError::ClearText)
        );
        assert_eq!(leads("http://127.0.0.1:1", false, inside), Ok(false));
        assert_eq!(
            leads("http://127.0.0.1:1", false, "http://a.example"),
            Err(UrlError::ClearText)
        );
        assert_eq!(leads("http://idp:1", true, "http://idp:1/keys"), Ok(false));
    }
}

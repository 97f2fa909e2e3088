//! Reaching the relay through a proxy: HTTP CONNECT with Basic authentication, SOCKS5 with and without a password.
//!
//! Invariant: the proxy's own answer is told as the proxy's, and its password goes to the proxy alone.

use std::{fmt, future::Future, io, pin::Pin};

use base64::Engine as _;
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{client::conn::http1, upgrade::Upgraded};
use hyper_util::{client::legacy::connect::proxy::SocksV5, rt::TokioIo};
use tokio::net::TcpStream;
use tower_service::Service as _;

use super::{Tasks, names::Names};
use crate::error::DialError;

/// Most bytes of a refusal's page that are looked at.
const MAX_PAGE_BYTES: usize = 16 * 1024;
/// Most characters of it that are told.
const MAX_TOLD: usize = 120;

/// A proxy on the way to the relay, never to the upstream.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    kind: ProxyKind,
    host: String,
    port: u16,
    user: Option<(String, String)>,
}

/// What is spoken to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// HTTP CONNECT (RFC 9110 §9.3.6).
    Http,
    /// SOCKS5 (RFC 1928); names are resolved by the proxy.
    Socks5,
}

/// Not the address of a proxy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the address of a proxy: {0}")]
pub struct InvalidProxy(&'static str);

impl Proxy {
    /// Reads `http://[user:password@]host[:port]`, `socks5://…` or `socks5h://…`; without a scheme it is `http`.
    ///
    /// # Errors
    /// When it is none of these. The message holds nothing of the address, since that may hold a password.
    pub fn parse(text: &str) -> Result<Self, InvalidProxy> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let (kind, implied_port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (ProxyKind::Http, 80),
            "socks5" | "socks5h" | "socks" => (ProxyKind::Socks5, 1080),
            "https" => {
                return Err(InvalidProxy(
                    "proxies that speak TLS themselves are not supported",
                ));
            }
            _ => return Err(InvalidProxy("the scheme is not http or socks5")),
        };
        let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, address) = match rest.rsplit_once('@') {
            None => (None, rest),
            Some((user, address)) => {
                let (name, password) = user.split_once(':').unwrap_or((user, ""));
                (Some((unescape(name)?, unescape(password)?)), address)
            }
        };
        let authority: http::uri::Authority = address
            .parse()
            .map_err(|_| InvalidProxy("host and port cannot be read"))?;
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        if host.is_empty() {
            return Err(InvalidProxy("there is no host"));
        }
        if authority.port().is_none() && authority.as_str().len() > authority.host().len() {
            return Err(InvalidProxy("the port is not a port"));
        }
        Ok(Self {
            kind,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(implied_port),
            user,
        })
    }

    /// Host and port.
    pub(super) fn place(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Where it is, without its password.
    #[must_use]
    pub fn address(&self) -> String {
        let scheme = match self.kind {
            ProxyKind::Http => "http",
            ProxyKind::Socks5 => "socks5",
        };
        format!("{scheme}://{}:{}", bracketed(&self.host), self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

/// An IPv6 address the way it stands in a URL.
fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// Percent signs in user and password (RFC 3986 §3.2.1).
fn unescape(text: &str) -> Result<String, InvalidProxy> {
    let broken = InvalidProxy("user or password hold a broken percent sign");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let hex = |digit: Option<u8>| digit.and_then(|digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (hex(rest.next()), hex(rest.next())) else {
            return Err(broken);
        };
        bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
    }
    String::from_utf8(bytes).map_err(|_| broken)
}

/// A byte stream to the relay, through the proxy.
pub(super) enum Proxied {
    Http(TokioIo<Upgraded>),
    Socks(TcpStream),
}

/// Asks the proxy for a connection to this host and port. What moves the connection through an HTTP proxy is a task of
/// `tasks`.
pub(super) async fn connect(
    names: &Names,
    proxy: &Proxy,
    host: &str,
    port: u16,
    tasks: &Tasks,
) -> Result<Proxied, DialError> {
    let stream = super::connect(names, &proxy.host, proxy.port)
        .await
        .map_err(DialError::ProxyConnect)?;
    match proxy.kind {
        ProxyKind::Http => through_http(proxy, stream, host, port, tasks)
            .await
            .map(Proxied::Http),
        ProxyKind::Socks5 => through_socks(proxy, stream, host, port)
            .await
            .map(Proxied::Socks),
    }
}

async fn through_http(
    proxy: &Proxy,
    stream: TcpStream,
    host: &str,
    port: u16,
    tasks: &Tasks,
) -> Result<TokioIo<Upgraded>, DialError> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(64 * 1024)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(DialError::ProxyHttp)?;
    tasks.spawn(async move {
        // How it ends is seen by whoever uses the connection.
        drop(connection.with_upgrades().await);
    });
    let host = bracketed(host);
    let target = format!("{host}:{port}");
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(target.parse::<Uri>().map_err(|_| DialError::Name)?)
        .header(header::HOST, target);
    if let Some((user, password)) = &proxy.user {
        let encoded =
            base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        request = request.header(header::PROXY_AUTHORIZATION, format!("Basic {encoded}"));
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|_| DialError::Name)?;
    let response = sender
        .send_request(request)
        .await
        .map_err(DialError::ProxyHttp)?;
    let status = response.status();
    if status.is_success() {
        let upgraded = hyper::upgrade::on(response)
            .await
            .map_err(DialError::ProxyHttp)?;
        return Ok(TokioIo::new(upgraded));
    }
    let page = Limited::new(response.into_body(), MAX_PAGE_BYTES)
        .collect()
        .await;
    let page = page.map(|page| page.to_bytes()).unwrap_or_default();
    Err(DialError::ProxyRefused {
        said: refusal(status, &page, proxy.user.is_some()),
    })
}

/// What the proxy's answer means, in its own words where those help.
fn refusal(status: StatusCode, page: &[u8], has_user: bool) -> String {
    let meaning = match status.as_u16() {
        // 401 is wrong of a proxy, and what tinyproxy says.
        401 | 407 if has_user => "it does not take the user and password in the proxy's address",
        401 | 407 => "it wants a user and password (put them into the proxy's address)",
        403 => "it does not allow this connection",
        300..=399 => "it redirects: probably a login page has to be visited with a browser first",
        200..=299 => "",
        _ => "it does not make the connection",
    };
    let words = told(page);
    let words = if words.is_empty() {
        String::new()
    } else {
        format!(": \"{words}\"")
    };
    format!("{} {meaning}{words}", status.as_u16())
}

/// The readable beginning of a page, without markup.
pub(super) fn told(page: &[u8]) -> String {
    let text = String::from_utf8_lossy(page);
    let mut plain = String::new();
    let mut is_markup = false;
    for character in text.chars() {
        match character {
            '<' => is_markup = true,
            '>' => {
                is_markup = false;
                plain.push(' ');
            }
            _ if !is_markup && !character.is_control() => plain.push(character),
            _ if !is_markup => plain.push(' '),
            _ => {}
        }
    }
    let words: Vec<&str> = plain.split_whitespace().collect();
    words.join(" ").chars().take(MAX_TOLD).collect()
}

async fn through_socks(
    proxy: &Proxy,
    stream: TcpStream,
    host: &str,
    port: u16,
) -> Result<TcpStream, DialError> {
    let host = bracketed(host);
    let target: Uri = format!("http://{host}:{port}")
        .parse()
        .map_err(|_| DialError::Name)?;
    let mut socks = SocksV5::new(Uri::from_static("socks5://proxy"), Once(Some(stream)));
    if let Some((user, password)) = &proxy.user {
        socks = socks.with_auth(user.clone(), password.clone());
    }
    let stream = socks
        .call(target)
        .await
        .map_err(|error| DialError::ProxyRefused {
            said: error.to_string(),
        })?;
    Ok(stream.into_inner())
}

/// Hands out the connection to the proxy that is there already.
#[derive(Debug)]
struct Once(Option<TcpStream>);

impl tower_service::Service<Uri> for Once {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let stream = self.0.take().map(TokioIo::new);
        Box::pin(async move { stream.ok_or_else(|| io::ErrorKind::NotConnected.into()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_proxies_are_read() {
        let proxy = Proxy::parse("http://ada:p%40ss@proxy.example:3128/").expect("a proxy");
        assert_eq!(proxy.address(), "http://proxy.example:3128");
        assert_eq!(proxy.user, Some(("ada".to_owned(), "p@ss".to_owned())));
        assert_eq!(
            Proxy::parse("proxy.example:8080").expect("a proxy").port,
            8080
        );
        assert_eq!(
            Proxy::parse("socks5h://[::1]").expect("a proxy").address(),
            "socks5://[::1]:1080"
        );
        for text in [
            "https://proxy",
            "ftp://proxy",
            "http://",
            "http://a:b%@c",
            "http://host:99999",
        ] {
            assert!(Proxy::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_is_in_no_message() {
        let proxy = Proxy::parse("http://ada:hunter2@proxy:3128").expect("a proxy");
        assert!(!format!("{proxy:?}").contains("hunter2"));
        let error = Proxy::parse("ftp://ada:hunter2@proxy").expect_err("refused");
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn the_proxys_answer_is_told_as_such() {
        let page =
            b"<html><head><title>Login</title></head>\n<body>Please <b>sign in</b></body></html>";
        let said = refusal(StatusCode::FOUND, page, false);
        assert!(
            said.starts_with("302 it redirects") && said.ends_with(": \"Login Please sign in\""),
            "{said}"
        );
        let wanted = StatusCode::PROXY_AUTHENTICATION_REQUIRED;
        assert!(refusal(wanted, b"", false).contains("it wants a user and password"));
        assert!(refusal(wanted, b"", true).contains("it does not take the user and password"));
    }
}

//! Fetches what a provider publishes: one request on a connection of its own, and no more than was asked for.
//!
//! Invariant: no redirect is followed, nothing is sent but the request itself, and an answer has a largest size. The time
//! is limited by whoever polls.

use std::{future::Future, io, sync::Arc, time::Duration};

use bytes::Bytes;
use c2l_auth::MAX_JWKS_BYTES;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{
    Provider, Source,
    sign_in::Endpoints,
    url::{ProviderUrl, UrlError},
};

/// Most bytes of an answer's head.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Most fields of it.
const MAX_FIELDS: usize = 100;

/// Why there are no fresh keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no connection")]
    Connect(#[source] io::Error),
    #[error("no TLS connection")]
    Tls(#[source] io::Error),
    #[error("the provider broke off")]
    Http(#[source] hyper::Error),
    #[error("the provider's answer broke off, or is too long")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the provider answered {0}, and redirects are not followed")]
    Redirect(StatusCode),
    #[error("the provider answered {0}")]
    Status(StatusCode),
    #[error("the discovery document is not JSON with an issuer and a jwks_uri")]
    Discovery,
    #[error("the discovery document is another issuer's")]
    OtherIssuer,
    #[error("the discovery document names keys that are not fetched")]
    KeysUrl(#[source] UrlError),
    #[error("the keys cannot be used")]
    Keys(#[source] c2l_auth::JwksError),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// A key set as it was served.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) jwks: Bytes,
    /// Where somebody signs in, where the provider says so.
    pub(super) endpoints: Option<Endpoints>,
    /// How long the provider says that it is fresh.
    pub(super) max_age: Option<Duration>,
}

/// The provider's key set, by way of its discovery document where that is what is configured.
pub(super) async fn fetch(provider: &Provider) -> Result<Fetched, FetchError> {
    let (endpoints, (headers, jwks)) = match &provider.source {
        Source::Jwks(url) => (None, get(url, &provider.tls).await?),
        Source::Discovery(url) => {
            let (_, document) = get(url, &provider.tls).await?;
            let document = read(&document, &provider.issuer)?;
            let keys = keys_url(url, &document)?;
            let endpoints = Endpoints::read(url, &document);
            (endpoints, get(&keys, &provider.tls).await?)
        }
    };
    Ok(Fetched {
        endpoints,
        max_age: max_age(&headers),
        jwks,
    })
}

/// A discovery document that is this issuer's (OpenID Connect Discovery §4.3).
fn read(document: &[u8], issuer: &str) -> Result<Value, FetchError> {
    let document: Value = serde_json::from_slice(document).map_err(|_| FetchError::Discovery)?;
    match document["issuer"].as_str() {
        Some(named) if named == issuer => Ok(document),
        Some(_) => Err(FetchError::OtherIssuer),
        None => Err(FetchError::Discovery),
    }
}

fn keys_url(at: &ProviderUrl, document: &Value) -> Result<ProviderUrl, FetchError> {
    let keys = document["jwks_uri"].as_str().ok_or(FetchError::Discovery)?;
    at.leads_to(keys).map_err(FetchError::KeysUrl)
}

/// Sends a form, and takes what is answered with 200.
pub(super) async fn post(
    url: &ProviderUrl,
    tls: &Arc<ClientConfig>,
    form: String,
    authorization: Option<HeaderValue>,
) -> Result<Bytes, FetchError> {
    let mut request = asked(Method::POST, url, Bytes::from(form))?;
    let headers = request.headers_mut();
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(header::CONTENT_TYPE, form);
    if let Some(authorization) = authorization {
        headers.insert(header::AUTHORIZATION, authorization);
    }
    Ok(send(url, tls, request).await?.1)
}

async fn get(url: &ProviderUrl, tls: &Arc<ClientConfig>) -> Result<(HeaderMap, Bytes), FetchError> {
    send(url, tls, asked(Method::GET, url, Bytes::new())?).await
}

fn asked(
    method: Method,
    url: &ProviderUrl,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, FetchError> {
    Request::builder()
        .method(method)
        .uri(url.target())
        .header(header::HOST, url.authority())
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, "c2l-relay")
        .body(Full::new(body))
        .map_err(|_| FetchError::KeysUrl(UrlError::Malformed))
}

async fn send(
    url: &ProviderUrl,
    tls: &Arc<ClientConfig>,
    request: Request<Full<Bytes>>,
) -> Result<(HeaderMap, Bytes), FetchError> {
    let (host, port) = url.place();
    let stream = TcpStream::connect((host, port)).await;
    let stream = stream.map_err(FetchError::Connect)?;
    if !url.is_tls() {
        return exchange(stream, request).await;
    }
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| FetchError::Tls(io::Error::other(error)))?;
    let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream);
    exchange(stream.await.map_err(FetchError::Tls)?, request).await
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(HeaderMap, Bytes), FetchError> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_FIELDS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(FetchError::Http)?;
    let answer = async {
        let response = sender.send_request(request).await;
        let (head, body) = response.map_err(FetchError::Http)?.into_parts();
        match head.status {
            StatusCode::OK => {}
            status if status.is_redirection() => return Err(FetchError::Redirect(status)),
            status => return Err(FetchError::Status(status)),
        }
        let body = Limited::new(body, MAX_JWKS_BYTES).collect().await;
        Ok((head.headers, body.map_err(FetchError::Body)?.to_bytes()))
    };
    driven(answer, connection).await
}

/// Polls the connection for as long as the answer needs it.
async fn driven<T>(answer: impl Future<Output = T>, connection: impl Future) -> T {
    let (mut answer, mut connection) = (std::pin::pin!(answer), std::pin::pin!(connection));
    tokio::select! {
        answer = &mut answer => answer,
        _ended = &mut connection => answer.await, // what it has read is still to be taken
    }
}

/// `max-age` of `Cache-Control` (RFC 9111 §5.2.2). `no-store` and `no-cache` are passed over: keys must be kept, and
/// when they are fetched again is then ours to choose.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(header::CACHE_CONTROL).iter();
    let directives = values.filter_map(|value| value.to_str().ok());
    let mut directives = directives
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter_map(|directive| directive.split_once('='));
    let (_, seconds) = directives.find(|(name, _)| name.eq_ignore_ascii_case("max-age"))?;
    let seconds: u64 = seconds.trim_matches('"').parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn how_long_a_set_is_fresh_is_read_where_it_is_said() {
        let age = |value: &str| {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_str(value).expect("a value");
            headers.insert(header::CACHE_CONTROL, value);
            max_age(&headers).map(|age| age.as_secs())
        };
        assert_eq!(age("public, max-age=21600, must-revalidate"), Some(21_600));
        assert_eq!(age("Max-Age=\"5\""), Some(5));
        for unsaid in [
            "no-store",
            "max-age",
            "max-age=",
            "max-age=-1",
            "s-maxage=9",
            "max-age=1e9",
        ] {
            assert_eq!(age(unsaid), None, "{unsaid}");
        }
        assert_eq!(max_age(&HeaderMap::new()), None);
    }

    #[test]
    fn a_discovery_document_is_its_issuers_or_nothing() {
        let at = ProviderUrl::parse("https://id.example/x", false).expect("a URL");
        let read = |document: &str| {
            let document = read(document.as_bytes(), "https://id.example")?;
            keys_url(&at, &document)
        };
        let keys = read(r#"{"issuer":"https://id.example","jwks_uri":"https://id.example/keys"}"#);
        assert_eq!(keys.expect("keys").to_string(), "https://id.example/keys");
        let other = r#"{"issuer":"https://id.example/","jwks_uri":"https://id.example/keys"}"#;
        assert!(matches!(read(other), Err(FetchError::OtherIssuer)));
        let clear = r#"{"issuer":"https://id.example","jwks_uri":"http://127.0.0.1/keys"}"#;
        assert!(matches!(
            read(clear),
            Err(FetchError::KeysUrl(UrlError::ClearText))
        ));
        for odd in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"issuer":"https://id.example"}"#,
        ] {
            assert!(matches!(read(odd), Err(FetchError::Discovery)), "{odd}");
        }
    }
}

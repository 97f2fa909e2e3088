//! The way through proxies that block HTTP/2: an upgrade over HTTP/1.1, then the same HTTP/2 bytes in binary messages.

use bytes::Bytes;
use c2l_bridge::{ByteStream, Role};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{client::conn::http1, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Tasks, proxy::told};
use crate::{config::Config, error::DialError};

/// Most bytes of a refusal that are looked at.
const MAX_PAGE_BYTES: usize = 16 * 1024;

/// Upgrades a connection on which nothing was said yet.
pub(super) async fn upgrade(
    connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    config: &Config,
    token: &str,
    tasks: &Tasks,
) -> Result<ByteStream<TokioIo<Upgraded>>, DialError> {
    let key = c2l_bridge::new_key().ok_or(DialError::Random)?;
    let expected = c2l_bridge::accept_for(key.as_bytes());
    let (mut sender, driver) = http1::Builder::new()
        .max_buf_size(64 * 1024)
        .handshake(TokioIo::new(connection))
        .await
        .map_err(DialError::Upgrade)?;
    tasks.spawn(async move {
        // How it ends is seen by whoever uses the connection.
        drop(driver.with_upgrades().await);
    });
    let authority = config
        .relay
        .authority()
        .map_or("", |authority| authority.as_str());
    let request = Request::get(c2l_bridge::PATH)
        .header(header::HOST, authority)
        .header(header::AUTHORIZATION, bearer(token)?)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .header(c2l_bridge::VERSION, "13")
        .header(c2l_bridge::PROTOCOL, c2l_bridge::PROTOCOL_NAME)
        .header(c2l_bridge::KEY, key)
        .body(Empty::<Bytes>::new())
        .map_err(|_| DialError::Name)?;
    let response = sender
        .send_request(request)
        .await
        .map_err(DialError::Upgrade)?;
    let status = response.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal(response).await);
    }
    if response.headers().get(c2l_bridge::ACCEPT) != Some(&expected) {
        return Err(DialError::NotOurUpgrade);
    }
    let upgraded = hyper::upgrade::on(response)
        .await
        .map_err(DialError::Upgrade)?;
    Ok(ByteStream::new(TokioIo::new(upgraded), Role::Client))
}

fn bearer(token: &str) -> Result<http::HeaderValue, DialError> {
    let mut value =
        http::HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| DialError::Name)?;
    value.set_sensitive(true);
    Ok(value)
}

/// A refusal in the relay's own words is final; anyone else's page is told as that of something on the way.
async fn refusal(response: http::Response<hyper::body::Incoming>) -> DialError {
    let status = response.status();
    let page = Limited::new(response.into_body(), MAX_PAGE_BYTES)
        .collect()
        .await;
    let page = page.map(|page| page.to_bytes()).unwrap_or_default();
    let said: Option<serde_json::Value> = serde_json::from_slice(&page).ok();
    let field = |name: &str| said.as_ref()?.get(name)?.as_str().map(str::to_owned);
    match (field("code"), field("error"), field("request_id")) {
        (Some(code), Some(message), Some(_)) => DialError::RelayRefused {
            status,
            code,
            message,
        },
        _ => DialError::Blocked {
            status,
            said: told(&page),
        },
    }
}

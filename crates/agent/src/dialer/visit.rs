//! The steps of dialing one by one, each undone at once: for whoever looks for the one that fails.
//!
//! Invariant: no session comes about here, so a visit replaces nobody's. Time limits are the caller's.

use std::{
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use tokio::{io::AsyncWrite as _, net::lookup_host, time::Instant};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{ByteStream, Dialer, Http2, Tasks, Way, agreed_on, connect, encrypt, proxy, reach};
use crate::{
    config::{self, Config},
    error::DialError,
};

/// Most bytes of an answer's beginning that are kept.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// What TLS agreed on.
pub(crate) struct Encrypted {
    pub(crate) is_agreed: bool,
    /// The relay's own, in DER.
    pub(crate) certificate: Option<CertificateDer<'static>>,
}

/// What the relay says of itself.
pub(crate) struct Health {
    pub(crate) is_serving: bool,
    /// The relay's clock.
    pub(crate) date: Option<SystemTime>,
}

/// How an answer began.
pub(crate) struct Opened {
    pub(crate) status: StatusCode,
    /// From the request to its first piece.
    pub(crate) first_piece: Duration,
    /// The first piece; of a refusal the whole page, as far as it is looked at.
    pub(crate) said: Bytes,
}

impl Dialer {
    /// What the relay's name stands for.
    pub(crate) async fn look_up(&self, config: &Config) -> std::io::Result<Vec<SocketAddr>> {
        let place = (config::host(&config.relay), config::port(&config.relay));
        Ok(lookup_host(place).await?.collect())
    }

    /// Connects to the first hop: the proxy, or the relay itself. Says where that is.
    pub(crate) async fn first_hop(&self, config: &Config) -> Result<SocketAddr, DialError> {
        match &config.proxy {
            Some(proxy) => {
                let (host, port) = proxy.place();
                let stream = connect(&self.names, host, port).await;
                stream
                    .and_then(|stream| stream.peer_addr())
                    .map_err(DialError::ProxyConnect)
            }
            None => {
                let (host, port) = (config::host(&config.relay), config::port(&config.relay));
                let stream = connect(&self.names, host, port).await;
                stream
                    .and_then(|stream| stream.peer_addr())
                    .map_err(DialError::Connect)
            }
        }
    }

    /// Asks the proxy, if there is one, for the way to the relay.
    pub(crate) async fn through_proxy(&self, config: &Config) -> Result<(), DialError> {
        let Some(proxy) = &config.proxy else {
            return Ok(());
        };
        let tasks = Tasks::new();
        let (host, port) = (config::host(&config.relay), config::port(&config.relay));
        drop(proxy::connect(&self.names, proxy, host, port, &tasks).await?);
        Ok(())
    }

    /// Encrypts, offering what this way needs; `None` for a relay in clear.
    pub(crate) async fn encrypted(
        &self,
        config: &Config,
        way: Way,
    ) -> Result<Option<Encrypted>, DialError> {
        let Some(connectors) = &self.tls else {
            return Ok(None);
        };
        let tasks = Tasks::new();
        let plain = reach(&self.names, config, &tasks).await?;
        let stream = encrypt(connectors, config, way, plain).await?;
        let protocol: &[u8] = match way {
            Way::Grpc => b"h2",
            Way::WebSocket => b"http/1.1",
        };
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        Ok(Some(Encrypted {
            is_agreed: agreed_on(&stream, protocol),
            certificate: certificates.first().map(|own| own.clone().into_owned()),
        }))
    }

    /// Asks for the relay's health over HTTP/2.
    pub(crate) async fn health(
        &self,
        config: &Config,
        way: Way,
        token: &str,
    ) -> Result<Health, Box<tonic::Status>> {
        let connected = self.connect_http2(config, way, token).await;
        let (http2, _tasks) =
            connected.map_err(|error| Box::new(tonic::Status::from_error(Box::new(error))))?;
        let mut client = HealthClient::with_origin(Http2(http2), config.relay.clone());
        let answer = client
            .check(HealthCheckRequest::default())
            .await
            .map_err(Box::new)?;
        let date = answer.metadata().get("date");
        let date = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        let is_serving = answer.get_ref().status() == ServingStatus::Serving;
        Ok(Health { is_serving, date })
    }

    /// Upgrades to a WebSocket and says goodbye in it.
    pub(crate) async fn upgraded(&self, config: &Config, token: &str) -> Result<(), DialError> {
        let tasks = Tasks::new();
        let mut stream: ByteStream = self.dial(config, Way::WebSocket, token, &tasks).await?;
        // The upgrade is what was asked for; how the goodbye ends changes nothing.
        drop(poll_fn(|cx| Pin::new(&mut stream).poll_shutdown(cx)).await);
        Ok(())
    }

    /// Sends a request to the relay as a caller does, and waits for the answer to begin.
    pub(crate) async fn call(
        &self,
        config: &Config,
        api_token: &str,
        path: &str,
        body: String,
    ) -> Result<Opened, DialError> {
        let mut bearer = header::HeaderValue::from_str(&format!("Bearer {api_token}"))
            .map_err(|_| DialError::Name)?;
        bearer.set_sensitive(true);
        let request = Request::post(path)
            .header(header::AUTHORIZATION, bearer)
            .header(header::CONTENT_TYPE, "application/json");
        let tasks = Tasks::new();
        let mut sender = self.caller(config, &tasks).await?;
        let asked = Instant::now();
        let answer = sent(&mut sender, config, request, body).await?;
        let status = answer.status();
        let said = beginning(answer).await?;
        let first_piece = asked.elapsed();
        Ok(Opened {
            status,
            first_piece,
            said,
        })
    }
}

impl Dialer {
    /// Sends a form to the relay itself and reads the whole answer, a short one.
    pub(crate) async fn post_form(
        &self,
        config: &Config,
        path: &str,
        form: String,
    ) -> Result<http::Response<Bytes>, DialError> {
        let tasks = Tasks::new();
        let mut sender = self.caller(config, &tasks).await?;
        let request = Request::post(path)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = sent(&mut sender, config, request, form).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        // Too long, or broken off: either way no answer of the relay's.
        let body = body.map_err(|_| DialError::Blocked {
            status: head.status,
            said: String::new(),
        })?;
        Ok(http::Response::from_parts(head, body.to_bytes()))
    }

    /// A connection as a caller's library opens one, in HTTP/1.1.
    async fn caller(
        &self,
        config: &Config,
        tasks: &Tasks,
    ) -> Result<http1::SendRequest<Full<Bytes>>, DialError> {
        let stream = self.reach_securely(config, Way::WebSocket, tasks).await?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(DialError::Call)?;
        tasks.spawn(async move {
            // How it ends is seen by whoever waits for the answer.
            drop(connection.await);
        });
        Ok(sender)
    }
}

async fn sent(
    sender: &mut http1::SendRequest<Full<Bytes>>,
    config: &Config,
    request: http::request::Builder,
    body: String,
) -> Result<http::Response<Incoming>, DialError> {
    let authority = config.relay.authority();
    let host = authority.map_or("", |authority| authority.as_str());
    let request = request
        .header(header::HOST, host)
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| DialError::Name)?;
    sender.send_request(request).await.map_err(DialError::Call)
}

/// The first piece of a good answer, all of another.
async fn beginning(answer: http::Response<Incoming>) -> Result<Bytes, DialError> {
    if !answer.status().is_success() {
        let page = Limited::new(answer.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await;
        return Ok(page.map(|page| page.to_bytes()).unwrap_or_default());
    }
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame.map_err(DialError::Call)?.into_data()
            && !piece.is_empty()
        {
            return Ok(piece);
        }
    }
    Ok(Bytes::new())
}

//! TLS of the public port: which cipher a connection gets, and how much of what it says waits.
//!
//! Invariant: who wants ChaCha20 before any AES has no AES in its processor, and gets ChaCha20. For everybody else the order
//! of the configuration holds: many put AES with 256 bits and SHA-384 first out of habit, whose key schedule costs a
//! handshake a sixth more than that of SHA-256, which processors have built in.

use std::{io, sync::Arc};

use c2l_bridge::TLS_BUFFER_BYTES;
use rustls::{
    CipherSuite, ServerConfig,
    server::{Acceptor, ClientHello},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

/// Ends TLS for those who connect.
#[derive(Clone)]
pub(crate) struct Tls {
    /// The order of ciphers is that of the configuration.
    of_ours: Arc<ServerConfig>,
    /// It is the client's.
    of_theirs: Arc<ServerConfig>,
}

impl Tls {
    pub(crate) fn new(config: &Arc<ServerConfig>) -> Self {
        let mut of_theirs = ServerConfig::clone(config);
        let mut of_ours = of_theirs.clone();
        of_theirs.ignore_client_order = false;
        of_ours.ignore_client_order = true;
        Self {
            of_ours: Arc::new(of_ours),
            of_theirs: Arc::new(of_theirs),
        }
    }

    /// The whole handshake. The caller sets the time limit; dropping the future closes the connection. What comes out is in a
    /// box: whatever it is moved through would keep room for it, for the life of the connection.
    pub(crate) async fn accept<T>(&self, stream: T) -> io::Result<Box<TlsStream<T>>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let greeted = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let config = if self.wants_chacha20(&greeted.client_hello()) {
            &self.of_theirs
        } else {
            &self.of_ours
        };
        let accepted = greeted.into_stream_with(Arc::clone(config), |tls| {
            tls.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        });
        accepted.await.map(Box::new)
    }

    /// Whether that is the first of the client's ciphers that we have.
    fn wants_chacha20(&self, hello: &ClientHello<'_>) -> bool {
        let ours = &self.of_ours.crypto_provider().cipher_suites;
        let mut wanted = hello.cipher_suites().iter();
        let first = wanted.find(|wanted| ours.iter().any(|suite| suite.suite() == **wanted));
        matches!(
            first,
            Some(
                CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
                    | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
                    | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
            )
        )
    }
}

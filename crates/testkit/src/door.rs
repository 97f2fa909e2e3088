//! A door before a relay that serves TLS, for callers who speak clear text: what they say goes on under TLS. What is TLS
//! already, an agent's, goes through as it is, so that one address is right for everybody.
//!
//! Invariant: it adds no queue beyond one piece each way; an end stays an end, of one direction or of both, and a reset
//! stays a reset.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{ClientConfig, pki_types::ServerName};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::certificates::Authority;

/// A running door. Dropping it resets everything that goes through it.
#[derive(Debug)]
pub(crate) struct Door {
    closing: CancellationToken,
    task: JoinHandle<()>,
}

/// What a connection begins with.
enum First {
    Tls,
    Http2,
    Http1,
}

impl Door {
    /// Before the relay at this address, whose certificate is from the process's authority.
    pub(crate) fn start(listener: TcpListener, relay: SocketAddr) -> Self {
        let closing = CancellationToken::new();
        let task = tokio::spawn(accept(listener, relay, closing.clone()));
        Self { closing, task }
    }

    /// Takes no more connections; those that are there go on until they end.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, relay: SocketAddr, closing: CancellationToken) {
    let connectors = [connector(b"h2"), connector(b"http/1.1")];
    let mut connections = JoinSet::new();
    while let Some(Ok((stream, _))) = closing.run_until_cancelled(listener.accept()).await {
        let connectors = connectors.clone();
        connections.spawn(async move {
            // How it ends is what both ends see.
            drop(pass(stream, relay, connectors).await);
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

fn connector(alpn: &[u8]) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(Authority::of_this_process().roots())
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    TlsConnector::from(Arc::new(config))
}

async fn pass(
    caller: TcpStream,
    relay: SocketAddr,
    [http2, http1]: [TlsConnector; 2],
) -> io::Result<()> {
    // At once: a connection on which nothing is said counts at the relay, too.
    let relay = TcpStream::connect(relay).await?;
    caller.set_nodelay(true)?;
    relay.set_nodelay(true)?;
    let first = tokio::select! {
        first = first(&caller) => first?,
        gone = relay.readable() => return gone, // a server says nothing first: it has hung up
    };
    let connector = match first {
        First::Tls => {
            let (from, to) = tokio::io::split(relay);
            return splice(caller, from, to, |from, to| from.unsplit(to)).await;
        }
        First::Http2 => http2,
        First::Http1 => http1,
    };
    let name = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
    let relay = connector.connect(name, relay).await?;
    let (from, to) = tokio::io::split(relay);
    splice(caller, from, to, |from, to| from.unsplit(to).into_inner().0).await
}

/// Looks at the first bytes and leaves them where they are.
async fn first(caller: &TcpStream) -> io::Result<First> {
    let mut bytes = [0; 3];
    loop {
        let length = caller.peek(&mut bytes).await?;
        match &bytes[..length] {
            [] => return Err(io::ErrorKind::UnexpectedEof.into()),
            [0x16, ..] => return Ok(First::Tls),
            b"PRI" => return Ok(First::Http2),
            b"P" | b"PR" => tokio::time::sleep(Duration::from_millis(1)).await, // paced: until more has come
            _ => return Ok(First::Http1),
        }
    }
}

/// Carries both directions until each has ended, or one is reset.
async fn splice<T: AsyncRead + AsyncWrite + Unpin>(
    caller: TcpStream,
    mut from_relay: ReadHalf<T>,
    mut to_relay: WriteHalf<T>,
    whole: impl FnOnce(ReadHalf<T>, WriteHalf<T>) -> TcpStream,
) -> io::Result<()> {
    let (mut from_caller, mut to_caller) = caller.into_split();
    let carried = tokio::try_join!(
        async {
            // A relay that takes no more may still have said why: that is carried before the end is.
            let carried = pump(&mut from_caller, &mut to_relay).await;
            carried.or_else(of_writing)
        },
        async {
            let carried = pump(&mut from_relay, &mut to_caller).await;
            carried.map_err(|torn| torn.error)
        },
    );
    if carried.is_err() {
        // Without lingering a close is a reset, and both ends see it.
        let relay = whole(from_relay, to_relay);
        let caller = from_caller.reunite(to_caller).expect("two halves of one");
        for stream in [&relay, &caller] {
            drop(SockRef::from(stream).set_linger(Some(Duration::ZERO)));
        }
    }
    Ok(())
}

/// Where a direction was torn.
struct Torn {
    is_of_writing: bool,
    error: io::Error,
}

fn of_writing(torn: Torn) -> io::Result<()> {
    if torn.is_of_writing {
        Ok(())
    } else {
        Err(torn.error)
    }
}

async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> Result<(), Torn> {
    let torn = |is_of_writing| {
        move |error| Torn {
            is_of_writing,
            error,
        }
    };
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) => break,
            Ok(read) => read,
            // A connection that ends without TLS's own goodbye ended all the same.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(torn(false)(error)),
        };
        to.write_all(&buffer[..read]).await.map_err(torn(true))?;
        to.flush().await.map_err(torn(true))?;
    }
    drop(to.shutdown().await); // a peer that has gone needs no end
    Ok(())
}

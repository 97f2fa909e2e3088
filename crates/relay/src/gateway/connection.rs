//! One connection to the public port, from its first byte to its end.
//!
//! TLS handshake, if configured and not from where clear text may come → first bytes tell HTTP/2 from HTTP/1.1 → requests →
//! idle limit or shutdown. Invariant: silence at any of these costs a bounded time.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use c2l_bridge::Pulsed;
use http::Request;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

use crate::{
    Relay, gateway,
    gateway::{
        idleness::Requests,
        listener::Life,
        peer::{Peer, Place, TlsPeer},
        timed_io::TimedIo,
        tls::Tls,
    },
};

/// What an HTTP/2 client says first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a connection in TLS begins with: the type of a record of its handshake (RFC 8446 §5.1), and no method of HTTP.
const TLS_HANDSHAKE: u8 = 22;
/// How long a connection over its address's limit may stay once it was told so.
const REFUSED_IDLE: Duration = Duration::from_secs(1);
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const MAX_FRAME_BYTES: u32 = 128 * 1024;
const MAX_STREAMS_PER_CONNECTION: u32 = 256;
const SEND_BUFFER_BYTES: usize = 256 * 1024;
/// Most bytes read ahead of, or queued for, one HTTP/1.1 exchange: the library's own would hold more than the credit.
const BUFFER_BYTES: usize = 128 * 1024;
/// The system counts milliseconds in an `int`: more would be an error.
const LONGEST_UNACKNOWLEDGED: Duration = Duration::from_secs(24 * 60 * 60);

/// What is left of a connection once its protocol is known.
pub(crate) type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;
/// What finds out; nothing where nothing is to be served.
pub(crate) type Beginning = Pin<Box<dyn Future<Output = Option<Serving>> + Send>>;

/// A connection's task, which is there for days when it is an agent's. How it began needs more room than all that comes
/// after, and is in a box that goes with its end. What is `held` goes with the connection.
pub(crate) async fn carry<T: Send>(beginning: Beginning, held: T) {
    let serving = beginning.await;
    if let Some(serving) = serving {
        serving.await;
    }
    drop(held);
}

/// Finds out what is spoken here; nothing is left where nothing is.
pub(super) async fn serve(
    relay: Arc<Relay>,
    stream: TcpStream,
    peer: Peer,
    tls: Option<Tls>,
    place: Place,
) -> Option<Serving> {
    let address = peer.address;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(peer = %address, %error, "no delay cannot be switched off");
    }
    give_up_unacknowledged(&stream, relay.config.gap_timeout);
    let tls = match tls {
        Some(tls) if may_be_clear(&relay, address.ip()) => {
            match Box::pin(begins_with_tls(&relay, &stream)).await {
                Some(is_tls) => is_tls.then_some(tls),
                None => return None, // nothing was said: nothing to answer
            }
        }
        tls => tls,
    };
    let stream = Pulsed::new(stream, peer.pulse.clone());
    match tls {
        Some(tls) => Box::pin(serve_tls(&relay, stream, peer, tls, place)).await,
        None => serve_http(&relay, stream, peer, place).await,
    }
}

fn may_be_clear(relay: &Relay, address: IpAddr) -> bool {
    let networks = &relay.config.clear_from;
    networks.iter().any(|network| network.contains(address))
}

/// Looks at the first byte, which stays where it is; `None` when none comes in time.
async fn begins_with_tls(relay: &Relay, stream: &TcpStream) -> Option<bool> {
    let mut first = [0];
    let peeked = tokio::select! {
        () = relay.life.closing.cancelled() => return None,
        peeked = timeout(relay.config.head_timeout, stream.peek(&mut first)) => peeked.ok()?,
    };
    (peeked.ok()? == 1).then_some(first[0] == TLS_HANDSHAKE)
}

async fn serve_tls(
    relay: &Arc<Relay>,
    stream: Pulsed<TcpStream>,
    mut peer: Peer,
    tls: Tls,
    place: Place,
) -> Option<Serving> {
    let address = peer.address;
    // In a box, which goes when the handshake is over.
    let accepted = Box::pin(tls.accept(stream));
    match timeout(relay.config.tls_handshake_timeout, accepted).await {
        Ok(Ok(stream)) => {
            let shown = stream.get_ref().1.peer_certificates();
            peer.is_certified = shown.is_some_and(|chain| !chain.is_empty());
            peer.tls = Some(TlsPeer {
                server_name: stream.get_ref().1.server_name().map(Arc::from),
            });
            return serve_http(relay, stream, peer, place).await;
        }
        Ok(Err(error)) => tracing::debug!(peer = %address, %error, "tls handshake failed"),
        Err(_) => tracing::debug!(peer = %address, "tls handshake took too long"),
    }
    None
}

/// What the other end does not acknowledge is given up after as long as it may leave it unread. The limits of ours watch
/// what they have to write; what the system has taken off them is its own to give up, where it can.
fn give_up_unacknowledged(stream: &TcpStream, limit: Duration) {
    #[cfg(target_os = "linux")]
    if let Err(error) =
        socket2::SockRef::from(stream).set_tcp_user_timeout(Some(limit.min(LONGEST_UNACKNOWLEDGED)))
    {
        tracing::debug!(%error, "no limit on what is not acknowledged");
    }
    #[cfg(not(target_os = "linux"))]
    drop((stream, limit, LONGEST_UNACKNOWLEDGED));
}

async fn serve_http<T>(
    relay: &Arc<Relay>,
    mut stream: T,
    peer: Peer,
    place: Place,
) -> Option<Serving>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let first = tokio::select! {
        () = relay.life.closing.cancelled() => return None,
        first = timeout(relay.config.head_timeout, read_first(&mut stream)) => first,
    };
    let Ok(Ok((is_http2, read_ahead))) = first else {
        return None; // nothing was asked: nothing to answer
    };
    Some(match is_http2 {
        true => Box::pin(serve_http2(relay, stream, read_ahead, peer)),
        false => Box::pin(serve_http1(
            Arc::clone(relay),
            stream,
            read_ahead,
            peer,
            place,
        )),
    })
}

async fn serve_http1<T>(
    relay: Arc<Relay>,
    stream: T,
    read_ahead: BytesMut,
    peer: Peer,
    place: Place,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let config = &relay.config;
    let address = peer.address;
    let requests = Arc::new(Requests::new(
        config.idle_timeout,
        Some(config.head_timeout),
    ));
    let io = TimedIo::new(
        stream,
        read_ahead,
        config.gap_timeout,
        Arc::clone(&requests),
    )
    .lingering();
    let service = {
        let (relay, requests) = (Arc::clone(&relay), Arc::clone(&requests));
        let place = Some(place);
        let peer = Arc::new(Peer { place, ..peer });
        service_fn(move |mut request: Request<Incoming>| {
            let guard = requests.enter();
            let relay = Arc::clone(&relay);
            request.extensions_mut().insert(Arc::clone(&peer));
            async move {
                let response = gateway::serve(relay, request).await;
                Ok::<_, Infallible>(response.map(|body| guard.around(body)))
            }
        })
    };
    // With upgrades: the bridge takes connections over. Nothing else asks for one.
    let connection = http1(&relay)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    // In order: the clock looks at what the connection has just done.
    let outcome = tokio::select! {
        biased;
        outcome = connection.as_mut() => outcome,
        () = relay.life.cut() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = requests.idle() => return,
    };
    log_end(address, outcome);
}

/// Serves HTTP/2 on a connection that speaks it from its first byte, on the port itself or bridged.
///
/// No `async fn`: that would keep room for its arguments beside the connection that is made of them.
pub(crate) fn serve_http2<T>(
    relay: &Arc<Relay>,
    stream: T,
    read_ahead: BytesMut,
    peer: Peer,
) -> impl Future<Output = ()> + Send + use<T>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let address = peer.address;
    let idle_timeout = match peer.refused_until {
        Some(_) => REFUSED_IDLE.min(relay.config.idle_timeout),
        None => relay.config.idle_timeout,
    };
    let requests = Arc::new(Requests::new(idle_timeout, None));
    let io = TimedIo::new(
        stream,
        read_ahead,
        relay.config.gap_timeout,
        Arc::clone(&requests),
    );
    let service = {
        let (relay, requests) = (Arc::clone(relay), Arc::clone(&requests));
        let peer = Arc::new(peer);
        service_fn(move |mut request: Request<Incoming>| {
            let guard = requests.enter();
            request.extensions_mut().insert(Arc::clone(&peer));
            // In a box, which goes when the answer begins: what is left of a stream, an agent's call too, is small.
            let answering = Box::pin(gateway::serve(Arc::clone(&relay), request));
            async move {
                let response = answering.await;
                Ok::<_, Infallible>(response.map(|body| guard.around(body)))
            }
        })
    };
    // In a box of its own: an allocator has classes, and the two together fell into one of 3 KiB.
    let mut connection = Box::pin(http2(relay).serve_connection(TokioIo::new(io), service));
    let relay = Arc::clone(relay);
    async move {
        let mut is_told = false;
        let outcome = loop {
            // In order: the clock looks at what the connection has just done.
            tokio::select! {
                biased;
                outcome = connection.as_mut() => break outcome,
                () = relay.life.closing.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    break connection.await;
                }
                () = relay.life.stage.handing_over(), if !is_told => {
                    // What comes next is the next relay's; what runs here, an agent's session too, goes on.
                    connection.as_mut().graceful_shutdown();
                    is_told = true;
                }
                () = requests.idle() => {
                    connection.as_mut().graceful_shutdown();
                    // The library goes on only when its PING is answered; who does not is not waited for.
                    match timeout(relay.config.gap_timeout, connection).await {
                        Ok(outcome) => break outcome,
                        Err(_) => return,
                    }
                }
            }
        };
        log_end(address, outcome);
    }
}

fn log_end(peer: SocketAddr, outcome: hyper::Result<()>) {
    if let Err(error) = outcome {
        tracing::debug!(%peer, %error, "connection ended with an error");
    }
}

/// Reads just enough to tell the protocol.
pub(crate) async fn read_first(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<(bool, BytesMut)> {
    let mut first = BytesMut::with_capacity(1024);
    loop {
        if stream.read_buf(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = first.len().min(PREFACE.len());
        if first[..length] != PREFACE[..length] {
            return Ok((false, first));
        }
        if length == PREFACE.len() {
            return Ok((true, first));
        }
    }
}

fn http1(relay: &Relay) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Its clock starts with the end of the last answer, so it would be the idle limit, too. Ours knows the two apart.
        .header_read_timeout(None)
        .max_header_size(relay.config.max_head_bytes)
        .max_buf_size(BUFFER_BYTES.max(relay.config.max_head_bytes))
        .half_close(false);
    // A head has 100 fields at most, which is the library's own bound. To set it, even to that, has two arrays of as many
    // filled for each head.
    builder
}

fn http2(relay: &Relay) -> http2::Builder<Life> {
    let mut builder = http2::Builder::new(relay.life.clone());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(u32::try_from(relay.config.max_head_bytes).unwrap_or(u32::MAX));
    builder
}

#[cfg(test)]
mod room {
    use super::*;

    fn of_task<A, B, F: Future>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    fn of_protocol<A, B, C, D, F: Future>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_takes_little_room() {
        // An agent's is there for days. What its stream takes beside is in a box that goes with the head of the answer.
        let (task, http2) = (
            of_task(carry::<Place>),
            of_protocol(serve_http2::<Pulsed<TcpStream>>),
        );
        assert!(task <= 96, "{task}");
        assert!(http2 <= 640, "{http2}");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_is_not_acknowledged_is_given_up_by_the_system() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (near, _far) = tokio::join!(TcpStream::connect(address), listener.accept());
        let near = near.expect("a connection");
        for (limit, expected) in [
            (Duration::from_secs(30), Duration::from_secs(30)),
            (Duration::MAX, LONGEST_UNACKNOWLEDGED),
        ] {
            give_up_unacknowledged(&near, limit);
            let set = socket2::SockRef::from(&near).tcp_user_timeout();
            assert_eq!(set.expect("an option of this system"), Some(expected));
        }
    }
}

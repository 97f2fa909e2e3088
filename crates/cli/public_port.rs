//! The relay's public port: passed by whoever starts the program, shared with the relay that follows, or its own.
//!
//! Invariant: relays that follow one another on a port meet at one lock, in the data folder that they share already.

use std::{fs::File, io, net::SocketAddr, path::Path, time::Duration};

use anyhow::Context as _;
use c2l_relay::{Handover, PublicPort};
use socket2::SockRef;
use tokio::net::TcpSocket;

use crate::{commands::listen, settings::relay::RelaySettings};

/// How long a blocking socket may hold a thread up.
const LONGEST_BLOCK: Duration = Duration::from_millis(10);

/// A listening socket that came with the process.
#[derive(Debug)]
pub(crate) struct Passed(std::net::TcpListener);

impl Passed {
    /// The socket that `LISTEN_FDS` announces (systemd's protocol), if it does. Call it once, before there are threads:
    /// it takes the announcement out of the environment, so that it is nobody else's.
    ///
    /// # Errors
    /// When what was passed is not one TCP socket.
    #[cfg(unix)]
    pub(crate) fn take() -> anyhow::Result<Option<Self>> {
        let mut passed = listenfd::ListenFd::from_env();
        anyhow::ensure!(
            passed.len() <= 1,
            "{} sockets were passed (LISTEN_FDS); a relay takes one, its public port",
            passed.len()
        );
        let socket = passed.take_tcp_listener(0);
        let socket = socket.context("what was passed as a socket (LISTEN_FDS) is none of TCP")?;
        Ok(socket.map(Self))
    }

    #[cfg(not(unix))]
    pub(crate) fn take() -> anyhow::Result<Option<Self>> {
        Ok(None)
    }
}

/// The port and, where another relay may have it before or after this one, how they take turns.
///
/// # Errors
/// When the port or the lock cannot be had.
pub(crate) async fn open(
    settings: &RelaySettings,
    passed: Option<Passed>,
) -> anyhow::Result<(PublicPort, Option<Handover>)> {
    let port = if let Some(Passed(socket)) = passed {
        adopt(socket)
            .context("the socket that was passed (LISTEN_FDS) cannot be used")?
            .into()
    } else if settings.is_port_reused {
        PublicPort::Bound(reused(settings.listen)?)
    } else {
        return Ok((listen(settings.listen, "--listen").await?.into(), None));
    };
    let address = port
        .local_addr()
        .context("the public port has no address")?;
    let lock = lock_file(&settings.data_dir, address)?;
    Ok((port, Some(Handover::new(lock, settings.startup_grace))))
}

/// What one process sets on a socket that was passed is set for all of them. systemd, unless told `NonBlocking=yes`,
/// makes it blocking again for each service that it starts: that must not hold up a relay which is accepting meanwhile.
fn adopt(socket: std::net::TcpListener) -> io::Result<tokio::net::TcpListener> {
    SockRef::from(&socket).set_read_timeout(Some(LONGEST_BLOCK))?;
    socket.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(socket)
}

#[cfg(unix)]
fn reused(address: SocketAddr) -> anyhow::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let bound = socket.and_then(|socket| {
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind(address)?;
        Ok(socket)
    });
    bound.with_context(|| {
        format!("cannot share {address} (--listen); whoever has it must have been started with --reuse-port, too")
    })
}

#[cfg(not(unix))]
fn reused(_: SocketAddr) -> anyhow::Result<TcpSocket> {
    anyhow::bail!("--reuse-port: this system has no ports that two programs share")
}

fn lock_file(data_dir: &Path, address: SocketAddr) -> anyhow::Result<File> {
    let path = data_dir.join(format!("port-{}.lock", address.port()));
    let mut options = File::options();
    options.create(true).truncate(false).write(true);
    // Whoever can open it can keep every relay from its turn.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))
}

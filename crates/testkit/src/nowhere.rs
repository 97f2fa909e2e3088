//! A place where nobody listens, and nobody else will: a port that is only noted and given back may be the next one
//! that another test is given.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// A port of loopback that is taken and on which nothing listens, for as long as this lives.
#[derive(Debug)]
pub struct Nowhere(TcpSocket);

impl Nowhere {
    /// Takes one.
    ///
    /// # Panics
    ///
    /// When the system gives none.
    #[must_use]
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(any).expect("a port");
        Self(socket)
    }

    /// Where connections are refused.
    ///
    /// # Panics
    ///
    /// Never: the socket is bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("an address")
    }
}

impl Default for Nowhere {
    fn default() -> Self {
        Self::new()
    }
}

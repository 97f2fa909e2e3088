//! A byte stream inside WebSocket messages, for both ends of the tunnel: what HTTP/2 says rides in binary messages, so
//! the same gRPC service serves both ways without knowing.
//!
//! Invariant: the bytes that go in come out in order, whatever a proxy does to message boundaries (RFC 6455 §5.4 lets
//! it split and merge frames), and a peer costs bounded memory: message length is limited, pings are answered one at a
//! time, and what is written waits for the socket.
//!
//! Beside it, for both ends as well: [`Pulse`] tells when bytes last came over a connection, bridged or not, more than a few.

mod pulse;
mod stream;
mod upgrade;

pub use pulse::{Pulse, Pulsed};
pub use stream::{ByteStream, Role, settings};
pub use upgrade::{
    ACCEPT, KEY, NotAnUpgrade, PROTOCOL, PROTOCOL_NAME, VERSION, accept_for, check_request, new_key,
};

/// The path of the bridge on the relay's public port.
pub const PATH: &str = "/tunnel/v1/websocket";
/// Most bytes of one message, either way.
pub const MAX_MESSAGE_BYTES: usize = 256 * 1024;
/// What TLS takes at once, and keeps while the socket is full: a full piece of body, 64 KiB, together with the heads of its
/// message and frame. With the library's 64 KiB these few bytes too many were a record and a write of their own.
pub const TLS_BUFFER_BYTES: usize = 68 * 1024;

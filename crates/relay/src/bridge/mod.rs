//! Other ways in for an agent than plain HTTP/2.

pub(crate) mod websocket;

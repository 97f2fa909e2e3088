//! Forwarding, against real sockets.

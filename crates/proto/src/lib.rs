//! The wire contract of c2l: what `proto/` says, as Rust types, and nothing else.
//!
//! Invariant: no logic. Only `c2l-tunnel` converts these types; above it they are named where the gRPC service stub and
//! the client stub are made. Read next: `proto/c2l/tunnel/v1/tunnel.proto`.

/// Package `c2l.tunnel.v1`: the tunnel between an agent and its relay.
#[allow(
    clippy::all,
    missing_debug_implementations,
    unreachable_pub,
    reason = "generated from proto/"
)]
pub mod tunnel {
    tonic::include_proto!("c2l.tunnel.v1");
}

/// Package `c2l.relay.v1`: the read-only status service.
#[allow(
    clippy::all,
    missing_debug_implementations,
    unreachable_pub,
    reason = "generated from proto/"
)]
pub mod relay {
    tonic::include_proto!("c2l.relay.v1");
}

/// The encoded `FileDescriptorSet` of both packages, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/c2l.descriptors.bin"));

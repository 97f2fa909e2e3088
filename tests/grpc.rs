//! Promise: the gRPC side of the public port tells its health truly, lists what is public, and shows each user their own
//! devices, at a bounded cost.

#[path = "grpc/devices.rs"]
mod devices;
#[path = "grpc/health.rs"]
mod health;
#[path = "grpc/reflection.rs"]
mod reflection;
#[path = "grpc/strangers.rs"]
mod strangers;

use c2l_testkit::TestRelay;
use tonic::transport::Channel;

/// The services that everybody may see.
const PUBLIC: [&str; 2] = ["c2l.tunnel.v1.TunnelService", "c2l.relay.v1.StatusService"];

async fn channel(relay: &TestRelay) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", relay.address())).expect("a URL");
    endpoint.connect().await.expect("a connection")
}

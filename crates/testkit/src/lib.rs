//! Fakes and builders for the tests of c2l: a relay, agents, upstreams and callers, over real sockets on port 0.
//!
//! Invariant: nothing here is linked into the product, nothing waits by sleeping for a guess, and everything that is
//! started ends with the value that stands for it.

mod agent;
pub mod blocker;
mod caller;
pub mod certificates;
mod dice;
mod door;
mod fake_agent;
pub mod http2;
mod logs;
mod nowhere;
mod played;
pub mod program;
pub mod provider;
mod proxy;
mod relay;
pub mod tokens;
mod transport;
mod upstream;
mod waiting;
pub mod websocket;

pub use agent::TestAgent;
pub use caller::{Answer, Caller, RawAnswer, RawConnection, RequestBody, empty, full, upload};
pub use dice::Dice;
pub use fake_agent::FakeAgent;
pub use logs::CapturedLog;
pub use nowhere::Nowhere;
pub use played::{PlayedConnection, PlayedUpstream};
pub use program::Program;
pub use proxy::{Loss, Shape, TestProxy, Toward};
pub use relay::TestRelay;
pub use transport::TestTransport;
pub use upstream::{RawUpstream, TestUpstream};
pub use waiting::{eventually, within};

/// How long a test waits for what should happen at once, before it says what it saw instead.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

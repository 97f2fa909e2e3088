//! What the tests of this crate share.

use std::{sync::Arc, time::Duration};

use crate::Config;

/// A configuration that is sound and reaches nobody.
pub(crate) fn config() -> Config {
    Config {
        relay: "http://127.0.0.1:9".parse().unwrap(),
        allow_insecure: false,
        ca_file: None,
        token: Arc::new(|| Box::pin(async { Ok("token".to_owned()) })),
        device_name: "desk".to_owned(),
        device_id: [7; 16],
        build: "test".to_owned(),
        upstream: "http://127.0.0.1:9".parse().unwrap(),
        allow_manage: false,
        max_concurrent_requests: 8,
        upstream_connect_timeout: Duration::from_secs(5),
        load_grace: Duration::from_secs(300),
        dial_timeout: Duration::from_secs(10),
        drain_grace: Duration::from_secs(30),
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(8),
        healthy_after: Duration::from_secs(60),
    }
}

//! Which build this is: for `--version`, for the log, and for the peers.
//!
//! Invariant: made at compile time by the root `build.rs`; says nothing about the machine that it runs on.

use std::sync::LazyLock;

/// The commit that the binary was built from.
const REVISION: &str = env!("C2L_GIT_REVISION");

/// The fingerprint of `proto/`: two builds that show the same one speak the very same schema.
const SCHEMA: &str = env!("C2L_SCHEMA");

static VERSION: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{} (git {REVISION}, protocol {}, schema {SCHEMA})",
        env!("CARGO_PKG_VERSION"),
        c2l_tunnel::PROTOCOL_VERSION
    )
});

/// What `--version` says after the name.
pub(crate) fn version() -> &'static str {
    &VERSION
}

/// What peers and logs are told: `0.1.0+73a8ca3`.
pub(crate) fn build() -> String {
    format!("{}+{REVISION}", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_names_revision_protocol_and_schema() {
        let version = version();
        assert!(version.contains("(git "), "{version}");
        assert!(version.contains("protocol 1"), "{version}");
        assert_eq!(SCHEMA.len(), 16, "64 bits in hex: {SCHEMA}");
    }
}

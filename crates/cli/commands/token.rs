//! `c2l token issue`: a token signed with the relay's own key.
//!
//! Invariant: stdout gets the token and a line end, and nothing else; so `$(c2l token issue …)` is the token.

use std::time::SystemTime;

use anyhow::Context as _;
use c2l_auth::{KEY_FILE_NAME, Secret};
use tracing::info;

use super::relay::signing_key;
use crate::{output, settings::token::TokenSettings};

/// Prints a new token.
pub(crate) fn issue(settings: &TokenSettings) -> anyhow::Result<()> {
    let token = issued(settings, SystemTime::now())?;
    output::print(&format!("{}\n", token.expose())).context("cannot print the token")
}

fn issued(settings: &TokenSettings, now: SystemTime) -> anyhow::Result<Secret> {
    let file = settings.data_dir.join(KEY_FILE_NAME);
    if !file.exists() {
        // A relay that starts later takes the key from there; but it may also be the wrong directory.
        info!(file = %file.display(), "no signing key there yet: making one");
    }
    let key = signing_key(&settings.data_dir)?;
    key.issue(&settings.request, now)
        .context("cannot issue this token")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use c2l_auth::{Kind, Scope, Scopes, TokenRequest};

    use super::*;
    use crate::commands::relay::verifier;

    #[test]
    fn an_issued_token_is_one_that_the_relay_takes() {
        let folder = tempfile::tempdir().unwrap();
        let settings = TokenSettings {
            data_dir: folder.path().join("relay"),
            request: TokenRequest {
                user: "ada".to_owned(),
                kind: Kind::Api,
                scopes: Scopes::INFER.with(Scope::Manage),
                ttl: Duration::from_secs(60),
                device: None,
            },
        };
        let now = SystemTime::now();
        let token = issued(&settings, now).unwrap();
        let key = signing_key(&settings.data_dir).unwrap();
        let grant = verifier(&key, Vec::new())
            .unwrap()
            .verify(token.expose(), Kind::Api, now)
            .unwrap();
        assert_eq!(grant.user.subject(), "ada");
        assert!(grant.scopes.contains(Scope::Manage));
    }
}

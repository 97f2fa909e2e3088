//! The certificate and key of the relay's public port, and whose certificates agents must show.
//!
//! Invariant: both or neither; and that they belong together is known before any socket is bound.

use std::{path::Path, sync::Arc};

use rustls::{
    CipherSuite, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::Values;
use crate::{
    certificate::{Files, Reloading, chain},
    files,
};

pub(super) fn read(values: &mut Values) -> Option<Arc<ServerConfig>> {
    let client_ca = values.path("tls-client-ca");
    let files = match (values.path("tls-cert"), values.path("tls-key")) {
        (Some(certificate), Some(key)) => Files { certificate, key },
        (None, None) => {
            if client_ca.is_some() {
                values.mistake("--tls-client-ca without --tls-cert and --tls-key: nobody shows a certificate without TLS");
            }
            return None;
        }
        (Some(_), None) => {
            values.mistake("--tls-cert without --tls-key: give both or neither");
            return None;
        }
        (None, Some(_)) => {
            values.mistake("--tls-key without --tls-cert: give both or neither");
            return None;
        }
    };
    if let Some(warning) = files::warning_if_shared(&files.key) {
        values.warn(warning);
    }
    let verifier = client_ca.map(|path| client_verifier(&path)).transpose();
    match (Reloading::new(files), verifier) {
        (Ok(certificate), Ok(verifier)) => server_config(certificate, verifier)
            .map_err(|error| values.mistake(error))
            .ok(),
        (certificate, verifier) => {
            for mistake in certificate
                .err()
                .into_iter()
                .flatten()
                .chain(verifier.err())
            {
                values.mistake(mistake);
            }
            None
        }
    }
}

fn server_config(
    certificate: Reloading,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<Arc<ServerConfig>, String> {
    let mut provider = aws_lc_rs::default_provider();
    // Where the relay chooses, a handshake with SHA-256 is the cheaper one; 128 bits of AES are as far out of reach as 256.
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    let builder = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    let mut config = match verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier),
    }
    .with_cert_resolver(Arc::new(certificate));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Callers may come without a certificate; the relay asks agents for one.
fn client_verifier(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in chain("--tls-client-ca", path)? {
        roots
            .add(certificate)
            .map_err(|error| format!("--tls-client-ca {}: {error}", path.display()))?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(|error| format!("--tls-client-ca {}: {error}", path.display()))
}

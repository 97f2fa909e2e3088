//! The certificate and key of the relay's public port.
//!
//! Invariant: both or neither; and that they belong together is known before any socket is bound.

use std::{path::Path, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
};

use super::Values;
use crate::files;

pub(super) fn read(values: &mut Values) -> Option<Arc<ServerConfig>> {
    let (certificate, key) = match (values.path("tls-cert"), values.path("tls-key")) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => return None,
        (Some(_), None) => {
            values.mistake("--tls-cert without --tls-key: give both or neither");
            return None;
        }
        (None, Some(_)) => {
            values.mistake("--tls-key without --tls-cert: give both or neither");
            return None;
        }
    };
    if let Some(warning) = files::warning_if_shared(&key) {
        values.warn(warning);
    }
    match load(&certificate, &key) {
        Ok(config) => Some(Arc::new(config)),
        Err(mistakes) => {
            mistakes
                .into_iter()
                .for_each(|mistake| values.mistake(mistake));
            None
        }
    }
}

fn load(certificate: &Path, key: &Path) -> Result<ServerConfig, Vec<String>> {
    let chain = chain(certificate);
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| {
        format!(
            "--tls-key {}: {}",
            key.display(),
            reason(&error, "private key")
        )
    });
    let (chain, private) = match (chain, private) {
        (Ok(chain), Ok(private)) => (chain, private),
        (chain, private) => {
            return Err([chain.err(), private.err()].into_iter().flatten().collect());
        }
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_no_client_auth())
        .and_then(|builder| builder.with_single_cert(chain, private))
        .map_err(|error| vec![format!("--tls-cert and --tls-key cannot be used: {error}")])?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let said = |error: &pem::Error| {
        format!(
            "--tls-cert {}: {}",
            path.display(),
            reason(error, "certificate")
        )
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| said(&error))?;
    if chain.is_empty() {
        return Err(said(&pem::Error::NoItemsFound));
    }
    Ok(chain)
}

fn reason(error: &pem::Error, what: &str) -> String {
    match error {
        pem::Error::NoItemsFound => format!("there is no {what} in it"),
        pem::Error::Io(error) => error.to_string(),
        _ => format!("not a PEM file with a {what}"), // whatever is in it, it is not for the terminal
    }
}

//! TLS toward the relay: whom it trusts, and what it offers.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};
use tokio_rustls::TlsConnector;
use tracing::debug;

use crate::{config::Config, error::Error};

/// The connectors of the two ways; they differ in what they offer by ALPN alone.
pub(super) struct Connectors {
    pub(super) http2: TlsConnector,
    pub(super) http1: TlsConnector,
}

impl Connectors {
    /// Loads the trusted roots and our own certificate, if there is one.
    pub(super) fn new(config: &Config) -> Result<Self, Error> {
        let mut settings = settings(config)?;
        settings.alpn_protocols = vec![b"h2".to_vec()];
        let http2 = TlsConnector::from(Arc::new(settings.clone()));
        settings.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http1 = TlsConnector::from(Arc::new(settings));
        Ok(Self { http2, http1 })
    }
}

fn settings(config: &Config) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| roots_error(None, error))?;
    let builder = if config.skip_verify {
        let verifier = Arc::new(Unverified(provider));
        builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
    } else {
        builder.with_root_certificates(trusted_roots(config)?)
    };
    match &config.client_certificate {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let key_der =
                PrivateKeyDer::from_pem_file(key).map_err(|error| roots_error(Some(key), error))?;
            builder
                .with_client_auth_cert(chain, key_der)
                .map_err(|error| roots_error(Some(certificate), error))
        }
    }
}

/// Those of the system, and those of the file beside them.
fn trusted_roots(config: &Config) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    // Single broken certificates in a system's store are common and hurt nobody.
    let (_, ignored) = roots.add_parsable_certificates(system.certs);
    if ignored > 0 {
        debug!(ignored, "certificates of the system that cannot be read");
    }
    if let Some(file) = &config.ca_file {
        for certificate in certificates(file)? {
            roots
                .add(certificate)
                .map_err(|error| roots_error(Some(file), error))?;
        }
    }
    if roots.is_empty() {
        return Err(match system.errors.into_iter().next() {
            Some(error) => roots_error(None, error),
            None => roots_error(None, "the system has none"),
        });
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| roots_error(Some(file), error))?;
    if read.is_empty() {
        return Err(roots_error(Some(file), "no certificate in it"));
    }
    Ok(read)
}

fn roots_error(
    file: Option<&Path>,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::Roots {
        file: file.map(Path::to_owned),
        source: source.into(),
    }
}

/// Takes any certificate, because the owner said so. The handshake is still signed by whoever holds its key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

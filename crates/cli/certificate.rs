//! The relay's certificate, read again when its files change, so that a renewal needs no restart.
//!
//! Invariant: a connection that is open keeps what it was made with; a pair of files that cannot be used changes
//! nothing, is said in the log, and is looked at again.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::time::Instant;
use tracing::{info, warn};

/// How often the files are looked at, at most; a handshake asks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A certificate and its key, as two PEM files.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Files {
    /// Reads both, and checks that they belong together.
    ///
    /// # Errors
    /// One sentence for each mistake.
    pub(crate) fn load(&self) -> Result<Arc<CertifiedKey>, Vec<String>> {
        let chain = chain("--tls-cert", &self.certificate);
        let private = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| {
            let path = self.key.display();
            format!("--tls-key {path}: {}", reason(&error, "private key"))
        });
        match (chain, private) {
            (Ok(chain), Ok(private)) => {
                let provider = aws_lc_rs::default_provider();
                CertifiedKey::from_der(chain, private, &provider)
                    .map(Arc::new)
                    .map_err(|error| {
                        vec![format!("--tls-cert and --tls-key cannot be used: {error}")]
                    })
            }
            (chain, private) => Err([chain.err(), private.err()].into_iter().flatten().collect()),
        }
    }

    /// When each was written; what a change is noticed by.
    fn stamps(&self) -> [Option<SystemTime>; 2] {
        let stamp = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
        [stamp(&self.certificate), stamp(&self.key)]
    }
}

/// Every certificate in a PEM file.
///
/// # Errors
/// A sentence that names the flag and the file.
pub(crate) fn chain(flag: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let said = |error: &pem::Error| {
        format!(
            "{flag} {}: {}",
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

/// Gives each handshake the newest certificate.
#[derive(Debug)]
pub(crate) struct Reloading {
    files: Files,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    current: Arc<CertifiedKey>,
    stamps: [Option<SystemTime>; 2],
    looked_at: Option<Instant>,
}

impl Reloading {
    /// Loads the files for the first time.
    ///
    /// # Errors
    /// See [`Files::load`].
    pub(crate) fn new(files: Files) -> Result<Self, Vec<String>> {
        let stamps = files.stamps();
        let current = files.load()?;
        let state = State {
            current,
            stamps,
            looked_at: None,
        };
        Ok(Self {
            files,
            state: Mutex::new(state),
        })
    }

    fn newest(&self, now: Instant) -> Arc<CertifiedKey> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked_at.is_none_or(|at| now >= at + LOOK_EVERY) {
            state.looked_at = Some(now);
            let stamps = self.files.stamps();
            if stamps != state.stamps {
                match self.files.load() {
                    Ok(current) => {
                        info!("certificate read again");
                        state.current = current;
                        state.stamps = stamps;
                    }
                    // Perhaps one of the two is written already and the other is not: looked at again.
                    Err(mistakes) => warn!(
                        problem = mistakes.join("; "),
                        "the certificate stays as it was"
                    ),
                }
            }
        }
        Arc::clone(&state.current)
    }
}

impl ResolvesServerCert for Reloading {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.newest(Instant::now()))
    }
}

//! The system's keyring: the Keychain on macOS, the Credential Manager on Windows, elsewhere the Secret Service through
//! `secret-tool`, which comes with it.
//!
//! Invariant: a secret goes through memory or a pipe, never through arguments or the environment; and nothing here waits
//! without an end.

#[cfg(any(target_os = "macos", windows))]
use native as system;
#[cfg(not(any(target_os = "macos", windows)))]
use secret_tool as system;

pub(crate) use system::{forget, is_there, load, save};

/// What our secrets are called there.
const SERVICE: &str = "c2l";

#[cfg(any(target_os = "macos", windows))]
mod native {
    use std::{collections::HashMap, io, sync::Arc};

    #[cfg(target_os = "macos")]
    use apple_native_keyring_store::keychain::Store;
    use c2l_auth::Secret;
    use keyring_core::{Entry, Error, api::CredentialStoreApi as _};
    #[cfg(windows)]
    use windows_native_keyring_store::Store;

    use super::SERVICE;

    /// Whether there is one that can be used.
    pub(crate) fn is_there() -> bool {
        Store::new().is_ok()
    }

    pub(crate) fn load(account: &str) -> io::Result<Secret> {
        let text = entry(account)?.get_password().map_err(told)?;
        Ok(Secret::from(text))
    }

    pub(crate) fn save(account: &str, secret: &Secret) -> io::Result<()> {
        entry(account)?.set_password(secret.expose()).map_err(told)
    }

    pub(crate) fn forget(account: &str) -> io::Result<()> {
        match entry(account)?.delete_credential() {
            Ok(()) | Err(Error::NoEntry) => Ok(()),
            Err(error) => Err(told(error)),
        }
    }

    fn entry(account: &str) -> io::Result<Entry> {
        let store: Arc<Store> = Store::new().map_err(told)?;
        let none: Option<&HashMap<&str, &str>> = None;
        store.build(SERVICE, account, none).map_err(told)
    }

    fn told(error: Error) -> io::Error {
        let kind = match error {
            Error::NoEntry => io::ErrorKind::NotFound,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, format!("the keyring: {error}"))
    }
}

#[cfg(not(any(target_os = "macos", windows)))]
mod secret_tool {
    use std::{
        io::{self, ErrorKind},
        process::{Output, Stdio},
        time::Duration,
    };

    use c2l_auth::Secret;
    use tokio::{io::AsyncWriteExt as _, process::Command, runtime::Handle, time::timeout};

    use super::SERVICE;

    const PROGRAM: &str = "secret-tool";
    /// How long it may take: a keyring that is locked asks its owner first.
    const LIMIT: Duration = Duration::from_secs(60);

    /// Whether there is one that can be used: the program, and a session in which somebody answers it.
    pub(crate) fn is_there() -> bool {
        std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some()
            && run(&["search", "service", SERVICE, "account", "nobody"], None)
                .is_ok_and(|output| output.status.success())
    }

    pub(crate) fn load(account: &str) -> io::Result<Secret> {
        let output = run(&["lookup", "service", SERVICE, "account", account], None)?;
        match String::from_utf8(output.stdout) {
            Ok(text) if output.status.success() && !text.is_empty() => Ok(Secret::from(text)),
            _ => Err(failed("has no such secret, or is locked")),
        }
    }

    pub(crate) fn save(account: &str, secret: &Secret) -> io::Result<()> {
        let label = "--label=c2l login";
        let words = ["store", label, "service", SERVICE, "account", account];
        match run(&words, Some(secret))?.status.success() {
            true => Ok(()),
            false => Err(failed("does not take the secret")),
        }
    }

    pub(crate) fn forget(account: &str) -> io::Result<()> {
        // It also fails where there is nothing to forget.
        run(&["clear", "service", SERVICE, "account", account], None).map(drop)
    }

    fn failed(why: &str) -> io::Error {
        io::Error::other(format!("the keyring {why} (asked through {PROGRAM})"))
    }

    /// Runs it to its end, with the secret on its standard input; kills it at the limit. For a thread that may block.
    fn run(words: &[&str], secret: Option<&Secret>) -> io::Result<Output> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        let talked = runtime.block_on(async { timeout(LIMIT, talk(words, secret)).await });
        talked.unwrap_or_else(|_| Err(failed("does not answer")))
    }

    async fn talk(words: &[&str], secret: Option<&Secret>) -> io::Result<Output> {
        let child = Command::new(PROGRAM)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let mut child = match child {
            // Not "there is no login": its file says that the secrets are in the keyring.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(io::Error::other(format!("there is no {PROGRAM}")));
            }
            child => child?,
        };
        if let (Some(mut input), Some(secret)) = (child.stdin.take(), secret) {
            input.write_all(secret.expose().as_bytes()).await?;
        }
        child.wait_with_output().await
    }
}

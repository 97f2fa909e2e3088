//! Where the agent's token comes from, fetched anew each time.
//!
//! Invariant: what goes wrong is told without any part of the token, nor of what a command printed.

use std::{path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use c2l_agent::{Config, TokenError, TokenSource};
use c2l_auth::{MAX_TOKEN_BYTES, Secret};
use tokio::{io::AsyncReadExt as _, process::Command};

use crate::{
    files,
    login::{self, Login},
};

/// How long a command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);

/// A token and some white space around it.
const MOST_BYTES: u64 = MAX_TOKEN_BYTES as u64 + 1024;

/// Where the token comes from.
#[derive(Clone, Debug)]
pub(crate) enum TokenOrigin {
    /// Straight from the environment.
    Text(Secret),
    File(PathBuf),
    /// For the shell.
    Command(String),
    /// What `c2l login` left.
    Login(Login),
}

impl TokenOrigin {
    /// What the user calls it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Text(_) => "C2L_TOKEN",
            Self::File(_) => "--token-file",
            Self::Command(_) => "--token-command",
            Self::Login(_) => "the login",
        }
    }

    /// The source for an agent that goes this way.
    pub(crate) fn into_source(self, way: &Config) -> TokenSource {
        match self {
            Self::Login(login) => login::source::source(login, way),
            origin => Arc::new(move || {
                let origin = origin.clone();
                Box::pin(async move { origin.fetch().await })
            }),
        }
    }

    /// The token, fetched anew; not that of a login, which takes an agent's way.
    pub(crate) async fn fetch(self) -> Result<String, TokenError> {
        let name = self.name();
        let text = match self {
            Self::Text(text) => Ok(text.expose().to_owned()),
            Self::File(path) => read(path).await,
            Self::Command(command) => run(&command, COMMAND_LIMIT).await,
            Self::Login(_) => Err("there is no way to the relay here".to_owned()),
        };
        text.and_then(|text| one_word(&text))
            .map_err(|reason| TokenError::new(format!("{name}: {reason}")))
    }
}

async fn read(path: PathBuf) -> Result<String, String> {
    let shown = path.display().to_string();
    tokio::task::spawn_blocking(move || files::read_small(&path, MOST_BYTES))
        .await
        .map_err(|_| format!("{shown}: reading was broken off"))?
        .map_err(|error| format!("{shown}: {error}"))
}

/// Runs `command` in the shell, its stderr being ours, so that it can ask for what it needs. Ends it at the limit, and
/// when the future is dropped.
async fn run(command: &str, limit: Duration) -> Result<String, String> {
    let (shell, option) = if cfg!(windows) {
        ("cmd", "/C")
    } else {
        ("sh", "-c")
    };
    let mut child = Command::new(shell)
        .args([option, command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot run {shell}: {error}"))?;
    let output = child.stdout.take();
    let finished = async {
        let mut text = String::new();
        if let Some(output) = output {
            // One more than may be, so that too much is seen and not waited for.
            output
                .take(MOST_BYTES + 1)
                .read_to_string(&mut text)
                .await?;
        }
        Ok::<_, std::io::Error>((text, child.wait().await?))
    };
    match tokio::time::timeout(limit, finished).await {
        Err(_) => Err(format!(
            "the command took longer than {} s",
            limit.as_secs()
        )),
        Ok(Err(error)) => Err(format!("what the command printed cannot be read: {error}")),
        Ok(Ok((_, status))) if !status.success() => Err(format!("the command failed ({status})")),
        Ok(Ok((text, _))) => Ok(text),
    }
}

fn one_word(text: &str) -> Result<String, String> {
    let token = text.trim();
    let reason = match token {
        "" => "it is empty",
        token if token.len() > MAX_TOKEN_BYTES => "it is too long for a token",
        token if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
            "a token is one word of plain characters"
        }
        token => return Ok(token.to_owned()),
    };
    Err(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fetched(origin: TokenOrigin) -> Result<String, String> {
        origin.fetch().await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_token_file_is_read_anew_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let source = || TokenOrigin::File(path.clone()).fetch();
        assert!(source().await.is_err(), "there is no file yet");
        for text in ["first\n", "  second\r\n"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(source().await.unwrap(), text.trim());
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_token_command_is_run_in_the_shell() {
        let command = |text: &str| fetched(TokenOrigin::Command(text.to_owned()));
        assert_eq!(
            command("printf abc | tr a-c x-z").await,
            Ok("xyz".to_owned())
        );
        let failed = command("echo hunter2; exit 3").await.unwrap_err();
        assert!(failed.contains("exit status: 3"), "{failed}");
        assert!(!failed.contains("hunter2"), "{failed}");
        let endless = command("yes").await;
        assert!(endless.is_err(), "what never ends is not waited for");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_slow_token_command_is_ended() {
        let late = run("sleep 60", Duration::from_millis(50)).await;
        assert!(late.unwrap_err().contains("took longer"));
    }

    #[tokio::test]
    async fn what_is_no_token_is_not_repeated() {
        for text in [
            "",
            " \n",
            "two words",
            "né",
            &"x".repeat(MAX_TOKEN_BYTES + 1),
        ] {
            let refused = fetched(TokenOrigin::Text(Secret::new(text)))
                .await
                .unwrap_err();
            assert!(
                !refused.contains("two words") && refused.len() < 100,
                "{refused}"
            );
        }
    }
}

//! The program itself as child processes: relay, agent, and what they write.

use std::{
    ffi::OsStr,
    net::SocketAddr,
    process::{Output, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use c2l_testkit::{PATIENCE, eventually, within};
use tempfile::TempDir;
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, Command},
    task::JoinHandle,
};

/// Long enough for a program on a busy machine to start.
const START: Duration = Duration::from_secs(20);

/// `c2l` with an environment of its own: nothing of whoever runs the tests is in it.
pub(crate) fn c2l(data: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_c2l"));
    command
        .env_clear()
        .env("C2L_DATA_DIR", data.path())
        .env("HOME", data.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs it to its end.
pub(crate) async fn run<S: AsRef<OsStr>>(data: &TempDir, words: &[S]) -> Output {
    let mut command = c2l(data);
    command.args(words);
    let output = within(START, "the program ends", command.output()).await;
    output.expect("a program that starts")
}

/// A token made by the program.
pub(crate) async fn issue(data: &TempDir, user: &str, kind: &str) -> String {
    let words = ["token", "issue", "--user", user, "--kind", kind];
    let output = run(data, &words).await;
    assert!(output.status.success(), "{output:?}");
    let token = String::from_utf8(output.stdout).expect("text");
    token.trim().to_owned()
}

/// A process that goes on, and everything that it writes to either of its outputs.
pub(crate) struct Running {
    pub(crate) child: Child,
    written: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a program that starts");
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let out = child.stdout.take().expect("piped");
        let err = child.stderr.take().expect("piped");
        let readers = vec![
            tokio::spawn(keep(out, Arc::clone(&written))),
            tokio::spawn(keep(err, Arc::clone(&written))),
        ];
        Self {
            child,
            written,
            readers,
        }
    }

    /// A relay that logs everything.
    pub(crate) fn relay(data: &TempDir, log_format: &str) -> Self {
        Self::relay_with(data, log_format, &[])
    }

    /// The same, with these flags.
    pub(crate) fn relay_with(data: &TempDir, log_format: &str, more: &[&str]) -> Self {
        let mut command = c2l(data);
        command.args(["relay", "--listen=127.0.0.1:0", "--ops-listen=127.0.0.1:0"]);
        command.args(["--log-level=trace", "--log-format", log_format]);
        command.args(more);
        Self::start(command)
    }

    /// An agent that logs everything, connected.
    pub(crate) async fn agent(
        data: &TempDir,
        relay: SocketAddr,
        upstream: SocketAddr,
        token: &str,
    ) -> Self {
        Self::agent_with(data, relay, upstream, token, &[], &[]).await
    }

    /// The same, with these flags and variables.
    pub(crate) async fn agent_with(
        data: &TempDir,
        relay: SocketAddr,
        upstream: SocketAddr,
        token: &str,
        more: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let mut command = c2l(data);
        command.args(["agent", "--device=laptop", "--log-level=trace"]);
        command.args(more).envs(variables.iter().copied());
        command.arg(format!("--relay=http://{relay}"));
        command.arg(format!("--upstream=http://{upstream}"));
        command.env("C2L_TOKEN", token);
        let agent = Self::start(command);
        agent.says("session opened").await;
        agent
    }

    /// All of it so far.
    pub(crate) fn text(&self) -> String {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&written).into_owned()
    }

    /// The first line with this in it, when it is there.
    pub(crate) async fn says(&self, what: &str) -> String {
        let find = || async {
            let text = self.text();
            let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
            let line = whole.lines().find(|line| line.contains(what));
            line.map(str::to_owned)
        };
        eventually(START, what, find).await
    }

    /// Where a relay listens, for callers and for operators, once it does.
    pub(crate) async fn addresses(&self) -> (SocketAddr, SocketAddr) {
        self.says("relay is ready").await;
        let text = self.text();
        // As text `ops=127.0.0.1:1`, as JSON `"ops":"127.0.0.1:1"`.
        let plain = text.replace("\":\"", "=").replace('"', " ");
        let address = |name: &str| {
            let (_, rest) = plain.split_once(name).expect("a field");
            let end = rest.find([' ', ',', '\n']).unwrap_or(rest.len());
            rest[..end].parse().expect("an address")
        };
        (address(" address="), address(" ops="))
    }

    /// Asks it to end, waits until it has, and returns everything it wrote.
    pub(crate) async fn end(mut self) -> String {
        let id = self.child.id().expect("still running").to_string();
        let signal = Command::new("kill").args(["-TERM", &id]).status().await;
        assert!(signal.expect("a signal").success());
        let status = within(4 * PATIENCE, "the program ends", self.child.wait()).await;
        assert!(status.expect("a status").success(), "{}", self.text());
        for reader in self.readers.drain(..) {
            within(PATIENCE, "the end of its output", reader)
                .await
                .expect("no panic");
        }
        self.text()
    }
}

async fn keep(mut from: impl tokio::io::AsyncRead + Unpin, into: Arc<Mutex<Vec<u8>>>) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let mut into = into.lock().unwrap_or_else(PoisonError::into_inner);
        into.extend_from_slice(&piece[..length]);
    }
}

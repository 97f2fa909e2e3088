//! The real programs as child processes, for what only a process can do: be killed, be signalled, show its memory.

use std::{
    fs, io,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::Path,
    process::{ExitStatus, Output, Stdio},
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::watch,
};

use crate::{PATIENCE, TestTransport, within};

/// A child process of the `c2l` binary. Dropping it kills it.
#[derive(Debug)]
pub struct Program {
    child: Child,
    log: watch::Receiver<Vec<String>>,
}

impl Program {
    /// Starts it. `folder` stands for the user's home, so that nobody's own configuration is read.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start<'a>(
        binary: &str,
        folder: &Path,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut command = Command::new(binary);
        command.args(arguments).stdin(Stdio::null());
        Self::spawn(command, folder)
    }

    /// Starts it with a listening socket, passed as a service manager does (`LISTEN_FDS`, its third descriptor).
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_with_socket<'a>(
        binary: &str,
        folder: &Path,
        socket: &std::net::TcpListener,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        // The process must say its own id, so a shell says it and becomes the program. The socket comes to it as stdin.
        let script = r#"exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$0" "$@""#;
        let socket = socket.try_clone().expect("one more descriptor");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, binary]).args(arguments);
        command.stdin(Stdio::from(OwnedFd::from(socket)));
        Self::spawn(command, folder)
    }

    fn spawn(mut command: Command, folder: &Path) -> Self {
        let mut child = command
            .env_clear()
            .env("HOME", folder)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("a binary that can be started");
        let stderr = child.stderr.take().expect("it is piped");
        let (sender, log) = watch::channel(Vec::new());
        // Ends with the process, whose end closes the pipe.
        tokio::spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                sender.send_modify(|log: &mut Vec<String>| log.push(line));
            }
        });
        Self { child, log }
    }

    /// Runs it to its end, with these variables, and returns all that it wrote.
    ///
    /// # Panics
    /// When it cannot be started, or does not end.
    pub async fn output<'a>(
        binary: &str,
        folder: &Path,
        arguments: impl IntoIterator<Item = &'a str>,
        variables: &[(&str, &str)],
    ) -> Output {
        let running = Command::new(binary)
            .args(arguments)
            .env_clear()
            .env("HOME", folder)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = within(6 * PATIENCE, "the program ends", running).await;
        output.expect("a binary that can be started")
    }

    /// A relay with its key in `folder`, ready, and where it listens: the public port and the operators'.
    ///
    /// # Panics
    /// When it does not get ready in time.
    pub async fn relay(
        binary: &str,
        folder: &Path,
        listen: &str,
        more: &[&str],
    ) -> (Self, SocketAddr, SocketAddr) {
        let (mut relay, address, ops_address) =
            Self::starting_relay(binary, folder, listen, more).await;
        relay.line("relay is ready").await;
        (relay, address, ops_address)
    }

    /// The same, of which nothing is known yet but where it is going to listen.
    ///
    /// # Panics
    /// When it does not come that far.
    pub async fn starting_relay(
        binary: &str,
        folder: &Path,
        listen: &str,
        more: &[&str],
    ) -> (Self, SocketAddr, SocketAddr) {
        let mut arguments = relay_arguments(folder).to_vec();
        arguments.extend(["--listen", listen]);
        arguments.extend(more);
        let mut relay = Self::start(binary, folder, arguments);
        let (address, ops_address) = relay.addresses().await;
        (relay, address, ops_address)
    }

    /// A relay that is passed its public port, and where its operators' port is. It may be standing by.
    ///
    /// # Panics
    /// When it does not come that far.
    pub async fn relay_with_socket(
        binary: &str,
        folder: &Path,
        socket: &std::net::TcpListener,
        more: &[&str],
    ) -> (Self, SocketAddr) {
        let mut arguments = relay_arguments(folder).to_vec();
        arguments.extend(more);
        let mut relay = Self::start_with_socket(binary, folder, socket, arguments);
        let (_, ops_address) = relay.addresses().await;
        (relay, ops_address)
    }

    /// The public port and the operators', as a relay says them when it starts.
    async fn addresses(&mut self) -> (SocketAddr, SocketAddr) {
        let line = self.line(" ops=").await; // whatever else it says there
        let address = field(&line, "address").parse().expect("an address");
        (address, field(&line, "ops").parse().expect("an address"))
    }

    /// An agent whose token stands in a file of `folder`, connected; by WebSocket when this run is about that.
    ///
    /// # Panics
    /// When it does not connect in time.
    pub async fn agent(
        binary: &str,
        folder: &Path,
        relay: SocketAddr,
        token: &str,
        upstream: SocketAddr,
        more: &[&str],
    ) -> Self {
        let token_file = folder.join("agent-token");
        write_secret(&token_file, token).expect("a file");
        let (relay, upstream) = (format!("http://{relay}"), format!("http://{upstream}"));
        let arguments = [
            "agent",
            "--relay",
            &relay,
            "--token-file",
            token_file.to_str().expect("a file with a plain name"),
            "--upstream",
            &upstream,
            "--data-dir",
            folder.to_str().expect("a folder with a plain name"),
            "--backoff-min",
            "50ms",
            "--backoff-max",
            "200ms",
            "--transport",
            match TestTransport::of_this_run() {
                TestTransport::Grpc | TestTransport::Tls => "auto",
                TestTransport::WebSocket | TestTransport::TlsWebSocket => "websocket",
            },
        ];
        let mut agent = Self::start(binary, folder, arguments.iter().chain(more).copied());
        agent.line("session opened").await;
        agent
    }

    /// The token that `c2l token issue` prints.
    ///
    /// # Panics
    /// When it prints none.
    pub async fn issue_token(binary: &str, folder: &Path, user: &str, more: &[&str]) -> String {
        let data_dir = folder.to_str().expect("a folder with a plain name");
        let arguments = ["token", "issue", "--data-dir", data_dir, "--user", user];
        let issuing = Command::new(binary)
            .args(arguments.iter().chain(more))
            .env_clear()
            .env("HOME", folder)
            .kill_on_drop(true)
            .output();
        let output = within(PATIENCE, "a token", issuing).await.expect("a token");
        let token = String::from_utf8(output.stdout).expect("a token of text");
        assert!(output.status.success(), "no token: {:?}", output.stderr);
        token.trim().to_owned()
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id().expect("a process that runs")
    }

    /// Waits for a line of its log that has this in it, and returns the first such line.
    ///
    /// # Panics
    /// When none comes in time.
    pub async fn line(&mut self, part: &str) -> String {
        self.nth_line(part, 1).await
    }

    /// Waits for the `count`th line of its log that has this in it.
    ///
    /// # Panics
    /// When it does not come in time.
    pub async fn nth_line(&mut self, part: &str, count: usize) -> String {
        let matching = |log: &Vec<String>| {
            let mut lines = log.iter().filter(|line| line.contains(part));
            lines.nth(count - 1).cloned()
        };
        let found = tokio::time::timeout(PATIENCE, async {
            let log = self
                .log
                .wait_for(|log| matching(log).is_some())
                .await
                .ok()?;
            matching(&log)
        })
        .await;
        match found {
            Ok(Some(line)) => line,
            _ => panic!("no line {count} with {part:?} in {:#?}", self.log.borrow()),
        }
    }

    /// Its log so far.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.borrow().clone()
    }

    /// Sends it a signal, such as `TERM`.
    ///
    /// # Panics
    /// When it has ended already.
    pub async fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.id());
        let sending = Command::new("sh").arg("-c").arg(command).status();
        let status = within(PATIENCE, "a signal", sending)
            .await
            .expect("a shell");
        assert!(status.success(), "no signal {name}");
    }

    /// Kills it (SIGKILL) and waits until the system has taken it away.
    ///
    /// # Panics
    /// When it does not go.
    pub async fn kill(mut self) {
        self.child.start_kill().expect("a process to kill");
        self.ended().await;
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// When it does not.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = within(4 * PATIENCE, "the program ends", self.child.wait()).await;
        ended.expect("a status")
    }

    /// Its memory now, as the system counts it.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        resident_bytes(&self.id().to_string())
    }
}

/// The memory of a process (`self`, or an id) in bytes, as the system counts it.
///
/// # Panics
/// When there is no such process, or the system is not Linux.
#[must_use]
pub fn resident_bytes(process: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.expect("its memory") * 1024
}

fn relay_arguments(folder: &Path) -> [&str; 5] {
    let data_dir = folder.to_str().expect("a folder with a plain name");
    [
        "relay",
        "--ops-listen",
        "127.0.0.1:0",
        "--data-dir",
        data_dir,
    ]
}

/// The value of a field in a line of the log.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let words = line.split_whitespace();
    let mut values = words.filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    values
        .next()
        .unwrap_or_else(|| panic!("no {name} in {line:?}"))
}

fn write_secret(file: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(file, text)?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))
}

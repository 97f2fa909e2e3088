"""The real programs, a caller that measures, and namespaces to put them in. Every wait has a limit.

Read next: proxies.py, secure.py, clocks.py, cuts.py, herd.py, storm.py, each a list of scenarios.
"""

import contextlib
import ctypes
import dataclasses
import datetime
import functools
import http.client
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
CONFIGURATIONS = HERE.parent.parent / "tests/network"
sys.path.insert(0, str(HERE.parent / "clients"))
from product import Program, wait_until  # noqa: E402, its folder must be on the path first

REQUEST_LIMIT = 30.0  # seconds: no request is without an answer for longer
CLONE_NEWNET = 0x40000000


class Skip(Exception):
    """This machine lacks what a scenario needs."""


def require(*commands):
    missing = [command for command in commands if not shutil.which(command)]
    if missing:
        raise Skip(f"not installed: {', '.join(missing)}")


def expect(condition, what):
    """A plain assertion, which `python -O` does not take away."""
    if not condition:
        raise AssertionError(what)


def at(line):
    """When a line of the log was written, in seconds since the epoch."""
    return datetime.datetime.fromisoformat(line.split()[0].replace("Z", "+00:00")).timestamp()


class Namespace:
    """A network of its own, gone with the `with` block. Nothing in it reaches the machine's network."""

    numbers = itertools.count(1)
    present = set()

    def __init__(self, role):
        self.name = f"c2l-{os.getpid()}-{next(self.numbers)}-{role}"

    def __enter__(self):
        self.present.add(self)
        try:
            run("ip", "netns", "add", self.name)
            self.run("ip", "link", "set", "lo", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.present.discard(self)
        subprocess.run(["ip", "netns", "delete", self.name], capture_output=True, timeout=10)

    def run(self, *command):
        return run("ip", "netns", "exec", self.name, *command)

    def iptables(self, *rule):
        self.run("iptables", "-w", "10", *rule)

    def sysctl(self, key, value):
        self.run("sysctl", "-q", "-w", f"{key}={value}")

    def call(self, work):
        """The outcome of `work`, whose sockets belong to this namespace: only its thread moves there."""
        outcome = []

        def inside():
            try:
                with open(f"/run/netns/{self.name}") as file:
                    if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")
                outcome.append((work(), None))
            except BaseException as error:  # told to whoever asked
                outcome.append((None, error))

        thread = threading.Thread(target=inside, daemon=True)
        thread.start()
        thread.join()
        value, error = outcome[0]
        if error is not None:
            raise error
        return value


def run(*command):
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    if ran.returncode:
        raise RuntimeError(f"{' '.join(command)}: {ran.stderr.strip() or ran.stdout.strip()}")
    return ran.stdout


def join(one, one_address, other, other_address, names=("eth0", "eth0")):
    """A cable between two namespaces. It is made there, and never seen outside."""
    peer = ["peer", "name", names[1], "netns", other.name]
    run("ip", "link", "add", names[0], "netns", one.name, "type", "veth", *peer)
    for namespace, address, name in [(one, one_address, names[0]), (other, other_address, names[1])]:
        namespace.run("ip", "address", "add", address, "dev", name)
        namespace.run("ip", "link", "set", name, "up")


class Part(Program):
    """A program, perhaps in a namespace, whose home is its own folder."""

    present = set()

    def __init__(self, name, command, namespace=None, **environment):
        if namespace:
            command = ["ip", "netns", "exec", namespace.name, *command]
        super().__init__(name, command, **environment)
        self.namespace, self.has_ended = namespace, False
        self.present.add(self)

    def __exit__(self, *arguments):
        self.present.discard(self)
        if self.has_ended:  # long ago, perhaps: its id may be another's by now
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            super().__exit__(*arguments)

    def end(self, how=signal.SIGTERM, within=20):
        """Ends it now; what it wrote stays until the `with` block is left."""
        self.process.send_signal(how)
        self.process.wait(within)
        self.has_ended = True

    def lines(self, part):
        """The lines of the log that have this in them."""
        return [line for line in self.stderr.read_text(errors="replace").splitlines() if part in line]

    def line(self, part, count=1, within=REQUEST_LIMIT):
        """The `count`th line of the log that has this in it, waited for."""

        def found():
            lines = self.lines(part)
            return lines[count - 1] if len(lines) >= count else None

        def found_alive():
            line = found()
            if line is None and self.process.poll() is not None:
                raise RuntimeError(f"ended before line {count} with {part!r}")
            return line

        return wait_until(f"line {count} with {part!r} from {self.name}", found_alive, within=within)


def certify(folder):
    """A certificate for 127.0.0.1, `relay.pem` with `relay.key`, signed by a root of its own, `root.pem`."""

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, capture_output=True, check=True, timeout=20)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "root.key", "-out", "root.pem", "-days", "2", "-subj", "/CN=root of the tests")
    openssl("req", *key, "-keyout", "relay.key", "-out", "relay.csr", "-subj", "/CN=relay")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    signed = ["-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
    openssl("x509", "-req", "-in", "relay.csr", *signed, "-out", "relay.pem")


class Upstream(Part):
    """upstream.py on a free port, which is known, and answers, inside the `with` block."""

    def __init__(self, namespace=None, owner=""):
        super().__init__("upstream", [sys.executable, "-B", HERE / "upstream.py", owner], namespace)

    def __enter__(self):
        try:
            told = self.wait_for("port", lambda: self.lines("listening on port"))
            self.port = int(told[0].split()[-1])
            self.wait_for("answer", lambda: self.ask_active().status == 200)
        except BaseException:
            self.__exit__()
            raise
        return self

    def ask_active(self):
        return request("127.0.0.1", self.port, "GET", "/active", namespace=self.namespace)

    def active(self):
        return int(self.ask_active().text or 0)

    def requests(self):
        return [json.loads(line) for line in self.stdout.read_text().splitlines()]


class Relay(Part):
    def __init__(self, binary, data, listen="127.0.0.1:0", namespace=None, more=(), **environment):
        address = ["--listen", listen, "--ops-listen", "127.0.0.1:0"]
        command = [binary, "relay", *address, "--data-dir", data, "--config", data / "none.toml", *more]
        (data / "none.toml").touch()
        super().__init__("relay", command, namespace, **environment)

    def ready(self):
        started = self.line("relay starting")
        self.line("relay is ready")
        self.host, port = re.search(r" address=([\d.]+):(\d+)", started).groups()
        self.port = int(port)
        return self


class Agent(Part):
    def __init__(self, binary, token_file, relay, upstream, device="machine", namespace=None, more=(), before=(), **environment):
        command = [*before, binary, "agent", "--relay", relay, "--token-file", token_file, "--device", device]
        # Its data is relative to its own folder, and goes with it.
        command += ["--upstream", f"http://127.0.0.1:{upstream}", "--data-dir", "data", *more]
        super().__init__(f"agent-{device}", command, namespace, HOME="/nonexistent", **environment)

    def stop(self):
        self.process.terminate()
        self.process.wait(REQUEST_LIMIT)

    def sessions(self):
        return self.lines("session opened")


@dataclasses.dataclass
class Answer:
    """What a caller got, and when."""

    status: int = 0
    text: str = ""
    error: str = ""
    is_clean: bool = False
    seconds: float = 0.0
    arrivals: list = dataclasses.field(default_factory=list)

    def is_whole(self, lines):
        """Every line of a chat came, in order, and a clean end behind them."""
        said = [json.loads(line) for line in self.text.splitlines()] if self.status == 200 and self.is_clean else []
        words = "".join(line.get("message", {}).get("content", "") for line in said)
        return bool(said) and said[-1].get("done") is True and words == "".join(f"{n} " for n in range(lines))

    def is_told(self):
        """An error that no client can miss: a status, an error record, or a cut."""
        last = self.text.splitlines()[-1] if self.text else ""
        return self.status >= 400 or '"error"' in last or (bool(self.error) and not self.is_clean and not self.is_hung())

    def is_hung(self):
        return "timed out" in self.error

    def brief(self):
        last = self.text.splitlines()[-1][:160] if self.text else ""
        return f"status {self.status} after {self.seconds:.1f} s, {len(self.arrivals)} pieces, clean={self.is_clean} {self.error} {last}"


def request(host, port, method, path, body=None, limit=REQUEST_LIMIT + 5, namespace=None, tls=None):
    """One request on a connection of its own. It never raises for what the network does: that is in the answer."""

    def exchange():
        answer, began = Answer(), time.monotonic()
        secure = functools.partial(http.client.HTTPSConnection, context=tls)
        connection = (secure if tls else http.client.HTTPConnection)(host, port, timeout=limit)
        try:
            fields = {"content-type": "application/json"} if body else {}
            connection.request(method, path, json.dumps(body) if body else None, fields)
            response = connection.getresponse()
            answer.status = response.status
            pieces = []
            while piece := response.read1(65536):
                pieces.append(piece)
                answer.arrivals.append(time.monotonic() - began)
                answer.text = b"".join(pieces).decode(errors="replace")
            # `read1` does not tell an end that came early from one that did not.
            answer.is_clean = not response.length
        except (OSError, http.client.HTTPException) as error:
            answer.error = f"{type(error).__name__}: {error}"
        finally:
            connection.close()
        answer.seconds = time.monotonic() - began
        return answer

    return namespace.call(exchange) if namespace else exchange()


def abandon():
    """Take everything away at once, for a run that is broken off while scenarios are under way in their threads."""
    for part in list(Part.present):
        with contextlib.suppress(ProcessLookupError):
            if not part.has_ended:
                os.killpg(part.process.pid, signal.SIGKILL)
        shutil.rmtree(part.folder, ignore_errors=True)
    for namespace in list(Namespace.present):
        namespace.__exit__()
    for home in list(Home.present):
        home.__exit__()


class Home:
    """A folder for a relay's key, with the tokens of one user."""

    present = set()

    def __init__(self, binary):
        self.binary = binary
        self.data = pathlib.Path(tempfile.mkdtemp(prefix="c2l-network-"))
        self.present.add(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.present.discard(self)
        shutil.rmtree(self.data, ignore_errors=True)

    def issue(self):
        """Once a relay has made its key."""
        self.credential = self.token("api")
        self.token_file = self.agent_token()

    def agent_token(self, user="ada"):
        """The file with this user's."""
        path = self.data / f"{user}.token"
        with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(self.token("agent", user))
        return path

    def token(self, kind, user="ada", ttl="3h"):
        command = [self.binary, "token", "issue", "--data-dir", self.data, "--user", user, "--kind", kind, "--ttl", ttl]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=20)
        if ran.returncode:
            raise RuntimeError(f"no token: {ran.stderr}")
        return ran.stdout.strip()


class Caller:
    """Somebody with a credential, on the relay's side of the network; over TLS with a context."""

    def __init__(self, home, host, port, namespace=None, tls=None):
        self.home, self.host, self.port, self.namespace, self.tls = home, host, port, namespace, tls

    def path(self, path, device=None):
        return f"/k/{self.home.credential}" + (f"/d/{device}" if device else "") + path

    def tags(self, device=None, limit=REQUEST_LIMIT + 5):
        return request(self.host, self.port, "GET", self.path("/api/tags", device), None, limit, self.namespace, self.tls)

    def chat(self, lines, gap, device=None, limit=REQUEST_LIMIT + 5):
        body = {"model": f"lines-{lines}-gap-{gap}", "messages": [{"role": "user", "content": "hello"}]}
        return request(self.host, self.port, "POST", self.path("/api/chat", device), body, limit, self.namespace, self.tls)

    def later(self, work):
        """`work` in a thread; the handle's `outcome()` waits for it."""
        return Later(work)

    def back(self, since, within=REQUEST_LIMIT):
        """Seconds from `since` (monotonic) to the first good answer: one is asked for each 100 ms, none waits for another."""
        done, first = threading.Event(), []

        def one():
            if self.tags().status == 200:
                first.append(time.monotonic() - since)
                done.set()

        deadline = since + within
        while not done.is_set() and time.monotonic() < deadline:
            threading.Thread(target=one, daemon=True).start()
            done.wait(0.1)
        expect(done.is_set(), f"not back within {within:.0f} s")
        return min(first)


class Later:
    def __init__(self, work):
        self.value = self.error = None

        def keep():
            try:
                self.value = work()
            except BaseException as error:  # raised where it is waited for
                self.error = error

        self.thread = threading.Thread(target=keep, daemon=True)
        self.thread.start()

    def is_done(self):
        return not self.thread.is_alive()

    def outcome(self, within=2 * REQUEST_LIMIT):
        self.thread.join(within)
        expect(self.is_done(), f"no outcome within {within:.0f} s")
        if self.error:
            raise self.error
        return self.value


class Report:
    """Runs scenarios, one or many at a time, and counts what held."""

    def __init__(self, only=()):
        self.only, self.lock = only, threading.Lock()
        self.passed = self.failed = self.skipped = 0

    def run(self, name, scenario):
        """`scenario(stack)` enters what it starts into the stack and returns what it measured."""
        if self.only and not any(part in name for part in self.only):
            return
        programs, outputs, began = [], [], time.monotonic()
        try:
            with contextlib.ExitStack() as stack:
                enter = stack.enter_context

                def entering(thing):
                    entered = enter(thing)
                    if isinstance(thing, Program):
                        programs.append(thing)
                    return entered

                stack.enter_context = entering
                try:
                    said = scenario(stack)
                except Exception:
                    outputs = [program.output() for program in programs]
                    raise
            with self.lock:
                self.passed += 1
                print(f"ok   {name}{': ' if said else ''}{said or ''} [{time.monotonic() - began:.0f} s]", flush=True)
        except Skip as reason:
            is_needed = os.environ.get("CI") == "true"
            with self.lock:
                self.failed += is_needed
                self.skipped += not is_needed
                print(f"{'FAIL' if is_needed else 'skip'} {name}: {reason}", flush=True)
        except Exception as error:
            with self.lock:
                self.failed += 1
                print(f"FAIL {name}: {type(error).__name__}: {error}", flush=True)
                print("\n".join(outputs), flush=True)

    def run_together(self, scenarios):
        with self.beside(scenarios):
            pass

    @contextlib.contextmanager
    def beside(self, scenarios):
        """Runs these at once, and beside them what the block does."""
        threads = [threading.Thread(target=self.run, args=scenario, daemon=True) for scenario in scenarios]
        try:
            for thread in threads:
                thread.start()
            yield
            for thread in threads:
                thread.join()
        except BaseException:  # a signal
            self.lock.acquire()  # for good: what the scenarios say from now on comes of their end
            abandon()
            raise

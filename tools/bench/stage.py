"""What every system measured stands on: processes that end with the run, ports, certificates, a slow link, and what was used.

Every wait is for a condition, with a deadline. Nothing outlives the `with` block of a stage.
"""

import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

START_WITHIN = 30.0
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
PROCESS_CLOCK = 2  # with a process id, the clock of its CPU time (clock_getcpuclockid(3))


def wait_until(what, condition, within=START_WITHIN):
    """The first true value of `condition`, or an error that says what was waited for."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise TimeoutError(f"no {what} within {within:.0f} s")


def free_port():
    """A port below the ephemeral range, so that no connection of the run takes it before a server does."""
    while True:
        port = random.randrange(15000, 32000)
        with socket.socket() as probe:
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


def wait_for_port(port):
    """Until something listens there."""
    wait_until(f"listener on port {port}", lambda: listens(port))


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Stage(contextlib.ExitStack):
    """A folder, the two binaries, and every process started here."""

    def __init__(self, binaries):
        super().__init__()
        self.binaries = pathlib.Path(binaries)
        self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory(prefix="c2l-bench-")))
        self.c2l = str(self.binaries / "c2l")
        self.tool = str(self.binaries / "c2l-bench")
        self.relay_options = []  # of our own relays, beside those of every run
        self.upstream = self.say_port("upstream")
        self.ca, self.certificate, self.key = self.make_certificate()

    def spawn(self, *command, **options):
        """A process that is ended, with its children, when the stage is."""
        log = open(self.folder / f"{pathlib.Path(command[0]).name}-{time.monotonic_ns()}.log", "wb")
        options = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT} | options
        process = subprocess.Popen(command, start_new_session=True, **options)
        process.log = log.name
        self.callback(end, process)
        return process

    def say_port(self, role, job=None):
        """Starts a part of the benchmark that says its port first."""
        process = self.spawn(self.tool, role, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None)
        if job is not None:
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
        return json.loads(process.stdout.readline())["port"]

    def link(self, to, up_bytes, down_bytes, delay_ms):
        """A port behind which `to` lies, with a rate each way and a delay."""
        job = {"to": f"127.0.0.1:{to}", "up_bytes": up_bytes, "down_bytes": down_bytes, "delay_ms": delay_ms}
        return self.say_port("link", job)

    def load(self, job, within=300):
        """One job of the callers; an answer that was wrong is an error."""
        environment = os.environ | {"RUST_BACKTRACE": "0"}
        done = subprocess.run([self.tool, "load"], env=environment, input=json.dumps(job) + "\n", capture_output=True, text=True,
                              timeout=within)
        if done.returncode != 0:
            raise RuntimeError(" ".join(done.stderr.split()) or f"exit code {done.returncode}")
        return json.loads(done.stdout)

    def begin(self, job):
        """A job of the callers that goes on meanwhile."""
        environment = os.environ | {"RUST_BACKTRACE": "0"}
        process = self.spawn(self.tool, "load", env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        return Running(process)

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def make_certificate(self):
        ca, certificate, key = (str(self.folder / name) for name in ("ca.pem", "certificate.pem", "key.pem"))
        ca_key, request, extensions = (str(self.folder / name) for name in ("ca-key.pem", "request.pem", "extensions"))
        pathlib.Path(extensions).write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        quiet = {"check": True, "capture_output": True}
        subprocess.run(["openssl", "req", "-x509", *curve, "-keyout", ca_key, "-out", ca, "-subj", "/CN=bench", "-days", "2"], **quiet)
        subprocess.run(["openssl", "req", "-new", *curve, "-keyout", key, "-out", request, "-subj", "/CN=localhost"], **quiet)
        sign = ["openssl", "x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-out", certificate]
        subprocess.run([*sign, "-days", "2", "-extfile", extensions], **quiet)
        return ca, certificate, key


class Running:
    """A job under way."""

    def __init__(self, process):
        self.process = process

    def say(self):
        """The next line of its answer."""
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(" ".join(self.process.stderr.read().split()) or "ended without a word")
        return json.loads(line)

    def finish(self):
        answer = self.say()
        self.process.wait()
        return answer


class System:
    """Something between callers and the upstream."""

    def __init__(self, name, port, processes=(), fields=(), ca=None):
        self.name = name
        self.port = port
        self.target = {"address": f"127.0.0.1:{port}", "fields": list(fields), "ca_file": ca}
        self.processes = list(processes)

    def wait(self, stage):
        """Until a small request comes back whole."""

        def answers():
            for process in self.processes:
                if process.poll() is not None:
                    raise RuntimeError(f"{self.name} ended: {pathlib.Path(process.log).read_text(errors='replace')[-2000:]}")
            try:
                return stage.load({"scenario": "small", "at_once": 1, "seconds": 0.01, "target": self.target}, 20)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                self.last = str(error)
                return None

        try:
            wait_until(f"answer of {self.name}", answers)
        except TimeoutError as error:
            raise RuntimeError(f"{error}: {self.last}") from None
        return self

    def cpu_seconds(self):
        """Of each of its processes with its children, user and system."""
        children = children_of_all()
        return [sum(cpu_seconds(pid) for pid in family(process.pid, children)) for process in self.processes]


def children_of_all():
    """The processes that each process has started."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                stat = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                children.setdefault(int(stat[1]), []).append(int(entry.name))
    return children


def family(pid, children):
    found = [pid]
    for member in found:
        found.extend(children.get(member, []))
    return found


def cpu_seconds(pid):
    """Of the process, to the nanosecond, and of its children that have ended, in the system's ticks."""
    try:
        own = time.clock_gettime((~pid << 3) | PROCESS_CLOCK)
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return own + sum(int(ticks) for ticks in stat[13:15]) / TICKS


def resident_bytes(pid):
    try:
        return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0


def end(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(3)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def which(name):
    """The program on the PATH or among the system's, or None."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")

"""The built binary as a user runs it: `c2l dev`, which is a relay, an agent and (when no model answers) a demo model.

Every wait here is for a condition, with a deadline, and says what was seen when it runs out. Read next: drive.py.
"""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

START_WITHIN = 30.0  # seconds
STOP_WITHIN = 15.0
# A client or a proxy configured on this machine must not leak into what is checked.
FOREIGN = re.compile(r"^(OLLAMA|OPENAI|ANTHROPIC|C2L|HTTPS?_PROXY|ALL_PROXY|NO_PROXY)", re.IGNORECASE)


def clean_environment(**extra):
    """This process's environment without what could change the behaviour of the product or of a client."""
    return {name: value for name, value in os.environ.items() if not FOREIGN.match(name)} | extra


def wait_until(what, condition, seen=lambda: "", within=START_WITHIN):
    """The first true value of `condition`, or an error that says what was waited for and what was seen instead."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise TimeoutError(f"no {what} within {within:.0f} s\n{seen()}")


def answers(url):
    """Whether a GET of this URL ends in a 2xx."""
    try:
        # No proxy, whatever the environment says: everything here is on loopback.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as response:
            return 200 <= response.status < 300
    except (urllib.error.URLError, OSError):
        return False


HELD = []  # sockets of `free_port`, until this process ends


def free_port():
    """A port of 127.0.0.1 for a program that takes a number and not a listener, and sets SO_REUSEADDR on what it binds.

    It stays bound here and never listens: the system gives it to nobody who asks for any port, while who names it can bind it,
    listen, end and come back.
    """
    holder = socket.socket()
    HELD.append(holder)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return holder.getsockname()[1]


def end_on_sigterm():
    """Make SIGTERM leave by the same door as an error, so that the `with` blocks end what they started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


class Program:
    """A child process in a folder of its own, its output in files there; ended and removed with the `with` block."""

    def __init__(self, name, command, **environment):
        self.name = name
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-"))
        self.stdout, self.stderr = self.folder / "stdout", self.folder / "stderr"
        try:
            with open(self.stdout, "wb") as out, open(self.stderr, "wb") as err:
                self.process = subprocess.Popen(
                    [str(part) for part in command],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    cwd=self.folder,
                    env=clean_environment(**environment),
                    start_new_session=True,
                )
        except OSError:
            shutil.rmtree(self.folder)
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()  # nothing happens when it has ended by itself
        try:
            self.process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            print(f"note: {self.name} did not end within {STOP_WITHIN:.0f} s of SIGTERM and was killed")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)  # whatever it started is of its group
            self.process.wait()
            shutil.rmtree(self.folder, ignore_errors=True)

    def output(self):
        """The end of what it wrote, for a reader who wants to know why something failed."""
        ended = self.process.poll()
        state = "still running" if ended is None else f"ended with {ended}"
        parts = [f"--- {self.name}, {state}"]
        for file in (self.stdout, self.stderr):
            parts += [f"--- {self.name} {file.name}", *file.read_text(errors="replace").splitlines()[-40:]]
        return "\n".join(parts)

    def wait_for(self, what, condition):
        """`wait_until`, given up at once when the program ends."""

        def alive_and_met():
            if self.process.poll() is not None:
                raise RuntimeError(f"ended before {what}\n{self.output()}")
            return condition()

        return wait_until(what, alive_and_met, self.output)


class Dev(Program):
    """`c2l dev` on a free port, with its agent connected: `relay` is its address, `credential` what it printed."""

    def __init__(self, binary, upstream=None):
        # `data` is relative to the process's own folder, and goes with it.
        command = [binary, "dev", "--listen", "127.0.0.1:0", "--data-dir", "data"]
        command += ["--upstream", upstream] if upstream else ["--demo"]
        super().__init__("c2l-dev", command)
        self.relay = self.credential = None

    def __enter__(self):
        try:
            self.relay, self.credential = self.wait_for("relay address and credential on stdout", self.printed)
            models = f"{self.relay}/k/{self.credential}/v1/models"
            self.wait_for("answer through the tunnel", lambda: answers(models))
        except BaseException:
            self.__exit__()
            raise
        return self

    def printed(self):
        text = self.stdout.read_text(errors="replace")
        relay = re.search(r"""OPENAI_BASE_URL=["']?(https?://[^/\s"']+)/v1""", text)
        credential = re.search(r"""OPENAI_API_KEY=["']?([^\s"']+)""", text)
        return (relay[1], credential[1]) if relay and credential else None

    def logs_credential(self):
        """Whether the credential stands in the log: a secret that a log keeps is no secret."""
        return self.credential in self.stderr.read_text(errors="replace")

"""The checks of `run`: `check.py BINARY ECHO`."""

import asyncio
import contextlib
import http.server
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading

import kosoku

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "clients"), str(HERE.parent / "network")]
from parts import Agent, Home, Part, Relay, expect  # noqa: E402, its folder must be on the path first
from product import end_on_sigterm  # noqa: E402

H2SPEC_CASES = 146
H2SPEC_PATIENCE = "10"  # seconds for what a case waits for; 2 by itself
# The port speaks HTTP/1.1 as well, so what is no preface of HTTP/2 is answered before the connection is closed.
H2SPEC_MAY_MISS = ["Sends invalid connection preface"]
# The relay takes frames of 128 KiB; five fields of this length make one that is longer.
H2SPEC_FIELD_BYTES = 30_000
AUTOBAHN_GROUPS = [1, 2, 3, 4, 5, 6, 7, 10]  # 9 measures, 11 is no more, 12 and 13 are compression, which is not spoken
AUTOBAHN_CASES = 247
CONFORMS = {"OK", "NON-STRICT", "INFORMATIONAL"}


class Patient(http.server.BaseHTTPRequestHandler):
    """An upstream that answers once a request is whole, and not before: what is under way when a case breaks the rules is under way
    however fast the relay is."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if "chunked" in self.headers.get("transfer-encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
                self.rfile.read(size + 2)
            self.rfile.readline()
        body = b'{"version":"0.0.0"}' * 8
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_POST = do_GET

    def log_message(self, *_):
        pass


class Upstream(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def handle_error(self, *_):
        pass  # requests that are broken off are what the cases are about


def h2spec(binary):
    """All cases, the strict ones as well; only the one that a port of two protocols cannot meet may be missed."""
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(Home(binary))
        relay = stack.enter_context(Relay(binary, home.data)).ready()
        home.issue()
        upstream = stack.enter_context(Upstream(("127.0.0.1", 0), Patient))
        address = f"http://{relay.host}:{relay.port}"
        agent = stack.enter_context(Agent(binary, home.token_file, address, upstream.server_port))
        agent.line("session opened")
        where = ["--host", relay.host, "--port", str(relay.port), "--max-header-length", str(H2SPEC_FIELD_BYTES)]
        where += ["--path", f"/k/{home.credential}/api/version", "--timeout", H2SPEC_PATIENCE]
        ran = subprocess.run(["h2spec", "--strict", *where], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
        told = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", ran.stdout)
        expect(told, f"h2spec said nothing of the kind: {ran.stdout[-2000:]}{ran.stderr[-2000:]}")
        cases, passed, _, _ = map(int, told.groups())
        failures = ran.stdout.partition("\nFailures:")[2]
        missed = re.findall(r"× \d+: (.*)", failures)
        unexpected = [case for case in missed if case not in H2SPEC_MAY_MISS]
        expect(cases == H2SPEC_CASES, f"{cases} cases, not {H2SPEC_CASES}")
        expect(not unexpected and passed >= cases - len(H2SPEC_MAY_MISS), f"{told[0]}\n{failures}")
        return f"{passed} of {cases}; missed: {', '.join(missed) or 'none'}"


def autobahn(echo):
    with Part("echo", [echo]) as server:
        server.wait_for("address", lambda: server.stdout.read_text().endswith("\n"))
        address = f"ws://{server.stdout.read_text().strip()}"
        groups = [f"{group}.*" for group in AUTOBAHN_GROUPS]
        try:
            results = asyncio.run(kosoku.run_fuzzingclient(address, groups, None, concurrency=8))
        except kosoku.FailureError as failure:
            raise AssertionError(f"{failure}") from failure
        expect(len(results) == AUTOBAHN_CASES, f"{len(results)} cases, not {AUTOBAHN_CASES}")
        behaviors = [result.behavior.value for result in results]
        expect(set(behaviors) <= CONFORMS, f"{behaviors}")
        return f"{len(results)} cases: " + ", ".join(f"{behaviors.count(kind)} {kind}" for kind in sorted(set(behaviors)))


def main():
    end_on_sigterm()
    binary, echo = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
    passed = failed = 0
    for name, check in [("HTTP/2: h2spec on the public port", lambda: h2spec(binary)), ("WebSocket: Autobahn's cases", lambda: autobahn(echo))]:
        if "h2spec" in name and not shutil.which("h2spec") and os.environ.get("CI") != "true":
            print(f"skip {name}: h2spec is not installed", flush=True)
            continue
        try:
            print(f"ok   {name}: {check()}", flush=True)
            passed += 1
        except (AssertionError, RuntimeError, OSError, subprocess.SubprocessError) as error:
            print(f"FAIL {name}: {error}", flush=True)
            failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())

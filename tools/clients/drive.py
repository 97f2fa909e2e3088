"""Drive real clients through the relay: each is its own process, and gets nothing but environment variables.

A client's script runs the checks it is told to and prints a line for each (checks.py, checks.mjs). Here stands which client
is asked what, over which upstream, and with the credential in which place. Started by `run`, which installs the clients.
"""

import argparse
import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass

import engine
from product import Dev, end_on_sigterm

HERE = pathlib.Path(__file__).resolve().parent
CLIENT_WITHIN = 100.0  # seconds, for all checks of one client process

# Where a credential may stand. A path credential leaves the SDK's own key a dummy that the relay must not mind.
OLLAMA_PATH = {"OLLAMA_HOST": "{relay}/k/{key}"}
OLLAMA_BEARER = {"OLLAMA_HOST": "{relay}", "OLLAMA_API_KEY": "{key}"}
OPENAI_PATH = {"OPENAI_BASE_URL": "{relay}/k/{key}/v1", "OPENAI_API_KEY": "unused"}
OPENAI_BEARER = {"OPENAI_BASE_URL": "{relay}/v1", "OPENAI_API_KEY": "{key}"}
ANTHROPIC_PATH = {"ANTHROPIC_BASE_URL": "{relay}/k/{key}", "ANTHROPIC_API_KEY": "unused"}
ANTHROPIC_BEARER = {"ANTHROPIC_BASE_URL": "{relay}", "ANTHROPIC_AUTH_TOKEN": "{key}"}
ANTHROPIC_KEY = {"ANTHROPIC_BASE_URL": "{relay}", "ANTHROPIC_API_KEY": "{key}"}


@dataclass
class Client:
    """A client, the ways it takes a credential from its environment, and its checks by upstream."""

    script: str
    forms: dict
    demo: list  # checks over the demo model, which speaks all three APIs
    engine: list  # checks over the engine, which speaks /v1 alone
    refused: list  # checks with a wrong credential
    embed: bool = False  # also over the engine that embeds

    @property
    def name(self):
        return self.script.partition(".")[0].replace("_", "-")


CLIENTS = [
    Client(
        "ollama_python.py",
        {"path": OLLAMA_PATH, "bearer": OLLAMA_BEARER},
        demo=["list", "show", "chat", "chat-stream", "chat-async", "generate", "generate-stream", "embed", "stop"],
        engine=[],
        refused=["refused", "refused-stream"],
    ),
    Client(
        "ollama_node.mjs",
        {"path": OLLAMA_PATH},  # it sends its key variable to ollama.com alone
        demo=["list", "chat", "chat-stream", "generate-stream", "embed", "stop"],
        engine=[],
        refused=["refused", "refused-stream"],
    ),
    Client(
        "ollama_cli.py",
        {"path": OLLAMA_PATH},  # it knows no key variable
        demo=["list", "show", "run"],
        engine=[],
        refused=["refused"],
    ),
    Client(
        "openai_python.py",
        {"path": OPENAI_PATH, "bearer": OPENAI_BEARER},
        demo=["list", "chat", "chat-stream", "embed", "stop"],
        engine=["list", "chat", "chat-stream", "responses-stream", "stop"],
        refused=["refused", "refused-stream"],
        embed=True,
    ),
    Client(
        "openai_node.mjs",
        {"path": OPENAI_PATH, "bearer": OPENAI_BEARER},
        demo=["list", "chat", "chat-stream", "embed", "stop"],
        engine=["list", "chat", "chat-stream", "stop"],
        refused=["refused", "refused-stream"],
        embed=True,
    ),
    Client(
        "anthropic_python.py",
        {"path": ANTHROPIC_PATH, "bearer": ANTHROPIC_BEARER, "key": ANTHROPIC_KEY},
        demo=["list", "message", "message-stream", "stop"],
        engine=["list", "message", "message-stream", "stop"],
        refused=["refused", "refused-message"],
    ),
]


class Tally:
    """One line for each check, and the count of both kinds."""

    def __init__(self):
        self.passed = self.failed = 0

    def add(self, ok, where, check, detail):
        self.passed += ok
        self.failed += not ok
        print(f"{'ok  ' if ok else 'FAIL'} {where:34} {check:16} {detail}", flush=True)


def wrong(credential):
    """The credential with its last part (a JWT's signature) changed: well formed, and worth nothing."""
    head, dot, last = credential.rpartition(".")
    return head + dot + last.translate(str.maketrans("abcdefABCDEF012345", "bcdefaBCDEFA123450"))


def command(script, cache):
    if script.endswith(".mjs"):
        return ["node", cache / script]  # copied there by `run`: Node looks for modules beside the script
    return [sys.executable, HERE / script]


def ask(tally, where, client, form, checks, relay, credential, cache):
    """Run one client once, with nothing but its environment, and count a line for each check it was to make."""
    variables = {name: value.format(relay=relay, key=credential) for name, value in form.items()}
    with tempfile.TemporaryDirectory(prefix="c2l-home-") as home:
        environment = {"PATH": os.environ["PATH"], "HOME": home, "PYTHONDONTWRITEBYTECODE": "1", **variables}
        try:
            ran = subprocess.run(
                [*command(client.script, cache), *checks],
                env=environment,
                cwd=home,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=CLIENT_WITHIN,
            )
            stdout, stderr = ran.stdout, ran.stderr
        except subprocess.TimeoutExpired as error:
            stdout = (error.stdout or b"").decode(errors="replace")
            stderr = f"it did not end within {CLIENT_WITHIN:.0f} s"
    lines = dict((name, (word, said)) for word, name, said in re.findall(r"^(ok|failed) (\S+) ?(.*)$", stdout, re.MULTILINE))
    for check in checks:
        word, said = lines.get(check, ("failed", f"said nothing; its error output ends: {stderr[-600:].strip()}"))
        tally.add(word == "ok", where, check, said.replace(credential, "…")[:240])


def run_upstream(tally, upstream, dev, clients, checks_of, cache):
    """All clients over one upstream: what must work, then what must be refused."""
    for client in clients:
        checks = checks_of(client)
        if not checks:
            continue
        for name, form in client.forms.items():
            where = f"{upstream} · {client.name} · {name}"
            ask(tally, where, client, form, checks, dev.relay, dev.credential, cache)
            if upstream == "demo":  # who is refused never reaches an upstream, so one is enough
                ask(tally, where, client, form, client.refused, dev.relay, wrong(dev.credential), cache)
    silent = not dev.logs_credential()
    tally.add(silent, upstream, "log", "carries no credential" if silent else "carries the credential")


def main():
    end_on_sigterm()
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--binary", type=pathlib.Path, required=True)
    arguments.add_argument("--cache", type=pathlib.Path, required=True, help="where clients and models are kept")
    arguments.add_argument("--client", action="append", help="only this client, by name; may be repeated")
    arguments.add_argument("--upstream", choices=["demo", "engine", "embed"], action="append", help="only this upstream")
    asked = arguments.parse_args()
    binary, cache = asked.binary.resolve(), asked.cache.resolve()
    upstreams = asked.upstream or ["demo", "engine", "embed"]

    clients = [c for c in CLIENTS if not asked.client or c.name in asked.client]
    if shutil.which("ollama") is None:
        clients = [c for c in clients if c.name != "ollama-cli"]
        print("skipped: the ollama command is not on the PATH")
    if not engine.is_available():
        upstreams = [u for u in upstreams if u == "demo"]
        print(f"skipped: the engine, for want of its scripts (C2L_ENGINE_SCRIPTS, now {engine.SCRIPTS.name})")

    tally = Tally()
    runs = {
        "demo": (None, lambda c: c.demo),
        "engine": (engine.CHAT, lambda c: c.engine),
        "embed": (engine.EMBED, lambda c: ["embed"] if c.embed else []),
    }
    for name in upstreams:
        kind, checks_of = runs[name]
        try:
            with contextlib.ExitStack() as stack:
                upstream = stack.enter_context(engine.Engine(kind, cache)).url if kind else None
                dev = stack.enter_context(Dev(binary, upstream))
                before = tally.failed
                run_upstream(tally, name, dev, clients, checks_of, cache)
                if tally.failed > before:
                    print(dev.output().replace(dev.credential, "…"))
        except subprocess.CalledProcessError as error:
            tally.add(False, name, "start", f"{error}\n{error.stderr}")
        except (RuntimeError, OSError) as error:  # a TimeoutError is an OSError
            tally.add(False, name, "start", str(error))

    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed or not tally.passed else 0


if __name__ == "__main__":
    sys.exit(main())

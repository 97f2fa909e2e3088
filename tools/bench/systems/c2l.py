"""This product: a relay and an agent, each a process of its own, over gRPC in clear; the other ways are its siblings."""

import os
import subprocess

from stage import System, free_port

NEEDS = []
USER = "bench"
# Bounds that protect a relay from one user; here one user is the whole load. Nothing else differs from the defaults.
RELAY = ["--max-requests-per-user", "8192", "--limit-user-requests", "none", "--limit-address-connections", "none",
         "--limit-address-sessions", "none", "--log-level", "warn"]
AGENT = ["--allow-manage", "--max-concurrent-requests", "8192", "--log-level", "warn"]


def start(stage, path, name="c2l", transport="grpc", is_tls=False, are_callers_clear=False):
    port = free_port()
    data = stage.folder / name
    data.mkdir(mode=0o700)
    tls = ["--tls-cert", stage.certificate, "--tls-key", stage.key] if is_tls else []
    tls += ["--clear-from", "127.0.0.1"] if are_callers_clear else []
    relay = [stage.c2l, "relay", "--listen", f"127.0.0.1:{port}", "--ops-listen", "off", "--data-dir", str(data), *RELAY, *tls, *stage.relay_options]
    relay = stage.spawn(*relay, env=environment(stage))
    token = token_file(stage, data, "agent", [])
    relay_url = f"{'https' if is_tls else 'http'}://127.0.0.1:{path(port)}"
    agent = [stage.c2l, "agent", "--relay", relay_url, "--token-file", token, "--transport", transport, "--data-dir", str(data)]
    agent += ["--upstream", f"http://127.0.0.1:{stage.upstream}", *AGENT, *(["--ca-file", stage.ca] if is_tls else [])]
    agent = stage.spawn(*agent, env=environment(stage))
    caller = open(token_file(stage, data, "api", ["--scope", "infer,manage"])).read().strip()
    fields = [f"authorization: Bearer {caller}"]
    return System(name, port, [relay, agent], fields, stage.ca if is_tls and not are_callers_clear else None)


def environment(stage):
    """Without what could change the product's behaviour."""
    keep = ("PATH", "HOME", "LANG")
    return {name: os.environ[name] for name in keep if name in os.environ} | {"TMPDIR": str(stage.folder)}


def token_file(stage, data, kind, more):
    command = [stage.c2l, "token", "issue", "--data-dir", str(data), "--user", USER, "--kind", kind, "--ttl", "12h", *more]
    token = subprocess.run(command, check=True, capture_output=True, text=True, env=environment(stage)).stdout
    path = data / f"{kind}.token"
    path.touch(mode=0o600)
    path.write_text(token)
    return str(path)

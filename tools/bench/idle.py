"""What a connected agent costs a relay at rest, and how agents come back after its restart.

Memory is the relay's resident growth by the number of agents; CPU is over a quiet minute; each count of agents is checked.
"""

import json
import subprocess
import time

from stage import Stage, System, cpu_seconds, free_port, resident_bytes, wait_for_port, wait_until
from systems import c2l

QUIET_SECONDS = 30


def run(options, failures):
    found = []
    for count in options.agents:
        for transport in ("grpc", "websocket"):
            try:
                found.append(measure(options, count, transport))
            except Exception as error:
                failures.append(f"idle c2l with {count} agents over {transport}: {error}")
    return found


def measure(options, count, transport):
    quiet = 1 if options.smoke else QUIET_SECONDS
    with Stage(options.binaries) as stage:
        data = stage.folder / "relay"
        data.mkdir(mode=0o700)
        port = free_port()
        relay = start_relay(stage, data, port)
        before = settled(relay.pid)
        agents = Agents(stage, {"relay": f"http://127.0.0.1:{port}", "data_dir": str(data), "count": count,
                                "upstream": f"http://127.0.0.1:{stage.upstream}", "websocket": transport == "websocket"})
        wait_until(f"{count} agents", lambda: agents.ask()["open"] == count, 60 + count / 50)
        after = settled(relay.pid)
        used, small = cpu_seconds(relay.pid), beside(stage, data, port, quiet)
        cpu = (cpu_seconds(relay.pid) - used) / quiet
        relay.kill()
        relay.wait()
        back = restart(stage, data, port, agents, count)
        return {"agents": count, "transport": transport, "kb_each": (after - before) / count / 1000, "cpu_share": cpu,
                "small_us": small, **back}


def start_relay(stage, data, port):
    command = [stage.c2l, "relay", "--listen", f"127.0.0.1:{port}", "--ops-listen", "off", "--data-dir", str(data),
               "--max-connections", "30000", *c2l.RELAY]
    relay = stage.spawn(*command, env=c2l.environment(stage))
    wait_for_port(port)
    return relay


def beside(stage, data, port, seconds):
    """Small requests through one agent more, while the others rest."""
    token = c2l.token_file(stage, data, "agent", [])
    command = [stage.c2l, "agent", "--relay", f"http://127.0.0.1:{port}", "--token-file", token, "--transport", "grpc",
               "--data-dir", str(data), "--upstream", f"http://127.0.0.1:{stage.upstream}", *c2l.AGENT]
    agent = stage.spawn(*command, env=c2l.environment(stage))
    caller = open(c2l.token_file(stage, data, "api", [])).read().strip()
    system = System("c2l", port, [agent], [f"authorization: Bearer {caller}"]).wait(stage)
    time.sleep(seconds)  # paced: what is measured is what a relay does in this time
    result = stage.load({"scenario": "small", "at_once": 1, "seconds": min(seconds, 3), "target": system.target})
    return {quantile: result["latency_us"][quantile] for quantile in ("p50", "p99")}


def restart(stage, data, port, agents, count):
    """Kills the relay and starts it anew: when the last agent is back, and what that took."""
    wait_until("agents gone", lambda: agents.ask()["open"] == 0, 60)
    began = agents.ask()["now_seconds"]
    relay = start_relay(stage, data, port)
    used = cpu_seconds(relay.pid)
    wait_until("agents back", lambda: agents.ask()["open"] >= count, 120)
    return {"back_seconds": agents.ask()["newest_seconds"] - began, "back_cpu_seconds": cpu_seconds(relay.pid) - used}


def settled(pid):
    """Resident bytes once they stand still."""
    last = resident_bytes(pid)
    while True:
        time.sleep(1)  # paced: a second without growth is what "settled" means
        now = resident_bytes(pid)
        if abs(now - last) < 64 * 1024:
            return now
        last = now


class Agents:
    """The process that holds them."""

    def __init__(self, stage, job):
        self.process = stage.spawn(stage.tool, "agents", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None)
        self.process.stdin.write(json.dumps(job).encode() + b"\n")
        self.process.stdin.flush()

    def ask(self):
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

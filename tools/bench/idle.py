"""What connected agents cost a relay at rest, fresh and after each has moved bytes, and how they come back after its restart.

Memory is the relay's resident growth by the number of agents; CPU is over a quiet time with heartbeats at their default interval. Every count is checked:
agents that are connected, bytes that each of them carried, and, after the restart, an answer through each.
"""

import json
import resource
import subprocess
import time

from stage import Stage, System, cpu_seconds, free_port, resident_bytes, wait_for_port, wait_until
from systems import c2l

QUIET_SECONDS = {False: 20, True: 10}  # two heartbeats, and one in a quick run
# Down and up through each agent: more than the windows of a stream let lie on the way.
MOVED_BYTES = 1 << 19
TRANSPORTS = {"c2l": "grpc", "c2l_websocket": "websocket"}
AGENTS_EACH = 2500  # in one process: each has two ends of connections there
# A request each 5 ms while agents come back.
RETURNING = {"scenario": "returning", "at_once": 16, "gap_us": 5000}


def lacks(count):
    """What this machine does not allow, or nothing."""
    needed = count + 1000  # of the relay, and as many of the upstream
    return f"{needed} open files are needed: ulimit -Hn" if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < needed else None


def run(options, count, name, record):
    """One relay with this many agents; `record(kind, result)` takes what was found of each kind."""
    with Stage(options.binaries) as stage:
        crowd = Crowd(stage, count, TRANSPORTS[name])
        quiet = 1 if options.smoke else QUIET_SECONDS[options.quick]
        record("idle", crowd.at_rest(quiet) | crowd.moved(options.smoke))
        record("restart", crowd.restarted())


class Crowd:
    """A relay, and agents of as many users."""

    def __init__(self, stage, count, transport):
        self.stage, self.count, self.port = stage, count, free_port()
        self.data = stage.folder / "relay"
        self.data.mkdir(mode=0o700)
        self.relay = self.start_relay()
        self.before = settled(self.relay.pid)
        self.agents = Agents(stage, count, {"relay": f"http://127.0.0.1:{self.port}", "data_dir": str(self.data),
                                            "upstream": f"http://127.0.0.1:{stage.upstream}", "websocket": transport == "websocket"})
        wait_until(f"{count} agents", lambda: self.agents.open() == count, 60 + count / 50)

    def start_relay(self):
        command = [self.stage.c2l, "relay", "--listen", f"127.0.0.1:{self.port}", "--ops-listen", "off", "--data-dir", str(self.data),
                   "--max-connections", str(2 * self.count + 1000), *c2l.RELAY]
        relay = self.stage.spawn(*command, env=c2l.environment(self.stage))
        wait_for_port(self.port)
        return relay

    def users(self, scenario, **more):
        target = {"address": f"127.0.0.1:{self.port}"}
        return {"scenario": scenario, "data_dir": str(self.data), "users": self.count, "target": target, **more}

    def kb_each(self):
        return (settled(self.relay.pid) - self.before) / self.count / 1000

    def at_rest(self, seconds):
        fresh, used = self.kb_each(), cpu_seconds(self.relay.pid)
        time.sleep(seconds)  # paced: what is measured is what a relay does in this time
        share = (cpu_seconds(self.relay.pid) - used) / seconds
        system = System("c2l", self.port, [self.relay], self.caller())
        small = self.stage.load({"scenario": "small", "at_once": 1, "seconds": min(seconds, 2), "target": system.target})
        return {"kb_fresh": fresh, "cpu_share": share, "small_us": small["latency_us"]}

    def caller(self):
        """The fields of a caller with an agent of its own, a process as they are everywhere else."""
        token = c2l.token_file(self.stage, self.data, "agent", [])
        command = [self.stage.c2l, "agent", "--relay", f"http://127.0.0.1:{self.port}", "--token-file", token, "--transport", "grpc",
                   "--data-dir", str(self.data), "--upstream", f"http://127.0.0.1:{self.stage.upstream}", *c2l.AGENT]
        agent = self.stage.spawn(*command, env=c2l.environment(self.stage))
        fields = [f"authorization: Bearer {open(c2l.token_file(self.stage, self.data, 'api', [])).read().strip()}"]
        System("c2l", self.port, [agent], fields).wait(self.stage)
        return fields

    def moved(self, is_smoke):
        """Each agent carries a download and an upload, every byte of them counted; what the relay holds when they are over."""
        self.stage.load(self.users("sweep", at_once=8, bytes=MOVED_BYTES // (16 if is_smoke else 1)), 600)
        return {"kb_moved": self.kb_each()}

    def restarted(self):
        """Kills the relay and starts it anew: when the last agent is back, what that took, and what users saw whose agents were."""
        self.relay.kill()
        self.relay.wait()
        wait_until("agents gone", lambda: self.agents.open() == 0, 60)
        began = time.time_ns()
        self.relay = self.start_relay()
        used = cpu_seconds(self.relay.pid)
        asking = self.stage.begin(self.users(**RETURNING))
        wait_until("agents back", lambda: self.agents.open() == self.count, 120)
        back = {"back_seconds": (self.agents.newest() - began) / 1e9, "back_cpu_seconds": cpu_seconds(self.relay.pid) - used}
        asking.process.stdin.write("over\n")
        asking.process.stdin.flush()
        seen = asking.finish()
        self.stage.load(self.users("sweep", at_once=8, bytes=0))
        return back | seen


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
    """The processes that hold them. They have machines of their own in truth, so here they yield to the relay (`nice`)."""

    def __init__(self, stage, count, job):
        self.processes = [stage.spawn("nice", stage.tool, "agents", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None)
                          for _ in range(0, count, AGENTS_EACH)]
        for number, process in enumerate(self.processes):
            first = number * AGENTS_EACH
            self.say(process, json.dumps(job | {"first": first, "count": min(AGENTS_EACH, count - first)}))

    def open(self):
        return sum(self.ask(process)["open"] for process in self.processes)

    def newest(self):
        """When the last of them connected, in nanoseconds of the wall clock."""
        return max(self.ask(process)["newest"] for process in self.processes)

    def ask(self, process):
        self.say(process, "")
        answer = json.loads(process.stdout.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def say(self, process, line):
        process.stdin.write(line.encode() + b"\n")
        process.stdin.flush()

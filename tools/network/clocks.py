"""A wall clock that jumps under a running agent and a running relay, by libfaketime; the monotonic clock goes on as it is."""

import os
import pathlib
import time

from parts import Agent, Caller, Home, Later, Relay, Skip, Upstream, expect, wait_until

LIBRARIES = sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
JUMP = 6 * 3600  # seconds, twice what the tokens hold
NOTICED_WITHIN = 10.0
CALM_FOR = 6.0  # seconds: longer than it takes to notice


class Clock:
    """What a program that was started with `environment()` takes for the time: the real one, and so many seconds more."""

    def __init__(self, folder):
        if not LIBRARIES:
            raise Skip("not installed: faketime")
        self.file = folder / "clock"
        self.set(0)

    def set(self, seconds):
        part = self.file.with_suffix(".part")
        part.write_text(f"{seconds:+d}\n")
        os.replace(part, self.file)

    def environment(self):
        real_monotonic = {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
        return {"LD_PRELOAD": str(LIBRARIES[-1]), "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_NO_CACHE": "1"} | real_monotonic


class Pair:
    """Relay and agent, one of them with a clock that can be set."""

    def __init__(self, binary, stack, whose):
        self.binary, self.stack = binary, stack
        enter = stack.enter_context
        self.home = enter(Home(binary))
        self.clock = Clock(self.home.data)
        self.upstream = enter(Upstream())
        self.relay = enter(Relay(binary, self.home.data, **self.environment(whose == "relay"))).ready()
        self.home.issue()
        self.agent = self.start_agent("machine", self.environment(whose == "agent"))
        self.agent.line("session opened")
        self.caller = Caller(self.home, "127.0.0.1", self.relay.port)
        wait_until("first answer", lambda: self.caller.tags().status == 200)

    def environment(self, is_set):
        return self.clock.environment() if is_set else {}

    def start_agent(self, device, environment):
        url = f"http://127.0.0.1:{self.relay.port}"
        agent = Agent(self.binary, self.home.token_file, url, self.upstream.port, device, **environment)
        return self.stack.enter_context(agent)


def agents_clock(binary, stack):
    """Ahead is what waking from sleep looks like; back says nothing of the connection."""
    pair = Pair(binary, stack, "agent")
    running = Later(lambda: pair.caller.chat(1_000, 100))
    wait_until("a running answer", lambda: pair.upstream.active() == 1)
    pair.clock.set(JUMP)
    began = time.monotonic()
    pair.agent.line("the clock jumped", within=NOTICED_WITHIN)
    pair.agent.line("session opened", count=2, within=NOTICED_WITHIN)
    took = time.monotonic() - began
    torn = running.outcome()
    expect(torn.is_told(), f"a running answer: {torn.brief()}")
    expect(pair.caller.tags().status == 200, "no answer after the jump")
    for back in [0, -JUMP]:
        whole = Later(lambda: pair.caller.chat(60, 100))
        wait_until("a running answer", lambda: pair.upstream.active() == 1)
        pair.clock.set(back)
        time.sleep(CALM_FOR)
        expect(whole.outcome().is_whole(60), f"a clock set back broke an answer off: {whole.outcome().brief()}")
    expect(len(pair.agent.sessions()) == 2, f"a clock set back made a session: {pair.agent.sessions()}")
    return f"6 h ahead: a new session after {took:.1f} s, a running answer told; 6 h and 12 h back: the session stays, answers are whole"


def relays_clock(binary, stack):
    """Tokens are judged by what the clock says now, whatever it said before. Ours name an end and no beginning."""
    pair = Pair(binary, stack, "relay")

    def judged(seconds):
        pair.clock.set(seconds)
        return pair.caller.tags()

    ahead = judged(JUMP)
    expect(ahead.status == 401 and "expired" in ahead.text, f"6 h ahead: {ahead.brief()}")
    late = pair.start_agent("late", {})
    late.process.wait(NOTICED_WITHIN)
    expect(late.process.returncode == 3, f"an agent with an expired token: exit code {late.process.returncode}")
    back = judged(-JUMP)
    expect(back.status == 200, f"6 h back: {back.brief()}")
    right = judged(0)
    expect(right.status == 200, f"right again: {right.brief()}")
    expect(len(pair.agent.sessions()) == 1, f"the session did not stay: {pair.agent.sessions()}")
    return f"6 h ahead: {ahead.status}, a new agent refused with exit code 3; 6 h back: {back.status}; right again: {right.status} by the same session"


def scenarios(binary):
    return [
        ("the agent's clock jumps", lambda stack: agents_clock(binary, stack)),
        ("the relay's clock jumps", lambda stack: relays_clock(binary, stack)),
    ]

"""TUN-18: a fault every 5 s at random, callers all the while; each request ends once, whole or with an error nobody can miss.

Two users with an agent and an upstream each, in namespaces: the relay on one side, agents and upstreams on the other, and for
one of the agents a slow road. Afterwards everything is as before. The seed is printed, and C2L_TEST_SEED sets it.
"""

import collections
import contextlib
import hashlib
import json
import os
import random
import signal
import threading
import time

from cuts import RELAY_ADDRESS
from parts import Agent, Home, Later, Namespace, Relay, Upstream, expect, join, request, wait_until
from road import Road
from words import answer_hash, question

RELAY_PORT = 8080
USERS = ["ada", "bob"]
CALLERS = 20
EVERY = 5.0  # seconds
RELAY_FLAGS = ["--heartbeat-interval", "2s", "--drain-timeout", "3s"]
BACK_WITHIN = 35.0  # after the last fault: without a healthy minute the back-off waits up to 30 s
HUNG_AFTER = 35.0  # a gap of 30 s is told; nothing else lets a caller wait
WHOLE_SHARE = 0.25  # at least: a storm in which nothing works shows nothing


class Tally:
    """What came of the requests, and what must not have."""

    def __init__(self):
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.wrong = []
        self.asked = collections.Counter()

    def judge(self, user, number, lines, size, answer):
        is_right = answer.status == 200 and answer.is_clean and hashed(answer) == answer_hash(user, number, lines, size)
        outcome = "whole" if is_right else explicit_error(answer)
        with self.lock:
            self.counts[outcome or "wrong"] += 1
            if outcome is None:
                self.wrong.append(f"{user} {number}, {lines} lines of {size}: {answer.brief()}")

    def total(self):
        return sum(self.counts.values())


def hashed(answer):
    return hashlib.sha256(answer.text.encode()).hexdigest()


def explicit_error(answer):
    """The kind of an error that no client can miss; nothing for an answer that only looks whole, or for none at all."""
    if answer.is_hung():
        return None
    if answer.status == 0:
        return "no connection" if answer.error else None
    last = answer.text.splitlines()[-1] if answer.text else ""
    if answer.status >= 400:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return f"{answer.status} {json.loads(last)['code']}"
        return f"{answer.status}, cut" if answer.error else None
    # The answer had begun: a record of the error, a cut, or both.
    return "torn and told" if '"error"' in last or answer.error else None


class Place:
    """Everything that runs, and what can happen to it."""

    def __init__(self, binary, stack):
        self.binary, self.stack = binary, stack
        enter = stack.enter_context
        self.relay_side, self.agent_side = enter(Namespace("relay")), enter(Namespace("agent"))
        join(self.relay_side, f"{RELAY_ADDRESS}/24", self.agent_side, "10.77.0.2/24")
        self.home = enter(Home(binary))
        self.upstreams = {user: enter(Upstream(self.agent_side, user)) for user in USERS}
        self.relays, self.agents, self.present = [], [], {}
        self.start_relay()
        self.credentials = {user: self.home.token("api", user) for user in USERS}
        self.tokens = {user: self.home.agent_token(user) for user in USERS}
        self.road = enter(Road((RELAY_ADDRESS, RELAY_PORT), self.agent_side))
        for user in USERS:
            self.start_agent(user)

    def start_relay(self):
        relay = Relay(self.binary, self.home.data, f"{RELAY_ADDRESS}:{RELAY_PORT}", self.relay_side, RELAY_FLAGS)
        self.relays.append(self.stack.enter_context(relay))
        self.relay = relay.ready()

    def start_agent(self, user):
        is_slow = user == "bob"
        url = f"http://127.0.0.1:{self.road.port}" if is_slow else f"http://{RELAY_ADDRESS}:{RELAY_PORT}"
        port = self.upstreams[user].port
        agent = Agent(self.binary, self.tokens[user], url, port, "machine", self.agent_side, ["--allow-insecure"])
        self.agents.append(self.stack.enter_context(agent))
        self.present[user] = agent

    def ask(self, user, number, lines, gap, size, padding):
        messages = [{"role": "user", "content": question(number, padding)}]
        body = {"model": f"lines-{lines}-gap-{gap}-size-{size}", "messages": messages}
        path = f"/k/{self.credentials[user]}/api/chat"
        return request(RELAY_ADDRESS, RELAY_PORT, "POST", path, body, HUNG_AFTER)

    # Faults: each returns when what it did is undone again.

    def kill_agent(self, dice):
        user = dice.choice(USERS)
        self.present[user].end(signal.SIGKILL)
        time.sleep(dice.uniform(0, 2))
        self.start_agent(user)

    def restart_agent(self, dice):
        user = dice.choice(USERS)
        self.present[user].end()
        self.start_agent(user)

    def stop_agent(self, dice):
        process = self.present[dice.choice(USERS)].process
        process.send_signal(signal.SIGSTOP)
        time.sleep(dice.uniform(1, 8))
        process.send_signal(signal.SIGCONT)

    def kill_relay(self, dice):
        self.relay.end(signal.SIGKILL)
        time.sleep(dice.uniform(0, 3))
        self.start_relay()

    def restart_relay(self, _dice):
        self.relay.end()
        self.start_relay()

    def stop_relay(self, dice):
        self.relay.process.send_signal(signal.SIGSTOP)
        time.sleep(dice.uniform(1, 6))
        self.relay.process.send_signal(signal.SIGCONT)

    def drop(self, sides, dice, rule=("-j", "DROP")):
        for side in sides:
            side.iptables("-I", "INPUT", "-i", "eth0", *rule)
        time.sleep(dice.uniform(1, 8))
        for side in sides:
            side.iptables("-D", "INPUT", "-i", "eth0", *rule)

    def drop_toward_relay(self, dice):
        self.drop([self.relay_side], dice)

    def drop_toward_agents(self, dice):
        self.drop([self.agent_side], dice)

    def drop_all(self, dice):
        self.drop([self.relay_side, self.agent_side], dice)

    def lose_some(self, dice):
        share = str(dice.choice([0.05, 0.2]))
        random_ones = ("-m", "statistic", "--mode", "random", "--probability", share, "-j", "DROP")
        self.drop([self.relay_side, self.agent_side], dice, random_ones)

    def reset(self, dice):
        """Every packet is answered with a reset, as by a firewall that has lost its tables."""
        self.drop([dice.choice([self.relay_side, self.agent_side])], dice, ("-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset"))

    def link_down(self, dice):
        self.agent_side.run("ip", "link", "set", "eth0", "down")
        time.sleep(dice.uniform(1, 4))
        self.agent_side.run("ip", "link", "set", "eth0", "up")

    def delay(self, dice):
        self.road.delay, self.road.jitter = dice.choice([0.05, 0.3]), 0.1
        time.sleep(dice.uniform(2, 8))
        self.road.delay = self.road.jitter = 0.0

    def faults(self):
        """By name: what it takes for itself meanwhile, and what it does."""
        network, agents, relay = "network", "agents", "relay"
        return {
            "kill -9 agent": (agents, self.kill_agent),
            "restart agent": (agents, self.restart_agent),
            "stop agent": (agents, self.stop_agent),
            "kill -9 relay": (relay, self.kill_relay),
            "restart relay": (relay, self.restart_relay),
            "stop relay": (relay, self.stop_relay),
            "drop toward relay": (network, self.drop_toward_relay),
            "drop toward agents": (network, self.drop_toward_agents),
            "drop both ways": (network, self.drop_all),
            "lose some": (network, self.lose_some),
            "reset": (network, self.reset),
            "link down": (network, self.link_down),
            "delay": ("road", self.delay),
        }


def call(place, tally, user, dice, stop):
    """One caller, who asks one thing after another until it is time to stop."""
    while not stop.is_set():
        number = f"{user}-{dice.getrandbits(64):016x}"
        lines, gap, size = dice.randint(1, 40), dice.randint(10, 80), dice.choice([0, 0, 200, 2000])
        padding = dice.choice([0, 100, 100, 30_000])
        answer = place.ask(user, number, lines, gap, size, padding)
        tally.judge(user, number, lines, size, answer)
        stop.wait(dice.uniform(0.05, 0.2) if answer.status == 200 else dice.uniform(0.5, 1.5))


def strike(place, dice, until):
    """One fault after another, of those whose part of the place is free; how often each was there."""
    faults, happened, under_way = place.faults(), collections.Counter(), {}
    while time.monotonic() < until:
        began = time.monotonic()
        free = [name for name, (part, _) in faults.items() if part not in under_way or under_way[part].is_done()]
        # Those that were not there yet come first, so that a short storm has all of them.
        least = min(happened[name] for name in free)
        name = dice.choice([name for name in free if happened[name] == least])
        part, fault = faults[name]
        if earlier := under_way.get(part):
            earlier.outcome()
        own = random.Random(dice.getrandbits(64))
        under_way[part] = Later(lambda fault=fault, own=own: fault(own))
        happened[name] += 1
        time.sleep(max(0.0, min(EVERY, until - began) - (time.monotonic() - began)))
    for fault in under_way.values():
        fault.outcome()
    return happened


def storm(binary, minutes, stack):
    seed = int(os.environ.get("C2L_TEST_SEED", time.time_ns() % 2**32))
    dice, place, tally, stop = random.Random(seed), Place(binary, stack), Tally(), threading.Event()

    def serves(user):
        return place.relay_side.call(lambda: place.ask(user, f"{user}-{time.time_ns()}", 1, 0, 0, 0)).status == 200

    for user in USERS:
        wait_until(f"answer of {user}'s agent", lambda user=user: serves(user))
    callers = []
    for index in range(CALLERS):
        user, own = USERS[index % len(USERS)], random.Random(dice.getrandbits(64))
        calling = lambda user=user, own=own: call(place, tally, user, own, stop)
        callers.append(Later(lambda calling=calling: place.relay_side.call(calling)))
    try:
        happened = strike(place, dice, time.monotonic() + minutes * 60)
        calm = time.monotonic()
        for user in USERS:
            wait_until(f"answer of {user}'s agent after the storm, seed {seed}", lambda user=user: serves(user), within=BACK_WITHIN)
        back = time.monotonic() - calm
    finally:
        stop.set()
    for caller in callers:
        caller.outcome(HUNG_AFTER + 30)
    return told(seed, place, tally, happened, back)


def told(seed, place, tally, happened, back):
    """What is asserted of it all, and what is said when it holds."""
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in tally.counts.most_common())
    said = f"seed {seed}: {tally.total()} requests under {sum(happened.values())} faults ({', '.join(sorted(happened))}): {outcomes}"
    expect(not tally.wrong, f"{said}; neither whole nor told: {tally.wrong[:5]}")
    twice, foreign, torn = [], [], 0
    for user, upstream in place.upstreams.items():
        seen = [asked["question"] for asked in upstream.requests()]
        twice += [number for number, count in collections.Counter(seen).items() if number and count > 1]
        foreign += [number for number in seen if number and not number.startswith(user)]
        torn += seen.count(None)
    expect(not twice, f"{said}; done twice: {twice[:5]}")
    expect(not foreign, f"{said}; at another user's upstream: {foreign[:5]}")
    expect(not torn, f"{said}; {torn} questions were torn and looked whole")
    panics = [line for program in place.relays + place.agents for line in program.lines("panicked")]
    expect(not panics, f"{said}; {panics[:3]}")
    expect(all(agent.process.poll() is None for agent in place.present.values()), f"{said}; an agent has ended by itself")
    expect(tally.counts["whole"] >= WHOLE_SHARE * tally.total(), f"too little worked: {said}")
    expect(len(happened) == len(place.faults()), f"not every fault was there: {said}")
    return f"{said}; nothing torn that looked whole, nothing done twice, nobody else's answer; back after {back:.1f} s"


def scenarios(binary, minutes):
    return [("TUN-18, a fault every 5 s", lambda stack: storm(binary, minutes, stack))]

"""The speed to reach, and whether it was. Each row's words are those of the requirement it comes from.

Invariant: a row counts as met only when both sides of its comparison were measured; "best tunnel" is the best of the peers that tunnel, on
that very figure.
"""

import dataclasses

import systems
from scenarios import ENCRYPTED, HEARTBEAT_SECONDS, HOME, ROUND_TRIP_MS

BEST = "best tunnel"
SELF = "itself"


@dataclasses.dataclass(frozen=True)
class Limit:
    """`factor` times what `of` reached (on another scenario, if one is named) and `plus`; of nobody: `plus` alone."""

    factor: float = 0.0
    of: str = ""
    plus: float = 0.0
    on: str = ""

    def words(self):
        parts = [f"{self.factor:.3g} × {self.of}{f' in {self.on}' if self.on else ''}"] if self.of else []
        return " + ".join([*parts, *([f"{self.plus:,g}"] if self.plus or not self.of else [])])


@dataclasses.dataclass(frozen=True)
class Target:
    source: str
    scenario: str
    figure: str
    must: Limit | None = None
    aim: Limit | None = None
    system: str = "c2l"


def of(name, factor, on=""):
    return Limit(factor, name, on=on)


def at(value):
    return Limit(plus=value)


# "small, 1 at a time, p50 | ≤ 1.0 × rathole | ≤ 1.1 × nginx"
# "small, 64 at once, req/s; CPU a request | ≥ 1.15 × best tunnel; ≤ 0.85 × rathole's | ≥ 1.0 × nginx; ≤ 1.2 × nginx's"
# "small, 256 at once | ≥ 1.0 × best tunnel | ≥ 1.15 ×"
# "newconn | ≥ 1.6 × rathole | ≥ 0.9 × nginx"
REQUESTS = [
    Target("small, 1 at a time", "small-1", "latency p50", of("rathole", 1.0), of("nginx", 1.1)),
    Target("small, 64 at once", "small-64", "rate", of(BEST, 1.15), of("nginx", 1.0)),
    Target("small, 64 at once", "small-64", "CPU a request", of("rathole", 0.85), of("nginx", 1.2)),
    Target("small, 256 at once", "small-256", "rate", of(BEST, 1.0), of(BEST, 1.15)),
    Target("newconn", "newconn", "rate", of("rathole", 1.6), of("nginx", 0.9)),
]
# "stream, 100 chats: delay p50, p99; first token p50; CPU a token | ≤ 0.85 ×, ≤ 1.0 ×, ≤ 1.0 ×, ≤ 0.9 × rathole's | p99 ≤ 1.5 × nginx's"
# "stream, 1,000 chats | no token lost or late by more than one gap | p99 ≤ rathole's"; a lost token fails the run
# "firehose, 16 streams | ≥ 1.0 × rathole | ≥ 1.2 ×"
# "bulk down and up, 4 at once | ≥ 1.0 × rathole | ≥ wstunnel"
STREAMS = [
    Target("stream, 100 chats", "stream-100", "token delay p50", of("rathole", 0.85)),
    Target("stream, 100 chats", "stream-100", "token delay p99", of("rathole", 1.0), of("nginx", 1.5)),
    Target("stream, 100 chats", "stream-100", "first token p50", of("rathole", 1.0)),
    Target("stream, 100 chats", "stream-100", "CPU a token", of("rathole", 0.9)),
    Target("stream, 1,000 chats: late by at most one gap", "stream-1000", "token delay max", at(20_000)),
    Target("stream, 1,000 chats", "stream-1000", "token delay p99", None, of("rathole", 1.0)),
    Target("firehose, 16 streams", "firehose", "rate", of("rathole", 1.0), of("rathole", 1.2)),
    Target("bulk down, 4 at once", "bulk-down", "rate", of("rathole", 1.0), of("wstunnel", 1.0)),
    Target("bulk up, 4 at once", "bulk-up", "rate", of("rathole", 1.0), of("wstunnel", 1.0)),
]
# "mixed: token delay p99 beside full-speed downloads | ≤ 0.8 × best tunnel | ≤ nginx's"
# Uploads are held to the same as downloads.
# "mixed: token delay p99 beside stopped readers | ≤ 1.2 × our own without them"
BESIDE = [
    Target("mixed, beside full-speed downloads", "mixed-downloads", "token delay p99", of(BEST, 0.8), of("nginx", 1.0)),
    Target("mixed, beside full-speed uploads", "mixed-uploads", "token delay p99", of(BEST, 0.8), of("nginx", 1.0)),
    Target("mixed, beside stopped readers", "mixed-stopped", "token delay p99", of(SELF, 1.2, on="stream-20")),
]
# "slow-link: token delay p99 at most half a round trip plus 25 ms beside the full-speed transfer, and the link still full"; full: 95 % of its
# rate is payload that arrived
SLOW_LINK = [
    target
    for scenario, system in (("home-slow-link", "c2l"), ("home-slow-link", "c2l_websocket"), ("tls-home-slow-link", "c2l_tls"))
    for target in (
        Target("slow link, half a round trip + 25 ms", scenario, "token delay p99", at((HOME[2] + 25) * 1000), system=system),
        Target("slow link, still full", scenario, "beside", at(0.95 * HOME[0] / 1e6), system=system),
    )
]
# "cancel, in all three phases, p50 / max | ≤ 1 ms / 5 ms | ≤ rathole's"
# "agent killed → waiting caller told | ≤ 5 ms"
# "agent frozen → waiting caller told | two heartbeats"; a quarter of a second is left to how it is measured
ENDINGS = [
    target
    for phase in ("before-head", "in-answer", "in-upload")
    for target in (
        Target(f"cancel, {phase.replace('-', ' ')}", f"cancel-{phase}", "seen after p50", at(1000), of("rathole", 1.0)),
        Target(f"cancel, {phase.replace('-', ' ')}", f"cancel-{phase}", "seen after max", at(5000), of("rathole", 1.0)),
    )
] + [
    Target("agent killed, waiting caller told", "agent-killed", "told max", at(5)),
    Target("agent frozen, waiting caller told: two heartbeats", "agent-frozen", "told max", at(2000 * HEARTBEAT_SECONDS + 250)),
    Target("agent frozen, callers never told", "agent-frozen", "never told", at(0)),
]
# "idle agent at the relay, plain HTTP/2 and WebSocket, also after it has moved bulk | ≤ 28 KB each | ≤ 11 KB"
# "10,000 agents back after a restart | ≤ 35 s, no CPU starvation of requests"; starved would be one in a hundred that waits a quarter of a second
CROWDS = [
    Target(f"idle agent, {count:,} of them", f"idle-{count}", figure, at(28), at(11), system)
    for count in (1000, 10_000)
    for system in ("c2l", "c2l_websocket")
    for figure in ("memory each, fresh", "memory each, after bulk")
] + [
    target
    for system in ("c2l", "c2l_websocket")
    for target in (
        Target("10,000 agents back after a restart", "restart-10000", "all back", at(35), system=system),
        Target("requests meanwhile", "restart-10000", "request meanwhile p99", at(250_000), system=system),
    )
]
# "over a 23 ms round trip: first token p50; new caller connections | ≤ 1.1 round trips + upstream; as many as without the delay"; as many: within the
# 5 % that two runs of one thing differ
FAR = [
    Target("23 ms away: 1.1 round trips + upstream", "far-first-token", "first token p50", Limit(1.0, "direct", 1.1 * ROUND_TRIP_MS, "near-first-token")),
    Target("23 ms away: new caller connections", "far-newconn", "rate", of(SELF, 0.95, on="near-newconn")),
]
# "the same over the WebSocket | ≥ 0.85 × our own plain figures | ≥ 0.95 ×"
# "the same under TLS | ≥ 1.0 × each peer with its encryption on": each is the best of them
SAME = [("small-1", "latency p50"), ("small-64", "rate"), ("newconn", "rate"), ("stream-100", "token delay p50"), ("stream-100", "token delay p99"),
        ("stream-100", "first token p50"), ("firehose", "rate"), ("bulk-down", "rate"), ("bulk-up", "rate"), ("mixed-downloads", "token delay p99")]


def share(part, figure):
    """Of a rate that part of ours; of a time the same the other way round."""
    return of("c2l", part if figure == "rate" else 1 / part)


WEBSOCKET = [Target("the same over the WebSocket", scenario, figure, share(0.85, figure), share(0.95, figure), "c2l_websocket")
             for scenario, figure in SAME]
TLS = [Target("the same under TLS", f"tls-{scenario}", figure, of(BEST, 1.0), system="c2l_tls") for scenario, figure in SAME if scenario in ENCRYPTED]
# Beside the requirement, alike with alike: one way encrypted, as the tunnels have it, and both, as c2l has it.
ALIKE = [
    target
    for scenario, figure in SAME
    if scenario in ENCRYPTED
    for target in (
        Target("TLS toward the agent alone, as a tunnel has it", f"tls-{scenario}", figure, None, of(BEST, 1.0), "c2l_tls_link"),
        Target("TLS toward both, beside nginx in front of rathole", f"tls-{scenario}", figure, None, of("nginx_rathole_tls", 1.0), "c2l_tls"),
    )
]
TARGETS = [*REQUESTS, *STREAMS, *BESIDE, *SLOW_LINK, *ENDINGS, *CROWDS, *FAR, *WEBSOCKET, *TLS, *ALIKE]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A target with what was found; `is_met` and `is_aim_met` are None where something was not measured."""

    target: Target
    figure: object
    measured: float | None
    must: float | None
    aim: float | None

    def holds(self, limit):
        if self.measured is None or limit is None:
            return None
        return self.measured <= limit if self.figure.less_is_better else self.measured >= limit

    @property
    def is_met(self):
        return self.holds(self.must)

    @property
    def is_aim_met(self):
        return self.holds(self.aim)


def judge(found, scenarios, targets=None):
    """A verdict for each target, from the medians found."""
    by_name = {scenario.name: scenario for scenario in scenarios}
    verdicts = []
    for target in TARGETS if targets is None else targets:
        if scenario := by_name.get(target.scenario):
            figure = next(figure for figure in scenario.figures if figure.name == target.figure)
            values = [value(found, target, figure, limit) for limit in (target.must, target.aim)]
            verdicts.append(Verdict(target, figure, found.median(target.scenario, figure, target.system), *values))
    return verdicts


def value(found, target, figure, limit):
    """What the limit comes to, or None where there is none or its measure is missing."""
    if limit is None:
        return None
    if not limit.of:
        return limit.plus
    scenario = limit.on or target.scenario
    if limit.of == BEST:
        other, _ = best(found, scenario, figure)
    else:
        other = found.median(scenario, figure, target.system if limit.of == SELF else limit.of)
    return None if other is None else limit.factor * other + limit.plus


def best(found, scenario, figure):
    """The best of the tunnels on this figure, and which that is."""
    peers = [(found.median(scenario, figure, name), name) for name in sorted(systems.TUNNELS)]
    peers = [(value, name) for value, name in peers if value is not None]
    if not peers:
        return None, None
    return min(peers) if figure.less_is_better else max(peers)

"""What is measured: who does it, with what job, the figures taken from its result, and which way is better.

Invariant: a scenario's name says where it ran. `tls-` is the encrypted form of the systems, `home-` and `far-` have a link between
agent and server, `near-` the same link without its delay.
"""

import dataclasses
import statistics


@dataclasses.dataclass(frozen=True)
class Figure:
    """A number of a result: where it stands there, and what it is multiplied with for its unit."""

    name: str
    path: tuple
    unit: str
    less_is_better: bool = True
    factor: float = 1.0


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    job: dict
    figures: list
    # Who performs it: the callers against a stage of systems, or one of the modules of that name.
    by: str = "load"
    # (up, down) bytes a second and delay each way of the link between agent and server.
    link: tuple | None = None
    is_encrypted: bool = False
    # Only these systems; none means all.
    systems: tuple = ()


MB = 1e-6
RATE = 1_250_000_000
HOME = (2_500_000, 12_500_000, 20)  # 20 Mbit/s up, 100 down, 40 ms round trip
FAR = (RATE, RATE, 11)  # 23 ms round trip with its timers, no limit on the rate
NEAR = (RATE, RATE, 0)
ROUND_TRIP_MS = 23
HEARTBEAT_SECONDS = 10  # the relay's default
OURS = ("c2l", "c2l_websocket")
# What is measured in the encrypted forms as well.
ENCRYPTED = ("small-1", "small-64", "newconn", "stream-100", "firehose", "bulk-down", "bulk-up", "mixed-downloads", "mixed-uploads")


def quantiles(name, path, names=("p50", "p99")):
    return [Figure(f"{name} {q}", (path, q), "µs") for q in names]


def rate(unit, factor=1.0):
    return Figure("rate", ("per_second",), unit, less_is_better=False, factor=factor)


def cpu(what, path="cpu"):
    return [Figure(f"CPU a {what}", (path,), "s" if path == "cpu_bytes" else "µs")]


LATENCY = quantiles("latency", "latency_us")
DELAY = quantiles("token delay", "delay_us", ("p50", "p99", "p999", "max"))
FIRST = [Figure("first token p50", ("first_us", "p50"), "ms", factor=1e-3)]
BESIDE = [Figure("beside", ("beside_per_second",), "MB/s", less_is_better=False, factor=MB)]


def scenarios(options):
    """All of them, each of about `options.seconds`; a smoke run shrinks the fixed amounts, too."""
    plain = [*requests(options), *chats(options), *transfers(options), *leaving(options)]
    encrypted = [dataclasses.replace(s, name=f"tls-{s.name}", is_encrypted=True) for s in plain if s.name in ENCRYPTED]
    return [*plain, *encrypted, *behind_links(options), *losses(options), *crowds(options)]


def amount(options, number):
    return max(1, int(number * (0.02 if options.smoke else 1)))


def chatting(options, count):
    """Chats of a token each 20 ms. Many begin over a second and then go on together: how connections storm is `newconn`'s to say."""
    chats = {"chats": count, "tokens": max(2, int(options.seconds * 50)), "gap_us": 20_000}
    if count > 100:
        chats |= {"tokens": chats["tokens"] + 50, "ramp_us": 990_000}
    return chats


def requests(options):
    for at_once in (1, 16, 64, 256):
        job = {"scenario": "small", "at_once": at_once, "seconds": options.seconds}
        yield Scenario(f"small-{at_once}", job, [*LATENCY, rate("req/s"), *cpu("request")])
    job = {"scenario": "newconn", "at_once": 16, "seconds": options.seconds}
    yield Scenario("newconn", job, [*LATENCY, rate("conn/s"), *cpu("request")])


def chats(options):
    for count in (1, 20, 100, 1000):
        job = {"scenario": "stream", **chatting(options, amount(options, count))}
        yield Scenario(f"stream-{count}", job, [*DELAY, *FIRST, *cpu("token")])
    for beside, others, figures in (("downloads", 2, [*DELAY, *BESIDE]), ("uploads", 2, [*DELAY, *BESIDE]), ("stopping", 4, DELAY), ("stopped", 4, DELAY)):
        job = {"scenario": "mixed", "beside": beside, "others": others, "chats": chatting(options, 20)}
        yield Scenario(f"mixed-{beside}", job, figures)


def transfers(options):
    job = {"scenario": "stream", "chats": 16, "tokens": amount(options, 40_000 * options.seconds), "gap_us": 0}
    yield Scenario("firehose", job, [rate("chunks/s"), *cpu("token")])
    for way in ("down", "up"):
        job = {"scenario": f"bulk-{way}", "at_once": 4, "bytes": amount(options, 200_000_000 * options.seconds)}
        yield Scenario(f"bulk-{way}", job, [rate("MB/s", factor=MB), *cpu("GB", "cpu_bytes")])


def leaving(options):
    for phase in ("before-head", "in-answer", "in-upload"):
        job = {"scenario": "cancel", "phase": phase, "times": amount(options, 40)}
        yield Scenario(f"cancel-{phase}", job, quantiles("seen after", "delay_us", ("p50", "max")))


def behind_links(options):
    job = {"scenario": "mixed", "beside": "downloads", "others": 1, "chats": chatting(options, 4)}
    home = Scenario("home-slow-link", job, [*DELAY, *BESIDE], link=HOME)
    yield home
    yield dataclasses.replace(home, name="tls-home-slow-link", is_encrypted=True)
    # So many that the delay alone does not bound the rate: 1,024 of them, each with 23 ms of it, could be 44,000 a second.
    newconn = {"scenario": "newconn", "at_once": amount(options, 1024), "seconds": options.seconds}
    first = {"scenario": "stream", **chatting(options, 20), "tokens": 10}
    yield Scenario("far-first-token", first, FIRST, link=FAR)
    yield Scenario("far-newconn", newconn, [rate("conn/s")], link=FAR)
    ours = ("direct", *OURS)
    yield Scenario("near-first-token", first, FIRST, link=NEAR, systems=ours)
    yield Scenario("near-newconn", newconn, [rate("conn/s")], link=NEAR, systems=ours)


def losses(options):
    told = [Figure("told p50", ("told_ms", "p50"), "ms"), Figure("told max", ("told_ms", "max"), "ms"), Figure("never told", ("untold",), "callers")]
    yield Scenario("agent-killed", {"signal": "SIGKILL", "seconds": 5}, told, by="lost")
    patience = 6 if options.smoke else 2.5 * HEARTBEAT_SECONDS
    yield Scenario("agent-frozen", {"signal": "SIGSTOP", "seconds": patience}, told, by="lost")


def crowds(options):
    beside = [Figure(f"small {q}", ("small_us", q), "µs") for q in ("p50", "p99")]
    idle = [Figure("memory each, fresh", ("kb_fresh",), "KB"), Figure("memory each, after bulk", ("kb_moved",), "KB"),
            Figure("CPU at rest", ("cpu_share",), "% of a core", factor=100), *beside]
    back = [Figure("all back", ("back_seconds",), "s"), Figure("CPU until then", ("back_cpu_seconds",), "s"),
            *quantiles("request meanwhile", "latency_us", ("p50", "p99", "max")), Figure("asked too early", ("early",), "requests")]
    for count in options.agents:
        yield Scenario(f"idle-{count}", {"agents": count}, idle, by="idle", systems=OURS)
        yield Scenario(f"restart-{count}", {"agents": count}, back, by="idle", systems=OURS)


def take(result, figure):
    """The figure in a result, or None where this result has none."""
    value = result
    for step in figure.path:
        value = value.get(step) if isinstance(value, dict) else None
        if value is None:
            return None
    return value * figure.factor


class Found:
    """The runs of a benchmark, asked for medians of figures."""

    def __init__(self, runs):
        self.results = {}
        for run in runs:
            self.results.setdefault((run["scenario"], run["system"]), []).append(run["result"])

    def rounds(self, scenario, system):
        return self.results.get((scenario, system), [])

    def median(self, scenario, figure, system):
        """Over the rounds, or None where nothing was measured."""
        values = [take(result, figure) for result in self.rounds(scenario, system)]
        values = [value for value in values if value is not None]
        return statistics.median(values) if values else None

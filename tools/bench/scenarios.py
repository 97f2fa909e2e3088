"""What is measured: a job for the callers, the figures taken from its result, and which way is better.

A figure is (name, path in the result, factor, unit, whether less is better). `cpu` divides the system's CPU time by the count.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Figure:
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
    cpu: Figure | None = None
    # Needs a stage with a link of this kind between agent and server: (up, down) bytes a second and delay each way.
    link: tuple | None = None


def latency(name, path=("latency_us",)):
    return [Figure(f"{name} {q}", (*path, q), "µs") for q in ("p50", "p99")]


def rate(unit, factor=1.0):
    return Figure("rate", ("per_second",), unit, less_is_better=False, factor=factor)


CPU_REQUEST = Figure("CPU a request", ("cpu",), "µs")
CPU_TOKEN = Figure("CPU a token", ("cpu",), "µs")
CPU_GB = Figure("CPU a GB", ("cpu_bytes",), "s")
MB = 1e-6
HOME = (2_500_000, 12_500_000, 20)  # 20 Mbit/s up, 100 down, 40 ms round trip
FAR = (1_250_000_000, 1_250_000_000, 11)  # 23 ms round trip with its timers, no limit on the rate


def scenarios(seconds, scale=1.0):
    """All of them; `scale` shrinks the fixed amounts for a smoke run."""

    def amount(number):
        return max(1, int(number * scale))

    tokens = amount(seconds * 50)
    delay = [*latency("token delay", ("delay_us",)), Figure("token delay p99.9", ("delay_us", "p999"), "µs")]
    first = Figure("first token p50", ("first_us", "p50"), "ms", factor=1e-3)
    chats = lambda chats, count=tokens: {"chats": chats, "tokens": count, "gap_us": 20_000}
    found = []
    for at_once in (1, 16, 64, 256):
        job = {"scenario": "small", "at_once": at_once, "seconds": seconds}
        found.append(Scenario(f"small-{at_once}", job, [*latency("latency"), rate("req/s")], CPU_REQUEST))
    job = {"scenario": "newconn", "at_once": 16, "seconds": seconds}
    found.append(Scenario("newconn", job, [*latency("latency"), rate("conn/s")], CPU_REQUEST))
    for count in (1, 100, 1000):
        job = {"scenario": "stream", **chats(amount(count))}
        found.append(Scenario(f"stream-{count}", job, [*delay, first], CPU_TOKEN))
    job = {"scenario": "stream", "chats": 16, "tokens": amount(8_000 * seconds), "gap_us": 0}
    found.append(Scenario("firehose", job, [rate("chunks/s")], CPU_TOKEN))
    for way in ("down", "up"):
        job = {"scenario": f"bulk-{way}", "at_once": 4, "bytes": amount(100_000_000 * seconds)}
        found.append(Scenario(f"bulk-{way}", job, [rate("MB/s", factor=MB)], CPU_GB))
    beside = Figure("beside", ("beside_per_second",), "MB/s", less_is_better=False, factor=MB)
    job = {"scenario": "mixed", "beside": "downloads", "others": 2, "chats": chats(20)}
    found.append(Scenario("mixed-downloads", job, [*delay, beside]))
    job = {"scenario": "mixed", "beside": "stopped", "others": 4, "chats": chats(20)}
    found.append(Scenario("mixed-stopped", job, delay))
    for phase in ("before-head", "in-answer", "in-upload"):
        job = {"scenario": "cancel", "phase": phase, "times": amount(40)}
        figures = [Figure("p50", ("delay_us", "p50"), "µs"), Figure("max", ("delay_us", "max"), "µs")]
        found.append(Scenario(f"cancel-{phase}", job, figures))
    job = {"scenario": "mixed", "beside": "downloads", "others": 1, "chats": chats(4)}
    found.append(Scenario("slow-link", job, [*delay, beside], link=HOME))
    job = {"scenario": "stream", **chats(20, amount(50))}
    found.append(Scenario("far-first-token", job, [first], link=FAR))
    job = {"scenario": "newconn", "at_once": 16, "seconds": seconds}
    found.append(Scenario("far-newconn", job, [rate("conn/s")], link=FAR))
    return found


def take(result, figure):
    """The figure in a result, or None where this result has none."""
    value = result
    for step in figure.path:
        value = value.get(step) if isinstance(value, dict) else None
        if value is None:
            return None
    return value * figure.factor

"""An agent's side that dies or freezes: when waiting callers are told.

Of a system with an agent's side, its last process is that. One that never tells is counted, and the wait is bounded.
"""

import os
import signal
import time

import systems
from stage import Stage

CALLERS = 2  # in each phase of an exchange


def run(options, scenario, names, note, record):
    """Kills one after the other, so that each has the machine; freezes all at once, since only the clock works then."""
    is_frozen = scenario.job["signal"] == "SIGSTOP"
    for number in range(1 if is_frozen else options.rounds):
        with Stage(options.binaries) as stage:
            waiting = list(start(stage, scenario, names, note, options))
            struck = {system.name: strike(scenario, system) for system, _ in waiting if is_frozen}
            for system, job in waiting:
                try:
                    at = struck.get(system.name) or strike(scenario, system)
                    record(scenario, system.name, number, told(job.finish(), at))
                except RuntimeError as error:
                    note(system.name, f"{scenario.name} on {system.name}: {error}")
            for system, _ in waiting:
                os.kill(system.processes[-1].pid, signal.SIGCONT)  # so that it can be ended


def strike(scenario, system):
    at = time.time_ns()
    os.kill(system.processes[-1].pid, signal.Signals[scenario.job["signal"]])
    return at


def start(stage, scenario, names, note, options):
    """The systems that have an agent's side, each with its callers waiting."""
    stage.relay_options = ["--heartbeat-interval", "1s"] if options.smoke else []
    for name in names:
        try:
            system = systems.load(name).start(stage, lambda port, is_upstream=False: port)
            if len(system.processes) > 1:
                yield system.wait(stage), wait(stage, scenario, system)
        except Exception as error:  # one that does not start is no reason to measure none
            note(name, f"{scenario.name} on {name}, before it began: {error}")


def wait(stage, scenario, system):
    """Callers of this system that wait, each known to have reached the upstream."""
    job = {"scenario": "lost", "callers": CALLERS, "upstream": f"127.0.0.1:{stage.upstream}", "seconds": scenario.job["seconds"]}
    waiting = stage.begin(job | {"target": system.target})
    waiting.say()
    return waiting


def told(result, struck):
    times = sorted((at - struck) / 1e6 for at in result["told_at"] if at is not None)
    found = {"count": len(result["told_at"]), "untold": len(result["told_at"]) - len(times)}
    if times:
        found["told_ms"] = {"p50": times[len(times) // 2], "max": times[-1]}
    return found

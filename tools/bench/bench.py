"""Brings the systems up, runs interleaved rounds, and writes what came of it. Read next: stage.py, scenarios.py, table.py."""

import argparse
import datetime
import json
import pathlib
import platform
import random
import subprocess
import sys

import idle
import plot
import systems
import table
from scenarios import scenarios
from stage import Stage, which

HERE = pathlib.Path(__file__).parent


def main():
    options = read_options()
    random.seed(options.seed)
    wanted, missing = choose(options)
    chosen = [s for s in scenarios(options.seconds, 0.02 if options.smoke else 1.0) if matches(s.name, options.scenario)]
    results = {"machine": machine(), "date": datetime.date.today().isoformat(), "revision": revision(), "rounds": options.rounds,
               "seconds": options.seconds, "missing": missing, "failures": [], "runs": []}
    for link in dict.fromkeys(s.link for s in chosen):
        run_stage(options, wanted, [s for s in chosen if s.link == link], link, results)
    if matches("idle", options.scenario):
        results["idle"] = idle.run(options, results["failures"])
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(json.dumps(results, indent=1))
    text = table.text(results, chosen, wanted)
    (options.out / "table.md").write_text(text)
    plot.write(results, chosen, options.out)
    print(text)
    if results["failures"]:
        sys.exit(1)


def read_options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binaries", required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one run of one scenario")
    parser.add_argument("--system", action="append", default=[], help="only these; the start of a name is enough for none")
    parser.add_argument("--scenario", action="append", default=[], help="only those that begin with one of these")
    parser.add_argument("--encrypted", action="store_true", help="the systems with their encryption on")
    parser.add_argument("--agents", type=int, action="append", default=[], help="of the idle scenario; default 1,000")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        options.rounds, options.seconds, options.agents = 1, 0.2, options.agents or [20]
    options.agents = options.agents or [1000]
    return options


def matches(name, wanted):
    return not wanted or any(name.startswith(start) for start in wanted)


def choose(options):
    """The systems to run, and why the others are not."""
    names = options.system or (["direct", *systems.ENCRYPTED] if options.encrypted else systems.NAMES)
    missing = {}
    for name in names:
        lacks = [program for program in systems.load(name).NEEDS if which(program) is None]
        if lacks:
            missing[name] = f"not installed: {', '.join(lacks)}"
    for name, why in missing.items():
        print(f"{name}: {why}", file=sys.stderr)
    return [name for name in names if name not in missing], missing


def run_stage(options, names, chosen, link, results):
    """All systems of one kind of path, every scenario in turn on each of them, round by round."""
    with Stage(options.binaries) as stage:
        path = (lambda port: stage.link(port, *link)) if link else (lambda port: port)
        up = []
        for name in names:
            try:
                if system := systems.load(name).start(stage, path):
                    up.append(system.wait(stage))
            except Exception as error:  # one peer that does not start is no reason to measure none
                note_failure(results, f"{name} did not start: {error}")
        for number in range(options.rounds):
            for scenario in chosen:
                for system in random.sample(up, len(up)):
                    run_one(stage, scenario, system, number, results)
        for system in up:
            results.setdefault("resident_mb", {})[f"{system.name}{' far' if link else ''}"] = system.resident_bytes() / 1e6


def run_one(stage, scenario, system, number, results):
    job = scenario.job | {"target": system.target}
    if job["scenario"] == "cancel":
        job["upstream"] = f"127.0.0.1:{stage.upstream}"
    before = system.cpu_seconds()
    try:
        result = stage.load(job)
    except Exception as error:
        note_failure(results, f"{scenario.name} on {system.name}: {error}")
        return
    used = system.cpu_seconds() - before
    if system.processes and result.get("count"):
        result["cpu"] = used / result["count"] * 1e6
    if system.processes and result.get("bytes"):
        result["cpu_bytes"] = used / result["bytes"] * 1e9
    results["runs"].append({"scenario": scenario.name, "system": system.name, "round": number, "result": result})
    print(f"round {number + 1}: {scenario.name} on {system.name}", file=sys.stderr)


def note_failure(results, text):
    """A wrong count or a system that fell over. Of ours it fails the run; of a peer it is said in the table."""
    print(f"FAILED {text}", file=sys.stderr)
    ours = "c2l" in text.split(":", 1)[0]
    results["failures" if ours else "peer_failures"] = [*results.get("failures" if ours else "peer_failures", []), text]


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    cores = sum(line.startswith("processor") for line in open("/proc/cpuinfo"))
    return f"{cores} cores, {model}, Linux {platform.release()}"


def revision():
    described = subprocess.run(["git", "-C", HERE, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return described.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()

"""Brings the systems up, runs interleaved rounds, and writes what came of it. Read next: stage.py, scenarios.py, targets.py."""

import argparse
import datetime
import json
import pathlib
import platform
import random
import subprocess
import sys

import docs
import idle
import lost
import plot
import systems
import table
from scenarios import scenarios
from stage import Stage, which

HERE = pathlib.Path(__file__).parent
SMOKED = ["direct", "c2l", "c2l_websocket", "c2l_tls", "c2l_tls_link"]


def main():
    options = read_options()
    random.seed(options.seed)
    every = scenarios(options)
    chosen = [s for s in every if matches(s.name, options.scenario) and (s.is_encrypted or not options.encrypted)]
    results = read_results(options)
    if not options.report:
        measure(options, chosen, results)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    text = table.text(results, every)
    (options.out / "table.md").write_text(text)
    plot.write(results, every, options.out)
    if options.docs:
        docs.write(results, every, options.out)
    print(text)
    if results["failures"]:
        sys.exit(1)


def read_options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binaries", required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of one run of one scenario")
    parser.add_argument("--system", action="append", default=[], help="only these")
    parser.add_argument("--scenario", action="append", default=[], help="only those that begin with one of these")
    parser.add_argument("--encrypted", action="store_true", help="only the encrypted forms")
    parser.add_argument("--agents", type=int, action="append", default=[], help="of the idle scenarios; default 1,000 and 10,000")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="three short rounds")
    parser.add_argument("--smoke", action="store_true", help="everything for a moment, to see that it works")
    parser.add_argument("--add", action="store_true", help="to what results.json holds already")
    parser.add_argument("--report", action="store_true", help="runs nothing and writes anew what results.json says")
    parser.add_argument("--docs", action="store_true", help="also renews the tables and pictures of the documentation")
    options = parser.parse_args()
    rounds, seconds, agents = (1, 0.1, [20]) if options.smoke else (3, 0.4, [1000, 10_000]) if options.quick else (5, 2.0, [1000, 10_000])
    options.rounds, options.seconds = options.rounds or rounds, options.seconds or seconds
    options.agents = options.agents or agents
    if options.smoke:
        options.system = options.system or SMOKED
    return options


def read_results(options):
    """What is there already where it is wanted, or nothing yet."""
    path = options.out / "results.json"
    if (options.add or options.report) and path.exists():
        return json.loads(path.read_text())
    began = datetime.datetime.now(datetime.timezone.utc)
    return {"machine": machine(), "date": began.strftime("%Y-%m-%d %H:%M UTC"), "revision": revision(), "rounds": options.rounds,
            "seconds": options.seconds, "versions": {}, "missing": {}, "failures": [], "peer_failures": [], "runs": []}


def matches(name, wanted):
    return not wanted or any(name.startswith(start) for start in wanted)


def measure(options, chosen, results):
    """All that was chosen, on all systems that are here."""
    wanted = {is_encrypted: choose(options, is_encrypted, results) for is_encrypted in {s.is_encrypted for s in chosen}}

    def names(scenario):
        return [name for name in wanted[scenario.is_encrypted] if not scenario.systems or name in scenario.systems]

    def note(system, text):
        """A wrong count or a system that fell over. Of ours it fails the run; of a peer it is said in the table."""
        print(f"FAILED {text}", file=sys.stderr)
        results["failures" if system.startswith("c2l") else "peer_failures"].append(text)

    def record(scenario, system, number, result):
        results["runs"].append({"scenario": scenario.name, "system": system, "round": number, "result": result})
        print(f"round {number + 1}: {scenario.name} on {system}", file=sys.stderr)

    loads = [s for s in chosen if s.by == "load"]
    for kind in dict.fromkeys((s.link, s.is_encrypted) for s in loads):
        run_stage(options, [s for s in loads if (s.link, s.is_encrypted) == kind], names, note, record)
    for scenario in chosen:
        if scenario.by == "lost":
            lost.run(options, scenario, names(scenario), note, record)
    run_crowds(options, [s for s in chosen if s.by == "idle"], names, note, record, results["missing"])


def choose(options, is_encrypted, results):
    """The systems to run; those that are missing are noted, and of the others the version."""
    found = []
    for name in systems.ENCRYPTED if is_encrypted else systems.NAMES:
        if options.system and name not in options.system:
            continue
        if options.quick and name in systems.LEFT_OUT_OF_QUICK:
            results["missing"][name] = "left out of a quick run"
            continue
        needs = systems.load(name).NEEDS
        if lacks := [program for program in needs if which(program) is None]:
            results["missing"][name] = f"not installed: {', '.join(lacks)}"
            print(f"{name}: {results['missing'][name]}", file=sys.stderr)
            continue
        found.append(name)
        if needs and (said := version(needs[0])):
            results["versions"][needs[0]] = said
    return found


def version(program):
    """What the program says of its version: its first line with a digit."""
    for flag in ("--version", "-v", "-V"):
        done = subprocess.run([which(program), flag], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if any(c.isdigit() for c in line)]
        if done.returncode == 0 and lines:
            return lines[0]
    return None


def run_stage(options, chosen, names, note, record):
    """All systems of one kind of path, every scenario in turn on each of them, round by round."""
    with Stage(options.binaries) as stage:
        path = way(stage, chosen[0].link)
        up = []
        for name in dict.fromkeys(name for scenario in chosen for name in names(scenario)):
            try:
                if system := systems.load(name).start(stage, path):
                    up.append(system.wait(stage))
            except Exception as error:  # one peer that does not start is no reason to measure none
                note(name, f"{name} did not start: {error}")
        for number in range(options.rounds):
            for scenario in chosen:
                those = [system for system in up if system.name in names(scenario)]
                for system in random.sample(those, len(those)):
                    try:
                        record(scenario, system.name, number, run_one(stage, scenario, system))
                    except Exception as error:
                        note(system.name, f"{scenario.name} on {system.name}: {error}")


def way(stage, link):
    """How the agent's side reaches the server, or a system without one the upstream: what an answer crosses is the home's uplink."""
    if link is None:
        return lambda port, is_upstream=False: port
    up, down, delay = link
    return lambda port, is_upstream=False: stage.link(port, *((down, up) if is_upstream else (up, down)), delay)


def run_one(stage, scenario, system):
    job = scenario.job | {"target": system.target}
    if job["scenario"] in ("cancel", "mixed"):
        job["upstream"] = f"127.0.0.1:{stage.upstream}"
    before = system.cpu_seconds()
    result = stage.load(job)
    used = [after - before for before, after in zip(before, system.cpu_seconds())]
    result["cpu_each"] = used
    if used and result.get("count"):
        result["cpu"] = sum(used) / result["count"] * 1e6
    if used and result.get("bytes"):
        result["cpu_bytes"] = sum(used) / result["bytes"] * 1e9
    return result


def run_crowds(options, chosen, names, note, record, missing):
    """Agents by the thousand: a relay of its own for each number and transport, as `restart` follows `idle` on the same one."""
    for idling in (s for s in chosen if s.name.startswith("idle")):
        count = idling.job["agents"]
        if lacks := idle.lacks(count):
            missing[idling.name] = lacks
            continue
        kinds = {s.name.split("-")[0]: s for s in chosen if s.job["agents"] == count}
        for name in names(idling):
            keep = lambda kind, result, name=name, kinds=kinds: kind in kinds and record(kinds[kind], name, 0, result)
            try:
                idle.run(options, count, name, keep)
            except Exception as error:
                note(name, f"{idling.name} on {name}: {error}")


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    cores = sum(line.startswith("processor") for line in open("/proc/cpuinfo"))
    return f"{cores} cores, {model}, Linux {platform.release().split('-')[0]}"


def revision():
    described = subprocess.run(["git", "-C", HERE, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return described.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()

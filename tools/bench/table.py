"""The figures side by side: medians of the rounds, the ratio to the best tunnel among the peers, and which targets are met."""

import statistics

import systems
from scenarios import OURS, Found
from targets import best, judge

# Kind of scenario, its figure, and what ten times as many make of it.
TENFOLD = [("idle", "memory each, fresh", "memory, fresh, GB"), ("idle", "memory each, after bulk", "memory, after bulk, GB"),
           ("idle", "CPU at rest", "CPU at rest, % of a core"), ("restart", "CPU until then", "CPU until all are back, s")]
MARKS = {True: "met", False: "**missed**", None: "–"}


def text(results, scenarios):
    """Everything, for the terminal and for table.md."""
    found = Found(results["runs"])
    parts = [f"# Benchmark, {results['date']}, {results['revision']}", machine(results), *wrong(results), "## Targets", targets(found, scenarios),
             "## Figures", figures(found, scenarios), "## Many agents", crowd(found, scenarios), "## CPU seconds of each process", cpu(found)]
    return "\n\n".join(parts) + "\n"


def machine(results):
    lines = [f"{results['machine']}, {results['date']}. Medians of {results['rounds']} interleaved rounds of {results['seconds']:g} s. Upstream and callers "
             "share the cores with what is measured: ratios count, absolute figures orient."]
    if results["versions"]:
        lines.append("Peers: " + "; ".join(f"{name}: {said}" for name, said in sorted(results["versions"].items())) + ".")
    lines += [f"Missing: {name} ({why})." for name, why in results["missing"].items()]
    return "\n".join(lines)


def wrong(results):
    """What gave no figure, since a count was not what it must be."""
    lines = [f"- **Failed**: {failure}" for failure in results["failures"]]
    lines += [f"- Failed, a peer: {failure}" for failure in results["peer_failures"]]
    return ["\n".join(lines)] if lines else []


def targets(found, scenarios):
    lines = ["| target | figure | must | aim | measured | must | aim |", "|---|---|---:|---:|---:|---|---|"]
    verdicts = judge(found, scenarios)
    for verdict in verdicts:
        target, figure = verdict.target, verdict.figure
        name = f"{target.source}{'' if target.system.startswith('c2l_tls') or target.system == 'c2l' else f' ({target.system})'}"
        sign = "≤" if figure.less_is_better else "≥"
        limits = [limited(sign, limit, value) for limit, value in ((target.must, verdict.must), (target.aim, verdict.aim))]
        lines.append(f"| {name} | {target.scenario}: {figure.name}, {figure.unit} | {' | '.join(limits)} | {shown(verdict.measured)} | "
                     f"{MARKS[verdict.is_met]} | {MARKS[verdict.is_aim_met]} |")
    musts = [verdict.is_met for verdict in verdicts if verdict.target.must]
    lines += ["", f"{musts.count(True)} met, {musts.count(False)} missed, {musts.count(None)} not measured."]
    return "\n".join(lines)


def limited(sign, limit, value):
    if limit is None:
        return "–"
    return f"{sign} {limit.words()}" + (f" = {shown(value)}" if limit.of else "")


def figures(found, scenarios):
    """A table for the clear forms and one for the encrypted ones, of the systems that gave any figure."""
    return "\n\n".join(table for is_encrypted in (False, True) if (table := side_by_side(found, scenarios, is_encrypted)))


def side_by_side(found, scenarios, is_encrypted):
    those = [s for s in scenarios if s.is_encrypted == is_encrypted and s.by != "idle" and any(name == s.name for name, _ in found.results)]
    present = {system for scenario, system in found.results if scenario in {s.name for s in those}}
    names = [name for name in (systems.ENCRYPTED if is_encrypted else systems.NAMES) if name in present]
    if not names:
        return ""
    lines = [f"| measure | {' | '.join(names)} | c2l to best tunnel |", f"|---|{'---:|' * (len(names) + 1)}"]
    lines += [row(found, scenario, figure, names) for scenario in those for figure in scenario.figures]
    return "\n".join(lines)


def row(found, scenario, figure, names):
    return f"| {label(scenario, figure)} | {' | '.join(medians(found, scenario, figure, names))} | {ratio(found, scenario, figure)} |"


def label(scenario, figure):
    return f"{scenario.name}: {figure.name.replace('p999', 'p99.9')}, {figure.unit} {'↓' if figure.less_is_better else '↑'}"


def medians(found, scenario, figure, names):
    return [shown(found.median(scenario.name, figure, name)) for name in names]


def ratio(found, scenario, figure):
    """Ours to the best of the tunnels: below 1 is better where less is, above 1 where more is."""
    ours = found.median(scenario.name, figure, "c2l_tls" if scenario.is_encrypted else "c2l")
    other, name = best(found, scenario.name, figure)
    return f"{ours / other:.2f} × {name}" if ours is not None and other else "–"


def crowd(found, scenarios):
    """What agents by the thousand cost one relay, and what ten times the most of them would, if each cost the same."""
    those = [s for s in scenarios if s.by == "idle" and any(name == s.name for name, _ in found.results)]
    lines = [f"| measure | {' | '.join(OURS)} |", f"|---|{'---:|' * len(OURS)}"]
    lines += [f"| {label(scenario, figure)} | {' | '.join(medians(found, scenario, figure, OURS))} |" for scenario in those for figure in scenario.figures]
    most = max((s for s in those if s.name.startswith("idle")), key=lambda s: s.job["agents"], default=None)
    for kind, share, words in TENFOLD if most else []:
        scenario = next(s for s in scenarios if s.name == f"{kind}-{most.job['agents']}")
        figure = next(figure for figure in scenario.figures if figure.name == share)
        ten = [found.median(scenario.name, figure, name) for name in OURS]
        whole = 10 * most.job["agents"]
        factor = whole / 1e6 if figure.unit == "KB" else 10
        lines.append(f"| {whole:,}, by that: {words} | {' | '.join(shown(value and value * factor) for value in ten)} |")
    return "\n".join(lines)


def cpu(found):
    """For each process of a system: server or relay first, the agent's side second."""
    kinds = [("small-64", "count", 1000, "1,000 small requests, 64 at once"), ("stream-100", "count", 1000, "1,000 tokens, 100 chats"),
             ("bulk-down", "bytes", 1e9, "GB down"), ("bulk-up", "bytes", 1e9, "GB up")]
    lines = [f"| system | {' | '.join(label for *_, label in kinds)} |", f"|---|{'---:|' * len(kinds)}"]
    for name in systems.NAMES:
        cells = [each(found.rounds(scenario, name), count, of) for scenario, count, of, _ in kinds]
        if any(cell != "–" for cell in cells):
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def each(rounds, count, of):
    """The median of each process, like `0.014 + 0.021`."""
    used = [[seconds / result[count] * of for seconds in result["cpu_each"]] for result in rounds if result.get(count)]
    return " + ".join(f"{statistics.median(process):.3g}" for process in zip(*used)) or "–"


def shown(value):
    if value is None:
        return "–"
    if value >= 10_000:
        return f"{value / 1000:.4g}k"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"

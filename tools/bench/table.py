"""The figures side by side: medians of the rounds, the ratio to the best tunnel among the peers, and the speed we mean to reach."""

import statistics

import systems
from scenarios import take


def text(results, chosen, names):
    lines = [f"# Benchmark, {results['date']}, {results['revision']}", "",
             f"{results['machine']}. Medians of {results['rounds']} interleaved rounds of {results['seconds']:g} s. Upstream and callers share the cores "
             "with what is measured: ratios count, absolute figures orient.", ""]
    lines += [f"Missing: {name} ({why})." for name, why in results["missing"].items()]
    lines += [f"**Failed**: {failure}" for failure in [*results["failures"], *results.get("peer_failures", [])]]
    lines += ["", f"| measure | {' | '.join(names)} | c2l to best tunnel |", f"|---|{'---:|' * (len(names) + 1)}"]
    for scenario in chosen:
        for figure in [*scenario.figures, *([scenario.cpu] if scenario.cpu else [])]:
            lines.append(row(results, scenario, figure, names))
    for idle in results.get("idle", []):
        lines.append(idle_text(idle))
    return "\n".join(lines) + "\n"


def row(results, scenario, figure, names):
    values = {name: median(results, scenario, figure, name) for name in names}
    arrow = "↓" if figure.less_is_better else "↑"
    cells = [shown(values[name]) for name in names]
    return f"| {scenario.name}: {figure.name}, {figure.unit} {arrow} | {' | '.join(cells)} | {ratio(values, figure)} |"


def median(results, scenario, figure, name):
    found = [take(run["result"], figure) for run in results["runs"] if (run["scenario"], run["system"]) == (scenario.name, name)]
    found = [value for value in found if value is not None]
    return statistics.median(found) if found else None


def ratio(values, figure):
    """Ours to the best of the tunnels: below 1 is better where less is, above 1 where more is."""
    peers = [value for name, value in values.items() if name in systems.TUNNELS and value]
    ours = next((values[name] for name in ("c2l", "c2l_tls") if values.get(name)), None)
    if not peers or ours is None:
        return "–"
    best = min(peers) if figure.less_is_better else max(peers)
    return f"{ours / best:.2f} ×"


def shown(value):
    if value is None:
        return "–"
    if value >= 10_000:
        return f"{value / 1000:.1f}k"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def idle_text(idle):
    return (f"\n{idle['agents']:,} idle agents over {idle['transport']}: {idle['kb_each']:.1f} KB each at the relay, {idle['cpu_share']:.1%} of a core; small requests "
            f"beside them p50 {idle['small_us']['p50']:.0f} µs, p99 {idle['small_us']['p99']:.0f} µs; after a kill and restart all back in "
            f"{idle['back_seconds']:.1f} s, {idle['back_cpu_seconds']:.1f} s of CPU")

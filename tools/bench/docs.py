"""Renews what the documentation says of speed: the parts between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`, and the pictures.

Invariant: no figure stands there that is not in the results; text outside of the markers is left as it is.
"""

import pathlib
import re
import shutil

import systems
import table
from scenarios import Found
from targets import best

ROOT = pathlib.Path(__file__).resolve().parents[2]
PICTURES = ("small-rate", "small-64", "stream-100", "mixed-downloads", "home-slow-link")
# The rows of the README: scenario, figure, words.
SHORT = [
    ("small-1", "latency p50", "small request, p50 µs ↓"),
    ("small-64", "rate", "small requests, 64 at once, per second ↑"),
    ("newconn", "rate", "a connection for each request, per second ↑"),
    ("stream-100", "token delay p50", "100 chats: added to a token, p50 µs ↓"),
    ("stream-100", "token delay p99", "… p99 µs ↓"),
    ("stream-100", "first token p50", "… first token, p50 ms ↓"),
    ("bulk-down", "rate", "download, 4 at once, MB/s ↑"),
    ("bulk-up", "rate", "upload, 4 at once, MB/s ↑"),
    ("mixed-downloads", "token delay p99", "token beside full-speed downloads, p99 µs ↓"),
    ("agent-killed", "told max", "agent killed, caller told after, ms ↓"),
    ("agent-frozen", "told max", "agent frozen, caller told after, ms ↓"),
]


def write(results, scenarios, folder):
    found = Found(results["runs"])
    renew(ROOT / "README.md", {"short": short(results, found, scenarios)})
    parts = {"machine": "\n".join([table.machine(results), *table.wrong(results)]), "targets": table.targets(found, scenarios),
             "figures": table.figures(found, scenarios), "cpu": table.cpu(found), "crowd": table.crowd(found, scenarios)}
    renew(ROOT / "docs/performance.md", parts)
    pictures = ROOT / "docs/performance"
    pictures.mkdir(exist_ok=True)
    for name in PICTURES:
        if (folder / f"{name}.svg").exists():
            shutil.copyfile(folder / f"{name}.svg", pictures / f"{name}.svg")


def renew(path, parts):
    text = path.read_text()
    for name, part in parts.items():
        begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
        text, times = re.subn(f"{begin}.*?{end}", lambda _: f"{begin}\n{part}\n{end}", text, flags=re.DOTALL)
        if times != 1:
            raise RuntimeError(f"{path.name} has {times} places for {name}")
    path.write_text(text)


def short(results, found, scenarios):
    columns = ["nginx", "c2l", "c2l_websocket"]
    lines = [f"{results['machine']}, {results['date'].split()[0]}.", "",
             "| | one nginx hop | c2l | c2l, WebSocket | the best other tunnel |", "|---|---:|---:|---:|---:|"]
    by_name = {scenario.name: scenario for scenario in scenarios}
    for name, figure_name, words in SHORT:
        figure = next(figure for figure in by_name[name].figures if figure.name == figure_name)
        cells = [table.shown(found.median(name, figure, system)) for system in columns]
        other, peer = best(found, name, figure)
        none_told = not peer and any(result.get("untold") for tunnel in systems.TUNNELS for result in found.rounds(name, tunnel))
        cells.append(f"{table.shown(other)} ({peer})" if peer else "never" if none_told else "–")
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines)

"""SVG pictures of the results, drawn by hand: distributions of latency, and rate against concurrency. No library, no fonts of their own."""

import math
import statistics
from xml.sax.saxutils import escape

import systems

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 720, 400, 70, 46, 40, 130
COLOURS = {"direct": "#999999", "nginx": "#4c9a2a", "haproxy": "#7b5ea7", "rathole": "#d07000", "bore": "#b58900", "wstunnel": "#2a7ab0",
           "ssh": "#8c564b", "frp": "#c04d8a", "chisel": "#17a2a2", "c2l": "#d00000", "c2l_websocket": "#ff7f7f"}
STYLE = "text{font:12px sans-serif;fill:#444}.title{font-size:14px;font-weight:bold}.grid{stroke:#8884;stroke-width:1}"


def write(results, scenarios, folder):
    for scenario in scenarios:
        for figure in ("latency_us", "delay_us"):
            curves = distributions(results, scenario.name, figure)
            if curves:
                title = f"{scenario.name}: {'latency' if figure == 'latency_us' else 'added delay'}, share of samples above"
                (folder / f"{scenario.name}.svg").write_text(draw(title, "µs", "share above", curves, log_y=True))
    rates = concurrency(results)
    if rates:
        (folder / "small-rate.svg").write_text(draw("small requests a second against how many at once", "at once", "req/s", rates))


def distributions(results, scenario, figure):
    """For each system the curve of its median round: (time, share of samples above it)."""
    curves = {}
    for name in order({run["system"] for run in results["runs"]}):
        rounds = [run["result"].get(figure) for run in results["runs"] if (run["scenario"], run["system"]) == (scenario, name)]
        rounds = sorted((found for found in rounds if found), key=lambda found: found["p99"])
        if rounds:
            curve = rounds[len(rounds) // 2]["curve"]
            curves[name] = [(max(time, 1), max(1 - share, 1e-4)) for time, share in curve]
    return curves


def concurrency(results):
    curves = {}
    for name in order({run["system"] for run in results["runs"]}):
        points = {}
        for run in results["runs"]:
            if run["system"] == name and run["scenario"].startswith("small-"):
                points.setdefault(int(run["scenario"].split("-")[1]), []).append(run["result"]["per_second"])
        if len(points) > 1:
            curves[name] = [(at_once, statistics.median(rates)) for at_once, rates in sorted(points.items())]
    return curves


def order(names):
    known = [*systems.NAMES, *systems.ENCRYPTED]
    return sorted(names, key=lambda name: known.index(name) if name in known else len(known))


def draw(title, x_name, y_name, curves, log_y=False):
    xs = [x for curve in curves.values() for x, _ in curve]
    ys = [y for curve in curves.values() for _, y in curve]
    x_axis = Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT, True)
    y_axis = Axis(min(ys) if log_y else 0, max(ys), HEIGHT - BOTTOM, TOP, log_y)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">',
             f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>',
             f'<text class="title" x="{LEFT}" y="22">{escape(title)}</text>']
    for value in x_axis.ticks():
        parts.append(f'<path class="grid" d="M{x_axis.at(value):.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text text-anchor="middle" x="{x_axis.at(value):.1f}" y="{HEIGHT - BOTTOM + 16}">{short(value)}</text>')
    for value in y_axis.ticks():
        parts.append(f'<path class="grid" d="M{LEFT} {y_axis.at(value):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text text-anchor="end" x="{LEFT - 6}" y="{y_axis.at(value) + 4:.1f}">{short(value)}</text>')
    parts.append(f'<text text-anchor="middle" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}">{escape(x_name)}</text>')
    parts.append(f'<text x="6" y="{TOP - 6}">{escape(y_name)}</text>')
    for number, (name, curve) in enumerate(curves.items()):
        points = " ".join(f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in curve)
        colour, width = COLOURS.get(name.removesuffix("_tls"), "#000"), 3 if name.startswith("c2l") else 1.5
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="{width}" points="{points}"/>')
        y = TOP + 14 + 18 * number
        parts.append(f'<path stroke="{colour}" stroke-width="{width}" d="M{WIDTH - RIGHT + 10} {y - 4}h18"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 34}" y="{y}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


class Axis:
    """From values to places, in equal steps or in equal factors."""

    def __init__(self, low, high, start, end, is_log):
        self.low, self.high, self.start, self.end, self.is_log = low, max(high, low * 1.0001 + 1e-9), start, end, is_log

    def at(self, value):
        if self.is_log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self):
        if self.is_log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            found = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
            found = [value for value in found if self.low <= value <= self.high]
            return found if len(found) <= 9 else found[:: len(found) // 6]
        step = 10.0 ** math.floor(math.log10(self.high - self.low))
        step = step / 2 if (self.high - self.low) / step < 4 else step
        return [step * number for number in range(int(self.high / step) + 1)]


def short(value):
    if value >= 1000:
        return f"{value / 1000:g}k"
    return f"{value:.4g}"

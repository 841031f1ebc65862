"""Draws the dashboards from their JSON and the answers of a Prometheus, in a layout close to Grafana's.

    render.py --prometheus http://127.0.0.1:9090 --from 1700000000 --to 1700000300 --out docs/images

It is not Grafana: what it knows of panels is what these two dashboards use. Needs matplotlib.
"""
import argparse
import json
import math
import pathlib
import urllib.parse
import urllib.request
from datetime import datetime, timezone

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.patches import FancyBboxPatch

BACK, PANEL, EDGE, TEXT, FAINT = "#111217", "#181b1f", "#2c3235", "#d8d9da", "#8e8e8e"
SERIES = ["#73bf69", "#f2cc0c", "#5794f2", "#ff780a", "#b877d9", "#f2495c", "#8ab8ff", "#fade2a", "#c0d8ff", "#ffa6b0"]
NAMED = {"green": "#299c46", "orange": "#c4661f", "red": "#c4162a", "text": "#3a3f45"}
CELL_W, CELL_H = 0.72, 0.42  # inches of one of the 24 columns, and of one unit of height


def ask(arguments, expr):
    window = f"{max(5, int(4 * arguments.scrape))}s"
    expr = expr.replace("$__rate_interval", window).replace("$job", arguments.job).replace("$instance", ".*")
    step = max(1, round((arguments.to - arguments.begin) / 400))
    query = urllib.parse.urlencode({"query": expr, "start": arguments.begin, "end": arguments.to, "step": step})
    with urllib.request.urlopen(f"{arguments.prometheus}/api/v1/query_range?{query}", timeout=30) as answer:
        return json.load(answer)["data"]["result"], step


def number(value, unit):
    if value is None or not math.isfinite(value):
        return "–"
    if unit == "s":
        if value == 0:
            return "0 s"
        for limit, factor, name in ((1e-3, 1e6, "µs"), (1, 1e3, "ms"), (60, 1, "s"), (3600, 1 / 60, "min")):
            if value < limit:
                return f"{value * factor:.3g} {name}"
        return f"{value / 3600:.3g} h"
    if unit == "bytes":
        return f"{value / 2**20:.3g} MiB"
    suffix = {"wps": " wr/s", "reqps": " req/s", "ops": " ops/s"}.get(unit, "")
    return f"{value:.3g}{suffix}" if value < 1000 else f"{value / 1000:.3g}K{suffix}"


def legend(template, labels):
    for key, value in labels.items():
        template = template.replace("{{" + key + "}}", value)
    return template.strip()


def lines(arguments, panel):
    """Each series of a panel: its name and its points, with a gap where there is no value."""
    found = []
    for target in panel["targets"]:
        result, step = ask(arguments, target["expr"])
        for one in sorted(result, key=lambda one: sorted(one["metric"].items())):
            points, before = [], None
            for at, value in one["values"]:
                value = float(value)
                if before is not None and at - before > 1.5 * step:
                    points.append((at - step, math.nan))
                points.append((at, value if math.isfinite(value) else math.nan))
                before = at
            if any(math.isfinite(value) for _, value in points):
                found.append((legend(target["legendFormat"], one["metric"]), points))
    return found


def last(points):
    return next((value for _, value in reversed(points) if math.isfinite(value)), None)


def colour(panel, value):
    named = "text"
    for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        if step["value"] is None or (value is not None and value >= step["value"]):
            named = step["color"]
    return NAMED[named]


class Canvas:
    """A figure on which positions are those of Grafana's grid."""

    def __init__(self, board, subtitle):
        self.rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
        self.head = 2.2
        self.width, self.height = 24 * CELL_W, (self.rows + self.head) * CELL_H
        self.figure = pyplot.figure(figsize=(self.width, self.height), facecolor=BACK)
        self.figure.text(0.006, 1 - 0.9 * CELL_H / self.height, board["title"], color=TEXT, fontsize=19, va="center")
        self.figure.text(0.006, 1 - 1.75 * CELL_H / self.height, subtitle, color=FAINT, fontsize=10.5, va="center")

    def box(self, grid, left=0.0, right=0.0, top=0.0, bottom=0.0):
        """The place of a panel less margins in inches, as fractions of the figure."""
        x, w = grid["x"] * CELL_W + left, grid["w"] * CELL_W - left - right
        y = self.height - (grid["y"] + grid["h"] + self.head) * CELL_H + bottom
        h = grid["h"] * CELL_H - top - bottom
        return x / self.width, y / self.height, w / self.width, h / self.height

    def row(self, panel):
        x, y, _, h = self.box(panel["gridPos"])
        self.figure.text(x + 0.006, y + h / 2, "⌄  " + panel["title"], color=TEXT, fontsize=13, va="center")

    def frame(self, panel, fill=PANEL):
        gap = 0.045
        x, y, w, h = self.box(panel["gridPos"], gap, gap, gap, gap)
        style = f"round,pad=0,rounding_size={0.03 / self.width}"
        self.figure.add_artist(FancyBboxPatch((x, y), w, h, boxstyle=style, fc=fill, ec=EDGE, lw=0.8, zorder=-1))
        place = self.box(panel["gridPos"], 0.15, 0.1, 0.25, 0.1)
        self.figure.text(place[0], place[1] + place[3], panel["title"], color=TEXT, fontsize=10.5, va="center", weight="medium")


def stat(canvas, arguments, panel):
    found = lines(arguments, panel)
    value = last(found[0][1]) if found else None
    canvas.frame(panel, colour(panel, value))
    x, y, w, h = canvas.box(panel["gridPos"], top=0.35)
    text = number(value, panel["fieldConfig"]["defaults"]["unit"])
    canvas.figure.text(x + w / 2, y + h * 0.55, text, color="white", fontsize=25, ha="center", va="center")
    if found:
        axes = canvas.figure.add_axes(canvas.box(panel["gridPos"], 0.06, 0.06, 1.1, 0.06), facecolor="none")
        axes.axis("off")
        at, values = zip(*found[0][1])
        axes.fill_between(at, values, color="white", alpha=0.22, lw=0)
        axes.set(xlim=(arguments.begin, arguments.to), ylim=(0, max(max((v for v in values if math.isfinite(v)), default=1) * 1.1, 1e-9)))


def chart(canvas, arguments, panel):
    canvas.frame(panel)
    found = lines(arguments, panel)
    defaults = panel["fieldConfig"]["defaults"]
    entries = min(len(found), 6)
    axes = canvas.figure.add_axes(canvas.box(panel["gridPos"], 0.72, 0.16, 0.48, 0.42 + 0.185 * (entries + 1)), facecolor=PANEL)
    style(axes, arguments)
    axes.yaxis.set_major_formatter(lambda value, _: number(value, defaults["unit"]) if value >= 0 else "")
    stacked = defaults["custom"]["stacking"]["mode"] == "normal"
    if stacked and found:
        every = sorted({at for _, points in found for at, value in points})
        below = [0.0] * len(every)
        for index, (_, points) in enumerate(found):
            values = dict(points)
            top = [low + (v if math.isfinite(v := values.get(at, 0.0)) else 0.0) for low, at in zip(below, every)]
            tint = SERIES[index % len(SERIES)]
            axes.fill_between(every, below, top, color=tint, alpha=0.4, lw=0)
            axes.plot(every, top, color=tint, lw=1.1)
            below = top
    else:
        for index, (_, points) in enumerate(found):
            at, values = zip(*points)
            axes.plot(at, values, color=SERIES[index % len(SERIES)], lw=1.3)
            axes.fill_between(at, values, color=SERIES[index % len(SERIES)], alpha=0.07, lw=0)
    top = defaults.get("max")
    axes.set_ylim(0, top * 1.02 if top else max(axes.get_ylim()[1], 1e-9))
    if axes.get_ylim()[1] < 1e-6:
        axes.set_ylim(0, 1)
    below_axes(canvas, panel, found, defaults["unit"], entries)


def below_axes(canvas, panel, found, unit, entries):
    """The legend as a table: name, last, max."""
    x, y, w, _ = canvas.box(panel["gridPos"], 0.18, 0.14, 0, 0.12)
    line = 0.185 / canvas.height
    columns = (x + w * 0.80, x + w)
    for place, title in zip(columns, ("Last", "Max")):
        canvas.figure.text(place, y + line * (entries + 0.35), title, color="#6e9fff", fontsize=8, ha="right", va="center")
    for index, (name, points) in enumerate(found[:entries]):
        at = y + line * (entries - index - 0.65)
        if index == entries - 1 and len(found) > entries:
            canvas.figure.text(x + 0.012, at, f"and {len(found) - entries + 1} more", color=FAINT, fontsize=8.5, va="center")
            return
        canvas.figure.text(x, at, "━", color=SERIES[index % len(SERIES)], fontsize=9, va="center", weight="bold")
        canvas.figure.text(x + 0.012, at, name, color=TEXT, fontsize=8.5, va="center")
        largest = max((value for _, value in points if math.isfinite(value)), default=None)
        for place, value in zip(columns, (last(points), largest)):
            canvas.figure.text(place, at, number(value, unit), color=TEXT, fontsize=8.5, ha="right", va="center")


def style(axes, arguments):
    axes.set_xlim(arguments.begin, arguments.to)
    axes.grid(color="#26292e", lw=0.7)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(colors=FAINT, labelsize=8, length=0)
    step = next(s for s in (10, 30, 60, 120, 300, 600, 1800, 3600) if (arguments.to - arguments.begin) / s < 9)
    axes.set_xticks([at for at in range(int(arguments.begin), int(arguments.to)) if at % step == 0])
    axes.xaxis.set_major_formatter(lambda at, _: datetime.fromtimestamp(at, timezone.utc).strftime("%H:%M:%S" if step < 60 else "%H:%M"))
    axes.locator_params(axis="y", nbins=5)


def bars(canvas, arguments, panel):
    canvas.frame(panel)
    found = lines(arguments, panel)
    most = panel["fieldConfig"]["defaults"].get("max", 1)
    axes = canvas.figure.add_axes(canvas.box(panel["gridPos"], 1.15, 0.55, 0.55, 0.25), facecolor="none")
    for index, (name, points) in enumerate(reversed(found)):
        value = last(points) or 0
        tint = SERIES[(len(found) - 1 - index) % len(SERIES)]
        axes.barh(index, most, color="#22252b", height=0.66)
        axes.barh(index, value, color=tint, height=0.66)
        axes.text(-most * 0.02, index, name, color=TEXT, fontsize=10, ha="right", va="center")
        axes.text(most * 1.02, index, number(value, "none"), color=tint, fontsize=13, ha="left", va="center")
    axes.set_xlim(0, most)
    axes.axis("off")


def states(canvas, arguments, panel):
    canvas.frame(panel)
    found = lines(arguments, panel)
    axes = canvas.figure.add_axes(canvas.box(panel["gridPos"], 1.0, 0.16, 0.55, 0.5), facecolor=PANEL)
    style(axes, arguments)
    axes.grid(visible=False)
    for index, (_, points) in enumerate(reversed(found)):
        for (at, value), (until, _) in zip(points, points[1:]):
            if math.isfinite(value):
                axes.barh(index, until - at, left=at, color=colour(panel, value), height=0.7, lw=0)
    axes.set_yticks(range(len(found)), [name for name, _ in reversed(found)], color=TEXT, fontsize=9)


DRAW = {"stat": stat, "timeseries": chart, "bargauge": bars, "state-timeline": states}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090")
    parser.add_argument("--job", default=".*")
    parser.add_argument("--scrape", type=float, default=1, help="the scrape interval in seconds")
    parser.add_argument("--from", dest="begin", type=float, required=True)
    parser.add_argument("--to", type=float, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    pyplot.rcParams["font.family"] = "DejaVu Sans"
    here = pathlib.Path(__file__).resolve().parent / "dashboards"
    for name in ("operations", "sharding"):
        board = json.loads((here / f"{name}.json").read_text())
        canvas = Canvas(board, "Drawn by deploy/monitoring/render.py from a real Prometheus's answers to the dashboard's queries; not a screen of Grafana")
        for panel in board["panels"]:
            canvas.row(panel) if panel["type"] == "row" else DRAW[panel["type"]](canvas, arguments, panel)
        canvas.figure.savefig(arguments.out / f"{name}.png", dpi=75, facecolor=BACK)
        pyplot.close(canvas.figure)


if __name__ == "__main__":
    main()

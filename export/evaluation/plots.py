"""The plots of a report, each of one figure of an evaluation."""

import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from export.evaluation.figures import COVERAGES, Figures
from training.progress import bar

FEW = 20  # images that a bin needs to be drawn
INK = "#000000"
"""What the page shows in the colour of its text, dark or light."""
GROUP = re.compile(r' id="[\w.]+_\d+"')
"""Matplotlib counts the groups of every SVG from 1, and ids are unique in a page. Nothing refers to these."""

Draw = Callable[[list[Axes], Figures], None]


def drawn(found: Figures) -> dict[str, Figure]:
    """By name."""
    plots: dict[str, tuple[int, Draw]] = {
        "accuracy": (1, accuracy),
        "cost": (1, cost),
        "exits": (1, exits),
        "confusion": (1, confusion),
        "anytime": (1, anytime),
        "risk": (1, risk),
        "calibration": (len(found["exits"]), calibration),
    }
    return {name: figure(panels, draw, found) for name, (panels, draw) in bar(plots.items(), "drawing")}


def figure(panels: int, draw: Draw, found: Figures) -> Figure:
    """Several panels stand in rows of two."""
    columns = min(panels, 2)
    rows = -(-panels // columns)
    made = Figure(figsize=(7.5, 4.5 if panels == 1 else 3.6 * rows), layout="constrained")
    with rc_context({"legend.frameon": False}):
        axes = [*made.subplots(rows, columns, squeeze=False).flat]
        draw(axes[:panels], found)
        for unused in axes[panels:]:
            unused.set_axis_off()
    return made


def write_pngs(figures: Mapping[str, Figure], folder: Path) -> None:
    for name, each in figures.items():
        FigureCanvasAgg(each).print_png(folder / f"{name}.png")


def svg(name: str, drawing: Figure) -> str:
    """To stand inside a page, in the colours of its text. The same figure gives the same text."""
    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        drawing.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    element = file.getvalue()[file.getvalue().index("<svg") :]
    return GROUP.sub("", element).replace(INK, "currentColor")


def accuracy(axes: list[Axes], found: Figures) -> None:
    (panel,) = axes
    depths = [one["depth"] for one in found["exits"]]
    for key, label, style in (("alone", "each exit alone", "o-"), ("together", "with the exits before it", "^--")):
        panel.plot(depths, [100 * one[key] for one in found["exits"]], style, label=label)
    if plain := found["plain_networks"]:
        macs = [network["macs"] / found["macs"] for network in plain]
        panel.plot(macs, [100 * network["accuracy"] for network in plain], "x", color="C9", label="plain networks")
    panel.set(xlabel="depth (share of all multiply-accumulates)", ylabel="accuracy, %", xlim=(0, None))
    millions = found["macs"] / 1e6
    above = panel.secondary_xaxis("top", functions=(lambda depth: depth * millions, lambda macs: macs / millions))
    above.set_xlabel("million multiply-accumulates")
    panel.legend()


def cost(axes: list[Axes], found: Figures) -> None:
    (panel,) = axes
    panel.plot(*both(found["curve"]), color="grey", label="one threshold for all exits")
    panel.plot([one["depth"] for one in found["exits"]], [100 * one["accuracy"] for one in found["exits"]], "s--",
               color="C7", label="always the same exit")  # fmt: skip
    for number, (name, point) in enumerate(found["operating_points"].items()):
        promise = f"{name}: at most {100 * point['promised_drop']:g} points lost"
        panel.plot(*both([point]), "o", color=f"C{number}", label=promise)
    panel.plot(*both([found["oracle"]]), "*", color=INK, markersize=10, label="oracle")
    panel.set(xlabel="mean depth (share of all multiply-accumulates)", ylabel="accuracy, %")
    panel.legend()


def both(points: list[Figures]) -> tuple[list[float], list[float]]:
    return [point["mean_depth"] for point in points], [100 * point["accuracy"] for point in points]


def anytime(axes: list[Axes], found: Figures) -> None:
    (panel,) = axes
    for name, curve in found["anytime"].items():
        if name != "stage_seconds":
            budgets = [1000 * budget for budget in curve["budgets"]]
            shares = [100 * share for share in curve["accuracy"]]
            panel.step([*budgets, 1.2 * budgets[-1]], [*shares, shares[-1]], where="post", label=name.replace("_", " "))
    panel.set(xlabel="latency budget for the network, ms", ylabel="accuracy, %", xlim=(0, None))
    panel.legend()


def risk(axes: list[Axes], found: Figures) -> None:
    (panel,) = axes
    for number, one in enumerate(found["exits"], start=1):
        risks = [100 * share for share in one["risks"]]
        panel.plot([100 * share for share in COVERAGES], risks, label=f"exit {number}")
    panel.set(xlabel="coverage: the surest answers, %", ylabel="risk: wrong ones among them, %", ylim=(0, None))
    panel.legend()


def exits(axes: list[Axes], found: Figures) -> None:
    (panel,) = axes
    points, bar_width = found["operating_points"], 0.8 / len(found["operating_points"])
    for number, (name, point) in enumerate(points.items()):
        places = [exit_ + (number + 0.5) * bar_width - 0.4 for exit_ in range(1, len(found["exits"]) + 1)]
        bars = panel.bar(places, [100 * share for share in point["exit_shares"]], bar_width, label=name)
        panel.bar_label(bars, fmt="%.1f", fontsize=7)
    panel.set(xlabel="exit", ylabel="images, %", xticks=range(1, len(found["exits"]) + 1))
    panel.legend()


def confusion(axes: list[Axes], found: Figures) -> None:
    (panel,) = axes
    counts, classes = found["first_and_last_exit"]["counts"], found["classes"]
    different = [[0 if row == column else n for column, n in enumerate(line)] for row, line in enumerate(counts)]
    panel.imshow(different, cmap="Blues")
    if len(classes) <= 20:
        panel.set_xticks(range(len(classes)), classes, rotation=90)
        panel.set_yticks(range(len(classes)), classes)
        most = max(map(max, different))
        for row, line in enumerate(different):
            for column, count in enumerate(line):
                if count:
                    color = "white" if count > most / 2 else "#111111"
                    panel.text(column, row, str(count), ha="center", va="center", fontsize=7, color=color)
    panel.set(xlabel="last exit", ylabel="first exit")


def calibration(axes: list[Axes], found: Figures) -> None:
    for number, (panel, spec) in enumerate(zip(axes, found["exits"], strict=True), start=1):
        for kind, label in (("_uncalibrated", "before"), ("", "after")):
            bins = spec[f"reliability{kind}"]
            kept = [index for index, count in enumerate(bins["count"]) if count >= FEW]
            points = [[bins[name][index] for index in kept] for name in ("confidence", "accuracy")]
            panel.plot(*points, marker=".", label=f"{label}: {spec[f'ece{kind}']:.4f}")
        panel.plot([0, 1], [0, 1], color="grey", linestyle=":")
        panel.set(xlabel="confidence", ylabel="accuracy", title=f"exit {number}")
        panel.legend(title="calibration error")

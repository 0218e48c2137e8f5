"""Servers under load in one picture: what they keep of the budget and of the accuracy, and what of both arrives."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import color_sequences
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Curve = Sequence[Mapping[str, Any]]
"""The figures of one server's runs, each with its `load` as a multiple of the capacity, in order of load."""


def compare(curves: Mapping[str, Curve], file: Path) -> None:
    """Write a PNG of attainment against accuracy, and of goodput against load, a curve per server."""
    figure = Figure(figsize=(14, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for panel in (left, right):
        panel.set_prop_cycle(color=color_sequences["tab20"])
    for name, runs in curves.items():
        attainment(left, name, runs)
        right.plot([one["load"] for one in runs], [one["goodput_per_second"] for one in runs], marker="o", label=name)
    left.set(
        xlabel="accuracy less that of the last exit on the same images, points",
        ylabel="answered within the budget, % of all sent",
        ylim=(-3, 103),
    )
    right.set(xlabel="offered load, × capacity at the last exit", ylabel="right answers within the budget, per second")
    right.set_ylim(bottom=0)
    # Wide enough that tenths of a point, which are chance, do not look like differences.
    left.set_xlim(min(-1.5, left.get_xlim()[0]), max(0.5, left.get_xlim()[1]))
    figure.legend(*right.get_legend_handles_labels(), loc="outside right center")
    FigureCanvasAgg(figure).print_png(file)


def attainment(panel: Axes, name: str, runs: Curve) -> None:
    """Each point says its load; a run without answers has no accuracy and no point."""
    answered = [one for one in runs if one["points_below_last_exit"] is not None]
    points = [(-one["points_below_last_exit"], 100 * one["attainment"], one["load"]) for one in answered]
    drawn = panel.plot([point[0] for point in points], [point[1] for point in points], marker="o", label=name)
    for accuracy, share, load in points:
        panel.annotate(
            f"{load:g}×", (accuracy, share), (4, 4), textcoords="offset points", fontsize=8, color=drawn[0].get_color()
        )

"""The curve of a plan as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def curve(file: Path, attainment: float, runs: Sequence[Mapping[str, Any]]) -> None:
    """Write a PNG of attainment and mean depth by number of replicas."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    left = figure.subplots()
    replicas = [run["replicas"] for run in runs]
    left.plot(replicas, [100 * run["attainment"] for run in runs], marker="o", label="in budget, %")
    left.axhline(100 * attainment, color="grey", linestyle="--", label="asked for, %")
    left.set(xlabel="replicas", ylabel="answered within the budget, % of all sent")
    right = left.twinx()
    depths = [run["mean_depth"] for run in runs]
    right.plot(replicas, depths, marker="s", color="tab:orange", label="mean depth")
    right.set(ylabel="mean depth of the answers", ylim=(0, 1))
    figure.legend(loc="outside lower center", ncols=3)
    FigureCanvasAgg(figure).print_png(str(file))

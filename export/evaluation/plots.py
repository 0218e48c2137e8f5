"""The plots of an evaluation."""

from collections.abc import Callable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from export.evaluation.figures import Figures

FEW = 20  # images that a bin needs to be drawn


def plot(found: Figures, folder: Path) -> dict[str, Path]:
    """Write the plots as PNG; returns them by title."""
    drawn: dict[str, tuple[str, int, Callable[[list[Axes], Figures], None]]] = {
        "Accuracy against cost": ("cost.png", 1, cost),
        "Accuracy by latency budget, one image at a time": ("anytime.png", 1, anytime),
        "Exits taken": ("exits.png", 1, exits),
        "First exit (row) against last exit (column), where they differ": ("confusion.png", 1, confusion),
        "Calibration": ("calibration.png", len(found["exits"]), calibration),
    }
    paths = {}
    for title, (file, panels, draw) in drawn.items():
        figure = Figure(figsize=(3 + 4 * panels if panels > 1 else 8, 5), layout="constrained")
        axes = list(figure.subplots(1, panels, squeeze=False)[0])
        figure.suptitle(title)
        draw(axes, found)
        paths[title] = folder / file
        FigureCanvasAgg(figure).print_png(paths[title])
    return paths


def cost(axes: list[Axes], found: Figures) -> None:
    (panel,) = axes
    panel.plot(*both(found["curve"]), color="grey", label="one threshold for all exits")
    panel.plot([one["depth"] for one in found["exits"]], [100 * one["accuracy"] for one in found["exits"]], "s--",
               color="C7", label="always the same exit")  # fmt: skip
    for number, (name, point) in enumerate(found["operating_points"].items()):
        promise = f"{name}: at most {100 * point['promised_drop']:g} points lost"
        panel.plot(*both([point]), "o", color=f"C{number}", label=promise)
    panel.plot(*both([found["oracle"]]), "*", color="black", markersize=10, label="oracle")
    if plain := found["plain_networks"]:
        depths = [network["macs"] / found["macs"] for network in plain]
        panel.plot(depths, [100 * network["accuracy"] for network in plain], "x", color="C9", label="plain networks")
    panel.set(xlabel="mean depth (share of all multiply-accumulates)", ylabel="accuracy, %")
    panel.legend()


def both(points: list[Figures]) -> tuple[list[float], list[float]]:
    return [point["mean_depth"] for point in points], [100 * point["accuracy"] for point in points]


def anytime(axes: list[Axes], found: Figures) -> None:
    (panel,) = axes
    for name, curve in found["anytime"].items():
        if name != "stage_seconds":
            budgets = [1000 * budget for budget in curve["budgets"]]
            accuracy = [100 * share for share in curve["accuracy"]]
            panel.step([*budgets, 1.2 * budgets[-1]], [*accuracy, accuracy[-1]], where="post", label=name)
    panel.set(xlabel="latency budget for the network, ms", ylabel="accuracy, %", xlim=(0, None))
    panel.legend()


def exits(axes: list[Axes], found: Figures) -> None:
    (panel,) = axes
    points, bar = found["operating_points"], 0.8 / len(found["operating_points"])
    for number, (name, point) in enumerate(points.items()):
        places = [exit_ + (number + 0.5) * bar - 0.4 for exit_ in range(1, len(found["exits"]) + 1)]
        drawn = panel.bar(places, [100 * share for share in point["exit_shares"]], bar, label=name)
        panel.bar_label(drawn, fmt="%.1f", fontsize=7)
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
        for row, line in enumerate(different):
            for column, count in enumerate(line):
                if count:
                    panel.text(column, row, str(count), ha="center", va="center", fontsize=7)
    panel.set(xlabel="last exit", ylabel="first exit")


def calibration(axes: list[Axes], found: Figures) -> None:
    for number, (panel, spec) in enumerate(zip(axes, found["exits"], strict=True), start=1):
        for kind, label in (("_uncalibrated", "unscaled"), ("", "scaled")):
            bins = spec[f"reliability{kind}"]
            kept = [index for index, count in enumerate(bins["count"]) if count >= FEW]
            points = [[bins[name][index] for index in kept] for name in ("confidence", "accuracy")]
            panel.plot(*points, marker=".", label=f"{label}: {spec[f'ece{kind}']:.4f}")
        panel.plot([0, 1], [0, 1], color="grey", linestyle=":")
        panel.set(xlabel="confidence", ylabel="accuracy", title=f"exit {number}")
        panel.legend(title="calibration error")

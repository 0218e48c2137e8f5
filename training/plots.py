"""The plots of a report."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from training.progress import bar
from training.published import ANYTIME, LEAVING
from training.recipes import METHODS
from training.runs import Row

FEW = 20  # images that a bin needs to be drawn


def plot(rows: list[Row], folder: Path) -> dict[str, Path]:
    """Write the plots as PNG, a column of panels per network; returns them by title."""
    networks = {row.network: [other for other in rows if other.network == row.network] for row in rows}
    exits = max(row.exits for row in rows)
    found = {}
    plots: list[tuple[str, str, Callable[[Sequence[Axes], list[Row]], None], int]] = [
        ("Test accuracy against cumulative cost", "cost.png", cost, 1),
        ("Validation accuracy of the last exit", "curves.png", curves, 1),
        ("Calibration of each exit on the test set", "calibration.png", calibration, exits),
    ]
    if all("leaving" in result["test"] for row in rows for result in row.results):
        plots.append(("Test accuracy when leaving by confidence against mean cost", "leaving.png", leaving, 1))
    for title, file, draw, lines in bar(plots, "drawing"):
        figure = Figure(figsize=(7 * len(networks), 4.5 * lines), layout="constrained")
        panels = figure.subplots(lines, len(networks), squeeze=False)
        for column, (network, members) in enumerate(networks.items()):
            draw([*panels[:, column]], members)
            panels[0, column].set_title(network)
            panels[0, column].legend()
        found[title] = folder / file
        FigureCanvasAgg(figure).print_png(found[title])
    return found


def cost(panels: Sequence[Axes], rows: list[Row]) -> None:
    """Mean and deviation over the seeds of each exit's accuracy; a star is the ensemble at the last one."""
    for row in rows:
        *shares, ensemble = row.accuracies("test")
        macs = [each / 1e6 for each in row.macs]
        color, spread = color_of(row), [deviation(values) for values in shares]
        panels[0].errorbar(macs, means(shares), spread, marker="o", capsize=3, color=color, label=row.method)
        if row.exits > 1:
            panels[0].plot(macs[-1], statistics.fmean(ensemble), "*", color=color, markersize=10)
    panels[0].set(xlabel="million multiply-accumulates to reach the exit", ylabel="accuracy, %")


def leaving(panels: Sequence[Axes], rows: list[Row]) -> None:
    """A line for each seed, of thresholds of equal risk; on CIFAR-100 beside what others published."""
    for row in rows:
        for result in row.results:
            depths, shares = zip(*result["test"]["leaving"]["curve"], strict=True)
            macs = [depth * row.macs[-1] / 1e6 for depth in depths]
            label = row.method if result is row.results[0] else None
            marker = "o" if row.exits == 1 else ""
            panels[0].plot(macs, [100 * share for share in shares], marker=marker, color=color_of(row), label=label)
    if rows[0].results[0]["settings"]["dataset"] == "cifar100":
        for (label, points), style in zip((ANYTIME | LEAVING).items(), ("s:", "D:", "D--", "^--"), strict=True):
            panels[0].plot([*points.keys()], [*points.values()], style, color="grey", markersize=4, label=label)
    panels[0].set(xlabel="million multiply-accumulates, mean", ylabel="accuracy, %")


def curves(panels: Sequence[Axes], rows: list[Row]) -> None:
    """The mean over the seeds, the range between them shaded."""
    for row in rows:
        runs = [[100 * float(entry[f"exit_{row.exits}"]) for entry in log] for log in row.logs]
        epochs = range(1, len(runs[0]) + 1)
        by_epoch = list(zip(*runs, strict=True))
        panels[0].plot(epochs, means(by_epoch), color=color_of(row), label=row.method)
        low, high = map(min, by_epoch), map(max, by_epoch)
        panels[0].fill_between(epochs, list(low), list(high), color=color_of(row), alpha=0.15)
    panels[0].set(xlabel="epoch", ylabel="accuracy, %")


def calibration(panels: Sequence[Axes], rows: list[Row]) -> None:
    """Accuracy against confidence in bins over all seeds, but for almost empty ones; the legend gives the mean ECE."""
    for row in rows:
        # The only exit of the plain network is as deep as the last one of the others.
        for panel, exit_ in zip(panels[-row.exits :], range(row.exits), strict=True):
            found = [result["test"]["reliability"] for result in row.results]
            counts = [sum(bins) for bins in zip(*(one["count"][exit_] for one in found), strict=True)]
            kept = [index for index, count in enumerate(counts) if count >= FEW]
            points = {}
            for key in ("confidence", "accuracy"):
                points[key] = [
                    sum(one[key][exit_][index] * one["count"][exit_][index] for one in found) / counts[index]
                    for index in kept
                ]
            error = statistics.fmean(one["ece"][exit_] for one in found)
            label = f"{row.method}: {error:.3f}"
            panel.plot(points["confidence"], points["accuracy"], marker=".", color=color_of(row), label=label)
    for number, panel in enumerate(panels, start=1):
        panel.plot([0, 1], [0, 1], color="grey", linestyle=":")
        panel.set(xlabel="confidence", ylabel=f"accuracy of exit {number}")
        panel.legend()


def color_of(row: Row) -> str:
    """The same colour for a method in every panel."""
    return to_hex(colormaps["tab20"](list(METHODS).index(row.method)))


def means(groups: Sequence[Sequence[float]]) -> list[float]:
    return [statistics.fmean(values) for values in groups]


def deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0

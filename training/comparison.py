"""Figures of finished runs: over seeds, and as differences between runs of the same seed."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from training.runs import Row

COST = "M MACs there"


@dataclass(frozen=True)
class Figure:
    """A number of each run on each split, as a column of a table. `of`: from what a run found on a split, if it did."""

    title: str
    of: Callable[[dict[str, Any]], float | None]
    digits: int = 2

    def by_seed(self, row: Row, split: str) -> dict[int, float]:
        found = zip(row.seeds, (self.of(result[split]) for result in row.results), strict=True)
        return {seed: value for seed, value in found if value is not None}


def accuracies(exits: int) -> list[Figure]:
    """In per cent: of each of the `exits` exits, counted from the last as a row may have fewer, and of the ensemble."""
    single = [Figure(f"exit {exits - back}", answer("accuracy", back)) for back in reversed(range(exits))]
    return [*single, Figure("ensemble", ensemble("accuracy"))]


def leaving(exits: int) -> list[Figure]:
    """See `training.leaving.figures`; risks in per cent."""
    single = [Figure(f"AURC {exits - back}", answer("aurc", back)) for back in reversed(range(exits))]
    return [
        Figure("depth at the promise", lambda found: part(found).get("depth"), digits=3),
        Figure(COST, lambda found: millions(part(found).get("macs"))),
        Figure("accuracy there", lambda found: scaled(part(found).get("accuracy"))),
        Figure("area", lambda found: scaled(part(found).get("area")) or None),
        *single,
        Figure("AURC ensemble", ensemble("aurc")),
    ]


def part(found: dict[str, Any]) -> dict[str, Any]:
    """What a run found about leaving early; results from before there was that have nothing."""
    return dict(found.get("leaving", {}))


def answers(found: dict[str, Any], name: str) -> list[float]:
    """Of each exit and, last, the ensemble."""
    return list(found[name] if name in found else part(found).get(name, []))


def answer(name: str, back: int) -> Callable[[dict[str, Any]], float | None]:
    """Of the exit that is `back` before the last."""

    def of(found: dict[str, Any]) -> float | None:
        single = answers(found, name)[:-1]
        return 100 * single[-1 - back] if back < len(single) else None

    return of


def ensemble(name: str) -> Callable[[dict[str, Any]], float | None]:
    """One exit is no ensemble."""
    return lambda found: 100 * answers(found, name)[-1] if len(answers(found, name)) > 2 else None


def scaled(share: float | None) -> float | None:
    return None if share is None else 100 * share


def millions(macs: float | None) -> float | None:
    return None if macs is None else macs / 1e6


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean ± sample standard deviation, which a single run does not have; nothing without values."""
    if not values:
        return ""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def difference(values: dict[int, float], baseline: dict[int, float], digits: int = 2) -> str:
    """Mean ± standard error of the differences between runs of one seed; a star where it is over two of them."""
    paired = [value - baseline[seed] for seed, value in values.items() if seed in baseline]
    if not paired:
        return ""
    mean = statistics.fmean(paired)
    if len(paired) == 1:
        return f"{mean:+.{digits}f}"
    error = statistics.stdev(paired) / math.sqrt(len(paired))
    return f"{mean:+.{digits}f} ± {error:.{digits}f}{' *' if abs(mean) > 2 * error else ''}"


def shallowest(rows: Sequence[Row]) -> Row | None:
    """The method with exits of least mean cost at the promise on validation images, if any has one.

    By multiply-accumulates, as a method may change what the whole network costs, of which depth is a share.
    """
    cost = next(one for one in leaving(1) if one.title == COST)
    costs = {index: cost.by_seed(row, "validation") for index, row in enumerate(rows) if row.exits > 1}
    means = {index: statistics.fmean(values.values()) for index, values in costs.items() if values}
    return rows[min(means, key=means.__getitem__)] if means else None

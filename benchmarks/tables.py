"""Runs under load as a table: one line per run, from its figures."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from training.report import as_markdown

NONE = "–"


def loads(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """In Markdown. `runs`: summaries of results by name, with `points_below_last_exit`."""
    header = ["run", "offered/s", "in budget", "right in budget/s", "accuracy", "points below last exit", "depth"]
    header += ["reasons", "refused", "given up", "errors", "p50 / p99 ms"]
    return as_markdown([header, *(line(name, figures) for name, figures in runs.items())])


def line(name: str, figures: Mapping[str, Any]) -> list[str]:
    latency = figures["latency_ms"]
    return [
        name,
        f"{figures['offered_per_second']:.0f}",
        percent(figures["attainment"]),
        number(figures["goodput_per_second"], 0),
        percent(figures["accuracy"]),
        number(figures["points_below_last_exit"], 2),
        number(figures["mean_depth"], 3),
        reasons(figures),
        refusals(figures),
        percent(figures["given_up"] / figures["sent"]),
        percent(figures["errors"] / figures["sent"]),
        f"{number(latency['p50'], 1)} / {number(latency['p99'], 1)}",
    ]


def reasons(figures: Mapping[str, Any]) -> str:
    """Shares of the answers, most frequent first."""
    counts: Counter[str] = Counter()
    for by_reason in figures["exits"].values():
        counts.update(by_reason)
    return ", ".join(f"{name} {percent(count / counts.total())}" for name, count in counts.most_common()) or NONE


def refusals(figures: Mapping[str, Any]) -> str:
    """Shares of all requests sent, by status."""
    refused = figures["refused"]
    return ", ".join(f"{status}: {percent(count / figures['sent'])}" for status, count in refused.items()) or NONE


def foretold(figures: Mapping[str, Any]) -> str:
    """Measured beside `simulated`."""
    pairs = ((key, figures[key], figures["simulated"][key]) for key in ("attainment", "accuracy"))
    return ", ".join(f"{key} {percent(measured)}, simulated {percent(told)}" for key, measured, told in pairs)


def percent(share: float | None) -> str:
    return NONE if share is None else f"{share * 100:.1f} %"


def number(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:.{digits}f}"

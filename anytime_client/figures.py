"""The figures of runs as a table: a line per figure, a column per run."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.table import Table

Figures = Mapping[str, Any]
REASONS = ("confident", "budget", "load", "final")
NONE = "–"


def table(runs: Sequence[Figures], exits: int) -> Table:
    """`runs`: each the summary of a result, with `budget_ms`, `measured_seconds` and `answers_per_second`."""
    shown = Table("", *(budget_name(run["budget_ms"]) for run in runs), box=None, header_style="bold")
    for column in shown.columns[1:]:
        column.justify = "right"
    for name, cell in lines(runs, exits):
        shown.add_row(name, *(cell(run) for run in runs))
    return shown


def lines(runs: Sequence[Figures], exits: int) -> list[tuple[str, Callable[[Figures], str]]]:
    """Name and cell of each line."""
    statuses = sorted({status for run in runs for status in run["refused"]})
    reasons = [*REASONS, *sorted({name for run in runs for by in run["exits"].values() for name in by} - {*REASONS})]
    return [
        ("measured over", lambda run: f"{run['measured_seconds']:.1f} s"),
        ("requests sent", lambda run: str(run["sent"])),
        ("  answered", lambda run: counted(run, run["answered"])),
        *((f"  refused: {status}", refused(status)) for status in statuses),
        ("  connection or answer broken", lambda run: counted(run, run["errors"])),
        ("  left unanswered", lambda run: counted(run, run["given_up"])),
        ("in budget, of all sent", lambda run: percent(run["attainment"])),
        ("answers per second", lambda run: f"{run['answers_per_second']:.1f}"),
        *((f"latency {each}", latency(each)) for each in ("p50", "p90", "p99")),
        *((f"exit {number}, of answers", at_exit(str(number))) for number in range(1, exits + 1)),
        *((f"{name}, of answers", for_reason(name)) for name in reasons),
        ("mean depth", lambda run: NONE if run["mean_depth"] is None else f"{run['mean_depth']:.3f}"),
        ("sent late, p99", lambda run: milliseconds(run["generator"]["late_ms"]["p99"])),
    ]


def refused(status: int) -> Callable[[Figures], str]:
    return lambda run: counted(run, run["refused"].get(status, 0))


def latency(which: str) -> Callable[[Figures], str]:
    return lambda run: milliseconds(run["latency_ms"][which])


def at_exit(number: str) -> Callable[[Figures], str]:
    return lambda run: of_answers(run, sum(run["exits"].get(number, {}).values()))


def for_reason(name: str) -> Callable[[Figures], str]:
    return lambda run: of_answers(run, sum(by_reason.get(name, 0) for by_reason in run["exits"].values()))


def counted(run: Figures, count: int) -> str:
    """With its share of all requests sent."""
    return f"{count}  {percent(count / run['sent'] if run['sent'] else None):>7}"


def of_answers(run: Figures, count: int) -> str:
    return percent(count / run["answered"] if run["answered"] else None)


def percent(share: float | None) -> str:
    return NONE if share is None else f"{share:.1%}"


def milliseconds(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f} ms"


def budget_name(budget_ms: float | None) -> str:
    """`budget_ms`: None or infinite for no limit."""
    return "no limit" if budget_ms is None or budget_ms == float("inf") else f"budget {budget_ms:g} ms"

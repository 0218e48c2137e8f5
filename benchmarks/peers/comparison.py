"""Figures of several servers over the same loads: medians over repeats, as a table and as curves."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.tables import NONE, number, percent, refusals
from training.report import as_markdown

Runs = Mapping[str, Sequence[Mapping[str, Any]]]
"""Of one server: by load, the figures of each repeat."""

HEADER = ["measured with", "server", "load", "in budget", "lowest – highest", "accuracy", "points below last exit"]
HEADER += ["right in budget/s", "last exit, all in budget", "p50 / p99 ms", "refused", "given up"]


def table(peers: Mapping[str, Mapping[str, Any]]) -> str:
    """In Markdown. `peers`: by name, the `servers` measured together in turn, or why it `failed`."""
    lines = [HEADER]
    for peer, found in peers.items():
        for server, runs in found["servers"].items():
            lines += [[peer, server, load, *cells(repeats)] for load, repeats in runs.items()]
        if found["failed"]:
            lines.append([peer, f"failed: {found['failed'].splitlines()[-1]}", *[""] * (len(HEADER) - 2)])
    return as_markdown(lines)


def advantages(peers: Mapping[str, Mapping[str, Any]], ours: str) -> str:
    """Right answers in budget per second at each load, ours divided by those of each other server. In Markdown."""
    compared = [found["servers"] for found in peers.values() if found["servers"]]
    loads = list(compared[0][ours]) if compared else []
    lines = [["ours ÷", *loads]]
    for servers in compared:
        goodputs = {
            server: [median(runs[load], "goodput_per_second") or 0.0 for load in loads]
            for server, runs in servers.items()
        }
        own = goodputs.pop(ours)
        for server, theirs in goodputs.items():
            lines.append([server, *(number(a / b, 2) if b else NONE for a, b in zip(own, theirs, strict=True))])
    return as_markdown(lines)


def cells(repeats: Sequence[Mapping[str, Any]]) -> list[str]:
    shares = [one["attainment"] for one in repeats]
    typical = sorted(repeats, key=lambda one: one["attainment"])[len(repeats) // 2]
    return [
        percent(statistics.median(shares)),
        f"{percent(min(shares))} – {percent(max(shares))}",
        percent(median(repeats, "accuracy")),
        number(median(repeats, "points_below_last_exit"), 2),
        number(median(repeats, "goodput_per_second"), 0),
        number(median(repeats, "last_exit_goodput_per_second"), 0),
        f"{number(typical['latency_ms']['p50'], 1)} / {number(typical['latency_ms']['p99'], 1)}",
        refusals(typical),
        percent(typical["given_up"] / typical["sent"]),
    ]


def median(repeats: Sequence[Mapping[str, Any]], figure: str) -> float | None:
    values = [one[figure] for one in repeats if one[figure] is not None]
    return statistics.median(values) if values else None


def curves(peers: Mapping[str, Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """By server, the medians at each load; what was measured beside several peers is taken together."""
    repeats: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for found in peers.values():
        for server, runs in found["servers"].items():
            for load, figures in runs.items():
                repeats.setdefault(server, {}).setdefault(load, []).extend(figures)
    figures = ("load", "points_below_last_exit", "attainment", "goodput_per_second")
    return {
        server: [{figure: median(each, figure) for figure in figures} for each in by_load.values()]
        for server, by_load in repeats.items()
    }

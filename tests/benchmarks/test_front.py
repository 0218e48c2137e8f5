"""What the simulator foretells of a front that is overloaded, as the benchmark asks it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anytime_client.load.arrivals import poisson
from benchmarks import front
from benchmarks.drive import Pictures
from benchmarks.simulate.foretelling import Served
from service.artifact import Artifact
from simulator.recording import Recording


def test_every_run_is_foretold_with_what_its_own_requests_cost(
    monkeypatch: pytest.MonkeyPatch, embedded: Artifact
) -> None:
    """The engine is fast; of 1,000 answers a second all fit, of 2,000 about half, less what refusals cost."""
    exits = len(embedded.metadata.exits)
    stages = [{size: np.array([0.0001]) for size in (1, 2, 4, 8)} for _ in range(exits)]
    known = Recording([[0.99] * exits], [[1.0] * exits], stages, np.array([0.0012]), per_run=0.0)
    asked: list[Path] = []

    def of(path: Path, *_: Any) -> Served:
        asked.append(path)
        return Served(embedded.metadata, known)

    monkeypatch.setattr(Served, "of", of)
    rng = np.random.default_rng(0)
    schedules = {name: poisson(rate, 3, rng) for name, rate in (("half", 500), ("twice", 2000), ("slower", 500))}
    rows: dict[str, dict[str, Any]] = {
        "half": {"closed_loop_per_second": 1000.0},
        "twice": {"closed_loop_per_second": 1000.0},
        "slower": {"closed_loop_per_second": 250.0},
    }
    front.simulate(Path("other.onnx"), rows, schedules, Pictures([], np.array([])), refusal=0.0001)
    attained = {name: row["simulated"]["attainment"] for name, row in rows.items()}
    assert asked == [Path("other.onnx")]
    assert attained["half"] == 1.0
    assert 0.4 < attained["twice"] < 0.5
    assert 0.4 < attained["slower"] < 0.5

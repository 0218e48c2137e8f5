"""The simulator against what can be counted by hand, and against the server's rules."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anytime_client.load.arrivals import Times, poisson
from benchmarks import images, report
from benchmarks.simulate import __main__ as command
from benchmarks.simulate.fifo import Fifo
from benchmarks.simulate.foretelling import Served, foretold
from service.arbiter import Arbiter
from service.artifact import Artifact
from service.scheduler import Scheduler
from simulator.recording import Recording
from simulator.replica import Load, Policy, simulate
from simulator.result import Simulated
from tests.service.recorded import EXITS, MODEL, Point

SIZES = [1, 2, 4]


def recording(confidences: list[list[float]], seconds: float = 1.0, outside: float = 0.0) -> Recording:
    """A stage takes as long whatever its batch; the first exit that is sure is the first that is right."""
    right = [[confidence >= 0.8 for confidence in image] for image in confidences]
    stages = [{size: np.array([seconds]) for size in SIZES} for _ in range(EXITS)]
    return Recording(confidences, right, stages, np.array([outside]), per_run=0.0)


def ours(known: Recording) -> Arbiter:
    return Arbiter({MODEL: Scheduler(known.times(), {"fast": Point()}, max_queue=100)})


def run(policies: list[Policy], known: Recording, arrivals: list[float], budget: float | Times) -> Simulated:
    load = Load(known, np.array(arrivals), budget, (0.8, 0.8))
    return simulate(policies, {MODEL: load}, np.random.default_rng(0))[MODEL]


def test_a_single_request_takes_its_stages_and_the_way_there_and_back() -> None:
    known = recording([[0.6, 0.9, 0.9]], outside=0.5)
    result = run([ours(known)], known, [1.0], budget=10.0)
    assert result.latency.tolist() == [2.5]
    assert (result.exit.tolist(), result.reason, result.right.tolist()) == ([2], ["confident"], [True])


def test_the_way_back_counts_as_the_server_counts_it() -> None:
    known = recording([[0.6, 0.9, 0.9]], outside=1.0)
    result = run([ours(known)], known, [0.0], budget=2.2)  # time for stage 2, but not to deliver what it says
    assert (result.exit.tolist(), result.reason) == ([1], ["budget"])


def test_first_come_first_served_goes_to_the_end_with_whoever_was_there() -> None:
    known = recording([[0.9, 0.9, 0.9]])
    result = run([Fifo(EXITS, max_batch=4)], known, [0.0, 0.5, 1.0, 3.5], budget=10.0)
    assert result.latency.tolist() == [3.0, 5.5, 5.0, 5.5]
    assert result.exit.tolist() == [3] * 4


def test_whoever_waited_too_long_is_refused() -> None:
    known = recording([[0.9, 0.9, 0.9]])
    result = run([Fifo(EXITS, max_batch=1, refusing=True)], known, [0.0, 0.5, 1.5], budget=2.0)
    assert result.exit.tolist() == [3, 0, 3]
    assert result.latency.tolist() == [3.0, math.inf, 4.5]


def test_two_replicas_share_the_load() -> None:
    known = recording([[0.9, 0.9, 0.9]])
    one = run([Fifo(EXITS, max_batch=1)], known, [0.0, 0.0, 0.0, 0.0], budget=6.0)
    two = run([Fifo(EXITS, max_batch=1) for _ in range(2)], known, [0.0, 0.0, 0.0, 0.0], budget=6.0)
    assert sorted(one.latency) == [3.0, 6.0, 9.0, 12.0]
    assert sorted(two.latency) == [3.0, 3.0, 6.0, 6.0]
    apart = run([Fifo(EXITS, max_batch=1) for _ in range(2)], known, [0.0, 1.0], budget=6.0)
    assert apart.latency.tolist() == [3.0, 3.0]  # the second goes to the one that has nothing to do


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 30), min_size=1, max_size=30).map(sorted),
    st.lists(st.lists(st.floats(0.5, 0.99), min_size=EXITS, max_size=EXITS), min_size=1, max_size=5),
    st.floats(0.5, 20),
    st.integers(1, 3),
)
def test_where_times_are_exact_all_whom_the_scheduler_admits_are_in_time(
    arrivals: list[float], confidences: list[list[float]], budget: float, replicas: int
) -> None:
    known = recording(confidences)
    result = run([ours(known) for _ in range(replicas)], known, arrivals, budget)
    admitted = result.exit > 0
    if budget >= 1.0:  # else there is no time for exit 1, even on an idle engine
        assert np.all(result.latency[admitted] <= budget + 1e-9)
    assert np.all(np.isinf(result.latency[~admitted]))
    assert all((reason is not None) == there for reason, there in zip(result.reason, admitted, strict=True))


def test_each_request_has_its_own_budget() -> None:
    known = recording([[0.6, 0.6, 0.6]])
    result = run([ours(known)], known, [0.0, 10.0], np.array([2.0, 9.0]))
    assert (result.exit.tolist(), result.reason) == ([2, 3], ["budget", "final"])
    assert result.only(result.budget == 9.0).exit.tolist() == [3]


def test_what_is_summed_up_adds_up() -> None:
    known = recording([[0.9, 0.9, 0.9], [0.6, 0.6, 0.6]])
    schedule = np.array([0.0, 0.0, 20.0, 40.0])
    summary = run([ours(known)], known, schedule.tolist(), budget=10.0).summary(40.0, [0.2, 0.5, 1.0])
    assert summary["attainment"] == 1.0
    assert summary["exits"] == {"1": {"confident": 2}, "3": {"final": 2}}
    assert summary["accuracy"] == 0.5
    assert summary["mean_depth"] == pytest.approx(0.6)
    assert summary["points_below_last_exit"] == 0
    assert summary["offered_per_second"] == 0.1


def test_the_bound_by_hand() -> None:
    right = [[True, True, True], [False, True, True], [False, False, False]]
    stages = [{1: np.array([1.0]), 2: np.array([1.5])} for _ in range(EXITS)]
    known = Recording([[1.0] * EXITS] * 3, right, stages, np.array([0.0]), per_run=0.0)
    settings = command.SimulateSettings(budgets_ms=[500], replicas=2)

    def most(seconds: float, requests: int) -> float:
        trace = command.Trace(1, seconds, np.zeros(requests))
        goodput: float = command.bound(trace, known, settings)["goodput_per_second"]
        return goodput * seconds

    assert most(10, 6) == pytest.approx(4)  # of six images two are never right
    # In 2 × (2.0 + 0.5) seconds: six of 0.75, for the others need twice as much.
    assert most(2, 90) == pytest.approx(6)


@pytest.mark.parametrize("flags", [[], ["--replicas", "2", "--shape", "day", "--budgets-ms", "[20, 200]"]])
def test_the_command_compares_policies_and_none_beats_the_bound(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, embedded: Artifact, flags: list[str]
) -> None:
    rng = np.random.default_rng(0)
    exits = len(embedded.metadata.exits)
    confidences = np.sort(rng.uniform(0.4, 1, (50, exits)))
    stages = [{size: np.array([0.001 + 0.0005 * size]) for size in (1, 2, 4, 8)} for _ in range(exits)]
    right = (confidences > rng.uniform(0, 1, (50, exits))).tolist()
    known = Recording(confidences.tolist(), right, stages, np.array([0.0005]), per_run=0.0001)
    monkeypatch.setattr(command, "record", lambda *_: known)
    monkeypatch.setattr(images, "pictures", lambda _: None)
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["simulate", "--requests", "400", "--max-batch", "8", "--loads", "[1, 4]", *flags])
    command.main()
    (written,) = tmp_path.glob("simulate-*.json")
    runs = json.loads(written.read_text())["figures"]["runs"]
    assert written.with_suffix(".png").exists()
    for place, most in enumerate(runs.pop("bound")):
        assert most["goodput_per_second"] > 0
        assert all(each[place]["goodput_per_second"] <= most["goodput_per_second"] for each in runs.values())


def test_models_that_share_an_engine_have_their_own_figures(embedded: Artifact) -> None:
    rng = np.random.default_rng(0)
    exits = len(embedded.metadata.exits)
    confidences = np.sort(rng.uniform(0.4, 1, (50, exits)))
    stages = [{size: np.array([0.001 + 0.0005 * size]) for size in (1, 2, 4, 8)} for _ in range(exits)]
    known = Recording(confidences.tolist(), (confidences > 0.5).tolist(), stages, np.array([0.0005]), per_run=0.0001)
    other = embedded.metadata.model_copy(update={"version": "other"})
    capacity, rng = command.always_last_capacity(known), np.random.default_rng(0)
    schedules = {
        Served(metadata, known): poisson(load * capacity, 2.0, rng)
        for metadata, load in ((embedded.metadata, 0.3), (other, 5.0))
    }
    calm, overloaded = foretold(schedules, budget=0.05, max_queue=256, seconds=2.0).values()
    assert calm["attainment"] >= 0.99
    assert calm["sent"] * 10 < overloaded["sent"]
    assert overloaded["refused"] > 0.2

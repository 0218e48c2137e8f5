"""How many replicas a load needs, against trying all numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anytime_client.load.shapes import Shape
from service.artifact import Artifact
from simulator import images
from simulator.front import FrontCosts
from simulator.planning import Ask, Figures, Impossible, Planner
from simulator.recording import Recording
from simulator.routing import Routing


@pytest.fixture(scope="module")
def planner(embedded: Artifact) -> Planner:
    metadata = embedded.metadata
    point = metadata.operating_points[metadata.default_operating_point]
    known = images.drawn(metadata, point, 500, np.random.default_rng(0)).tolist()
    stages = [{size: np.array([0.004 + 0.002 * size]) for size in (1, 2, 4, 8)} for _ in metadata.exits]
    recording = Recording(known, known, stages, np.array([0.002]), 0.0001, FrontCosts(0.0005, 0.0001))
    return Planner(recording, metadata, point, max_queue=256)


@settings(deadline=None, max_examples=8)
@given(st.floats(50, 800), st.floats(0.04, 0.12), st.sampled_from([0.9, 0.99]), st.integers(0, 3))
def test_one_replica_less_is_not_enough(
    planner: Planner, rate: float, budget: float, attainment: float, seed: int
) -> None:
    ask = Ask(rate, budget, attainment, requests=200, seed=seed)
    told: list[Figures] = []
    found = planner.plan(ask, told.append)
    attained = {run["replicas"]: run["attainment"] for run in told}
    assert attained == {replicas: run["attainment"] for replicas, run in found.curve.items()}
    assert attained[found.replicas] >= attainment
    assert found.replicas - 1 < planner.fewest(ask) or attained[found.replicas - 1] < attainment
    assert planner.plan(ask) == found


def test_fewer_than_could_answer_at_all_do_not(planner: Planner) -> None:
    ask = Ask(1000, 0.1, 0.99, requests=1500)
    assert planner.fewest(ask) == 3
    assert planner.figures(ask, 2)["attainment"] < 0.9


def test_more_replicas_go_deeper(planner: Planner) -> None:
    few, many = (planner.figures(Ask(1000, 0.1, 0.99, requests=1500), replicas) for replicas in (3, 8))
    assert few["mean_depth"] < many["mean_depth"]
    assert few["cut_short"] > many["cut_short"]


def test_a_hundred_replicas_do_as_one_at_the_same_load_each(planner: Planner) -> None:
    one = planner.figures(Ask(60, 0.1, 0.99, requests=600), 1)
    hundred = planner.figures(Ask(6_000, 0.1, 0.99, requests=600), 100)
    assert hundred["attainment"] >= max(0.99, one["attainment"])


def test_all_ways_to_route_are_compared(planner: Planner) -> None:
    runs = {run["routing"]: run["attainment"] for run in planner.compared(Ask(1000, 0.06, 0.99, requests=1500), 4)}
    assert list(runs) == [each.value for each in Routing]
    assert min(runs, key=lambda routing: runs[routing]) == Routing.RANDOM


def test_a_load_that_varies_is_simulated_for_long_enough(planner: Planner) -> None:
    steady, bursts = (
        planner.figures(Ask(100, 0.05, 0.99, shape, requests=100), 2) for shape in (Shape.POISSON, Shape.BURSTS)
    )
    assert steady["sent"] < 150
    assert bursts["sent"] > 800


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (Ask(100, 0.002, 0.99), "more than 0.00% within 2 ms: an idle one needs 8.10 ms"),
        (Ask(100_000, 0.05, 0.99, most=10), r"at least \d+ replicas, for one answers at most 400/s; 10 are allowed"),
        (Ask(1000, 0.05, 1.0, requests=1000, most=3), "3 replicas, the most that are allowed, answer"),
    ],
)
def test_what_cannot_be_is_told(planner: Planner, ask: Ask, message: str) -> None:
    with pytest.raises(Impossible, match=message):
        planner.plan(ask)


def test_drawn_images_stop_where_those_of_calibration_did(embedded: Artifact) -> None:
    metadata = embedded.metadata
    for point in metadata.operating_points.values():
        confidences = images.drawn(metadata, point, 20_000, np.random.default_rng(0))
        sure = confidences >= np.array([*point.thresholds, 0.0])
        shares = np.bincount(sure.argmax(axis=1), minlength=len(metadata.exits)) / len(sure)
        assert shares == pytest.approx(np.array(point.exit_shares), abs=0.01)
        assert np.all((confidences >= 1 / len(metadata.classes)) & (confidences <= 1))


def test_one_machine_that_is_so_many_times_as_fast_takes_so_much_less(planner: Planner) -> None:
    recording = planner.recording.faster(10)
    assert Planner(recording, planner.metadata, planner.point, 256).capacity() == pytest.approx(10 * planner.capacity())
    assert recording.way == pytest.approx(planner.recording.way)

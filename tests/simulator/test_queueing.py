"""Servers in virtual time against queues whose waiting times are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anytime_client.load.arrivals import poisson
from benchmarks.simulate.fifo import Fifo
from service.arbiter import Arbiter
from service.scheduler import Scheduler
from simulator.front import FrontCosts
from simulator.replica import Load, Policy, simulate
from simulator.result import Simulated
from simulator.routing import Routing
from tests.service.recorded import EXITS, MODEL, Point
from tests.simulator.known import recording

FOREVER = 1e9
SURE = [[0.9] * EXITS]
ONE_BY_ONE = recording(SURE, seconds=1 / EXITS)
"""With Fifo that takes one at a time: a second each."""


def queued(arrivals: list[float], replicas: int, routing: Routing, seed: int = 0) -> Simulated:
    policies: list[Policy] = [Fifo(EXITS, max_batch=1) for _ in range(replicas)]
    load = Load(ONE_BY_ONE, np.array(arrivals), FOREVER, (0.8, 0.8))
    return simulate(policies, {MODEL: load}, np.random.default_rng(seed), routing)[MODEL]


def fewest_first(arrivals: list[float], servers: int) -> list[float]:
    """A second each, to where fewest are and the first of those: by brute force."""
    ends: list[list[float]] = [[] for _ in range(servers)]
    latencies = []
    for now in arrivals:
        place = min(range(servers), key=lambda server: sum(end > now for end in ends[server]))
        ends[place].append(max([now, *ends[place]]) + 1)
        latencies.append(ends[place][-1] - now)
    return latencies


# No sum of them is a whole number, so that nobody comes at the very moment at which another one leaves.
gaps = st.lists(st.sampled_from([0.0, *(root**0.5 / 4 for root in (2, 3, 5, 30, 101))]), min_size=1, max_size=40)


@settings(deadline=None)
@given(gaps, st.integers(1, 4))
def test_requests_wait_as_in_queues_by_brute_force(gaps: list[float], servers: int) -> None:
    arrivals = np.cumsum(gaps).tolist()
    latency = queued(arrivals, servers, Routing.LEAST_WAITING).latency
    assert latency == pytest.approx(fewest_first(arrivals, servers))


@settings(deadline=None)
@given(gaps, st.integers(1, 4))
def test_round_robin_is_a_queue_of_every_so_manieth(gaps: list[float], servers: int) -> None:
    arrivals = np.cumsum(gaps).tolist()
    latency = queued(arrivals, servers, Routing.ROUND_ROBIN).latency
    for place in range(servers):
        assert latency[place::servers] == pytest.approx(fewest_first(arrivals[place::servers], 1))


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_the_mean_wait_is_that_of_a_queue_with_fixed_service_times(load: float) -> None:
    """M/D/1: load / (2 (1 - load)) service times, by Pollaczek and Khinchine. Random routing makes as many of them."""
    for replicas in (1, 3):
        arrivals = poisson(load * replicas, 6000, np.random.default_rng(0)).tolist()
        waits = queued(arrivals, replicas, Routing.RANDOM).latency - 1
        assert waits.mean() == pytest.approx(load / (2 * (1 - load)), rel=0.06)


def test_two_choices_wait_far_less_than_one_and_the_fewest_of_all_least() -> None:
    arrivals = poisson(0.9 * 20, 200, np.random.default_rng(0)).tolist()
    waits = {routing: (queued(arrivals, 20, routing).latency - 1).mean() for routing in Routing}
    assert waits[Routing.LEAST_WAITING] < waits[Routing.POWER_OF_TWO] < waits[Routing.RANDOM] / 3
    assert waits[Routing.ROUND_ROBIN] < waits[Routing.RANDOM]


def behind_a_front(
    arrivals: list[float],
    budgets: float | list[float],
    costs: FrontCosts,
    replicas: int = 1,
    routing: Routing | None = None,
) -> Simulated:
    """The engine takes next to no time."""
    known = recording(SURE, seconds=1e-9, front=costs)
    policies = [Arbiter({MODEL: Scheduler(known.times(), {"fast": Point()}, max_queue=100)}) for _ in range(replicas)]
    load = Load(known, np.array(arrivals), np.array(budgets), (0.8, 0.8))
    return simulate(policies, {MODEL: load}, np.random.default_rng(0), routing or Routing.LEAST_WAITING)[MODEL]


def test_who_comes_alone_waits_for_nobody() -> None:
    result = behind_a_front([0.0, 5.0], 10.0, FrontCosts(1.0, 0.1))
    assert result.latency == pytest.approx([1.0, 1.0])


@settings(deadline=None)
@given(gaps, st.floats(0.1, 1.0), st.floats(0.01, 0.1))
def test_with_time_for_all_the_front_is_busy_until_the_last_answer(
    gaps: list[float], answer: float, refusal: float
) -> None:
    arrivals = np.cumsum(gaps).tolist()
    result = behind_a_front(arrivals, FOREVER, FrontCosts(answer, refusal))
    assert np.all(result.exit == 1)
    ends, free = np.sort(np.array(arrivals) + result.latency), 0.0
    for now in arrivals:  # a loop that does one thing after the other never rests while somebody is there
        free = max(free, now) + answer
    assert ends[-1] == pytest.approx(free, rel=1e-6)
    assert np.all(result.latency >= answer - 1e-6)


@pytest.mark.parametrize("times", [1.5, 2, 4])
def test_an_overloaded_front_answers_in_time_what_it_can(times: float) -> None:
    costs = FrontCosts(0.001, 0.0001)
    arrivals = poisson(times / costs.answer, 5, np.random.default_rng(0))
    result = behind_a_front(arrivals.tolist(), 0.05, costs)
    in_time = float((result.latency <= 0.05).sum()) / 5
    left = 1 - times * costs.refusal / costs.answer  # even if all were refused first
    assert 0.9 * left / costs.answer <= in_time <= 1.01 / costs.answer
    assert (result.latency > 0.05).sum() - np.isinf(result.latency).sum() <= 0.01 * len(arrivals)


def test_a_short_budget_goes_where_less_is_due_before_it() -> None:
    """Long budgets do not hinder it, so it matters little how many of them there are."""
    costs, hurried = FrontCosts(0.1, 0.01), 40
    arrivals = np.sort(np.random.default_rng(0).uniform(0, 2.6, hurried + 10)).tolist()
    budgets = np.where(np.arange(len(arrivals)) % 5 == 0, 30.0, 0.5)
    in_time = {
        routing: float((behind_a_front(arrivals, budgets.tolist(), costs, 2, routing).latency <= budgets).mean())
        for routing in (Routing.RANDOM, Routing.BUDGET_AWARE)
    }
    assert in_time[Routing.BUDGET_AWARE] > in_time[Routing.RANDOM]

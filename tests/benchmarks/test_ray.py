"""What a run in which a replica is killed says."""

import numpy as np
import pytest

from anytime_client.load.connections import GIVEN_UP, NO_ANSWER
from benchmarks.drive import Judged
from benchmarks.ray.__main__ import WINDOW, after_kill

BUDGET = 0.05
KILL, SECONDS = 5.0, 10.0


def run(status_at: dict[float, int], slow_until: float = KILL) -> Judged:
    """A request every 10 ms, each answered after 15 ms, but with `status_at` some times; those from the kill until
    `slow_until` are late.
    """
    scheduled = np.arange(0, SECONDS, 0.01).round(2)
    status = np.array([status_at.get(at, 200) for at in scheduled.tolist()])
    latency = np.where((scheduled >= KILL) & (scheduled < slow_until), 0.2, 0.015)
    none = np.zeros(len(scheduled))
    return Judged(BUDGET, scheduled, none, latency, status, [None] * len(none), {}, 0, 0.0, none.astype(int))


def test_what_broke_is_lost_but_not_what_was_refused_or_has_left() -> None:
    said = after_kill(run({4.99: NO_ANSWER, 5.0: 500, 5.01: 503, 5.02: 429, 5.03: GIVEN_UP}), KILL, SECONDS)
    assert (said["lost"], said["lost_later"]) == (2, 0)
    assert said["under_way"] == 2  # from 4.99 and 5.00
    assert after_kill(run({5.01: NO_ANSWER, 5.02: 500}), KILL, SECONDS)["lost_later"] == 2


@pytest.mark.parametrize("slow", [0.0, 0.3, 2.0])
def test_attainment_is_back_with_the_first_window_that_is_as_before(slow: float) -> None:
    said = after_kill(run({}, slow_until=KILL + slow), KILL, SECONDS)
    assert said["attainment_before"] == 1.0
    assert said["back"] == pytest.approx(np.ceil(slow / WINDOW + 1) * WINDOW)


def test_attainment_that_stays_away_is_not_back() -> None:
    assert after_kill(run({}, slow_until=SECONDS), KILL, SECONDS)["back"] is None

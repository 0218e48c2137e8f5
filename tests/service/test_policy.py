import itertools

from hypothesis import given
from hypothesis import strategies as st

from service.policy import Reason, in_time, verdicts

NOW = 100.0
jobs = st.lists(st.integers(0, 12).map(lambda slack: NOW + slack), max_size=7)
durations = st.lists(st.integers(1, 10), min_size=7, max_size=7)


@given(jobs, durations)
def test_in_time_is_the_largest_set_that_brute_force_finds(deadlines: list[float], by_size: list[int]) -> None:
    flags = in_time(deadlines, now=NOW, seconds=lambda size: by_size[size - 1])

    def meets(chosen: tuple[int, ...]) -> bool:
        return all(NOW + by_size[len(chosen) - 1] <= deadlines[index] for index in chosen)

    indices = range(len(deadlines))
    best = max(
        (
            len(chosen)
            for size in range(1, len(deadlines) + 1)
            for chosen in itertools.combinations(indices, size)
            if meets(chosen)
        ),
        default=0,
    )
    going = tuple(index for index in indices if flags[index])
    assert len(going) == best
    assert not going or meets(going)


def test_each_reason() -> None:
    reasons = verdicts(
        2,
        confidences=[0.9, 0.5, 0.5, 0.5],
        thresholds=[0.9, 0.9, 0.9, 0.9],
        max_exits=[4, 2, 4, 4],
        deadlines=[NOW, NOW, NOW + 1.9, NOW + 2.0],
        now=NOW,
        seconds=lambda size: float(size),
    )
    # The last two want to go on; together (2 s) only one would be in time, alone (1 s) the later one is.
    assert reasons == [Reason.CONFIDENT, Reason.FINAL, Reason.BUDGET, None]


def test_the_last_exit_is_final_however_confident() -> None:
    reasons = verdicts(4, [0.99], [0.0], [4], [0.0], now=NOW, seconds=lambda _: 1.0)
    assert reasons == [Reason.FINAL]


def test_no_limit_is_never_cut_short() -> None:
    assert verdicts(1, [0.1], [0.9], [4], [float("inf")], now=NOW, seconds=lambda _: 1e9) == [None]

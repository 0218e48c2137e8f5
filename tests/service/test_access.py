"""Who may ask, how often, and how much at a time."""

from pathlib import Path

import pytest

from service.access import ApiKey, Gate, KeyLimits, KeySource
from service.errors import RateLimited, RequestError, TooManyAtOnce, Unauthorized, whole_ms
from service.rates import take


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def gate(clock: Clock, **limits: float) -> Gate:
    return Gate([ApiKey("alice", b"sesame", KeyLimits.model_validate(limits)), ApiKey("bob", b"x", KeyLimits())], clock)


def refused(entrance: Gate, key: bytes | None = b"sesame") -> RequestError | None:
    """Why, where it is."""
    try:
        entrance.enter(key)
    except RequestError as error:
        return error
    return None


@pytest.mark.parametrize("rate", [0.3, 7, 1000])
@pytest.mark.parametrize("burst", [1, 2, 50])
def test_a_bucket_gives_its_burst_and_then_its_rate(rate: float, burst: int) -> None:
    full, now, came = 0.0, 1e6, 0
    for _ in range(burst):
        full, wait = take(full, rate, burst, now)
        assert wait == 0
    while came < 100:
        full, wait = take(full, rate, burst, now)
        came += wait == 0
        now += wait  # who waits as long as told is let in
    assert now - 1e6 == pytest.approx(100 / rate)


def test_time_that_goes_back_gives_no_tokens() -> None:
    full, _ = take(0.0, 1, 1, 1000)
    after, wait = take(full, 1, 1, 900)
    assert (after, wait) == (full, 101)


def test_a_bucket_that_was_full_for_long_has_no_more_than_its_burst() -> None:
    clock = Clock()
    limited = gate(clock, rate=10, burst=3)
    clock.now += 3600
    assert [type(refused(limited)) for _ in range(4)] == [type(None)] * 3 + [RateLimited]


def test_who_waits_as_told_is_let_in() -> None:
    clock = Clock()
    limited = gate(clock, rate=10, burst=1)
    assert refused(limited) is None
    for _ in range(20):
        error = refused(limited)
        assert isinstance(error, RateLimited)
        assert error.retry_after is not None
        assert "'alice' may send 10 requests a second" in str(error)
        clock.now += whole_ms(error.retry_after) / 1000
        assert refused(limited) is None


def test_no_more_at_a_time_than_a_key_may_have() -> None:
    clock = Clock()
    limited = gate(clock, concurrency=2)
    first, _ = limited.enter(b"sesame"), limited.enter(b"sesame")
    clock.now += 3
    assert isinstance(refused(limited), TooManyAtOnce)
    assert refused(limited, b"x") is None, "others are not concerned"
    first.leave()
    assert refused(limited) is None
    error = refused(limited)
    assert isinstance(error, TooManyAtOnce)
    assert error.retry_after == 3, "as long as the last one took"


def test_who_is_sent_away_takes_nothing() -> None:
    clock = Clock()
    limited = gate(clock, rate=1, burst=2, concurrency=1)
    inside = limited.enter(b"sesame")
    for _ in range(10):
        assert isinstance(refused(limited), TooManyAtOnce)
    inside.leave()
    assert refused(limited) is None


@pytest.mark.parametrize("key", [None, b"", b"sesam", b"sesame ", b"SESAME", b"alice", b"alice:sesame"])
def test_nobody_else_is_let_in(key: bytes | None) -> None:
    error = refused(gate(Clock()), key)
    assert isinstance(error, Unauthorized)
    assert ("needed" in str(error)) == (key is None)


def test_keys_that_change_keep_what_was_taken() -> None:
    clock = Clock()
    limits = KeyLimits(rate=1, burst=1)
    changing = Gate([ApiKey("alice", b"sesame", limits), ApiKey("bob", b"x", limits)], clock)
    assert refused(changing) is None
    changing.change([ApiKey("alice", b"sesame", limits), ApiKey("carol", b"y", limits)])
    assert isinstance(refused(changing), RateLimited)
    assert isinstance(refused(changing, b"x"), Unauthorized)
    assert changing.enter(b"y").name == "carol"


def test_keys_from_a_file_and_the_environment(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# ours\n\nalice:s3cret:with=more\n  bob:x rate=2.5 burst=7 concurrency=3 \n")
    keys = KeySource("carol:k, unnamed ,", tmp_path / "keys", KeyLimits(rate=9)).read()
    assert [(key.name, key.secret) for key in keys] == [
        ("carol", b"k"),
        ("key-2", b"unnamed"),
        ("alice", b"s3cret:with=more"),
        ("bob", b"x"),
    ]
    assert [key.limits for key in keys] == [KeyLimits(rate=9)] * 3 + [KeyLimits(rate=2.5, burst=7, concurrency=3)]


@pytest.mark.parametrize(
    ("listed", "written", "told"),
    [
        ("", "", "no API key stands there"),
        ("", "alice hunter2", "line 1: a key is written as name:key"),
        ("", "\nalice:", "line 2: a key"),
        ("", "alice:hunter2 rate=0", "line 1: a key"),
        ("", "alice:hunter2 speed=3", "line 1: a key"),
        ("", "alice:hunter2 hunter2", "line 1: a key"),
        ("", "alice:hünter2", "line 1: a key"),
        ("alice:hunter2", "alice:b", "a name stands twice"),
        ("alice:hunter2", "bob:hunter2", "a key stands twice"),
        (":hunter2", "", "ANYTIME_API_KEY, key 1: a key"),
        ("a:b,hunt er2", "", "ANYTIME_API_KEY, key 2: a key"),
    ],
)
def test_what_is_no_key_is_told_without_it(tmp_path: Path, listed: str, written: str, told: str) -> None:
    (tmp_path / "keys").write_text(written)
    with pytest.raises(ValueError, match=told) as raised:
        KeySource(listed, tmp_path / "keys", KeyLimits()).read()
    assert "hunter2" not in str(raised.value)


def test_whole_ms_stay_as_they_are_and_others_are_rounded_up() -> None:
    assert all(whole_ms(ms / 1000) == ms for ms in range(1, 5000))
    assert (whole_ms(0), whole_ms(0.0011), whole_ms(0.001001)) == (1, 2, 2)

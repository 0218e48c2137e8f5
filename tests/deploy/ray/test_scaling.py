"""How many replicas a load needs."""

import sys
from itertools import count
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram

from deploy.ray.scaling import GROWTH, TOLERANCE, Counts, Load, Scaling, replicas_needed, reported
from tests.deploy.processes import ROOT

TARGETS = Load(busy=0.7, felt=0.05, wait=0.005)
values = st.floats(0, 2)
loads = st.builds(Load, busy=values, felt=st.floats(0, 1), wait=st.floats(0, 0.1))


def spread(felt: list[Load], of: int, over: int) -> Load:
    """The mean, if what `of` replicas feel is shared by others, too."""
    means = [sum(getattr(load, name) for load in felt) / len(felt) for name in ("busy", "felt", "wait")]
    return Load(*(mean * of / over for mean in means))


def fits(load: Load) -> bool:
    slack = 1 + 1e-9
    names = ("busy", "felt", "wait")
    return all(getattr(load, name) <= getattr(TARGETS, name) * slack for name in names)


@given(st.lists(loads, min_size=1, max_size=5), st.integers(1, 50))
def test_they_are_the_fewest_on_which_the_load_is_within_all_targets(felt: list[Load], replicas: int) -> None:
    needed = replicas_needed(felt, TARGETS, replicas)
    fewest = next(number for number in count(1) if fits(spread(felt, replicas, number)))
    if needed != replicas:
        assert needed in (fewest, min(fewest, int(GROWTH * replicas)))
    else:
        assert abs(fewest - replicas) <= TOLERANCE * replicas + 1


@given(st.lists(loads, min_size=1, max_size=5), st.integers(1, 50))
def test_no_step_takes_more_than_twice_as_many_or_leaves_none(felt: list[Load], replicas: int) -> None:
    assert 1 <= replicas_needed(felt, TARGETS, replicas) <= GROWTH * replicas


@pytest.mark.parametrize("heavy", [Load(1.4, 0, 0), Load(0, 0.1, 0), Load(0, 0, 0.01)])
def test_each_of_the_three_signals_alone_asks_for_more(heavy: Load) -> None:
    assert replicas_needed([heavy], TARGETS, 3) == 6


def test_a_load_near_its_target_changes_nothing() -> None:
    assert replicas_needed([Load(0.72, 0.0, 0.0)], TARGETS, 10) == 10


def test_nothing_is_decided_before_a_replica_has_told() -> None:
    assert replicas_needed([], TARGETS, 4) == 4


def test_only_replicas_that_have_told_everything_count() -> None:
    metrics = {"busy": {"a": 0.5, "b": 0.9}, "felt": {"a": 0.0}, "wait": {"a": 0.001, "b": 0.0}}
    assert reported(metrics) == [Load(0.5, 0.0, 0.001)]
    assert reported({}) == []


def test_a_load_is_read_from_what_the_server_counts() -> None:
    registry = CollectorRegistry()
    stage = Histogram("anytime_stage_duration_seconds", "", ["model", "stage"], registry=registry)
    requests = Counter("anytime_requests_total", "", ["model", "code"], registry=registry)
    exits = Counter("anytime_exits_total", "", ["model", "exit", "reason"], registry=registry)
    refused = Counter("anytime_refused_total", "", ["model", "reason"], registry=registry)
    before = Counts.of(registry.collect(), at=10.0)
    stage.labels("m", "1").observe(0.5)
    stage.labels("m", "2").observe(0.25)
    requests.labels("m", "200").inc(6)
    requests.labels("m", "503").inc(2)
    exits.labels("m", "1", "load").inc(1)
    exits.labels("m", "2", "confident").inc(5)
    refused.labels("m", "overloaded").inc(1)
    refused.labels("m", "budget_too_small").inc(1)
    after = Counts.of(registry.collect(), at=12.0)
    assert after.load_since(before, wait=0.003) == Load(busy=0.375, felt=0.25, wait=0.003)
    assert after.seconds_each(before) == pytest.approx(0.125)
    assert after.seconds_each(after) is None
    assert after.load_since(after, wait=0.0) == Load(0.0, 0.0, 0.0)


def test_ray_is_told_how_many_it_needs() -> None:
    metrics = {"busy": {"a": 1.4, "b": 1.4}, "felt": {"a": 0.0, "b": 0.0}, "wait": {"a": 0.0, "b": 0.0}}
    context = SimpleNamespace(aggregated_metrics=metrics, target_num_replicas=2)
    assert Scaling(busy=0.7)(context) == (4, {})
    assert Scaling(busy=1.4)(context) == (2, {})
    assert Scaling()(SimpleNamespace(aggregated_metrics=None, target_num_replicas=3)) == (3, {})


@pytest.mark.skipif(sys.platform != "linux", reason="Ray is tested on Linux")
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_heeds_the_shipped_delays_when_it_grows_and_shrinks(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.serve import autoscaling_policy
    from ray.serve._private.autoscaling_state import _resolve_policy_callable
    from ray.serve.config import AutoscalingConfig

    shipped = yaml.safe_load((ROOT / "deploy" / "ray" / "config.yaml").read_text())["applications"][0]["deployments"][0]
    config = AutoscalingConfig(**shipped["autoscaling_config"])
    policy = autoscaling_policy._apply_autoscaling_config(_resolve_policy_callable(config.policy))
    clock = count()
    monkeypatch.setattr(autoscaling_policy, "time", SimpleNamespace(time=lambda: next(clock)))
    context = SimpleNamespace(config=config, policy_state={}, target_num_replicas=2, total_num_requests=1)

    def target_after_a_second(busy: float) -> int:
        context.aggregated_metrics = {"busy": {"a": busy}, "felt": {"a": 0.0}, "wait": {"a": 0.0}}
        context.current_num_replicas = context.target_num_replicas
        target: int
        target, context.policy_state = policy(context)
        context.target_num_replicas = target
        return target

    up, down = int(config.upscale_delay_s), int(config.downscale_delay_s)
    assert [target_after_a_second(1.4) for _ in range(up + 1)] == [2] * up + [4]
    assert [target_after_a_second(0.35) for _ in range(down)] == [4] * down
    assert target_after_a_second(0.7) == 4  # as it should be: the delay begins anew
    assert [target_after_a_second(0.35) for _ in range(down + 1)] == [4] * down + [2]

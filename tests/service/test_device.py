"""What runs on a GPU, on the CPU provider: memory that stays, gathered rows and padding are the same there."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks import FP32_MODEL
from export.artifact import read
from export.precision import Precision, in_precision
from service.artifact import Artifact, cut
from service.calibration import Calibration
from service.engine import Engine, Network
from service.jobs import Job
from service.runtime.gather import gathering
from service.runtime.gpu import GpuStages, open_stages
from service.runtime.interface import Stages
from service.runtime.stages import OnnxStages, cuda_options, providers_for
from service.scheduler import Scheduler
from service.times import StageTimes, batch_sizes
from tests.service.recorded import Reply, outcome, reply

Images = NDArray[np.float32]
MAX_BATCH = 6
SIZES = batch_sizes(MAX_BATCH)
TOLERANCE = {"fp32": 1e-4, "fp16": 0.05, "int8": 1e-4}


class Recorded(onnxruntime.InferenceSession):
    """Remembers with how many rows it ran: that many logits came out."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.sizes: list[int] = []

    def run_with_iobinding(self, binding: onnxruntime.IOBinding, options: Any = None) -> None:
        super().run_with_iobinding(binding, options)
        self.sizes.append(binding.get_outputs()[0].shape()[0])


@pytest.fixture(scope="module", params=["fp32", "fp16", "int8"])
def precision(request: pytest.FixtureRequest) -> Precision:
    given: Precision = request.param
    return given


@pytest.fixture(scope="module")
def host(precision: Precision, embedded: Artifact, inputs: Images) -> OnnxStages:
    model = in_precision(read(FP32_MODEL)[0], precision, torch.from_numpy(inputs[:32]).split(32))
    return OnnxStages(Artifact(embedded.metadata, "", cut(model, embedded.metadata)), "cpu", threads=1)


@pytest.fixture(params=[False, True], ids=["fresh", "fixed"])
def device(request: pytest.FixtureRequest, host: OnnxStages) -> GpuStages:
    return GpuStages(host, SIZES, fixed=request.param)


@pytest.fixture
def alike(host: OnnxStages, device: GpuStages, precision: Precision) -> "Alike":
    return Alike(host, device, TOLERANCE[precision])


class Alike:
    """Both kinds of stages at once; every run must give the same logits."""

    def __init__(self, host: OnnxStages, device: GpuStages, tolerance: float) -> None:
        self.host, self.device, self.tolerance = host, device, tolerance

    def load(self, images: Sequence[Images]) -> tuple[Any, Any]:
        return self.host.load(images), self.device.load(images)

    def join(self, rows: Sequence[tuple[tuple[Any, Any], int]]) -> tuple[Any, Any]:
        one, other = ([(features[which], row) for features, row in rows] for which in (0, 1))
        return self.host.join(one), self.device.join(other)

    def run(self, stage: int, features: tuple[Any, Any]) -> tuple[Any, Any]:
        logits, one = self.host.run(stage, features[0])
        others, other = self.device.run(stage, features[1])
        assert others.shape == logits.shape
        np.testing.assert_allclose(others, logits, atol=self.tolerance)
        return one, other


def test_the_logits_are_those_of_the_host_at_every_size(alike: Alike, inputs: Images) -> None:
    for count in range(1, MAX_BATCH + 1):
        features = alike.load([*inputs[:count]])
        for stage in (1, 2, 3, 4):
            features = alike.run(stage, features)
        assert features == (None, None)


def test_features_that_wait_outlive_other_runs_of_their_stage(alike: Alike, inputs: Images) -> None:
    waiting = [alike.run(1, alike.load([*inputs[first : first + 4]])) for first in (0, 4, 8)]
    deeper = [alike.run(2, features) for features in waiting]  # the first ones are still there for a second time
    for features in reversed(waiting):
        alike.run(2, features)
    for features in deeper:
        alike.run(3, features)


def test_a_joined_batch_waits_as_well(alike: Alike, inputs: Images) -> None:
    features = alike.run(1, alike.load([*inputs[:6]]))
    some, others = alike.join([(features, 4), (features, 1)]), alike.join([(features, 0), (features, 5)])
    again = alike.run(1, alike.load([*inputs[6:8]]))
    for waiting in (some, others, again, features):
        alike.run(2, waiting)


def test_images_wait_as_well(alike: Alike, inputs: Images) -> None:
    first, second = alike.load([*inputs[:2]]), alike.load([*inputs[2:4]])
    for features in (first, second, first):
        alike.run(1, features)


def test_rows_of_several_batches_go_on_together_in_any_order(alike: Alike, inputs: Images) -> None:
    a, b, c = (alike.run(1, alike.load([*inputs[first:last]])) for first, last in ((0, 4), (4, 5), (5, 11)))
    mixed = alike.join([(c, 5), (a, 2), (b, 0), (a, 0), (c, 1)])  # as large as c, which lies where it belongs
    deeper = alike.run(2, mixed)
    alike.run(2, c)
    last = alike.join([(deeper, 3), (alike.run(2, a), 1), (deeper, 0)])
    for stage in (3, 4):
        last = alike.run(stage, last)


def test_whoever_stays_in_a_batch_of_the_same_size_is_not_copied(device: GpuStages, inputs: Images) -> None:
    _, features = device.run(1, device.load([*inputs[:6]]))
    assert features is not None
    kept = device.join([(features, row) for row in (5, 0, 2, 3, 4)])
    assert kept.batch is features.batch
    assert device.join([(kept, 1), (kept, 0)]).batch is not features.batch


def test_features_stay_in_the_bits_of_the_artifact(device: GpuStages, precision: Precision, inputs: Images) -> None:
    _, features = device.run(1, device.load([*inputs[:2]]))
    assert features is not None
    assert not isinstance(features.batch.values, np.ndarray)
    expected = {"fp32": "tensor(float)", "fp16": "tensor(float16)", "int8": "tensor(uint8)"}
    assert features.batch.values.data_type() == expected[precision]


def first_features(stages: GpuStages, images: Images) -> Any:
    """What stage 1 leaves on the device."""
    _, features = stages.run(1, stages.load([*images]))
    assert features is not None
    return features


def test_a_place_is_left_where_nobody_needs_it(embedded: Artifact, inputs: Images) -> None:
    stages = GpuStages(OnnxStages(embedded, "cpu", threads=1), SIZES, fixed=True)
    addresses = set()
    for _ in range(3):
        features = first_features(stages, inputs[:4])
        addresses.add(features.batch.values.data_ptr())
    others = first_features(stages, inputs[4:8])
    assert {others.batch.values.data_ptr()} == addresses != {features.batch.values.data_ptr()}


@pytest.mark.parametrize("fixed", [False, True])
def test_no_other_shapes_occur_than_those_of_warm_up(embedded: Artifact, inputs: Images, fixed: bool) -> None:
    host = OnnxStages(embedded, "cpu", threads=1)
    host.sessions = [Recorded(stage, host.options, providers=providers_for("cpu")) for stage in embedded.stages]
    engine = engine_of(GpuStages(host, SIZES, fixed), embedded)
    for count in (5, 1, 3, 6, 2, 7, 4):
        answers_of(engine, [(index, 2.0, 4, int(index == 3)) for index in range(count)], inputs)
    assert all(set(session.sizes) <= set(SIZES) for session in host.sessions)
    assert len({size for session in host.sessions for size in session.sizes}) > 2
    for count in range(1, MAX_BATCH + 1):
        features = stages_of(engine).load([*inputs[:count]])
        for stage in range(1, len(host.sessions) + 1):
            _, features = stages_of(engine).run(stage, features)
    assert all(set(session.sizes) == set(SIZES) for session in host.sessions)


def engine_of(stages: Stages, served: Artifact) -> Engine:
    """Around real stages, in a world where nothing takes any time but large batches pay."""
    times = StageTimes(len(served.stages), SIZES)
    for stage in range(1, len(served.stages) + 1):
        times.set_idle(stage, [1.0] * len(SIZES))
    scheduler = Scheduler(times, served.metadata.operating_points, max_queue=100)
    calibration = Calibration.of(served.metadata)
    return Engine({served.metadata.id: Network(stages, scheduler, calibration)}, lambda: 0.0, settle)


def stages_of(engine: Engine) -> Stages:
    (network,) = engine.networks.values()
    return network.stages


def settle(outcomes: list[tuple[Job, Any]]) -> None:
    for job, answer in outcomes:
        job.reply.put(answer)


def answers_of(
    engine: Engine, asked: Sequence[tuple[int, float, int, int]], inputs: Images
) -> list[tuple[tuple[int, str], Images]]:
    """Of jobs, each an image, a threshold, a deepest exit, and how often the engine steps before the next one."""
    jobs, (model,) = [], engine.networks
    for index, threshold, max_exit, steps in asked:
        jobs.append(Job(model, inputs[index], float("inf"), (threshold,) * 3, max_exit, Reply()))
        engine.submit(jobs[-1])
        for _ in range(steps):
            engine.step()
    while not engine.arbiter.idle:
        engine.step()
    return [(outcome(job), reply(job).result().probabilities) for job in jobs]


@pytest.fixture(scope="module")
def engines(embedded: Artifact) -> list[Engine]:
    host = OnnxStages(embedded, "cpu", threads=1)
    kinds: list[Stages] = [host, GpuStages(host, SIZES), GpuStages(host, SIZES, fixed=True)]
    return [engine_of(stages, embedded) for stages in kinds]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 255), st.sampled_from([0.5, 0.9, 0.99, 2.0]), st.integers(1, 4), st.integers(0, 2)),
        min_size=1,
        max_size=20,
    )
)
def test_an_engine_answers_alike_on_host_and_device(
    engines: list[Engine], inputs: Images, asked: list[tuple[int, float, int, int]]
) -> None:
    expected, *others = (answers_of(engine, asked, inputs) for engine in engines)
    for answers in others:
        for (stopped, probabilities), (where, other) in zip(expected, answers, strict=True):
            assert stopped == where
            np.testing.assert_allclose(probabilities, other, atol=1e-4)


def test_the_host_has_the_cpu(embedded: Artifact) -> None:
    assert isinstance(open_stages(embedded, "auto", 1, SIZES, cuda_graphs=False), OnnxStages)


def test_graphs_without_cuda_are_refused(embedded: Artifact) -> None:
    with pytest.raises(ValueError, match="cuda_graphs: onnxruntime cannot run every stage with CUDA"):
        open_stages(embedded, "auto", 1, SIZES, cuda_graphs=True)


def test_graphs_and_arena_are_options_of_the_provider() -> None:
    assert cuda_options(cuda_graphs=True) == {"arena_extend_strategy": "kSameAsRequested", "enable_cuda_graph": "1"}
    assert cuda_options(cuda_graphs=False)["enable_cuda_graph"] == "0"


def test_gathering_is_a_sound_model() -> None:
    for type_ in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.UINT8):
        onnx.checker.check_model(onnx.load_model_from_string(gathering(type_, axes=4)), full_check=True)

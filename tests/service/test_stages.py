import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from benchmarks import INT8_MODEL
from service.artifact import Artifact
from service.runtime.interface import Features
from service.runtime.stages import OnnxStages, session_options

Images = NDArray[np.float32]


@pytest.fixture(scope="module")
def stages(embedded: Artifact) -> OnnxStages:
    return OnnxStages(embedded, device="cpu", threads=1)


def chain(stages: OnnxStages, images: Images) -> list[Images]:
    logits: list[Images] = []
    features: Features = images
    for stage in range(1, len(stages.sessions) + 1):
        answer, features = stages.run(stage, features)
        logits.append(answer)
    assert features is None
    return logits


def test_the_chain_is_the_whole_graph(stages: OnnxStages, inputs: Images) -> None:
    whole = onnxruntime.InferenceSession(INT8_MODEL, session_options(1), providers=["CPUExecutionProvider"])
    for count in (1, 8, 32):
        expected = whole.run(None, {"image": inputs[:count]})
        for one, other in zip(chain(stages, inputs[:count]), expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_mixed_batch_answers_as_single_images_do(stages: OnnxStages, inputs: Images) -> None:
    together = chain(stages, inputs[:16])
    for index in range(16):
        for one, other in zip(together, chain(stages, inputs[index : index + 1]), strict=True):
            np.testing.assert_allclose(one[index], other[0], atol=1e-4)


def test_exit_1_runs_the_kernels_of_stage_1_alone(embedded: Artifact, inputs: Images, tmp_path: Path) -> None:
    def kernels(model: bytes, outputs: list[str]) -> int:
        options = session_options(1)
        options.enable_profiling = True
        options.profile_file_prefix = str(tmp_path / "profile")
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        session.run(outputs, {"image": inputs[:1]})
        events = json.loads(Path(session.end_profiling()).read_text())
        return sum(event.get("cat") == "Node" and event["name"].endswith("_kernel_time") for event in events)

    whole = kernels(INT8_MODEL.read_bytes(), ["logits_1"])
    first = kernels(embedded.stages[0], ["logits_1"])
    assert 0 < first < whole / 2


def test_cuda_without_its_runtime_is_refused(embedded: Artifact) -> None:
    with pytest.raises(ValueError, match="needs the extra 'gpu'"):
        OnnxStages(embedded, device="cuda", threads=1)


def test_the_runtime_reports_to_nobody() -> None:
    """The variable must be there before onnxruntime is imported; its log says when it has tried to report."""
    environment = {name: value for name, value in os.environ.items() if name not in {"CI", "ORT_DISABLE_TELEMETRY"}}
    code = "import os, service.runtime.stages, onnxruntime; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("1\n", "")

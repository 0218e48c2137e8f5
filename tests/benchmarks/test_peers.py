"""What can be tested of the peers without their environments."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from anytime_client.load.targets import Answer
from benchmarks import images
from benchmarks.peers import comparison, targets
from benchmarks.peers.__main__ import PEERS
from benchmarks.peers.model import Network
from benchmarks.peers.network import PLAIN, WITH_EXITS, networks
from benchmarks.server import MODELS
from service.artifact import Artifact
from training import data


@pytest.mark.parametrize("artifact", MODELS.values())
def test_peers_answer_as_the_last_exit_does(
    artifact: Path,
    test_set: data.Images,
    embedded: Artifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    contents = images.pngs(test_set)[:32]
    ours = images.inputs(contents, embedded.metadata.input)
    for model in networks(artifact, tmp_path).values():
        monkeypatch.setenv("PEER_MODEL", str(model))
        network = Network()
        decoded = [network.decode(png) for png in contents]
        assert np.allclose(np.stack(decoded), ours, atol=1e-6)
        assert network.classes(decoded) == last_exit(artifact, ours)


def last_exit(artifact: Path, inputs: NDArray[np.float32]) -> list[int]:
    session = onnxruntime.InferenceSession(artifact, providers=["CPUExecutionProvider"])
    indices: list[int] = session.run(["logits_4"], {"image": inputs})[0].argmax(axis=1).tolist()
    return indices


@pytest.mark.parametrize("artifact", MODELS.values())
def test_the_plain_network_has_no_early_heads(artifact: Path, tmp_path: Path) -> None:
    found = networks(artifact, tmp_path)
    sessions = {name: onnxruntime.InferenceSession(path) for name, path in found.items()}
    assert [one.name for one in sessions[PLAIN].get_outputs()] == ["logits_4"]
    assert len(sessions[WITH_EXITS].get_outputs()) == 4
    assert found[PLAIN].stat().st_size < found[WITH_EXITS].stat().st_size


def test_every_peer_has_all_its_parts() -> None:
    folder = Path(targets.__file__).parent
    assert set(PEERS) == set(targets.PEERS)
    for name in PEERS:
        assert (folder / f"{name}.py").exists()
        pins = (folder / "requirements" / f"{name}.txt").read_text().splitlines()
        assert all("==" in pin for pin in pins)


def test_the_tensor_form_of_a_png() -> None:
    png = images.png(np.zeros((28, 28), np.uint8))
    body = targets.as_tensor(png)
    header = json.loads(body[: targets.TRITON_HEADER])
    rest = body[targets.TRITON_HEADER :]
    assert header["inputs"][0]["parameters"]["binary_data_size"] == len(rest) == 4 + len(png)
    assert int.from_bytes(rest[:4], "little") == len(png)
    assert targets.triton_index(b'{"outputs": [{"data": [7]}]}') == targets.only_index(b"[7]") == Answer(7)
    assert png in targets.in_a_form(png)
    assert rest[4:] == png


def test_medians_over_repeats() -> None:
    def run(share: float) -> dict[str, object]:
        return {
            "load": 1.0,
            "sent": 100,
            "attainment": share,
            "accuracy": None if share == 0 else share,
            "points_below_last_exit": None if share == 0 else 1 - share,
            "goodput_per_second": 100 * share,
            "last_exit_goodput_per_second": 95.0,
            "latency_ms": {"p50": None, "p99": None},
            "refused": {"503": 10},
            "given_up": 5,
        }

    peers: dict[str, dict[str, Any]] = {
        "one": {"servers": {"ours": {"1×": [run(0.5), run(0.7)]}, "one": {"1×": [run(0)]}}, "failed": None},
        "two": {"servers": {"ours": {"1×": [run(0.9)]}}, "failed": "no answer"},
    }
    lines = comparison.table(peers).splitlines()
    assert "60.0 % | 50.0 % – 70.0 %" in lines[2]
    assert "| 60 | 95 |" in lines[2]
    assert "failed: no answer" in lines[-1]
    curves = comparison.curves(peers)
    assert curves["ours"] == [
        {"load": 1.0, "points_below_last_exit": pytest.approx(0.3), "attainment": 0.7, "goodput_per_second": 70}
    ]
    assert curves["one"][0]["points_below_last_exit"] is None


def test_our_goodput_is_compared_with_that_of_every_other_server() -> None:
    def runs(*goodputs: float) -> dict[str, object]:
        return {"2×": [{"goodput_per_second": goodput} for goodput in goodputs]}

    peers: dict[str, dict[str, Any]] = {
        "one": {"servers": {"ours": runs(80, 90, 100), "one, a": runs(30), "one, b": runs(45)}},
        "idle": {"servers": {"ours": runs(90), "idle, a": runs(0), "idle, b": runs(0)}},
        "late": {"servers": {"ours": runs(90)}},
        "failed": {"servers": {}},
    }
    lines = comparison.advantages(peers, "ours").splitlines()
    found = dict(line.strip("| ").split(" | ") for line in lines[2:])
    assert found == {"one, a": "3.00", "one, b": "2.00", "idle, a": "–", "idle, b": "–"}

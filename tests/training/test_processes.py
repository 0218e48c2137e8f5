"""One run in several processes, on one host or on two."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.training.commands import ALIKE, TORCHRUN, check_output, dying, flags, kill_before_step_9, losses, run
from training import checkpoint
from training.checkpoint import Checkpoint
from training.config import TrainConfig
from training.train import CHECKPOINT, train

PORT = 29400


@dataclass(frozen=True)
class Host:
    """A network namespace with the only link to the other one, and folders of its own."""

    name: str
    link: str
    address: str
    config: TrainConfig

    def start(self, module: str, *rendezvous: str) -> "subprocess.Popen[str]":
        """One process of `module`; `rendezvous`: torchrun's flags."""
        torchrun = [*TORCHRUN, "--nnodes=2", "--nproc-per-node=1", *rendezvous]
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, *torchrun, "-m", module, *flags(self.config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**dying(ALIKE), "GLOO_SOCKET_IFNAME": self.link},
        )


@pytest.fixture
def hosts(tiny: TrainConfig, tmp_path: Path) -> Iterator[list[Host]]:
    made = [
        Host(
            name := f"anytime-{os.getpid()}-{number}",
            f"veth{number}",
            f"10.77.0.{number}",
            tiny.model_copy(update={"out": tmp_path / name / "run", "data": tmp_path / name / "data", "save_steps": 2}),
        )
        for number in (1, 2)
    ]
    one, other = made
    try:
        for host in made:
            ip("netns", "add", host.name)
        ip("-n", one.name, "link", "add", one.link, "type", "veth", "peer", other.link, "netns", other.name)
        for host in made:
            ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", host.link)
            for link in ("lo", host.link):
                ip("-n", host.name, "link", "set", link, "up")
        yield made
    finally:
        for host in made:
            subprocess.run(["ip", "netns", "delete", host.name], check=False, capture_output=True)


def ip(*arguments: str) -> None:
    if shutil.which("ip") is None:
        pytest.skip("network namespaces need `ip`, of the Debian package iproute2")
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    if "not permitted" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip(f"network namespaces need the capabilities of root: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def alone(tiny: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return run(ALIKE, tiny.model_copy(update={"out": tmp_path_factory.mktemp("alone")}), processes=1)


def assert_same(together: Checkpoint, alone: Checkpoint) -> None:
    for name, value in alone.network.items():
        torch.testing.assert_close(value, together.network[name], rtol=1e-6, atol=1e-8, msg=name)
    assert losses(together) == pytest.approx(losses(alone))
    assert together.results["test"]["accuracy"] == alone.results["test"]["accuracy"]
    assert together.environment["processes"] == "2"


def test_two_processes_train_what_one_does(tiny: TrainConfig, tmp_path: Path, alone: Checkpoint) -> None:
    assert_same(run(ALIKE, tiny.model_copy(update={"out": tmp_path}), processes=2), alone)


def test_two_hosts_train_what_one_does_and_either_goes_on_with_the_run(hosts: list[Host], alone: Checkpoint) -> None:
    first, second = hosts
    meet = ["--rdzv-backend=c10d", f"--rdzv-endpoint={first.address}:{PORT}"]
    killed = [
        host.start(
            "tests.training.killed", *meet, f"--rdzv-conf=is_host={host is first}", f"--local-addr={host.address}"
        )
        for host in hosts
    ]
    stopped = [process.communicate() for process in killed]
    assert [process.returncode for process in killed] == [1, 1], stopped
    assert checkpoint.load(first.config.out / CHECKPOINT).step == 8
    assert not second.config.out.exists()

    # Now the second host has the first process, which has to be given the checkpoint.
    meet = [f"--master-addr={second.address}", f"--master-port={PORT}"]
    resumed = [host.start(ALIKE, *meet, f"--node-rank={rank}") for rank, host in enumerate((second, first))]
    said = [process.communicate() for process in resumed]
    assert [process.returncode for process in resumed] == [0, 0], said
    check_output("".join(output for output, _ in said), "".join(errors for _, errors in said))
    assert_same(checkpoint.load(second.config.out / CHECKPOINT), alone)
    assert checkpoint.load(first.config.out / CHECKPOINT).step == 8


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_another_number_of_processes_goes_on_with_a_run(
    tiny: TrainConfig, tmp_path: Path, before: int, after: int
) -> None:
    settings = {"save_steps": 2, "learning_rate": 0.003, "gradient_accumulation_steps": 2}
    moved = tiny.model_copy(update={"out": tmp_path / "moved", **settings})
    kill_before_step_9(moved, processes=before)
    assert checkpoint.load(moved.out / CHECKPOINT).step == 8
    resumed = run("training", moved, processes=after)
    whole = train(moved.model_copy(update={"out": tmp_path / "whole"}))
    assert losses(resumed) == pytest.approx(losses(whole), rel=2e-3)  # in fp32 rounding grows


def test_a_batch_that_two_processes_cannot_share_is_one_sentence(tiny: TrainConfig, tmp_path: Path) -> None:
    config = tiny.model_copy(update={"out": tmp_path, "batch_size": 25})
    with pytest.raises(AssertionError, match="batch_size=25 must be a multiple of the 2 processes"):
        run("training", config, processes=2)

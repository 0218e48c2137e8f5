"""A server that also speaks gRPC, and Triton's stubs to send what its client would not."""

import re
from collections.abc import Iterator

import grpc
import pytest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from benchmarks.server import Server


def address(server: Server) -> str:
    found: list[str] = re.findall(r"gRPC on (\S+)", "".join(server.log))
    (address,) = found
    return address


@pytest.fixture(scope="session")
def speaking() -> Iterator[Server]:
    with Server("--grpc-port", "0") as running:
        yield running


@pytest.fixture(scope="session")
def channel(speaking: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(address(speaking), [("grpc.max_send_message_length", -1)]) as opened:
        yield opened


@pytest.fixture(scope="session")
def stub(channel: grpc.Channel) -> GRPCInferenceServiceStub:
    return GRPCInferenceServiceStub(channel)

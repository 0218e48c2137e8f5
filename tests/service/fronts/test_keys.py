"""API keys where there are several fronts."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.server import Server
from tests.service.asking import NO_LIMIT, gone, until
from tests.service.fronts.test_fronts import connected_to_each, fronts
from tests.service.test_clients import BOOT, post, wire

KEYS = """
alice:open-sesame
bob:half-open rate=0.001 burst=3
carol:one-by-one concurrency=1
"""


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(KEYS)
    return path


@pytest.fixture
def guarded(keys: Path) -> Iterator[Server]:
    with Server("--front-workers", "2", "--api-keys-file", str(keys), "--access-log", "--log-format", "json") as server:
        yield server


def statuses(clients: list[httpx.Client], key: str) -> list[int]:
    content, headers = BOOT.read_bytes(), {"X-API-Key": key}
    return [
        client.post("/predict", content=content, params=NO_LIMIT, headers=headers).status_code for client in clients
    ]


def test_keys_hold_at_every_front_and_limits_at_all_together(guarded: Server) -> None:
    with connected_to_each(guarded) as clients:
        assert set(statuses(clients, "wrong-key")) == {401}
        assert set(statuses(clients, "open-sesame")) == {200}
        assert statuses(clients, "half-open") == [200] * 3 + [429] * 13
    guarded.terminate()
    assert guarded.wait() == 0
    told = "".join(guarded.log)
    assert told.count('"key": "alice"') == 16
    assert "sesame" not in told


def test_a_front_that_is_killed_holds_no_place_of_a_key(guarded: Server) -> None:
    request = post(BOOT.read_bytes(), b"X-API-Key: one-by-one\r\n")
    with wire(guarded) as slow:
        slow.socket.sendall(request[:-9])
        with connected_to_each(guarded) as clients:
            until(lambda: set(statuses(clients, "one-by-one")) == {429})
        running = fronts(guarded)
        for front in running:
            os.kill(front, signal.SIGKILL)
        until(lambda: all(map(gone, running)))
    with connected_to_each(guarded) as clients:
        until(lambda: set(statuses(clients, "one-by-one")) == {200})


def test_keys_change_at_every_front_and_a_new_one_knows_them(guarded: Server, keys: Path) -> None:
    keys.write_text("dave:new-broom")
    with connected_to_each(guarded) as clients:
        until(lambda: set(statuses(clients, "new-broom")) == {200})
        until(lambda: set(statuses(clients, "open-sesame")) == {401})
    keys.write_text("no key")
    running = fronts(guarded)
    for front in running:
        os.kill(front, signal.SIGKILL)
    until(lambda: all(map(gone, running)))
    with connected_to_each(guarded) as clients:
        assert set(statuses(clients, "new-broom")) == {200}


def test_a_server_that_cannot_know_its_keys_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"error: .*No such file"):
        Server("--front-workers", "1", "--api-keys-file", str(tmp_path / "none"))

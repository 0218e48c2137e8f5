"""Messages from one end of a channel to the other."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
import uvloop

from service.errors import EngineFailed, NotLoaded, Overloaded
from service.fronts.channel import LENGTH, Channel
from service.fronts.messages import Abort, FromFront, Gone, Message, Submit, ToFront, Told, error_of, failed
from service.jobs import ModelId, Reason

SUBMIT = Submit(((7, 4096),), ModelId("clothes", "1"), float("inf"), (0.5, 2.0), 3, True)


class Heard:
    """What one end has received, batch by batch."""

    def __init__(self) -> None:
        self.batches: list[list[Message]] = []
        self.lost = 0

    def receive(self, messages: list[Message]) -> None:
        self.batches.append(messages)

    def lose(self) -> None:
        self.lost += 1

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not holds():
                await asyncio.sleep(0)


def run(talk: Callable[[Channel[Any], Heard, socket.socket], Coroutine[Any, Any, None]]) -> None:
    """`talk` has the engine's end, what the front's end has heard, and a third party's hold on the latter's socket."""

    async def connected() -> None:
        ours, theirs = socket.socketpair()
        heard = Heard()
        here = Channel[ToFront](FromFront, lambda _: None, lambda: None)
        there = Channel[FromFront](FromFront | ToFront, heard.receive, heard.lose)
        with ours.dup() as third:
            await here.connect(ours)
            await there.connect(theirs)
            await talk(here, heard, third)
        here.close()
        there.close()
        await heard.until(lambda: heard.lost == 1)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(connected())


def test_messages_of_one_turn_come_together_and_in_order() -> None:
    async def talk(here: Channel[Any], heard: Heard, third: socket.socket) -> None:
        for number in range(3):
            here.send(Gone(number))
        here.send(SUBMIT)
        await heard.until(lambda: bool(heard.batches))
        assert heard.batches == [[Gone(0), Gone(1), Gone(2), SUBMIT]]

    run(talk)


def test_large_messages_come_whole() -> None:
    told = Told(1, 2, Reason.FINAL, np.ones(10**6, np.float32).tobytes(), (0.5, 0.9), 0.1, 0.2, 3.0, 4.0)

    async def talk(here: Channel[Any], heard: Heard, third: socket.socket) -> None:
        for _ in range(3):
            here.send(told)
            here.flush()
        await heard.until(lambda: len(heard.batches) == 3)
        assert heard.batches == [[told]] * 3

    run(talk)


@pytest.mark.parametrize("content", [b"\xc1", b"no messages", b"\x91\x92\xa6Submit\x07", b"\x91\x92\xa7Unknown\x07"])
def test_nothing_more_is_heard_after_nonsense(content: bytes) -> None:
    async def talk(here: Channel[Any], heard: Heard, third: socket.socket) -> None:
        third.sendall(len(content).to_bytes(LENGTH, "little") + content)
        await heard.until(lambda: heard.lost == 1)
        here.send(Abort(1))
        assert heard.batches == []

    run(talk)


def test_errors_are_the_same_on_the_other_side() -> None:
    error = error_of(failed(1, Overloaded("too many", retry_after=0.25)))
    assert (type(error), str(error), error.retry_after_ms) == (Overloaded, "too many", 250)
    assert type(error_of(failed(1, NotLoaded("broken")))) is NotLoaded


def test_a_fault_of_the_server_is_told_without_details() -> None:
    error = error_of(failed(1, ValueError("secret")))
    assert type(error) is EngineFailed
    assert "secret" not in str(error)

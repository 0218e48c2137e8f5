"""Outcomes on their way to an event loop."""

import asyncio

import pytest

from service.errors import EngineFailed
from service.jobs import Outcome, Reason
from service.replies import EveryOutcome, FinalOutcome
from tests.service.recorded import Bench, job


def outcomes_of(reply: EveryOutcome | FinalOutcome, bench: Bench) -> None:
    """An image that is sure at the last exit."""
    one = job(0.6, 0.6, 0.9)
    one.reply = reply
    bench.submit(one)
    bench.drain()


def test_who_wants_every_exit_is_told_as_it_deepens() -> None:
    async def whole() -> list[tuple[int, Reason | None, int]]:
        reply = EveryOutcome()
        outcomes_of(reply, Bench())
        return [(told.exit, told.reason, len(told.confidences)) async for told in reply]

    assert asyncio.run(whole()) == [(1, None, 1), (2, None, 2), (3, Reason.FINAL, 3)]


def test_who_wants_the_answer_is_told_once() -> None:
    async def whole() -> Outcome:
        reply, bench = FinalOutcome(), Bench()
        outcomes_of(reply, bench)
        assert len(bench.answers) == 1
        assert reply.done()
        return await reply.future

    told = asyncio.run(whole())
    assert (told.exit, told.reason, told.queue, told.compute, told.finished) == (3, Reason.FINAL, 0.0, 3.0, 3.0)


def test_an_error_ends_a_stream() -> None:
    async def whole() -> None:
        reply, bench = EveryOutcome(), Bench()
        bench.stages.failing = True
        outcomes_of(reply, bench)
        with pytest.raises(EngineFailed):
            await anext(aiter(reply))

    asyncio.run(whole())


def test_nothing_is_computed_for_a_stream_that_nobody_hears() -> None:
    async def whole() -> None:
        reply, bench = EveryOutcome(), Bench()
        one = job(0.6, 0.6, 0.6)
        one.reply = reply
        bench.submit(one)
        bench.engine.step()
        reply.close()
        bench.drain()
        assert bench.stages.runs == [(1, 1)]

    asyncio.run(whole())

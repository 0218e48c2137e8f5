"""The images of one request, each a job with an exit of its own."""

import asyncio
from collections.abc import Sequence

from service.errors import RequestError
from service.jobs import Outcome
from service.model import Model, Terms
from service.protocols.account import note
from service.protocols.front import Front
from service.protocols.v2 import inputs
from service.protocols.v2.errors import located
from service.protocols.v2.outputs import Answers

Answered = tuple[Outcome, float]
"""An outcome, and when it came."""


async def classify(front: Front, model: Model, name: str, images: Sequence[inputs.Image], terms: Terms) -> Answers:
    """All, or none: if one fails, the others are given up. Raises its RequestError, which tells its index in `name`."""

    async def answer(place: str, image: inputs.Image) -> Answered:
        try:
            tensor = await inputs.prepared(image, front.decoder, model.metadata.input, terms.deadline)
            return await front.answer(model, tensor, terms), front.clock()
        except RequestError as error:
            raise located(error, place) from error

    tasks = []
    try:
        async with asyncio.TaskGroup() as group:
            for index, image in enumerate(images):
                tasks.append(group.create_task(answer(f"{name}[{index}]", image)))
                await asyncio.sleep(0)  # other requests go on between small pictures, which are decoded at once
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return counted(model, terms, [task.result() for task in tasks])


def counted(model: Model, terms: Terms, answered: Sequence[Answered]) -> Answers:
    """All are there, so all are on their way to the client."""
    for outcome, at in answered:
        model.answered(outcome, terms, at)
        note(outcome, terms)
    return Answers(model.metadata, [outcome for outcome, _ in answered], [at - terms.arrival for _, at in answered])

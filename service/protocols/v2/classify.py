"""The images of one request, each a job with an exit of its own."""

import asyncio
from collections.abc import Sequence

from service.errors import RequestError
from service.model import Model, Terms
from service.protocols.account import note
from service.protocols.front import Front
from service.protocols.v2 import inputs
from service.protocols.v2.errors import located
from service.protocols.v2.outputs import Answers
from service.replies import JobFailed, TimedOutcome
from service.runtime.interface import Tensor


async def classify(front: Front, model: Model, name: str, images: Sequence[inputs.Image], terms: Terms) -> Answers:
    """All, or none: if one fails, the others are given up. Raises its RequestError, which tells its index in `name`."""
    try:
        tensors = await prepared(front, model, images, terms)
        return counted(model, terms, await front.answers(model, tensors, terms))
    except JobFailed as failure:
        raise located(failure.error, f"{name}[{failure.index}]") from failure


async def prepared(front: Front, model: Model, images: Sequence[inputs.Image], terms: Terms) -> list[Tensor]:
    """As the network takes them. Raises JobFailed."""

    async def prepare(index: int, image: inputs.Image) -> Tensor:
        try:
            return await inputs.prepared(image, front.decoder, model.metadata.input, terms.deadline)
        except RequestError as error:
            raise JobFailed(index, error) from error

    if len(images) == 1:
        return [await prepare(0, images[0])]
    tasks = []
    try:
        async with asyncio.TaskGroup() as group:
            for index, image in enumerate(images):
                tasks.append(group.create_task(prepare(index, image)))
                await asyncio.sleep(0)  # other requests go on between small pictures, which are decoded at once
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def counted(model: Model, terms: Terms, answered: Sequence[TimedOutcome]) -> Answers:
    """All are there, so all are on their way to the client."""
    for outcome, at in answered:
        model.answered(outcome, terms, at)
        note(outcome, terms)
    return Answers(model.metadata, [outcome for outcome, _ in answered], [at - terms.arrival for _, at in answered])

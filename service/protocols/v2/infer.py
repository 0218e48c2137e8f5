"""`POST /v2/models/{name}/infer`: images of one request, each a job with an exit of its own."""

import asyncio
from collections.abc import Sequence

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from service.errors import RequestError
from service.jobs import Outcome
from service.model import Ask, Model, Terms
from service.protocols.bodies import receive_all
from service.protocols.compression import compressed
from service.protocols.departure import CancelledOnDeparture
from service.protocols.front import Front
from service.protocols.v2 import inputs, outputs, requests
from service.protocols.v2.errors import located
from service.protocols.v2.outputs import Answers, Wanted

Answered = tuple[Outcome, float]
"""An outcome, and when it came."""


async def infer(request: Request, front: Front, max_images: int) -> Response:
    """Raises RequestError, Departed or ClientDisconnect."""
    front.lifecycle.check_ready()
    with named(request, front) as model:
        request.state.model = model.id.name
        content = await receive_all(request, front.limits)
        document, rest = requests.parse(content, request.headers.get(requests.HEADER))
        tensor = requests.only_input(document)
        parameters = requests.parameters_of(document)
        wanted = outputs.chosen(document, parameters.binary_data_output)
        budget = requests.granted(parameters, front.default_budget)
        point, threshold = parameters.operating_point, parameters.confidence_threshold
        terms = model.check(Ask(request.state.arrival, budget, point, threshold, parameters.max_exit))
        images = inputs.read(tensor, requests.binary(tensor, rest), model.metadata.input, max_images)
        with CancelledOnDeparture(request):
            answers = await classify(front, model, tensor.name, images, terms)
    return await rendered(answers, wanted, document.id, request.headers.get("accept-encoding", ""))


def named(request: Request, front: Front) -> Model:
    """By the path. Raises UnknownModel."""
    return front.models.get(request.path_params["name"], request.path_params.get("version"))


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
    return Answers(model.metadata, [outcome for outcome, _ in answered], [at - terms.arrival for _, at in answered])


async def rendered(answers: Answers, wanted: Sequence[Wanted], request_id: str | None, accepted: str) -> Response:
    """`accepted`: the client's `Accept-Encoding`."""
    described, rest = zip(*(each.rendered(answers) for each in wanted), strict=True)
    name, version = answers.metadata.id
    identity = {} if request_id is None else {"id": request_id}
    document = to_json({"model_name": name, "model_version": version, **identity, "outputs": described})
    content, headers = await compressed(b"".join([document, *rest]), accepted)
    if any(each.binary for each in wanted):
        headers[requests.HEADER] = str(len(document))
        return Response(content, headers=headers, media_type="application/octet-stream")
    return Response(content, headers=headers, media_type="application/json")

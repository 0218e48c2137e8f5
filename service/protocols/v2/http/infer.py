"""`POST /v2/models/{name}/infer`: images of one request, each a job with an exit of its own."""

from collections.abc import Sequence

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from service.model import Model
from service.protocols.bodies import receive_all
from service.protocols.compression import compressed
from service.protocols.departure import CancelledOnDeparture
from service.protocols.front import Front
from service.protocols.v2 import inputs
from service.protocols.v2.classify import classify
from service.protocols.v2.http import requests
from service.protocols.v2.http.outputs import Wanted, chosen
from service.protocols.v2.outputs import Answers
from service.protocols.v2.parameters import ask, asked


async def infer(request: Request, front: Front, max_images: int) -> Response:
    """Raises RequestError, Departed or ClientDisconnect."""
    front.lifecycle.check_ready()
    with named(request, front) as model:
        request.state.model = model.id.name
        content = await receive_all(request, front.limits)
        document, rest = requests.parse(content, request.headers.get(requests.HEADER))
        tensor = requests.only_input(document)
        parameters = requests.parameters_of(document)
        wanted = chosen(document, parameters.binary_data_output)
        budget = front.budgets.granted(asked(parameters, front.budgets.default))
        terms = model.check(ask(parameters, request.state.arrival, budget))
        inputs.check(tensor, model.metadata.input, max_images)
        images = inputs.read(tensor, requests.content(tensor, rest))
        with CancelledOnDeparture(request):
            answers = await classify(front, model, tensor.name, images, terms)
    return await rendered(answers, wanted, document.id, request.headers.get("accept-encoding", ""))


def named(request: Request, front: Front) -> Model:
    """By the path. Raises UnknownModel."""
    return front.models.get(request.path_params["name"], request.path_params.get("version"))


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

"""The extension for model repositories: what there is, and on request to load and to unload it.

https://github.com/triton-inference-server/server, `docs/protocol/extension_model_repository.md`.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ValidationError

from service.backend import Repository
from service.protocols.bodies import receive_all
from service.protocols.front import Front
from service.protocols.openapi import schema_of
from service.protocols.v2.errors import BadInference
from service.protocols.v2.http.documentation import RESPONSES, UNKNOWN
from service.protocols.v2.http.schemas import ErrorText, IndexEntry, IndexRequest, LoadRequest, UnloadRequest
from service.protocols.v2.parameters import described

NOT_ALLOWED: dict[int | str, dict[str, Any]] = {
    403: {"model": ErrorText, "description": "The server does not let clients do that: see `--model-control`"}
}


Document = TypeVar("Document", bound=BaseModel)


class NotAllowed(BadInference):
    status = 403


def add_routes(app: FastAPI, front: Front, repository: Repository, control: bool) -> None:
    """`control`: clients may load and unload."""

    async def read(request: Request, kind: type[Document]) -> Document:
        content = await receive_all(request, front.limits)
        try:
            return kind.model_validate_json(content or b"{}")
        except ValidationError as error:
            raise BadInference(f"the document is not what this path takes: {described(error)}") from error

    def check_control(request: Request) -> None:
        front.lifecycle.check_ready()
        if "origin" in request.headers:
            raise NotAllowed("models are not loaded or unloaded from pages in a browser")
        if not control:
            raise NotAllowed("clients may not load or unload models here; start the server with --model-control")

    @app.post(
        "/v2/repository/index",
        response_model=list[IndexEntry],
        responses={400: RESPONSES[400]},
        openapi_extra=body(IndexRequest),
    )
    async def repository_index(request: Request) -> list[IndexEntry]:
        """All versions of all models, and files that cannot be served, with the reason."""
        asked = await read(request, IndexRequest)
        if not front.lifecycle.ready:
            cold = IndexEntry(name="", version="", state="UNAVAILABLE", reason="the server is warming up or ends")
            return [] if asked.ready else [cold.model_copy(update=model.id._asdict()) for model in front.models]
        return [
            IndexEntry(name=entry.name, version=entry.version, state=entry.state, reason=entry.reason)
            for entry in await repository.index()
            if entry.state == "READY" or not asked.ready
        ]

    def add_change(path: str, kind: type[BaseModel], change: Callable[[str], Awaitable[None]], told: str) -> None:
        async def endpoint(name: str, request: Request) -> Response:
            check_control(request)
            await read(request, kind)
            await change(name)
            return Response()

        app.post(
            f"/v2/repository/models/{{name}}/{path}",
            name=f"{path}_model",
            description=told,
            responses={400: RESPONSES[400], **UNKNOWN, **NOT_ALLOWED},
            openapi_extra=body(kind),
            response_class=Response,
        )(endpoint)

    add_change("load", LoadRequest, repository.load, "Serve a model as its files are now. Answered when it is ready.")
    add_change(
        "unload",
        UnloadRequest,
        repository.unload,
        "Serve a model no longer, until it is loaded again. Requests that it has are answered.",
    )


def body(kind: type[BaseModel]) -> dict[str, Any]:
    return {"requestBody": {"content": {"application/json": {"schema": schema_of(kind)}}}}

"""The paths under `/v2`."""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from service import __version__
from service.model import Model
from service.protocols.bodies import receive_all
from service.protocols.departure import CLIENT_LEFT, Departed
from service.protocols.front import Front
from service.protocols.predict import Direct
from service.protocols.v2 import inputs, outputs
from service.protocols.v2.errors import BadInference
from service.protocols.v2.infer import infer
from service.protocols.v2.requests import HEADER, described
from service.protocols.v2.schemas import (
    ErrorText,
    Health,
    IndexEntry,
    IndexRequest,
    InferRequest,
    InferResponse,
    ModelMetadata,
    ModelReady,
    ServerMetadata,
)

EXTENSIONS = ["binary_tensor_data", "parameters"]
PLATFORM = "onnxruntime_onnx"
MODEL = "/v2/models/{name}"
VERSION = "/v2/models/{name}/versions/{version}"
SIZE = "bytes of the JSON document, where binary tensors follow it"
EXAMPLE = {
    "inputs": [{"name": "pixels", "shape": [1, 1, 1, 1], "datatype": "UINT8", "data": [0]}],
    "parameters": {"latency_budget_ms": 50},
    "outputs": [{"name": "label"}, {"name": "confidence"}, {"name": "exit"}, {"name": "reason"}],
}
UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": ErrorText, "description": "No such model or version"}}
ERRORS = UNKNOWN | {
    400: {"model": ErrorText, "description": "The document, a tensor or a parameter is wrong, or too small a budget"},
    408: {"model": ErrorText, "description": "The body did not arrive in time"},
    413: {"model": ErrorText, "description": "Too many bytes, pixels, images or numbers in JSON"},
    415: {"model": ErrorText, "description": "Not a picture, or a format or an encoding that is not accepted"},
    429: {"model": ErrorText, "description": "The queue is full"},
    503: {"model": ErrorText, "description": "Load makes exit 1 late: see `Retry-After`; or not ready"},
}


def add_routes(app: FastAPI, front: Front, max_images: int) -> None:
    """`max_images`: in one request."""
    add_server(app, front)
    add_models(app, front)

    async def infer_model(request: Request) -> Response:
        """Classify images, each by an exit of its own.

        Exactly one input: `image` (BYTES [N], encoded pictures, in JSON in base64), `pixels` (UINT8 [N,H,W,C] of any
        size: grey, RGB or RGB with alpha) or `tensor` (FP32 [N,C,H,W], normalised, as the network takes it). All
        images share the parameters; if one of them fails, the request does, and the error says which.
        """
        try:
            return await infer(request, front, max_images)
        except (ClientDisconnect, Departed):
            return Response(status_code=CLIENT_LEFT)

    for path in (MODEL, VERSION):
        app.router.add_api_route(
            f"{path}/infer",
            infer_model,
            methods=["POST"],
            response_model=InferResponse,
            responses=ERRORS,
            openapi_extra=documentation(path),
            route_class_override=Direct,
        )


def add_server(app: FastAPI, front: Front) -> None:
    lifecycle = front.lifecycle

    @app.get("/v2")
    async def server_metadata() -> ServerMetadata:
        """What speaks here."""
        return ServerMetadata(name="anytime", version=__version__, extensions=EXTENSIONS)

    @app.get("/v2/health/live", response_model=Health)
    async def server_live() -> Health:
        """The process answers."""
        return Health(live=True, ready=lifecycle.welcomes)

    @app.get("/v2/health/ready", response_model=Health, responses={503: {"model": Health}})
    async def server_ready() -> JSONResponse:
        """All models are warm, and the server is not shutting down."""
        return JSONResponse({"live": True, "ready": lifecycle.welcomes}, 200 if lifecycle.welcomes else 503)

    @app.post(
        "/v2/repository/index",
        response_model=list[IndexEntry],
        responses={400: ERRORS[400]},
        openapi_extra={"requestBody": {"content": {"application/json": {"schema": IndexRequest.model_json_schema()}}}},
    )
    async def repository_index(request: Request) -> list[IndexEntry]:
        """All versions of all models."""
        content = await receive_all(request, front.limits)
        try:
            asked = IndexRequest.model_validate_json(content or b"{}")
        except ValidationError as error:
            raise BadInference(f"the document is not what the index takes: {described(error)}") from error
        if asked.ready and not lifecycle.ready:
            return []
        return [index_entry(model, lifecycle.ready) for model in front.models]


def add_models(app: FastAPI, front: Front) -> None:
    """Of the newest version, or of the one that is named."""

    @app.get(MODEL, responses=UNKNOWN)
    @app.get(VERSION, responses=UNKNOWN)
    async def model_metadata(name: str, version: str | None = None) -> ModelMetadata:
        """The inputs, of which a request has exactly one, and the outputs."""
        return metadata(front.models.get(name, version), front.models.versions(name))

    @app.get(f"{MODEL}/ready", response_model=ModelReady, responses=UNKNOWN | {503: {"model": ModelReady}})
    @app.get(f"{VERSION}/ready", response_model=ModelReady, responses=UNKNOWN | {503: {"model": ModelReady}})
    async def model_ready(name: str, version: str | None = None) -> JSONResponse:
        """It answers requests."""
        front.models.get(name, version)
        ready = front.lifecycle.welcomes
        return JSONResponse({"name": name, "ready": ready}, 200 if ready else 503)


def index_entry(model: Model, ready: bool) -> IndexEntry:
    return IndexEntry(name=model.id.name, version=model.id.version, state="READY" if ready else "UNAVAILABLE")


def metadata(model: Model, versions: list[str]) -> ModelMetadata:
    return ModelMetadata(
        name=model.id.name,
        versions=versions,
        platform=PLATFORM,
        inputs=inputs.described(model.metadata.input),
        outputs=[output.described(model.metadata) for output in outputs.OUTPUTS.values()],
    )


def documentation(path: str) -> dict[str, Any]:
    """The path and the body in OpenAPI, by hand since the endpoint reads them itself."""
    names = [name for name in ("name", "version") if f"{{{name}}}" in path]
    schema = InferRequest.model_json_schema()
    document = {"schema": inlined(schema, schema["$defs"]), "example": EXAMPLE}
    binary = {"schema": {"type": "string", "format": "binary"}}
    size = {"name": HEADER, "in": "header", "schema": {"type": "integer"}, "description": SIZE}
    return {
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names),
            size,
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": document, "application/octet-stream": binary},
        },
    }


def inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """`schema` with what it refers to in its place: it is to stand within a larger document."""
    if isinstance(schema, list):
        return [inlined(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return inlined(definitions[schema["$ref"].removeprefix("#/$defs/")], definitions)
    return {name: inlined(part, definitions) for name, part in schema.items() if name != "$defs"}

"""The paths under `/v2`."""

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from service import __version__
from service.protocols.departure import CLIENT_LEFT, Departed
from service.protocols.direct import Direct
from service.protocols.front import Front
from service.protocols.v2.description import NAME, metadata
from service.protocols.v2.http.documentation import NOT_READY, RESPONSES, UNKNOWN, infer_request, path_parameters
from service.protocols.v2.http.infer import infer, named
from service.protocols.v2.http.schemas import (
    Health,
    InferResponse,
    ModelReady,
    ServerMetadata,
)
from service.protocols.v2.schemas import ModelMetadata

EXTENSIONS = ["binary_tensor_data", "model_repository", "parameters"]
MODEL = "/v2/models/{name}"
VERSION = "/v2/models/{name}/versions/{version}"


def add_routes(app: FastAPI, front: Front, max_images: int) -> None:
    """`max_images`: in one request."""

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
            responses=RESPONSES,
            openapi_extra=infer_request(path),
            route_class_override=Direct,
        )
    add_server(app, front)
    for path in (MODEL, VERSION):
        add_model(app, front, path)


def add_server(app: FastAPI, front: Front) -> None:
    lifecycle = front.lifecycle

    @app.get("/v2")
    async def server_metadata() -> ServerMetadata:
        """What speaks here."""
        return ServerMetadata(name=NAME, version=__version__, extensions=EXTENSIONS)

    @app.get("/v2/health/live", response_model=Health)
    async def server_live() -> Health:
        """The process answers."""
        return Health(live=True, ready=lifecycle.welcomes)

    @app.get(
        "/v2/health/ready",
        response_model=Health,
        responses={503: {"model": Health, "description": "Warming up or draining"}},
    )
    async def server_ready() -> JSONResponse:
        """All models are warm, and the server is not shutting down."""
        return JSONResponse({"live": True, "ready": lifecycle.welcomes}, 200 if lifecycle.welcomes else 503)


def add_model(app: FastAPI, front: Front, path: str) -> None:
    """`path`: of the newest version, or of the one that it names."""
    extra = {"parameters": path_parameters(path)}

    @app.get(path, responses=UNKNOWN, openapi_extra=extra)
    async def model_metadata(request: Request) -> ModelMetadata:
        """The inputs, of which a request has exactly one, and the outputs."""
        model = named(request, front)
        return metadata(model, front.models)

    @app.get(
        f"{path}/ready",
        response_model=ModelReady,
        responses=UNKNOWN | NOT_READY,
        openapi_extra=extra,
    )
    async def model_ready(request: Request) -> JSONResponse:
        """It answers requests."""
        model, ready = named(request, front), front.lifecycle.welcomes
        return JSONResponse({"name": model.id.name, "ready": ready}, 200 if ready else 503)

"""Health and metrics, for whoever watches the server."""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.routing import Route

from service.lifecycle import Lifecycle
from service.protocols.compression import compressed

HEALTH = {"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"}
METRICS = "/metrics"


def add_routes(app: FastAPI, lifecycle: Lifecycle, exposition: Callable[[], Awaitable[bytes]]) -> None:
    """`exposition`: all metrics in the text format of Prometheus."""

    @app.get("/health/live")
    async def live() -> dict[str, bool]:
        """The process answers."""
        return {"live": True}

    @app.get("/health/ready", responses={503: {"description": "Warming up or draining"}})
    async def ready() -> JSONResponse:
        """Every stage is warm at every batch size, and the server is not shutting down."""
        return JSONResponse({"ready": lifecycle.welcomes}, 200 if lifecycle.welcomes else 503)

    @app.get("/metrics", response_class=Response)
    async def metrics(request: Request) -> Response:
        """For Prometheus."""
        content, headers = await compressed(await exposition(), request.headers.get("accept-encoding", ""))
        return Response(content, headers=headers, media_type=CONTENT_TYPE_LATEST)


def prepare_documentation(app: FastAPI) -> None:
    """The document of the interface, written once: that takes milliseconds, for which everybody would wait."""
    [route] = [route for route in app.routes if isinstance(route, Route) and route.path == app.openapi_url]
    written: list[bytes] = []

    async def document(request: Request) -> Response:
        if not written:
            written.append(bytes((await route.endpoint(request)).body))
        return Response(written[0], media_type="application/json")

    app.router.routes.insert(0, Route(route.path, document, include_in_schema=False))

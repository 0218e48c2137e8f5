"""Which pages of other origins may ask from a browser."""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from service.protocols.failures import error_response
from service.protocols.schemas import ErrorBody


def allow_origins(app: ASGIApp, origins: str) -> ASGIApp:
    """`app` for pages of `origins`, separated by commas; unchanged for none. They can read its errors, too."""
    if not origins:
        return app
    return AllowedOrigins(
        app,
        allow_origins=[origin.strip() for origin in origins.split(",")],
        allow_methods=["GET", "HEAD", "POST"],
        allow_headers=["*"],
        expose_headers=["Retry-After", "Retry-After-Ms", "X-Request-ID", "Inference-Header-Content-Length"],
    )


class AllowedOrigins(CORSMiddleware):
    """Refuses as the rest of the server does."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        refusal = error_response(400, ErrorBody(code="cors_refused", message=bytes(response.body).decode()))
        refusal.headers.update({name: value for name, value in response.headers.items() if "content" not in name})
        return refusal

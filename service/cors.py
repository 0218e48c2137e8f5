"""Which pages of other origins may ask from a browser."""

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp


def allow_origins(app: ASGIApp, origins: str) -> ASGIApp:
    """`app` for pages of `origins`, separated by commas; unchanged for none. Errors, too, can be read by them."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=[origin.strip() for origin in origins.split(",")],
        allow_methods=["GET", "HEAD", "POST"],
        allow_headers=["*"],
        expose_headers=["Retry-After"],
    )

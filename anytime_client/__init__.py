"""Ask an anytime server: `Client` and `AsyncClient`; the command `anytime` is made of them."""

try:
    import httpx  # noqa: F401
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError("the client needs httpx and rich, the extra client") from missing

from anytime_client.client import AsyncClient, Client
from anytime_client.conversation import Options, Prediction, Refused, ServerError, Step, Unreachable

__all__ = ["AsyncClient", "Client", "Options", "Prediction", "Refused", "ServerError", "Step", "Unreachable"]

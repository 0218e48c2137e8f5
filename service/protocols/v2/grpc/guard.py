"""Calls without a known key end before their message is read, which may be large."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from service.access import Gate
from service.errors import RequestError, Unauthorized
from service.protocols.credentials import key_in
from service.protocols.v2.grpc import errors
from service.protocols.v2.grpc.metadata import headers

HEALTH = ("/ServerLive", "/ServerReady")


class Guard(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    def __init__(self, gate: Gate, turned_away: Callable[[str, RequestError], None]) -> None:
        self.gate = gate
        self.turned_away = turned_away

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], call: Any) -> Any:
        try:
            if not call.method.endswith(HEALTH):
                self.gate.holder(key_in(headers(call.invocation_metadata)))
        except Unauthorized as error:
            self.turned_away(call.method, error)
            return ended(error)
        return await continuation(call)


def ended(error: RequestError) -> grpc.RpcMethodHandler:
    """Of whatever kind a call is: a method that takes a stream decides itself whether it reads."""

    async def method(_: Any, context: Any) -> None:
        await context.abort(errors.code(error), errors.details(error))

    return grpc.stream_stream_rpc_method_handler(method)

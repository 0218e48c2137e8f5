"""The port of the service."""

import grpc
from google.protobuf.message import Message

from service.protocols.connections import ConnectionLimits
from service.protocols.v2.grpc.guard import Guard
from service.protocols.v2.grpc.service import SERVICE, InferenceService, told

MAX_CALLS = 1024
"""At a time on one connection: a client's further calls wait there."""


class InferenceServer:
    """Listens on the event loop that runs when it is bound."""

    def __init__(
        self,
        service: InferenceService,
        host: str,
        port: int,
        max_bytes: int,
        limits: ConnectionLimits,
        idle: float,
        shared: bool,
    ) -> None:
        """`port`: 0 takes a free one. `max_bytes`: of a message that comes. `idle`: seconds without a call. `shared`:
        other processes may listen on that port, too.
        """
        self.service = service
        self.host = f"[{host}]" if ":" in host else host
        self.port = port
        self.max_bytes = max_bytes
        self.limits, self.idle = limits, idle
        self.shared = shared

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def bind(self) -> None:
        """Raises RuntimeError where the port is taken."""
        options = (
            ("grpc.max_receive_message_length", self.max_bytes),
            ("grpc.so_reuseport", int(self.shared)),
            ("grpc.max_allowed_incoming_connections", self.limits.connections),
            ("grpc.max_concurrent_streams", MAX_CALLS),
            ("grpc.max_metadata_size", self.limits.head_bytes),
            ("grpc.absolute_max_metadata_size", self.limits.head_bytes),
            ("grpc.server_handshake_timeout_ms", milliseconds(self.limits.head)),
            ("grpc.max_connection_idle_ms", milliseconds(self.idle)),
            ("grpc.keepalive_time_ms", milliseconds(self.idle)),
            ("grpc.keepalive_timeout_ms", milliseconds(self.limits.answer)),
        )
        gate = self.service.gate
        guards = () if gate is None else (Guard(gate, self.service.turned_away),)
        self._server = grpc.aio.server(handlers=[handlers(self.service)], interceptors=guards, options=options)
        self.port = self._server.add_insecure_port(self.address)

    async def start(self) -> None:
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """Take no more calls, and give those that are there so many seconds to end."""
        self.service.closing.set()
        await self._server.stop(grace)


def handlers(service: InferenceService) -> grpc.GenericRpcHandler:
    unary = {
        "ServerLive": service.server_live,
        "ServerReady": service.server_ready,
        "ModelReady": service.model_ready,
        "ServerMetadata": service.server_metadata,
        "ModelMetadata": service.model_metadata,
        "ModelInfer": service.model_infer,
    }
    # Requests come as bytes: gRPC calls one that is no message a fault of the server.
    methods = {
        name: grpc.unary_unary_rpc_method_handler(told(method), response_serializer=serialized)
        for name, method in unary.items()
    }
    methods["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
        service.model_stream_infer, response_serializer=serialized
    )
    return grpc.method_handlers_generic_handler(SERVICE.full_name, methods)


def milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def serialized(response: Message) -> bytes:
    content: bytes = response.SerializeToString()
    return content

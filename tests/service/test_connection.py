"""How the server is reached: settings of the network, and a failure on a kept connection."""

import asyncio
import re
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest
from fastapi import FastAPI
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse
from uvicorn.server import ServerState

from benchmarks.server import Server
from service.__main__ import configuration
from service.app import connection_limits
from service.lifecycle import Lifecycle
from service.metrics import Metrics
from service.protocols import connections, operations
from service.protocols.bodies import BodyLimits
from service.protocols.door import Door
from service.protocols.failures import add_handlers
from service.protocols.front import Front
from service.protocols.predict import add_routes
from service.protocols.timing import RequestTiming
from service.protocols.watch import Watch
from service.registry import Models
from service.settings import Settings
from service.times import no_deliveries
from tests.service.asking import NO_LIMIT
from tests.service.test_clients import BOOT, post

needs_ipv6 = pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")


class Broken:
    """A front whose state nobody foresaw."""

    limits = BodyLimits(max_bytes=100)

    @property
    def lifecycle(self) -> None:
        raise ValueError("nobody foresaw it")


def broken_app(settings: Settings) -> FastAPI:
    app = FastAPI()
    add_routes(app, cast(Front, Broken()))
    metrics = Metrics(max_batch=1)
    operations.add_routes(app, Lifecycle(), metrics.exposition)
    add_handlers(app, metrics)
    app.state.door = Door(Models([]), metrics, no_deliveries(), None, 1, time.monotonic)
    app.state.watch = Watch(connection_limits(settings, fronts=0), metrics, time.monotonic)
    app.add_middleware(RequestTiming, clock=time.monotonic, observe=lambda *_: None, default_model=lambda: "")

    @app.get("/client")
    async def client(request: Request) -> JSONResponse:
        return JSONResponse([request.scope["client"][0], request.scope["scheme"]])

    @app.post("/early")
    async def early() -> JSONResponse:
        raise ValueError("before the body is read")

    return app


def talk(settings: Settings, *requests: bytes) -> list[bytes]:
    """What comes back on a connection each, to its end."""
    return asyncio.run(serving(settings, lambda port: ask_each(port, requests)))


async def serving(settings: Settings, client: Callable[[int], Coroutine[Any, Any, Any]]) -> Any:
    config = configuration(settings, broken_app(settings))
    config.load()
    state = ServerState()
    protocol: Any = config.http_protocol_class
    server = await asyncio.get_running_loop().create_server(lambda: protocol(config, state, {}), "127.0.0.1", 0)
    try:
        return await asyncio.wait_for(client(server.sockets[0].getsockname()[1]), 20)
    finally:
        server.close()
        await server.wait_closed()
        assert state.connections == set()


async def ask_each(port: int, requests: tuple[bytes, ...]) -> list[bytes]:
    answers = []
    for request in requests:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        answers.append(await reader.read())
        writer.close()
        await writer.wait_closed()
    return answers


@pytest.mark.parametrize("offer", [b"", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"])
def test_a_failure_says_that_it_closes(offer: bytes) -> None:
    body = bytes(2**20)
    for answer in talk(Settings(), post(b"image", offer), post(body, offer, target=b"/early"), post(b"", offer)):
        head, _, content = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 500 ")
        assert b"\r\nconnection: close" in head
        assert b"\r\nx-request-id: " in head
        assert content.startswith(b'{"error":{"code":"internal_error"')


async def send_for_ever(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(bytes(1000))
        await writer.drain()
        await asyncio.sleep(0)


def test_who_sends_on_for_ever_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LINGER", 0.05)

    async def endless(port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(b"", b"", target=b"/early").replace(b"Content-Length: 0", b"Content-Length: 99999999999"))
        with pytest.raises(ConnectionError):
            await send_for_ever(writer)
        writer.close()

    asyncio.run(serving(Settings(), endless))


FORWARDED = b"GET /client HTTP/1.0\r\nX-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n\r\n"


@pytest.mark.parametrize(
    ("trusted", "client"),
    [
        ("", b'["127.0.0.1","http"]'),
        ("10.0.0.0/8", b'["127.0.0.1","http"]'),
        ("127.0.0.0/8, 10.0.0.1", b'["203.0.113.7","https"]'),
        ("*", b'["203.0.113.7","https"]'),
    ],
)
def test_only_trusted_proxies_say_for_whom_they_ask(
    monkeypatch: pytest.MonkeyPatch, trusted: str, client: bytes
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")  # uvicorn's own setting, which is not this server's
    [answer] = talk(Settings(forwarded_allow_ips=trusted), FORWARDED)
    assert answer.endswith(b"\r\n\r\n" + client)


@pytest.mark.parametrize(
    ("allowed", "origin", "told"),
    [
        ("", b"https://a.example", None),
        ("https://a.example", b"https://b.example", None),
        ("https://b.example, https://a.example", b"https://a.example", b"https://a.example"),
        ("*", b"https://a.example", b"*"),
    ],
)
def test_pages_of_allowed_origins_can_read_answers_and_errors(allowed: str, origin: bytes, told: bytes | None) -> None:
    more = b"Origin: %b\r\nConnection: close\r\n" % origin
    requests = (
        post(b"image", more),
        post(b"{}", more),
        post(b"image", more, target=b"/nowhere"),
        b"GET /health/live HTTP/1.1\r\nHost: x\r\n%b\r\n" % more,
    )
    for answer, status in zip(talk(Settings(cors_origins=allowed), *requests), (500, 415, 404, 200), strict=True):
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        found = re.search(rb"\r\naccess-control-allow-origin: (\S+)", answer)
        assert (found and found[1]) == told


def test_a_browser_may_ask_first() -> None:
    first = (
        b"OPTIONS /predict HTTP/1.0\r\nOrigin: https://%b.example\r\nAccess-Control-Request-Method: POST\r\n"
        b"Access-Control-Request-Headers: content-type, content-encoding\r\n\r\n"
    )
    allowed, other = talk(Settings(cors_origins="https://a.example"), first % b"a", first % b"b")
    assert allowed.startswith(b"HTTP/1.1 200 ")
    assert b"\r\naccess-control-allow-origin: https://a.example\r\n" in allowed
    assert b"\r\naccess-control-allow-headers: content-type, content-encoding\r\n" in allowed
    assert other.startswith(b"HTTP/1.1 400 ")
    assert b"allow-origin" not in other
    assert b'{"error":{"code":"cors_refused","message":"' in other
    [off] = talk(Settings(), first % b"a")
    assert off.startswith(b"HTTP/1.1 405 ")


@pytest.mark.parametrize(
    "wrong",
    [
        {"cors_origins": "https://a.example/"},
        {"cors_origins": "a.example"},
        {"cors_origins": "https://a.example *"},
        {"root_path": "anytime"},
        {"root_path": "/anytime/"},
        {"root_path": "/?"},
    ],
)
def test_a_setting_that_would_never_match_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="pattern"):
        Settings.model_validate(wrong)


def test_behind_a_proxy_under_a_path() -> None:
    """Whether the proxy leaves the path on or takes it off."""
    with Server("--root-path", "/any/time") as server:
        for path in ("/predict", "/any/time/predict", "/any/time/predict/"):
            answer = server.client.post(path, content=BOOT.read_bytes(), params=NO_LIMIT)
            assert (answer.status_code, answer.json()["label"]) == (200, "Ankle boot")
        assert 'anytime_requests_total{code="200"' in server.client.get("/any/time/metrics").text
        assert 'code="200",model="fashion-mnist"} 3.0' in server.client.get("/metrics/").text
        assert server.client.get("/openapi.json").json()["servers"] == [{"url": "/any/time"}]
        assert server.client.get("/any/timepredict").status_code == 404
        for path in ("/docs", "/any/time/docs"):
            page = server.client.get(path).text
            assert "url: '/any/time/openapi.json'" in page
            for source in re.findall(r'(?:src|href)="([^"]*)"', page):
                assert source.startswith("/any/time/docs/static/")
                assert server.client.get(source).status_code == 200


def test_the_documentation_needs_nothing_from_elsewhere(server: Server) -> None:
    page = server.client.get("/docs").text
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) >= 3
    assert "//" not in page.replace("<!-- `SwaggerUIBundle` is now available on the page -->", "")
    for source in sources:
        response = server.client.get(source)
        assert (response.status_code, len(response.content) > 1000) == (200, True)
    assert server.client.get("/redoc").status_code == 404


@needs_ipv6
def test_both_families_are_served_where_all_addresses_are() -> None:
    with Server("--host", "0::0") as server:
        port = server.client.base_url.port
        for host in ("127.0.0.1", "[::1]"):
            response = server.client.get(f"http://{host}:{port}/health/live")
            assert response.json() == {"live": True}
        with pytest.raises(RuntimeError, match=r"error: .*Address already in use"):
            Server("--host", "::", "--port", str(port))

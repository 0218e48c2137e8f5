"""The page in a real Chromium, on a real server."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from benchmarks.server import Server
from service.settings import EMBEDDED_MODELS
from tests.service.playground.browsing import CHROMIUM, DESKTOP, Open, rungs

KEYS = "alice:open-sesame rate=0.001 burst=2\ncarol:another"


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
    yield launched
    launched.close()


@pytest.fixture(scope="module")
def embedded_server() -> Iterator[Server]:
    with Server("--model", str(EMBEDDED_MODELS)) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(KEYS)
    with Server("--model", str(EMBEDDED_MODELS), "--api-keys-file", str(keys)) as running:
        yield running


@pytest.fixture
def open_page(browser: Browser, embedded_server: Server) -> Iterator[Open]:
    """The page as it is when it has its models. At the end, no script of it has failed, nothing has broken its policy,
    and it has asked nobody else.
    """
    contexts, complaints, asked = [], [], set[str]()

    def opened(url: str = embedded_server.url, ready: bool = True, **options: Any) -> Page:
        context = browser.new_context(**{**DESKTOP, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if "Failed to load" not in said.text else None)
        page.on("request", lambda request: asked.add(urlsplit(request.url).netloc or "blob"))
        page.goto(f"{url}/")
        if ready:
            expect(rungs(page)).to_have_count(4)
        opened_at.add(urlsplit(url).netloc)
        return page

    opened_at = set[str]()
    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
    assert asked - {"blob"} == opened_at

"""What tests do with the page, and see of it."""

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import FilePayload, Locator, Page, Request, expect

from benchmarks.server import Server
from service.protocols.playground import FOLDER

CHROMIUM = shutil.which("chromium")
IN_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="Debian's package chromium is not installed")

ROCKET = (FOLDER / "samples" / "rocket.jpg").read_bytes()
CUP = (FOLDER / "samples" / "cup.jpg").read_bytes()
DESKTOP: dict[str, Any] = {"viewport": {"width": 1200, "height": 900}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 360, "height": 740},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
DARK: dict[str, Any] = {"color_scheme": "dark"}

Open = Callable[..., Page]


def rungs(page: Page) -> Locator:
    return page.locator("#ladder > li")


def states(page: Page) -> list[str | None]:
    return [rung.get_attribute("data-state") for rung in rungs(page).all()]


def sample(page: Page, name: str) -> Locator:
    return page.get_by_role("group", name="Samples").get_by_role("button", name=name)


def settled(page: Page) -> None:
    """The answer is whole, or has failed."""
    expect(page.locator("#ladder")).to_have_attribute("aria-busy", "false")


def set_budget(page: Page, text: str) -> None:
    slider = page.get_by_role("slider", name="Latency budget")
    slider.press("Home")
    while slider.get_attribute("aria-valuetext") != text:
        slider.press("ArrowRight")


def steps(server: Server, image: bytes, **options: Any) -> list[dict[str, Any]]:
    asked = {"latency_budget_ms": "inf", "top_k": 3, **options}
    response = server.client.post("/predict/stream", content=image, params=asked)
    return [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: ")]


def options_of(request: Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(request.url).query).items()}


def payload(name: str, kind: str, content: bytes) -> FilePayload:
    return {"name": name, "mimeType": kind, "buffer": content}


def is_stream(request: Request) -> bool:
    return urlsplit(request.url).path.endswith("/predict/stream")


def take_screenshot(page: Page, name: str, whole: bool) -> None:
    """Where they are wanted."""
    folder = os.environ.get("SCREENSHOTS")
    if folder is not None:
        image = Image.open(io.BytesIO(page.screenshot(full_page=whole, animations="disabled")))
        image.save(Path(folder) / f"{name}.webp", quality=85, method=6)


def assert_accessible(page: Page) -> None:
    page.evaluate("Promise.all(document.getAnimations().map((animation) => animation.finished))")
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []

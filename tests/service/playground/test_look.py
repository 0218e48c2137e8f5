"""The playground for every eye and hand. With SCREENSHOTS=FOLDER its pictures are written there."""

import itertools
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from benchmarks.server import Server
from service.settings import EMBEDDED_MODELS
from tests.service.playground.browsing import (
    CUP,
    DARK,
    DESKTOP,
    IN_CHROMIUM,
    PHONE,
    ROCKET,
    Open,
    assert_accessible,
    options_of,
    payload,
    sample,
    set_budget,
    settled,
    states,
    take_screenshot,
)

pytestmark = IN_CHROMIUM


def test_all_of_it_with_the_keyboard_alone(open_page: Open) -> None:
    page = open_page()

    def focused() -> str:
        name: str = page.evaluate("document.activeElement.id || document.activeElement.firstElementChild?.alt || ''")
        return name

    order = []
    for _ in range(40):
        page.keyboard.press("Tab")
        order.append(focused())
        assert page.evaluate("getComputedStyle(document.activeElement).visibility") == "visible"
        match focused():
            case "file":
                with page.expect_file_chooser() as chooser:
                    page.keyboard.press("Enter")
                chooser.value.set_files(payload("cup.jpg", "image/jpeg", CUP))
                expect(page.locator("#answer")).to_contain_text("sure")
            case "Rocket":
                page.keyboard.press("Enter")
                expect(sample(page, "Rocket")).to_have_attribute("aria-pressed", "true")
            case "model":
                page.keyboard.press("ArrowDown")
                expect(page.locator("#model")).to_have_value("fashion-mnist")
            case "budget":
                page.keyboard.press("End")
                expect(page.get_by_role("slider", name="Latency budget")).to_have_attribute(
                    "aria-valuetext", "no limit"
                )
            case "point":
                page.keyboard.press("End")
                expect(page.get_by_label("Operating point")).to_have_value("own threshold")
            case "threshold":
                with page.expect_request(lambda request: options_of(request).get("confidence_threshold") == "0"):
                    page.keyboard.press("Home")
            case "deeper":
                page.keyboard.press("Space")
                expect(page.locator("#deeper")).to_be_checked()
                break
    wanted = ["file", "Rocket", "Cup of coffee", "Cat", "model", "budget", "point", "threshold", "deeper"]
    assert [name for name in order if name in wanted] == wanted
    settled(page)
    assert "waiting" not in states(page)
    expect(page.locator("#answer")).to_contain_text("Ankle boot")


def test_focus_can_be_seen(open_page: Open) -> None:
    page = open_page()
    outline = "getComputedStyle(document.querySelector(':is(.button:focus-within, :focus-visible)')).outlineStyle"
    for name in ("#file", "#samples button", "#model", "#budget", "#deeper"):
        page.locator(name).first.focus()
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Tab")
        assert page.evaluate(outline) == "solid"


@pytest.mark.parametrize("look", [{}, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing(open_page: Open, screen: dict[str, Any], look: dict[str, Any]) -> None:
    page = open_page(**screen, **look)
    assert_accessible(page)
    page.get_by_label("Operating point").select_option("own threshold")
    page.get_by_role("switch", name="deeper exits").check()
    sample(page, "Cup").click()
    settled(page)
    assert_accessible(page)


def test_a_phone_shows_all_of_it_and_the_answer_before_the_options(open_page: Open) -> None:
    page = open_page(**PHONE)
    sample(page, "Rocket").click()
    settled(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    tops = [page.locator(name).bounding_box() for name in ("#drop", "#ladder", "#request", "#live")]
    heights = [box["y"] for box in tops if box is not None]
    assert len(heights) == 4
    assert heights == sorted(heights)
    for control in page.locator("button:visible, .button:visible, select:visible").all():
        box = control.bounding_box()
        assert box is not None
        assert box["height"] >= 44
        assert box["width"] >= 44


def test_dark_where_the_system_is(open_page: Open) -> None:
    def brightness(page: Page, what: str) -> float:
        script = f"getComputedStyle(document.body).{what}.match(/\\d+/g).slice(0, 3).map(Number)"
        return float(np.mean(page.evaluate(script)))

    light, dark = open_page(), open_page(**DARK)
    assert brightness(light, "backgroundColor") > 200 > 60 > brightness(light, "color")
    assert brightness(dark, "backgroundColor") < 60 < 200 < brightness(dark, "color")


def test_nothing_moves_for_those_who_want_no_motion(open_page: Open) -> None:
    def animation(motion: str) -> str:
        page = open_page(reduced_motion=motion)
        sample(page, "Rocket").click()
        settled(page)
        name: str = page.locator(".fill").first.evaluate("(bar) => getComputedStyle(bar).animationName")
        return name

    assert [animation(motion) for motion in ("reduce", "no-preference")] == ["none", "grow"]


@pytest.mark.parametrize(
    ("name", "deeper", "options"),
    [
        ("playground", False, DESKTOP),
        ("playground-deeper", True, {**DESKTOP, **DARK}),
        ("playground-phone", False, {**PHONE, **DARK}),
    ],
)
def test_the_pictures_of_the_readme(open_page: Open, name: str, deeper: bool, options: dict[str, Any]) -> None:
    """Under some load, so that there are figures to show."""
    with Server("--model", str(EMBEDDED_MODELS)) as server:
        page = open_page(server.url, **options)
        page.get_by_label("the last minute").scroll_into_view_if_needed()
        rates = page.locator("#live polyline.rate")
        for image in itertools.cycle((ROCKET, CUP)):
            budget = 20 + 10 * (len(rates.get_attribute("points") or "") % 20)
            server.client.post("/predict", content=image, params={"latency_budget_ms": budget})
            if len((rates.get_attribute("points") or "").split()) >= 4:
                break
        set_budget(page, "200 ms")
        page.get_by_role("switch", name="deeper exits").set_checked(deeper)
        sample(page, "Rocket").click()
        settled(page)
        assert "waiting" not in states(page)
        page.locator(".answer" if options["viewport"]["width"] < 500 else "header").scroll_into_view_if_needed()
        take_screenshot(page, name, whole=not options.get("is_mobile"))

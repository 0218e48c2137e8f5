"""The playground in a real Chromium, on a real server. With SCREENSHOTS=FOLDER its pictures are written there."""

import base64
import io
import itertools
import json
import os
import shutil
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Locator, Page, Playwright, Request, expect, sync_playwright

from benchmarks.server import Server
from service.protocols.playground import FOLDER
from service.settings import EMBEDDED_MODELS
from tests.service.asking import ask, samples

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's package chromium is not installed")

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
KEYS = "alice:open-sesame rate=0.001 burst=2\ncarol:another"

Open = Callable[..., Page]


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


def test_exits_light_up_as_they_are_reached(open_page: Open, embedded_server: Server) -> None:
    page = open_page()
    assert states(page) == ["waiting"] * 4
    set_budget(page, "no limit")
    sample(page, "Rocket").click()
    settled(page)
    answer = ask(embedded_server, ROCKET, top_k=3)
    reached = answer.exit.number
    assert states(page) == ["passed"] * (reached - 1) + ["answer"] + ["skipped"] * (4 - reached)
    sure = f"{answer.label}, {answer.confidence * 100:.0f} % sure"
    expect(page.get_by_role("status").first).to_contain_text(sure)
    expect(page.get_by_role("status").first).to_contain_text(f"Exit {reached} of 4 answered")
    expect(rungs(page).nth(reached - 1)).to_contain_text("answered: sure enough")
    told = rungs(page).nth(reached - 1).locator(".label").all_inner_texts()
    assert told == [label.label.replace("_", " ") for label in answer.top]
    expect(page.locator("#time")).to_contain_text("no limit")


def test_what_deeper_exits_would_have_said(open_page: Open, embedded_server: Server) -> None:
    page = open_page()
    set_budget(page, "no limit")
    page.get_by_role("switch", name="deeper exits").check()
    sample(page, "Rocket").click()
    settled(page)
    for rung, step in zip(rungs(page).all(), steps(embedded_server, ROCKET), strict=True):
        assert rung.locator(".label").first.inner_text() == step["label"].replace("_", " ")
        assert rung.locator(".share").first.inner_text() == f"{step['confidence'] * 100:.0f} %"
        if step["would_answer"]:
            expect(rung).to_have_attribute("data-state", "answer")
    assert states(page) == ["passed", "answer", "beyond", "beyond"]
    page.get_by_role("switch", name="deeper exits").uncheck()
    expect(rungs(page).last).to_have_attribute("data-state", "skipped")


def test_time_is_shown_against_the_budget(open_page: Open) -> None:
    page = open_page()
    set_budget(page, "2 s")
    sample(page, "Cup").click()
    settled(page)
    expect(page.locator("#time")).to_contain_text("2 s granted")
    spent = page.locator("#time .spent").bounding_box()
    whole = page.locator("#time .track").bounding_box()
    assert spent is not None
    assert whole is not None
    assert 0 < spent["width"] < whole["width"]


def test_model_budget_point_and_threshold_are_asked_for(open_page: Open) -> None:
    page = open_page()
    with page.expect_request(is_stream) as sent:
        sample(page, "Cup").click()
    assert options_of(sent.value) == {
        "model": "cifar100",
        "latency_budget_ms": "50",
        "top_k": "3",
        "operating_point": "balanced",
        "stop_early": "true",
    }
    settled(page)
    with page.expect_request(is_stream) as sent:
        page.get_by_label("Operating point").select_option("fastest")
    assert options_of(sent.value)["operating_point"] == "fastest"
    expect(page.get_by_text("at most 2 points")).to_be_visible()
    settled(page)
    page.get_by_label("Operating point").select_option("own threshold")
    with page.expect_request(lambda request: options_of(request).get("confidence_threshold") == "0") as sent:
        page.get_by_role("slider", name="Confidence threshold").press("Home")
    assert "operating_point" not in options_of(sent.value)
    settled(page)
    assert states(page) == ["answer", "skipped", "skipped", "skipped"]
    with page.expect_request(lambda request: options_of(request).get("latency_budget_ms") == "inf"):
        page.get_by_role("slider", name="Latency budget").press("End")
    settled(page)
    with page.expect_request(lambda request: options_of(request).get("model") == "fashion-mnist"):
        page.get_by_label("Model").select_option("fashion-mnist")
    settled(page)
    expect(page.locator("#answer")).to_contain_text("Ankle boot")
    expect(sample(page, "Pullover")).to_be_visible()
    expect(sample(page, "Rocket")).to_be_hidden()


PUT = """([picture, kind]) => {
  const bytes = Uint8Array.from(atob(picture), (character) => character.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], "picture.jpg", { type: "image/jpeg" }));
  const event = kind === "paste"
    ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
    : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
  document.body.dispatchEvent(event);
}"""


@pytest.mark.parametrize("how", ["file", "camera", "paste", "drop"])
def test_a_picture_comes_in_four_ways(open_page: Open, how: str) -> None:
    page = open_page(**PHONE)
    set_budget(page, "no limit")
    if how in ("file", "camera"):
        with page.expect_file_chooser() as chooser:
            page.get_by_text("Choose a file" if how == "file" else "Take a photo").click()
        chooser.value.set_files(payload("picture.jpg", "image/jpeg", ROCKET))
    else:
        page.evaluate(PUT, [base64.b64encode(ROCKET).decode(), how])
    settled(page)
    expect(page.locator("#answer")).to_contain_text("rocket")
    assert page.evaluate("document.getElementById('picture').naturalWidth") == 160


def test_who_has_no_camera_is_not_asked_for_photos(open_page: Open) -> None:
    expect(open_page().get_by_text("Take a photo")).to_be_hidden()


def test_a_photograph_is_made_smaller_before_it_is_sent(open_page: Open) -> None:
    page = open_page()
    set_budget(page, "no limit")
    photo = Image.open(io.BytesIO(ROCKET)).resize((3000, 3000), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(0).integers(0, 12, (3000, 3000, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.asarray(photo) // 2 + noise).save(file, "JPEG", quality=95)
    with page.expect_request(is_stream) as sent:
        page.locator("#file").set_input_files(payload("photo.jpg", "image/jpeg", file.getvalue()))
    settled(page)
    body = sent.value.post_data_buffer
    assert body is not None
    assert Image.open(io.BytesIO(body)).size == (512, 512)
    expect(page.locator("#picture-note")).to_contain_text("Sent as 512 × 512 pixels")
    expect(page.locator("#answer")).to_contain_text("sure")


def test_what_is_no_picture_is_refused_in_words(open_page: Open) -> None:
    page = open_page()
    page.locator("#file").set_input_files(payload("notes.txt", "text/plain", b"words" * 9))
    settled(page)
    expect(page.locator("#answer")).to_have_text("Refused")
    expect(page.locator("#why")).not_to_be_empty()
    expect(page.get_by_text("This browser cannot show the file")).to_be_visible()


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
            case "Rocket":
                page.keyboard.press("Enter")
                expect(page.locator("#answer")).to_contain_text("sure")
            case "model":
                page.keyboard.press("ArrowDown")
                expect(page.locator("#model")).to_have_value("fashion-mnist")
            case "budget":
                page.keyboard.press("End")
                expect(page.get_by_role("slider", name="Latency budget")).to_have_attribute(
                    "aria-valuetext", "no limit"
                )
            case "deeper":
                page.keyboard.press("Space")
                expect(page.locator("#deeper")).to_be_checked()
                break
    wanted = ["file", "Rocket", "Cup of coffee", "Cat", "model", "budget", "point", "deeper"]
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


def test_a_refusal_is_told_with_its_reason_and_can_be_mended(open_page: Open) -> None:
    with Server("--model", str(EMBEDDED_MODELS), "--min-budget-ms", "40") as server:
        page = open_page(server.url)
        set_budget(page, "30 ms")
        sample(page, "Rocket").click()
        settled(page)
        expect(page.locator("#answer")).to_have_text("Refused")
        expect(page.locator("#why")).to_contain_text("40")
        assert states(page) == ["skipped"] * 4
        assert_accessible(page)
        page.get_by_role("button", name="Try again").click()
        settled(page)
        expect(page.locator("#answer")).to_have_text("Refused")
        set_budget(page, "no limit")
        expect(page.locator("#answer")).to_contain_text("rocket")
        expect(page.get_by_role("button", name="Try again")).to_be_hidden()


def test_a_key_is_asked_for_and_kept_in_memory_alone(open_page: Open, guarded: Server) -> None:
    page = open_page(guarded.url, ready=False)
    dialog = page.get_by_role("dialog", name="API key")
    expect(dialog).to_be_visible()
    assert_accessible(page)
    for key in ("wrong", "another"):
        page.get_by_label("API key", exact=True).fill(key)
        page.keyboard.press("Enter")
        if key == "wrong":
            expect(page.get_by_label("API key", exact=True)).to_have_value("")
    expect(dialog).to_be_hidden()
    expect(rungs(page)).to_have_count(4)
    set_budget(page, "no limit")
    sample(page, "Rocket").click()
    settled(page)
    expect(page.locator("#answer")).to_contain_text("rocket")
    page.get_by_label("all since its start").check()
    expect(page.locator("#live-attainment-note")).to_contain_text("unauthorized")
    kept = page.evaluate("[document.cookie, ...Object.values(localStorage), ...Object.values(sessionStorage)].join()")
    assert "another" not in kept + page.url
    page.reload()
    expect(dialog).to_be_visible()


def test_who_gives_no_key_is_told_so(open_page: Open, guarded: Server) -> None:
    page = open_page(guarded.url, ready=False)
    expect(page.get_by_label("API key", exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("alert")).to_contain_text("API key")


def test_a_limit_of_a_key_is_told_with_when_to_try_again(open_page: Open, guarded: Server) -> None:
    page = open_page(guarded.url, ready=False)
    page.get_by_label("API key", exact=True).fill("open-sesame")
    page.keyboard.press("Enter")
    expect(rungs(page)).to_have_count(4)
    sample(page, "Rocket").click()
    settled(page)
    page.get_by_role("switch", name="deeper exits").check()
    expect(page.locator("#answer")).to_have_text("Refused")
    expect(page.locator("#why")).to_contain_text("Worth trying again in")


class CutProxy(socketserver.ThreadingTCPServer):
    """Hands on all bytes between a browser and a server. The first stream stands still after its first exit, and is cut
    there when the test says so.
    """

    allow_reuse_address = daemon_threads = True

    def __init__(self, server: Server) -> None:
        super().__init__(("127.0.0.1", 0), CutHandler)
        self.target = ("127.0.0.1", server.client.base_url.port)
        self.cuts, self.cut = 1, threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class CutHandler(socketserver.BaseRequestHandler):
    server: CutProxy

    def handle(self) -> None:
        with socket.create_connection(self.server.target) as behind:
            threading.Thread(target=self.hand_on, args=(behind,), daemon=True).start()
            sent = b""
            while received := behind.recv(65536):
                sent += received
                first = sent.find(b"event: exit")
                end = sent.find(b"\n\n", first) + 2
                if self.server.cuts and first >= 0 and end > 1:
                    self.server.cuts -= 1
                    self.request.sendall(received[: len(received) - len(sent) + end])
                    self.server.cut.wait(timeout=60)
                    self.request.shutdown(socket.SHUT_RDWR)
                    return
                self.request.sendall(received)

    def hand_on(self, behind: Any) -> None:
        try:
            while received := self.request.recv(65536):
                behind.sendall(received)
            behind.shutdown(socket.SHUT_WR)
        except OSError:  # the other side has ended
            pass


@contextmanager
def cutting(server: Server) -> Iterator[CutProxy]:
    with CutProxy(server) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()


def test_a_stream_that_is_cut_leaves_the_best_answer_so_far(open_page: Open, embedded_server: Server) -> None:
    with cutting(embedded_server) as proxy:
        page = open_page(proxy.url)
        set_budget(page, "no limit")
        sample(page, "Cup").click()
        expect(rungs(page).first).to_have_attribute("data-state", "passed")
        proxy.cut.set()
        settled(page)
        first = steps(embedded_server, CUP)[0]
        expect(page.locator("#answer")).to_have_text(f"{first['label']}, {first['confidence'] * 100:.0f} % sure")
        expect(page.locator("#why")).to_contain_text("ended after exit 1")
        assert states(page) == ["passed", "skipped", "skipped", "skipped"]
        page.get_by_role("button", name="Try again").click()
        expect(page.locator("#why")).to_contain_text("Exit 4 of 4 answered")


def test_a_server_that_is_gone_is_told_and_found_again(open_page: Open) -> None:
    with Server("--model", str(EMBEDDED_MODELS)) as server:
        page = open_page(server.url)
    sample(page, "Rocket").click()
    expect(page.locator("#answer")).to_have_text("The sample did not arrive.")
    page.locator("#file").set_input_files(payload("a.jpg", "image/jpeg", ROCKET))
    expect(page.locator("#why")).to_have_text("The server cannot be reached.")
    expect(page.locator("#live-note")).to_contain_text("No figures now")
    with Server("--model", str(EMBEDDED_MODELS), "--port", str(server.client.base_url.port)):
        page.get_by_role("button", name="Try again").click()
        expect(page.locator("#answer")).to_contain_text("sure")
        expect(page.locator("#live-note")).to_be_empty()


def test_a_slow_network_is_told_and_waited_for(open_page: Open) -> None:
    page = open_page()
    network = page.context.new_cdp_session(page)
    slow = {"offline": False, "latency": 800, "downloadThroughput": 6000, "uploadThroughput": 6000}
    network.send("Network.emulateNetworkConditions", slow)
    page.locator("#file").set_input_files(payload("a.jpg", "image/jpeg", ROCKET))
    expect(page.locator("#answer")).to_have_text("Waiting for the first exit …")
    expect(page.locator("#answer")).to_contain_text("rocket", timeout=30_000)


def test_below_a_path_of_a_proxy(open_page: Open) -> None:
    with Server("--model", str(EMBEDDED_MODELS), "--root-path", "/any/time") as server:
        page = open_page(f"{server.url}/any/time")
        set_budget(page, "no limit")
        sample(page, "Rocket").click()
        settled(page)
        expect(page.locator("#answer")).to_contain_text("rocket")
        assert server.client.get("/").status_code == 200  # where the proxy strips the path


def test_live_figures_are_those_of_the_metrics(open_page: Open) -> None:
    with Server("--model", str(EMBEDDED_MODELS)) as server:
        page = open_page(server.url)
        page.locator("#live").scroll_into_view_if_needed()
        expect(page.locator("#live-attainment-note")).to_contain_text("No answers with a budget")
        for budget, image in itertools.product((0.001, 200, 1000), (ROCKET, CUP)):
            server.client.post("/predict", content=image, params={"latency_budget_ms": budget})
        ask(server, CUP)
        counted = samples(server)

        def total(name: str, **labels: str) -> float:
            wanted = {("model", "cifar100"), *labels.items()}
            return sum(
                value for (found, given), value in counted.items() if found == f"anytime_{name}" and wanted <= given
            )

        answers = total("exits_total")
        assert answers == 5
        for span in ("the last minute", "all since its start"):
            page.get_by_label(span).check()
            met = total("budget_seconds_count") - total("deadline_missed_total")
            expect(page.locator("#live-attainment-note")).to_contain_text(f"{met:.0f} of 4 answers")
            expect(page.locator("#live-attainment-note")).to_contain_text("Refused: 2 budget too small")
            for number, row in enumerate(page.locator(".exit-share").all(), start=1):
                share = total("exits_total", exit=str(number)) / answers
                expect(row.locator(".share")).to_have_text(f"{100 * share:.0f} %")
            for reason, words in {"confident": "sure enough", "final": "the deepest exit"}.items():
                share = total("exits_total", reason=reason) / answers
                expect(page.locator("#legend")).to_contain_text(f"{words} {100 * share:.0f} %")
        expect(page.locator("#live-load-list")).to_contain_text("Waiting now")
        page.get_by_label("Model").select_option("fashion-mnist")
        expect(page.locator("#live-attainment-note")).to_contain_text("No answers with a budget. None refused.")
        assert_accessible(page)


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

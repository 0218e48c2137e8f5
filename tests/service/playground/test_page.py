"""The playground answers as the server does."""

import base64
import io
import itertools
import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from benchmarks.server import Server
from service.settings import EMBEDDED_MODELS
from tests.service.asking import ask, samples
from tests.service.playground.browsing import (
    CUP,
    IN_CHROMIUM,
    PHONE,
    ROCKET,
    Open,
    assert_accessible,
    is_stream,
    options_of,
    payload,
    rungs,
    sample,
    set_budget,
    settled,
    states,
    steps,
)

pytestmark = IN_CHROMIUM

PUT = """([picture, kind]) => {
  const bytes = Uint8Array.from(atob(picture), (character) => character.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], "picture.jpg", { type: "image/jpeg" }));
  const event = kind === "paste"
    ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
    : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
  document.body.dispatchEvent(event);
}"""


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
        expect(page.locator("#live-latency-note")).to_contain_text(re.compile(r"half within \d.*99 % (within|over) \d"))
        expect(page.locator("#live-latency-note")).to_contain_text("Budgets (outlined): half within 200 ms.")
        assert page.locator("#live-latency .budget").count() == 2
        expect(page.locator("#live-rate")).to_have_text(re.compile(r"^\d[\d.]* answers/s$"))
        expect(page.locator("#live-load-list")).to_contain_text("Waiting now")
        page.get_by_label("Model").select_option("fashion-mnist")
        expect(page.locator("#live-attainment-note")).to_contain_text("No answers with a budget. None refused.")
        assert_accessible(page)

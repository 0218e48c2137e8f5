"""What the playground says where there is no answer, or not all of one."""

from playwright.sync_api import expect

from benchmarks.server import Server
from service.settings import EMBEDDED_MODELS
from tests.service.playground.browsing import (
    CUP,
    IN_CHROMIUM,
    ROCKET,
    Open,
    assert_accessible,
    payload,
    rungs,
    sample,
    set_budget,
    settled,
    states,
    steps,
)
from tests.service.playground.cutting import cutting

pytestmark = IN_CHROMIUM


def test_what_is_no_picture_is_refused_in_words(open_page: Open) -> None:
    page = open_page()
    page.locator("#file").set_input_files(payload("notes.txt", "text/plain", b"words" * 9))
    settled(page)
    expect(page.locator("#answer")).to_have_text("Refused")
    expect(page.locator("#why")).not_to_be_empty()
    expect(page.get_by_text("This browser cannot show the file")).to_be_visible()


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
        assert_accessible(page)
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

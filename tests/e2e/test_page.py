"""The page in Chromium: what runs moves under load, what-ifs are planned, and it is there for phones and keyboards."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from time import monotonic

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.e2e.background import asked_beside
from tests.e2e.cluster import Cluster

RATE_PER_S = 15
PAGES = ("/", "/models/quick", "/timeline", "/what-if", "/history")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium")
    assert found is not None, "chromium is missing: apt-get install --no-install-recommends chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, width: int = 1280, scheme: str = "light") -> Iterator[tuple[Page, list[str]]]:
    """A page, and what its console complains of."""
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page, complaints
    page.close()


def traffic(cluster: Cluster) -> AbstractContextManager[None]:
    """Requests of two models, while the block runs."""
    return asked_beside(cluster, RATE_PER_S, lambda number: "hasty" if number % 3 else "quick")


def figure(page: Page, name: str) -> float:
    return float(page.locator(f"#{name}").inner_text().split()[0].replace("–", "nan"))


def awaited(page: Page, comes: Callable[[], bool]) -> None:
    give_up_at = monotonic() + 60
    while not comes():
        assert monotonic() < give_up_at
        page.wait_for_timeout(100)


def num_met(page: Page) -> int:
    row = page.locator("tr", has=page.locator("th", has_text="hasty")).first
    return int(row.locator("td").nth(1).inner_text())


def test_live_figures_move_under_load_beside_the_picture(cluster: Cluster, browser: Browser) -> None:
    with opened(browser) as (page, complaints):
        page.goto(cluster.page)
        assert page.locator("svg .bar").count() == 3
        with traffic(cluster):
            awaited(page, lambda: figure(page, "rate") > 1)
            rate_per_s, met = figure(page, "rate"), num_met(page)
            awaited(page, lambda: figure(page, "rate") != rate_per_s and num_met(page) > met)
            assert 0 < figure(page, "attainment") <= 100
            assert page.locator(".spark polyline").count() >= 2
        assert complaints == []


def test_a_what_if_is_asked_corrected_and_planned(cluster: Cluster, browser: Browser) -> None:
    with opened(browser) as (page, complaints):
        page.goto(f"{cluster.page}/what-if")
        page.get_by_label("Devices").fill("some")
        page.get_by_role("button", name="Plan them").click()
        expect(page.locator("#devices-fault")).to_contain_text("'some'")
        assert page.get_by_label("Devices").get_attribute("aria-invalid") == "true"
        # Chromium notes the status of the refused form, and nothing else.
        assert all("422" in complaint for complaint in complaints)
        complaints.clear()

        page.get_by_label("Devices").fill("1, 2, 4")
        page.get_by_label("Seconds to search").fill("4")
        page.get_by_label("selective-replication").check()
        page.get_by_role("button", name="Plan them").click()
        page.wait_for_selector("[data-done]", timeout=120_000)

        expect(page.locator("[data-done]")).to_contain_text("18 of 18 plans · done")
        assert page.locator(".heat .cell strong").count() == 18
        expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
        assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_a_phone_and_complains_of_nothing(cluster: Cluster, browser: Browser, scheme: str) -> None:
    with opened(browser, 375, scheme) as (page, complaints):
        for path in PAGES:
            page.goto(cluster.page + path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 375, path
            assert page.evaluate("getComputedStyle(document.body).fontSize") == "16px"
        assert complaints == []


def test_the_keyboard_reaches_the_content_and_why_a_model_is_where_it_is(cluster: Cluster, browser: Browser) -> None:
    with opened(browser) as (page, complaints):
        page.goto(cluster.page)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "To the content"
        page.keyboard.press("Enter")
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.evaluate("Boolean(document.activeElement.closest('svg a'))"):
                break
        expect(page.locator(".tip")).to_contain_text("quick: a replica on group")
        page.keyboard.press("Enter")
        page.wait_for_url("**/models/quick")

        expect(page.get_by_role("heading", level=1)).to_have_text("Why quick is where it is")
        assert complaints == []


def test_every_field_and_figure_has_a_name(cluster: Cluster, browser: Browser) -> None:
    named = "input:not([type=hidden]), select, meter, progress, [role=region]"
    nameless = f"""() => [...document.querySelectorAll("{named}")]
        .filter((one) => !(one.labels && one.labels.length) && !one.getAttribute("aria-label"))
        .map((one) => one.outerHTML)"""
    with opened(browser) as (page, _):
        for path in PAGES:
            page.goto(cluster.page + path)
            assert page.evaluate(nameless) == [], path
            assert page.locator("h1").count() == 1


def test_without_script_everything_but_movement_is_there(cluster: Cluster, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(cluster.page)
    assert page.locator("svg .bar").count() == 3
    page.goto(f"{cluster.page}/timeline")
    page.get_by_label("Requests a second").fill("20")
    page.get_by_role("button", name="Draw and simulate").click()
    assert page.locator("rect.broad, rect.narrow").count() > 20
    context.close()

"""How alike every two classes are, as a visitor uses it."""

import csv
from xml.etree import ElementTree as ET

import pytest

from tests.dashboards.served_pages import expect_address, wait_until
from tests.planted_stores import HARMFUL, NAMES

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect = sync_api.expect


@pytest.fixture
def page(turn, graph_address):
    page = turn(graph_address, "?layer=late&class=1")
    page.get_by_role("button", name="Pairs", exact=True).click()
    expect_address(page, classes="pairs")
    expect(page.locator(".pairs")).to_be_visible()
    return page


def middle_of(page, first, second):
    canvas = page.locator(".pairs")
    places = []

    def is_drawn():
        """The square is there before its numbers are."""
        places.append(
            canvas.evaluate("(drawn, pair) => drawn.placeOfPair(...pair)", pair)
        )
        return places[-1] is not None

    pair = [first, second]
    wait_until(page, is_drawn)
    x, y = places[-1]
    box = canvas.bounding_box()
    return box["x"] + x, box["y"] + y


def test_click__compares_two_classes_and_on_the_diagonal_chooses_one(page):
    page.mouse.click(*middle_of(page, 6, 5))

    expect_address(page, **{"class": "6"})
    expect(page.locator(".chip.side-a")).to_contain_text(NAMES[6])
    expect(page.locator(".chip.side-b")).to_contain_text(NAMES[5])
    page.mouse.click(*middle_of(page, 2, 2))
    expect(page.locator(".facts .title")).to_contain_text(NAMES[2])
    expect(page.locator(".chip.side-b")).to_contain_text("all others")

    page.get_by_role("button", name="Map", exact=True).first.click()
    expect(page.locator(".pairs")).to_have_count(0)
    page.keyboard.press("Control+z")
    expect(page.locator(".pairs")).to_be_visible()


def test_keys__walk_and_say_how_alike_two_are(page):
    page.locator(".pairs").focus()
    told = page.locator(".map-panel .unseen")

    page.keyboard.press("ArrowDown")
    expect(told).to_have_text(NAMES[1])
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    if NAMES[1] == told.inner_text():  # the chosen class is the last one
        page.keyboard.press("ArrowLeft")
    expect(told).to_contain_text(f"{NAMES[1]} and ")
    expect(told).to_contain_text(": ")
    page.keyboard.press("Enter")

    expect(page.locator(".chip.side-a")).to_contain_text(NAMES[1])
    expect(page.locator(".chip.side-b")).not_to_contain_text("all others")


def test_list__is_saved_as_a_drawing_with_every_row(page):
    panel = page.locator("section.panel:has(.class-head)")
    panel.locator(".chart-menu summary").click()
    with page.expect_download() as download:
        panel.locator("[data-save=svg]").click()

    drawing = ET.fromstring(download.value.path().read_bytes())
    texts = [node.text for node in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert set(NAMES) - {HARMFUL} <= set(texts)
    assert "Accuracy" in texts
    assert float(drawing.get("height")) > 26 * len(NAMES)


def test_table__is_saved(page):
    with page.expect_download() as download:
        page.locator(".map-panel .chart-menu summary").click()
        page.locator(".map-panel [data-save=csv]").click()

    with download.value.path().open() as file:
        head, *rows = csv.reader(file)
    assert len(head) == 1 + len(rows) == 1 + len(NAMES)

"""The map of the instances as a visitor uses it: a loop, a click, colours."""

import pytest

from tests.dashboards.served_pages import expect_address

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect = sync_api.expect


def test_map__chooses_what_is_drawn_around_and_opens_a_point(visit, finished_address):
    page = visit(finished_address, "?layer=late&class=6&view=map")
    canvas = page.locator(".instance-points")
    panel = page.get_by_role("region", name="Map of the instances")
    expect(panel).to_contain_text("of 296 instances", timeout=200_000)
    page.wait_for_timeout(600)  # until the points are where they belong
    box = canvas.bounding_box()

    page.mouse.move(box["x"] + 4, box["y"] + 4)
    page.mouse.down()
    for x, y in ((0.99, 0.01), (0.99, 0.99), (0.01, 0.99)):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
    page.mouse.up()
    expect(panel).to_contain_text("296 chosen")
    page.get_by_label("Chosen instances as B").click()
    expect(page.locator(".chip.side-b")).to_contain_text("296 chosen instances")

    panel.get_by_role("button", name="Class", exact=True).click()
    expect_address(page, color="class")
    box = canvas.bounding_box()  # what was chosen may have moved it
    x, y = canvas.evaluate("(canvas) => canvas.placeOf(4)")
    page.mouse.move(box["x"] + x, box["y"] + y)
    expect(panel.locator(".instance-hint")).to_be_visible()
    page.mouse.click(box["x"] + x, box["y"] + y)
    # The server may be busy still with what was chosen.
    page.wait_for_url(
        lambda url: "instance=" in url and "view=instances" in url, timeout=90_000
    )
    expect(page.get_by_label("Opened instance")).to_be_visible()

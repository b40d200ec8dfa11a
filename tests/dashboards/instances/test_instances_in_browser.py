"""Instances as a visitor uses them: squares, pages, marks, and one that is opened."""

import pytest

from tests.dashboards.served_pages import expect_address

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect = sync_api.expect


@pytest.fixture
def page(visit, finished_address):
    page = visit(finished_address, "?layer=late&class=1")
    page.get_by_role("button", name="Instances", exact=True).click()
    expect(squares(page, "b")).to_have_count(40)
    return page


def squares(page, side):
    return page.locator(f".instance-list.side-{side} .square")


def test_instances__turn_pages_open_and_become_a_subset(page):
    expect_address(page, view="instances")
    # There are no data beside a planted store, so no pictures: numbers stand for them.
    expect(squares(page, "a").first.locator(".square-text")).to_contain_text("#")
    expect(page.get_by_text("No pictures: the data set of the run")).to_be_visible()
    before = squares(page, "b").first.get_attribute("data-instance")
    page.get_by_role("button", name="Later").click()
    expect(page.locator(f".side-b .square[data-instance='{before}']")).to_have_count(0)

    first = squares(page, "a").first
    number = first.get_attribute("data-instance")
    first.locator(".square-main").click()
    expect_address(page, instance=number)
    opened = page.get_by_label("Opened instance")
    expect(opened).to_contain_text("wolf")
    expect(opened.locator(".opened-layer")).to_have_count(3)
    opened.locator(".opened-channel").first.click()
    page.wait_for_url(lambda url: "channel=" in url)
    page.keyboard.press("Escape")
    expect(opened).to_be_hidden()

    for i in range(2):
        squares(page, "a").nth(i).locator(".square-main").click(modifiers=["Shift"])
    expect(page.get_by_role("status").filter(has_text="2 marked")).to_be_visible()
    page.get_by_label("Marked instances as B").click()
    expect(page.locator(".chip.side-b")).to_contain_text("2 chosen instances")
    expect(squares(page, "b")).to_have_count(2)

    page.reload()
    expect(squares(page, "b")).to_have_count(2)

"""The channels of a class as a visitor uses them: their examples open the instance."""

import pytest

from tests.dashboards.served_pages import expect_address

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect = sync_api.expect


def test_example__opens_its_instance_and_back_leads_to_the_channels(
    turn, finished_address
):
    page = turn(finished_address, "?layer=late&class=1&view=channels")
    example = page.locator(".example").nth(1)
    number = example.get_attribute("data-instance")
    expect(
        page.get_by_role("button", name=f"#{number}: activation").first
    ).to_be_visible()

    example.click()

    expect_address(page, view="instances", instance=number)
    opened = page.get_by_label("Opened instance")
    expect(opened.get_by_role("heading", name=f"#{number}")).to_be_focused()
    page.go_back()
    expect(page.locator(".example").first).to_be_visible()
    expect(opened).to_be_hidden()


def test_examples__are_seen_in_a_narrow_window(turn, finished_address):
    page = turn(finished_address, "?layer=late&class=1&view=channels")
    page.set_viewport_size({"width": 390, "height": 844})

    example = page.locator(".example").first
    example.scroll_into_view_if_needed()
    box = example.bounding_box()
    assert box["width"] > 40
    assert 0 <= box["x"] <= 390 - box["width"]


def test_table__is_saved(turn, finished_address):
    page = turn(finished_address, "?layer=late&class=1&view=channels")
    panel = page.get_by_role("region", name="Top channels")

    with page.expect_download() as download:
        panel.locator(".chart-menu summary").click()
        panel.get_by_text("Data (CSV)").click()

    assert download.value.suggested_filename == "channels-late.csv"
    lines = download.value.path().read_text().splitlines()
    assert lines[0] == "channel,count,share,base_rate,lift,mean"
    assert len(lines) == 1 + 96


def test_examples__are_one_tab_stop_and_arrows_walk(visit, finished_address):
    page = visit(finished_address, "?layer=late&class=1&view=channels")
    examples = page.locator(".channel-row").first.locator(".example")
    page.locator(".channel-row .channel").first.focus()

    page.keyboard.press("Tab")
    expect(examples.nth(0)).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(examples.nth(1)).to_be_focused()
    expect(page.locator(".preview")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.locator(".channel-row .channel").nth(1)).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(examples.nth(1)).to_be_focused()
    number = examples.nth(1).get_attribute("data-instance")
    page.keyboard.press("Enter")
    expect_address(page, view="instances", instance=number)

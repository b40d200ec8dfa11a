"""The confusions as a visitor uses them: cells, keys, and the list beside them."""

import pytest

from tests.dashboards.served_pages import expect_address

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect = sync_api.expect


def test_confusions__are_picked_by_mouse_and_keys(visit, finished_address):
    page = visit(finished_address, "?view=confusions")
    chip = page.locator(".chip .chip-main")
    cell = page.locator("[data-query='label = wolf and prediction = 2']").first

    with page.expect_download() as download:
        page.locator(".confusions .chart-menu summary").click()
        page.locator(".confusions [data-save=csv]").click()
    assert download.value.path().read_text().startswith("label,prediction,instances")
    cell.click()

    expect(chip.nth(0)).to_contain_text("wolf taken for crane")
    expect(chip.nth(1)).to_contain_text("wolf, predicted right")
    expect(page.locator(".confusion-cell.is-a")).to_have_count(1)
    expect_address(page, **{"class": "1"})

    page.get_by_role("button", name="B", exact=True).click()
    page.locator(".frequent-row").nth(1).click()
    expect(chip.nth(0)).to_contain_text("wolf taken for crane")
    expect(page.locator(".frequent-row.is-b")).to_have_count(1)

    page.locator(".confusion-cell[tabindex='0']").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(chip.nth(1)).not_to_contain_text("wolf, predicted right")
    assert page.evaluate("window.harmed") is None

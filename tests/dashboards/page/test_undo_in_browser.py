"""What was chosen is undone and chosen again, by buttons and by keys."""

import pytest

from tests.dashboards.served_pages import expect_address

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect = sync_api.expect


def undo(page):
    return page.get_by_role("button", name="Undo")


def redo(page):
    return page.get_by_role("button", name="Redo")


def slide(page, value):
    page.locator("[data-slider='strength']").evaluate(
        """(input, value) => {
          input.value = value
          input.dispatchEvent(new Event("input", {bubbles: true, composed: true}))
        }""",
        value,
    )


@pytest.mark.moving
def test_choices__are_undone_one_by_one_and_not_beyond_the_first(visit, graph_address):
    page = visit(graph_address, "?layer=late&class=6")
    start = page.url
    expect(undo(page)).to_be_disabled()
    page.locator("[data-layer='early']").click()
    expect_address(page, layer="early")
    page.get_by_role("button", name="Channels", exact=True).click()
    expect_address(page, view="channels")
    page.locator(".row[data-class='1']").click()
    expect_address(page, **{"class": "1"})

    undo(page).click()
    expect_address(page, **{"class": "6"}, view="channels")
    expect(page.locator(".facts .title")).to_have_text("cat")
    page.keyboard.press("Control+z")
    expect(page.locator("svg.graph")).to_be_visible()
    page.keyboard.press("Control+z")
    page.wait_for_url(start)
    expect(undo(page)).to_be_disabled()
    page.keyboard.press("Control+z")
    assert page.url == start

    redo(page).click()
    expect_address(page, layer="early")
    page.keyboard.press("Control+Shift+z")
    page.keyboard.press("Control+y")
    expect_address(page, **{"class": "1"}, view="channels", layer="early")
    expect(redo(page)).to_be_disabled()


def test_another_choice__forgets_what_was_undone(visit, finished_address):
    page = visit(finished_address, "?layer=late&class=6")
    page.locator("[data-layer='early']").click()
    expect_address(page, layer="early")
    undo(page).click()
    expect(redo(page)).to_be_enabled()

    page.locator("[data-layer='middle']").click()

    expect_address(page, layer="middle")
    expect(redo(page)).to_be_disabled()
    page.reload()
    page.wait_for_function("document.documentElement.dataset.ready === 'yes'")
    undo(page).click()
    expect_address(page, layer="late")


def test_rows__renamed_and_removed_come_back(visit, graph_address):
    page = visit(graph_address, "?layer=late&class=6&matrix=open&kept=%234")
    row = page.locator("[data-key='#4']")
    row.hover()
    row.get_by_label("Rename").click()
    page.get_by_label("New name of").fill("mine")
    page.keyboard.press("Control+z")  # in a field it is the browser's own
    page.get_by_label("New name of").fill("mine")
    page.keyboard.press("Enter")
    expect(row).to_contain_text("mine")
    row.hover()
    row.get_by_label("Remove mine").click()
    expect(row).to_have_count(0)

    undo(page).click()
    expect(row).to_contain_text("mine")
    undo(page).click()
    expect(row).to_contain_text("#4 dog")


def test_a_slider__is_one_step(visit, graph_address):
    page = visit(graph_address, "?layer=late&class=6")
    for value in (2, 4):
        slide(page, value)
        page.wait_for_timeout(300)
    page.wait_for_url(lambda url: "strength=" in url)

    undo(page).click()

    page.wait_for_url(lambda url: "strength=" not in url)
    expect(page.locator("[data-slider='strength']")).to_have_value("0")
    expect(undo(page)).to_be_disabled()

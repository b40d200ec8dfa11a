"""A and B as a visitor chooses them: chips, queries with completion, the menu."""

import pytest

from tests.dashboards.served_pages import expect_address, served
from tests.planted_stores import write_large

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect = sync_api.expect


@pytest.fixture
def page(turn, finished_address):
    page = turn(finished_address)
    page.locator(".row[data-class='1']").click()
    expect(chip(page, "a")).to_contain_text("wolf")
    return page


def chip(page, side):
    return page.locator(f".chip.side-{side} .chip-main")


def write(page, side, query):
    chip(page, side).click()
    page.get_by_label("Query").fill(query)


def test_confusion__clicked_is_a_against_what_is_right(page):
    page.locator(".facts .confusions .link").first.click()

    expect(chip(page, "a")).to_contain_text("wolf taken for crane")
    expect(chip(page, "b")).to_contain_text("wolf, predicted right")
    expect(page.locator(".sentence")).to_contain_text("instances of wolf")
    expect(page.locator(".sentence")).to_contain_text("late")
    expect_address(page, a="label+%3D+wolf+and+prediction+%3D+2")

    page.go_back()
    expect(chip(page, "b")).to_contain_text("all others")


def test_query__is_completed_and_asked(page):
    write(page, "b", "lab")
    # Also offered before anything is written, but not as the first.
    expect(page.get_by_role("listbox").get_by_role("option").first).to_have_text(
        "labelcolumn"
    )
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.type("= ca")
    page.get_by_role("option", name="cat class").click()
    expect(page.get_by_label("Query")).to_have_value("label = cat ")
    page.keyboard.press("Enter")

    expect(chip(page, "b")).to_contain_text("cat")
    expect_address(page, b="label+%3D+cat")
    page.reload()
    expect(chip(page, "b")).to_contain_text("cat")


def test_query__that_is_none_points_at_the_place(page):
    write(page, "a", "label = wulf")
    page.keyboard.press("Enter")

    problem = page.get_by_role("alert")
    expect(problem).to_contain_text("did you mean 'wolf'?")
    expect(problem).to_contain_text("^^^^")
    expect(chip(page, "a")).to_contain_text("wolf")
    page.keyboard.press("Escape")
    expect(problem).to_be_hidden()
    expect(page.get_by_label("Query")).to_have_value("label = wolf")


def test_menu__chooses_parts_of_the_class_and_suggestions(page):
    page.get_by_text("Choose subsets").click()
    page.get_by_label("wolf, predicted wrong as A").click()
    expect(chip(page, "a")).to_contain_text("wolf, predicted wrong")
    page.get_by_label("wolf, predicted right as B").click()
    expect(chip(page, "b")).to_contain_text("wolf, predicted right")
    page.get_by_text("Search for subsets with errors").click()
    expect(page.get_by_text("Search for subsets with errors")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.locator(".subset-panel")).to_be_hidden()

    page.get_by_label("Exchange A and B").click()
    expect(chip(page, "a")).to_contain_text("right")
    page.get_by_label("Compare A with all others").click()
    expect(chip(page, "b")).to_contain_text("all others")


def test_sentence__chooses_the_channel_that_it_names(page):
    # The sentence of the class before may have its link still.
    expect(page.locator(".sentence")).to_contain_text("wolf:")
    expect(page.locator(".sentence")).to_contain_text("Exact")
    page.locator(".sentence .link").click()

    page.wait_for_url(lambda url: "channel=" in url)


def test_names__from_data_are_text_in_the_bar(page):
    page.locator(".row[data-class='3']").click()
    expect(chip(page, "a")).to_contain_text("<img")
    page.locator(".facts .confusions .link").first.click()
    expect(chip(page, "a")).to_contain_text("taken for")

    assert page.evaluate("window.harmed") is None


FOLLOW = """() => {
  window.said = []
  const inner = (root) => [...root.querySelectorAll("*")].map((one) => one.shadowRoot)
  const find = (root) => root.querySelector(".sentence")
    ?? inner(root).filter(Boolean).map(find).find(Boolean)
  const sentence = find(document)
  const keep = () => window.said.push(sentence.textContent)
  new MutationObserver(keep).observe(sentence, {childList: true, subtree: true})
}"""
"""Keeps all that the sentence says one after another."""


@pytest.fixture(scope="module")
def large_address(tmp_path_factory):
    url = write_large(str(tmp_path_factory.mktemp("large") / "run.zarr")).url
    with served(url) as (_, address):
        yield address


def test_large_store_without_an_index__says_about_what_it_will_be_first(
    visit, large_address
):
    page = visit(large_address)
    sentence = page.locator(".sentence")
    expect(sentence).to_contain_text("Exact, from the aggregates", timeout=30_000)
    page.evaluate(FOLLOW)
    about, said = [], []
    # Exact numbers that are there at once are sent in place of the estimate. Of classes
    # the aggregates have them; of these sets nothing has.
    for row in range(1, 10):
        page.evaluate("window.said = []")
        write(page, "a", f'label = "class 00{row}" and correct')
        page.keyboard.press("Enter")
        page.wait_for_function(
            "window.said.some((text) => text.includes('Exact, from the facts'))",
            timeout=30_000,
        )
        said = page.evaluate("window.said")
        about = [text for text in said if "About, in" in text]
        if about:
            break

    assert "±" in about[0]
    assert "95\N{NO-BREAK SPACE}% intervals. The exact numbers follow …" in about[0]
    assert "±" not in said[-1]

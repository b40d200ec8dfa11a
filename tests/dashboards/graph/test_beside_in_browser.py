"""A second network and published graphs, as a visitor has them."""

import pytest

from nnviz.graphs.making import attribution_graph
from nnviz.graphs.summit_files import to_summit_json
from nnviz.store.store import Store
from tests.dashboards.served_pages import expect_address, served

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect
pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(graph_url, tmp_path_factory):
    """Return a folder with two graphs as SUMMIT writes them."""
    folder, store = tmp_path_factory.mktemp("published"), Store.open(graph_url)
    for number, name in ((1, "wolf"), (6, "cat")):
        text = to_summit_json(attribution_graph(store, name))
        (folder / f"ag-{number}.json").write_text(text)
    return folder


@pytest.fixture(scope="module")
def beside_address(graph_url, folder):
    with served(graph_url, "--other-store", graph_url, "--published", folder) as made:
        yield made[1]


@pytest.fixture(scope="module")
def folder_address(folder):
    with served(folder) as (_, address):
        yield address


def test_other_network_and_published__are_drawn_beside(visit, beside_address):
    page = visit(beside_address, "?class=6")
    choice = page.locator("[data-select='versus']")
    choice.select_option("network:matched")

    legend = page.locator(".legend")
    expect(legend).to_contain_text("only cat in ", timeout=60_000)
    expect(legend).to_contain_text("only cat here")
    expect_address(page, versus="network%3Amatched")
    problems = page.locator(".graph-panel .problems")
    expect(problems).to_contain_text("the median correlation of a pair is from")
    expect(page.locator(".graph-footer .note")).to_contain_text("nothing differs")
    page.locator("[data-class='1']").first.click()
    expect(legend).to_contain_text("only wolf in ", timeout=60_000)
    choice.select_option("summit:published")
    expect(legend).to_contain_text("only wolf as published", timeout=60_000)
    expect(legend).to_contain_text("only wolf here")
    page.locator(".undo").click()
    expect(legend).to_contain_text("only wolf in ", timeout=60_000)


def test_folder_of_published_graphs__opens_without_a_run(visit, folder_address):
    page = visit(folder_address)
    names = page.locator(".file-row .name")
    assert names.all_inner_texts() == ["class 1", "class 6"]

    page.locator(".file-row[data-class='1']").click()

    expect(page.locator(".facts .title")).to_have_text("class 6")
    expect(page.locator(".legend")).to_contain_text("of the largest count")
    page.locator("[data-select='versus']").select_option("class 1")
    expect(page.locator(".legend")).to_contain_text("only class 1")
    expect_address(page, versus="class+1")
    page.get_by_role("searchbox").fill("ag-1")
    expect(page.locator(".file-row:visible")).to_have_count(1)

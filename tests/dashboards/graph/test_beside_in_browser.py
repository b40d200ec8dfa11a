"""A second network and published graphs, as a visitor has them."""

import re

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


def test_other_network_and_published__are_drawn_beside(visit, graph_url, folder):
    beside = ("--other-store", graph_url, "--published", folder)
    with served(graph_url, *beside) as (_, address):
        page = visit(address, "?class=6")
        choice = page.locator("[data-select='versus']")
        choice.select_option("network:matched")

        legend = page.locator(".legend")
        expect(legend).to_contain_text("only cat in ", timeout=60_000)
        expect_address(page, versus="network%3Amatched")
        problems = page.locator(".graph-panel .problems")
        expect(problems).to_contain_text("the median correlation of a pair is from")
        expect(page.locator(".graph-panel .note").last).to_contain_text(
            "nothing differs"
        )
        page.locator("[data-class='1']").click()
        expect(legend).to_contain_text("only wolf in ", timeout=60_000)
        choice.select_option("summit:published")
        expect(legend).to_contain_text("only wolf as published", timeout=60_000)
        page.locator(".undo").click()
        expect(legend).to_contain_text(re.compile("only wolf in "), timeout=60_000)

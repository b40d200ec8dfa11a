"""A store that has grown: the page says what it shows is not of all instances."""

import pytest

from nnviz.results.coverage import stale_results
from nnviz.store.store import Store
from nnviz.upkeep.extension import extend
from nnviz_dashboards.page.header import stale_html
from tests.dashboards.served_pages import served
from tests.faults.small_run import later_stages
from tests.upkeep.test_extension import LAST, OLD, extract, run, write_rows

pytestmark = pytest.mark.slow

__all__ = ["run"]


@pytest.fixture
def grown(run):
    """Return a store of 40 instances with all results, after 30 more were added."""
    store = Store.open(run / "run.zarr", writable=True)
    later_stages(store)
    assert stale_results(store) is None
    write_rows(run, OLD + LAST)
    extend(store.url)
    return store.url


def commands_of(url):
    stale = stale_results(Store.open(url))
    return [] if stale is None else stale.command.replace(f" {url}", "").split(" && ")


def test_stale__names_all_commands_until_each_has_run(grown, run):
    steps = [commands_of(grown)]
    extract(run)
    steps.append(commands_of(grown))
    later_stages(Store.open(grown, writable=True))
    steps.append(commands_of(grown))

    assert steps == [
        ["nnviz extract", "nnviz aggregate", "nnviz derive"],
        ["nnviz aggregate", "nnviz derive"],
        [],
    ]


def test_stale__only_derived_results__does_not_ask_to_aggregate(grown, run):
    from nnviz.aggregation.aggregation import aggregate
    from nnviz.subsets.naming import named_subsets

    extract(run)
    store = Store.open(grown, writable=True)
    aggregate(store, [named_subsets(store, name) for name in ("label", "outcome")])

    assert commands_of(grown) == ["nnviz derive"]


def test_stale__text_says_how_many_and_is_escaped(grown):
    stale = stale_results(Store.open(grown))

    assert "has 70 instances" in stale.text
    assert "the first 40" in stale.text
    assert "classes" in stale.text
    assert "--subsets" not in stale.text
    assert "&amp;&amp; nnviz aggregate" in stale_html(stale)
    assert stale_html(None) == ""


def test_stale__a_collection_of_ones_own__needs_its_file_again(run):
    from nnviz.aggregation.aggregation import aggregate
    from nnviz.subsets.subsets import Subset, collect_subsets

    store = Store.open(run / "run.zarr", writable=True)
    mine = [Subset("first two", [0, 1])]
    aggregate(store, [collect_subsets(mine, store.n_instances, name="mine")])
    write_rows(run, OLD + LAST)
    extend(store.url)

    text = stale_results(Store.open(store.url)).text

    assert "Name the file of mine with --subsets again." in text


@pytest.mark.browser
@pytest.mark.slow
def test_page__of_a_store_that_has_grown__says_so(grown, run, visit):
    extract(run)

    with served(grown) as (_, address):
        page = visit(address)
        notice = page.locator(".stale")
        text, top = notice.inner_text(), notice.bounding_box()["y"]
        below = page.locator(".layers").bounding_box()["y"]
        page.goto("about:blank")

    assert "Not of all instances" in text
    assert f"nnviz aggregate {grown} && nnviz derive {grown}" in text
    assert top < below

"""A visitor has the network run, on workers of this machine: graphs and instances."""

import re

import pytest
from click.testing import CliRunner

import nnviz
from nnviz.aggregation.aggregates import aggregates_of
from nnviz.cli.main import main
from nnviz.explanation.own_graph import own_graph
from nnviz.explanation.stored import explanation_of
from nnviz.graphs.making import SubsetGraphs
from nnviz.graphs.motifs import Motif, Motifs
from nnviz.graphs.options import GraphOptions
from nnviz.graphs.stored import write_graphs
from nnviz.results.causal_effects import causal_effect
from nnviz.store.lock import writing
from nnviz.store.store import Store
from tests import planted_network as planted
from tests.dashboards.served_pages import expect_address, served
from tests.planted_network_run import aggregated_store

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect
pytestmark = [pytest.mark.browser, pytest.mark.slow]

SECONDS = 90_000
"""Milliseconds; a guard against hanging, no measurement."""


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("to-check")
    store = aggregated_store(folder)
    nnviz.derive(store, pictures=False)
    share_a_part(store)
    return store.url


EAST = (("first", planted.FIRST[1]), ("second", planted.SECOND[1]))


def share_a_part(store):
    """Store a part with the graphs, which share none, as if 'east' had it."""
    store, options = Store.open(store.url, writable=True), GraphOptions()
    graphs = list(SubsetGraphs(store).graphs())
    motif = Motif(("east", "west"), EAST, (EAST,), 40.0, 30.0)
    found = Motifs("label", "directed", 4, 3, 19, 9.0, (motif,))
    aggregates = [aggregates_of(store, name) for name in ("label", "all")]
    write_graphs(store, *aggregates, options, graphs, found)


@pytest.fixture(scope="module")
def with_workers(url):
    with served(url, "--network-on", "local", forks=True) as (_, address):
        yield address


@pytest.fixture(scope="module")
def without_workers(url):
    with served(url) as (_, address):
        yield address


def ask(page):
    page.get_by_text("Does it matter?").click()
    page.get_by_role("button", name="Check now").click()


def test_check__is_made_and_shown_and_what_is_wrong_is_said(url, with_workers, turn):
    page = turn(with_workers, "?class=2")
    page.wait_for_selector(".graph-panel[data-subset='south']")
    said = page.locator(".graph-effect")
    expect(said).to_be_hidden()

    ask(page)

    expect(said).to_contain_text("The network runs without these channels")
    expect(said).to_contain_text("instances are predicted right", timeout=SECONDS)
    effect = causal_effect(Store.open(url), "label", ("south",), GraphOptions())
    expect(said).to_contain_text(f"Without these {effect.n_channels} channels")
    expect(said).to_contain_text(f"{effect.n_right_without} of {effect.n_instances}")
    assert effect.drop > effect.random_drop

    page.locator(".row[data-class='3']").click()
    page.wait_for_selector(".graph-panel[data-subset='west']")
    expect(said).to_be_hidden()
    with writing(url, "extract"):
        ask(page)
        expect(said).to_contain_text("The check failed", timeout=SECONDS)
        expect(said).to_contain_text("another")


def test_opened_instance__is_explained_and_shown_where_it_fires(
    url, with_workers, turn
):
    page = turn(with_workers, "?view=instances&instance=2&layer=second")
    opened = page.get_by_label("Opened instance")
    expect(opened.locator(".inside-rows")).to_be_empty()

    opened.get_by_role("button", name="Run the network").click()
    expect(opened.locator(".inside-running")).to_be_visible()

    rows = opened.locator(".inside-rows .opened-layer")
    expect(rows).to_have_count(3, timeout=SECONDS)
    found = explanation_of(Store.open(url), 2, 2)
    second = rows.filter(has_text="second").locator(".opened-channel")
    expect(second.first).to_contain_text(str(planted.SECOND[2]))
    expect(second).to_have_count(len(found.layer("second").strongest(8)))
    second.first.hover()
    expect(opened.locator(".opened-stage")).to_have_class(re.compile("lit"))
    expect(opened.locator(".inside-caption")).to_contain_text("the brighter")
    with page.expect_response(re.compile("/heat/2/2/")) as answer:
        opened.get_by_role("button", name="Most active").click()
    assert answer.value.body().startswith(b"\x89PNG")

    graphs = SubsetGraphs(Store.open(url))
    own, theirs = own_graph(graphs.store, found), graphs.graph("south")
    n_common = len(set(own.keys()) & set(theirs.keys()))
    part = opened.get_by_label("Its own graph")
    expect(part).to_contain_text(
        f"Of its {own.n_nodes} channels {n_common} are in the graph of south"
    )
    drawn = part.get_by_label("Graph of this instance")
    expect(drawn.locator(".own-node")).to_have_count(own.n_nodes)
    expect(drawn.locator(".own-node.common")).to_have_count(n_common)
    expect(part.get_by_label("Graph of south").locator("path")).to_have_count(
        theirs.n_arcs
    )
    drawn.get_by_label(f"first, channel {planted.FIRST[2]}:").click()
    expect_address(page, layer="first", channel=str(planted.FIRST[2]))
    expect(opened.locator(".inside-caption")).to_contain_text("first, channel")


def test_check__without_workers__is_a_command(without_workers, turn):
    page = turn(without_workers, "?class=1")
    page.wait_for_selector(".graph-panel[data-subset='east']")

    page.get_by_text("Does it matter?").click()

    expect(page.locator(".code-menu[open] code")).to_contain_text("nnviz ablate")
    expect(page.get_by_role("button", name="Check now")).to_have_count(0)


def test_shared_part__is_lit_up_in_a_class_that_has_it(without_workers, turn):
    page = turn(without_workers, "?class=2")
    page.wait_for_selector(".graph-panel[data-subset='south']")
    page.get_by_text("Shared parts").click()
    part = page.locator(".parts-panel .part")
    expect(part).to_contain_text("2 graphs: east, west")
    expect(part).to_have_attribute("data-here", "no")

    part.click()

    page.wait_for_selector(".graph-panel[data-subset='east']")
    expect(part).to_have_attribute("aria-pressed", "true")
    lit = page.locator(".graph.focused .node[data-role='self']")
    expect(lit).to_have_count(2)
    assert {one.get_attribute("data-key") for one in lit.all()} == {
        f"{layer}-{channel}" for layer, channel in EAST
    }
    expect(page.locator(".arc[data-role='lit']")).to_have_count(1)

    part.click()

    expect(part).to_have_attribute("aria-pressed", "false")
    expect(page.locator(".graph.focused")).to_have_count(0)


def test_opened_instance__without_workers__says_the_command(without_workers, turn):
    page = turn(without_workers, "?view=instances&instance=5")
    opened = page.get_by_label("Opened instance")

    expect(opened.locator("code")).to_contain_text("nnviz explain")
    expect(opened.get_by_role("button", name="Run the network")).to_have_count(0)


def test_server__of_no_such_cluster__does_not_start(url):
    ended = CliRunner().invoke(
        main, ["serve", url, "--port", "0", "--network-on", "nowhere"]
    )

    assert ended.exit_code == 1
    assert "nowhere" in ended.output

"""A visitor has a graph checked: a real network, on workers of this machine."""

import pytest
from click.testing import CliRunner

import nnviz
from nnviz.cli.main import main
from nnviz.graphs.options import GraphOptions
from nnviz.results.causal_effects import causal_effect
from nnviz.store.lock import writing
from nnviz.store.store import Store
from tests.dashboards.served_pages import served
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
    return store.url


@pytest.fixture(scope="module")
def with_workers(url):
    with served(url, "--network-on", "local") as (_, address):
        yield address


@pytest.fixture(scope="module")
def without_workers(url):
    with served(url) as (_, address):
        yield address


def ask(page):
    page.get_by_text("Does it matter?").click()
    page.get_by_role("button", name="Check now").click()


def test_check__is_made_and_shown_and_what_is_wrong_is_said(url, with_workers, visit):
    page = visit(with_workers, "?class=2")
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


def test_check__without_workers__is_a_command(without_workers, visit):
    page = visit(without_workers, "?class=1")
    page.wait_for_selector(".graph-panel[data-subset='east']")

    page.get_by_text("Does it matter?").click()

    expect(page.locator(".code-menu[open] code")).to_contain_text("nnviz ablate")
    expect(page.get_by_role("button", name="Check now")).to_have_count(0)


def test_server__of_no_such_cluster__does_not_start(url):
    ended = CliRunner().invoke(
        main, ["serve", url, "--port", "0", "--network-on", "nowhere"]
    )

    assert ended.exit_code == 1
    assert "nowhere" in ended.output

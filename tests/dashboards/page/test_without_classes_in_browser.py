"""The page of a network without classes: every view looks at a part of the target."""

import numpy as np
import pytest
import torch
from torch import nn

import nnviz
from tests.dashboards.served_pages import expect_address, served

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect = sync_api.expect


def write(folder, *, is_labelled):
    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(120, 6)).astype(np.float32)
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
    data = (x, 2.5 * x[:, 0]) if is_labelled else x
    url = folder / "run.zarr"
    nnviz.run(network, data, url, workers=0, progress=False)
    return str(url)


@pytest.fixture(scope="module")
def regression_address(tmp_path_factory):
    url = write(tmp_path_factory.mktemp("regression"), is_labelled=True)
    with served(url) as (_, address):
        yield address


@pytest.fixture(scope="module")
def unlabelled_address(tmp_path_factory):
    url = write(tmp_path_factory.mktemp("unlabelled"), is_labelled=False)
    with served(url) as (_, address):
        yield address


HOLD_READING = """() => {
  const read = Response.prototype.arrayBuffer
  window.held = []
  Response.prototype.arrayBuffer = async function () {
    if (window.held) await new Promise((go) => window.held.push(go))
    return read.call(this)
  }
}"""

READ_ON = """() => {
  const held = window.held
  window.held = null
  for (const go of held) go()
}"""


def show(page, view):
    page.get_by_role("button", name=view, exact=True).click()
    expect_address(page, view=view.lower())


def test_regression__all_views_show_a_part_of_the_target(turn, regression_address):
    page = turn(regression_address)
    expect(page.get_by_text("There are no classes").first).to_be_visible()
    parts = page.locator(".part-row")
    expect(parts).to_have_count(8)  # quarters of the target, and of the error
    expect(parts.nth(3)).to_have_class("part-row chosen")
    expect(page.locator(".chip.side-b")).to_contain_text("all others")
    expect(page.locator(".node").first).to_be_visible()

    parts.nth(0).locator(".part-name").click()
    expect(page.locator(".facts .title")).to_contain_text("target <=")
    parts.nth(3).get_by_role("button", name="as B").click()
    expect(page.locator(".chip.side-b")).to_contain_text("30")
    show(page, "Channels")
    expect(page.locator(".channel-row").first).to_be_visible()
    expect(page.get_by_text("Share of A", exact=True)).to_be_visible()
    # A row of a table is shown whole.
    expect(page.get_by_text("Strongest examples (underlined: of A)")).to_be_visible()
    show(page, "Differences")
    expect(page.locator(".difference-row").first).to_be_visible(timeout=30_000)
    show(page, "Map")
    expect(page.get_by_text("120 instances;")).to_be_visible(timeout=30_000)
    page.get_by_label("Colour by").select_option("target")
    expect_address(page, color="target")
    expect(page.locator(".instance-legend")).to_contain_text("or more")
    show(page, "Confusions")
    expect(page.locator(".confusions")).to_contain_text("There are no classes")
    show(page, "Model")
    expect(page.get_by_text("2 of 2 layers in view")).to_be_visible()
    show(page, "Instances")
    page.locator(".square-main").first.click()
    opened = page.get_by_label("Opened instance")
    expect(opened).to_contain_text("What the network puts out")
    expect(opened).to_contain_text("target")
    opened.get_by_role("button", name="Keep its row").click()
    page.wait_for_url(lambda url: "kept=" in url)
    page.locator(".matrix-place").get_by_role("button").first.click()
    expect(page.locator(".matrix-head")).to_have_count(3)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".matrix-head:visible")).to_have_count(0)


def test_regression__fits_a_narrow_window(turn, regression_address):
    page = turn(regression_address)
    page.set_viewport_size({"width": 390, "height": 800})
    page.get_by_role("button", name="Subsets", exact=True).click()

    expect(page.locator(".part-row").first).to_be_visible()
    expect(page.locator("[data-part='map']")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_unlabelled__asks_for_a_query_and_takes_one(visit, unlabelled_address):
    page = visit(unlabelled_address, "?matrix=open")
    expect(page.get_by_text("No subset is chosen").first).to_be_visible()
    expect(page.locator(".part-row")).to_have_count(0)
    expect(page.locator(".matrix-bars-name").first).not_to_have_text("A − B")
    show(page, "Map")
    expect(page.get_by_text("120 instances;")).to_be_visible(timeout=30_000)

    page.get_by_label("Query", exact=True).fill("activation(0, 1) > 0.5")
    page.keyboard.press("Enter")

    expect(page.locator(".chip.side-a")).to_contain_text("activation(0, 1) > 0.5")
    expect(page.locator(".matrix-bars-name").first).to_have_text("A − B")
    show(page, "Channels")
    expect(page.locator(".channel-row").first).to_be_visible(timeout=30_000)


def test_map__is_left_while_its_points_are_read__can_be_opened_again(
    visit, regression_address
):
    page = visit(regression_address)
    page.evaluate(HOLD_READING)
    show(page, "Map")
    page.wait_for_function("window.held.length > 0")

    show(page, "Channels")
    # It is called so again once the page has heard that no map is shown.
    title = page.locator(".map-place .title")
    expect(title).to_have_text("Map of the instances", timeout=30_000)
    page.evaluate(READ_ON)

    show(page, "Map")
    expect(page.get_by_text("120 instances;")).to_be_visible(timeout=30_000)

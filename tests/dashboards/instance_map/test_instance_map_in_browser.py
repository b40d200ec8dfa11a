"""The map of the instances as a visitor uses it: a loop, a click, colours."""

import numpy as np
import pytest
import torch
from torch import nn

import nnviz
from tests.dashboards.served_pages import expect_address, served

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect = sync_api.expect

FEW = "from nnviz_dashboards.instance_map import model; model.MAX_POINTS = 40"


@pytest.fixture(scope="module")
def counted_address(finished_url):
    """Return where a page is served that takes 41 instances for many."""
    with served(finished_url, before=FEW) as (_, address):
        yield address


def write_with_one_far(folder, times):
    """Write 120 instances, one of which is some times as far off as the next."""
    rows = np.random.default_rng(0).normal(size=(120, 6)).astype(np.float32)
    rows[7] = times * np.linalg.norm(rows, axis=1).max() / np.sqrt(6)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
    nnviz.run(network, rows, str(folder / "run.zarr"), workers=0, progress=False)
    return str(folder / "run.zarr")


@pytest.fixture(scope="module")
def far_address(tmp_path_factory):
    with served(write_with_one_far(tmp_path_factory.mktemp("far"), 8)) as (_, place):
        yield place


@pytest.fixture(scope="module")
def very_far_address(tmp_path_factory):
    """Return where a page is served that takes 41 instances for many."""
    url = write_with_one_far(tmp_path_factory.mktemp("far"), 60)
    with served(url, before=FEW) as (_, address):
        yield address


PLACES = "canvas => [...Array(120).keys()].map((i) => canvas.placeOf(i))"


@pytest.mark.parametrize("width", [390, 1440])
def test_map__of_few__has_every_point_in_view(visit, far_address, width):
    page = visit(far_address, "?view=map&layer=0")
    page.set_viewport_size({"width": width, "height": 900})
    canvas = page.locator(".instance-points")
    expect(canvas).to_have_attribute("data-seen", "120", timeout=200_000)
    box = canvas.bounding_box()
    x, y = np.transpose(canvas.evaluate(PLACES))
    # Whole: a dot has a radius of five pixels at most.
    assert min(x.min(), y.min()) > 5
    assert x.max() < box["width"] - 5
    assert y.max() < box["height"] - 5


def test_map__of_many__one_that_is_very_far_off_can_be_reached(visit, very_far_address):
    page = visit(very_far_address, "?view=map&layer=0")
    canvas = page.locator(".instance-points")
    expect(canvas).to_have_attribute("data-seen", "119", timeout=200_000)
    canvas.focus()
    for _ in range(9):
        page.keyboard.press("-")
    expect(canvas).to_have_attribute("data-seen", "120")


@pytest.mark.moving
def test_map__chooses_what_is_drawn_around_and_opens_a_point(visit, finished_address):
    page = visit(finished_address, "?layer=late&class=6&view=map")
    canvas = page.locator(".instance-points")
    panel = page.get_by_role("region", name="Map of the instances")
    expect(panel).to_contain_text("296 instances", timeout=200_000)
    expect(canvas).to_have_attribute("data-seen", "296")
    box = canvas.bounding_box()
    # What is seen is asked for once, and where the panel finds its size, not again
    # whenever it has come, as long as the map is open.
    asked = int(canvas.get_attribute("data-asked"))
    page.wait_for_timeout(2500)
    assert int(canvas.get_attribute("data-asked")) <= asked + 2

    page.mouse.move(box["x"] + 4, box["y"] + 4)
    page.mouse.down()
    for x, y in ((0.99, 0.01), (0.99, 0.99), (0.01, 0.99)):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
    page.mouse.up()
    expect(panel).to_contain_text("296 chosen")
    page.get_by_label("Chosen instances as B").click()
    expect(page.locator(".chip.side-b")).to_contain_text("296 chosen instances")

    panel.get_by_label("Colour by").select_option("confidence")
    expect_address(page, color="confidence")
    expect(panel.locator(".instance-legend")).to_contain_text("confidence: ")
    panel.get_by_label("Colour by").select_option("class")
    expect_address(page, color="class")
    expect(panel.locator(".legend-key")).to_have_count(10)
    box = canvas.bounding_box()  # what was chosen may have moved it
    x, y = canvas.evaluate("(canvas) => canvas.placeOf(4)")
    page.mouse.move(box["x"] + x, box["y"] + y)
    expect(panel.locator(".instance-hint")).to_be_visible()
    page.mouse.click(box["x"] + x, box["y"] + y)
    # The server may be busy still with what was chosen.
    page.wait_for_url(
        lambda url: "instance=" in url and "view=instances" in url, timeout=90_000
    )
    expect(page.get_by_label("Opened instance")).to_be_visible()


def test_map__of_many__counts_in_cells_until_few_are_in_view(visit, counted_address):
    page = visit(counted_address, "?layer=late&class=6&view=map&color=class")
    canvas = page.locator(".instance-points")
    panel = page.get_by_role("region", name="Map of the instances")
    expect(canvas).to_have_attribute("data-drawn", "cells", timeout=200_000)
    expect(canvas).to_have_attribute("data-seen", "296")
    box = canvas.bounding_box()
    # What is seen is asked for once, and where the panel finds its size, not again
    # whenever it has come, as long as the map is open.
    asked = int(canvas.get_attribute("data-asked"))
    page.wait_for_timeout(2500)
    assert int(canvas.get_attribute("data-asked")) <= asked + 2

    page.mouse.move(box["x"] + 4, box["y"] + 4)
    page.mouse.down()
    for x, y in ((0.99, 0.01), (0.99, 0.99), (0.01, 0.99)):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
    page.mouse.up()
    expect(panel).to_contain_text("296 chosen")
    page.keyboard.press("Escape")
    expect(panel).not_to_contain_text("chosen")

    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    canvas.focus()
    for _ in range(9):
        page.keyboard.press("+")
    expect(canvas).to_have_attribute("data-drawn", "points")
    expect(panel).to_contain_text("in view")
    page.keyboard.press("0")
    expect(canvas).to_have_attribute("data-drawn", "cells")

"""The page of a table: where a channel is a column it has the column's name."""

from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import nnviz
from tests.dashboards.served_pages import served

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect = sync_api.expect

NAMES = ["age", "weight", "temper"]
OPENED = 5


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.normal(size=80) for name in NAMES})
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    table = frame.assign(label=(frame["age"] > 0).astype(int))
    store = nnviz.run(
        network,
        table,
        tmp_path_factory.mktemp("named") / "run.zarr",
        preprocessing={"columns": [{"name": name} for name in NAMES]},
        workers=0,
        progress=False,
    )
    store.explain(OPENED, model=network, dataset=table)
    with served(store.url) as (_, address):
        yield address


def test_matrix__has_the_names_above_its_columns(turn, address):
    page = turn(address, "?layer=input&matrix=open")
    page.locator(".matrix-tools").get_by_text("More", exact=True).click()

    with page.expect_download() as saved:
        page.locator(".matrix-tools [data-save=svg]").click()

    drawing = ET.fromstring(saved.value.path().read_bytes())
    texts = {node.text for node in drawing.iter() if node.tag.endswith("text")}
    assert set(NAMES) <= texts
    assert "2" not in texts  # the classes are called 0 and 1


def test_matrix__of_few_columns_fills_a_wide_window(turn, address):
    page = turn(address, "?layer=0&matrix=open")
    view = page.locator(".matrix-view")
    page.set_viewport_size({"width": 1440, "height": 900})

    space = page.locator(".matrix-space")

    filled = space.bounding_box()["width"] / view.bounding_box()["width"]
    assert filled > 0.55  # of eight columns; at 24 pixels each it was a quarter


def test_inside__calls_columns_by_their_names(turn, address):
    page = turn(address, f"?view=instances&instance={OPENED}")
    layer = page.locator(".inside-rows .opened-layer").filter(has_text="input")

    page.get_by_role("button", name="Most active").click()

    shown = layer.locator(".opened-channel b").all_text_contents()
    assert shown
    assert set(shown) <= set(NAMES)


def test_strip__says_input_once(turn, address, graph_address):
    page = turn(address)
    expect(page.locator(".strip").get_by_text("input", exact=True)).to_have_count(1)

    page = turn(graph_address)
    expect(page.locator(".strip .end").first).to_have_text("input")

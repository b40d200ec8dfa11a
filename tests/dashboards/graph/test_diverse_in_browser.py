"""Diverse examples of a channel as a visitor sees them, in its card and on its node."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import nnviz
from nnviz.results.run_results import RunResults
from tests.dashboards.served_pages import expect_address, served

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect = sync_api.expect

SIDE = 12


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Return a run over a folder of pictures, which a server opens by itself."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name, channel in (("red", 0), ("green", 1), ("blue", 2)):
        (folder / "data" / name).mkdir(parents=True)
        for i in range(16):
            pixels = rng.integers(0, 60, (SIDE, SIDE, 3), np.uint8)
            y, x = rng.integers(2, SIDE - 2, 2)
            pixels[y - 2 : y + 2, x - 2 : x + 2, channel] = rng.integers(150, 255)
            Image.fromarray(pixels).save(folder / "data" / name / f"{i}.png")
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    ).eval()  # fmt: skip
    made = nnviz.run(
        network, str(folder / "data"), folder / "run.zarr", workers=0, progress=False
    )
    features = folder / "run.zarr.features" / "2"
    features.mkdir(parents=True)
    for channel in range(8):
        Image.new("RGB", (8, 8), "orange").save(features / f"{channel}.png")
    return made


@pytest.fixture(scope="module")
def address(store):
    with served(store.url) as (_, address):
        yield address


@pytest.fixture
def page(turn, address):
    page = turn(address, "?class=0")
    page.wait_for_selector(".nodes[data-still='yes']", state="attached")
    return page


def a_node(page, store):
    """Return a node that has five diverse examples, and its channel."""
    for key in page.locator(".node[data-key^='2-']").evaluate_all(
        "nodes => nodes.map((node) => node.dataset.key)"
    ):
        channel = int(key.split("-")[1])
        if len(RunResults(store).diverse.of("2", channel)) == 5:
            return page.locator(f".node[data-key='{key}']"), channel
    raise AssertionError("no node has five")


def test_card__shows_them_when_one_stays_and_opens_them(page, store):
    node, channel = a_node(page, store)
    wanted = [one.instance for one in RunResults(store).diverse.of("2", channel)]
    node.hover()
    part = page.get_by_role("group", name="Diverse examples")

    pictures = part.locator("img")
    expect(pictures).to_have_count(5)
    expect(part.locator(".card-rule")).to_have_attribute(
        "title", "Candidates are the 100 strongest instances, of those in which the "
        "channel is at least 50% as strong as in the strongest one. The strongest is "
        "first; then always the one that is least alike to those before it, by the "
        "cosine of all channels of the layer",
    )  # fmt: skip
    for picture, instance in zip(pictures.all(), wanted, strict=True):
        expect(picture).to_have_js_property("complete", value=True)
        assert picture.evaluate("image => image.naturalWidth") > 0
        assert f"#{instance}: activation" in picture.get_attribute("alt")
    expect(page.locator(".card-feature")).to_be_visible()

    node.click()
    button = part.get_by_role("button").nth(1)
    expect(button).to_have_attribute("data-instance", str(wanted[1]))
    button.click()
    expect_address(page, instance=str(wanted[1]))


def test_pointer__turns_them_over_on_the_node_and_leaves_its_own(page, store):
    node, _ = a_node(page, store)
    image = node.locator(".picture")
    own = image.get_attribute("href")
    folder, layer, channel, _ = own.rsplit("/", 3)
    box = node.locator(".back").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    expect(page.locator(".card-diverse img")).to_have_count(5)

    for place, part in ((0, 0.1), (2, 0.5), (4, 0.9)):
        page.mouse.move(box["x"] + part * box["width"], middle)
        expect(image).to_have_attribute(
            "href", f"{folder}/diverse/{layer}/{channel}/{place}"
        )
        looked_at = page.locator(".card-diverse > *").nth(place)
        expect(looked_at).to_contain_class("looked-at")
    page.mouse.move(box["x"] - 30, middle)
    expect(image).to_have_attribute("href", own)

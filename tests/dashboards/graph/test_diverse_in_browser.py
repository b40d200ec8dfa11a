"""Diverse examples of a channel as a visitor sees them, in its card and on its node."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import nnviz
from nnviz.results.run_results import RunResults
from tests.dashboards.served_pages import expect_address, served, wait_until

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


WORDS = ["<pad>", "<unk>", "how", "many", "who", "what", "is", "are", "the", "of"]
TEXTS = [
    f"{start} {end}"
    for start in ("how many are the", "who is the", "what is the", "what are many")
    for end in ("king of a city", "people of the town", "stars", "trees", "horses")
]


def ids_of(text):
    return [WORDS.index(word) if word in WORDS else 1 for word in text.split()]


class WordNetwork(nn.Module):
    """A convolution over words, and what is strongest of it."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(len(WORDS), 6, padding_idx=0)
        self.late = nn.Conv1d(6, 8, 3, padding=1)
        self.classes = nn.Linear(8, 2)

    def forward(self, ids):
        x = torch.relu(self.late(self.words(ids).movedim(2, 1)))
        return self.classes(x.amax(2))


def write_texts(folder):
    torch.manual_seed(2)
    data = TEXTS, ["many" if "many" in text else "one" for text in TEXTS]
    return nnviz.run(
        WordNetwork().eval(), data, folder / "run.zarr", tokenizer=ids_of,
        classes=["many", "one"], workers=0, progress=False,
    )  # fmt: skip


class RowNetwork(nn.Sequential):
    def __init__(self):
        super().__init__()
        self.late = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        self.classes = nn.Linear(8, 2)


def write_rows(folder):
    torch.manual_seed(3)
    values = np.random.default_rng(0).normal(10, 4, (60, 4)).round(2)
    table = pd.DataFrame(values, columns=["age", "weight", "height", "pulse"])
    kind = np.where(table["age"] > 10, "old", "young")
    table.assign(kind=kind).to_csv(folder / "rows.csv", index=False)
    data = {
        "kind": "table",
        "path": str(folder / "rows.csv"),
        "label_column": "kind",
    }
    columns = [
        {"name": name, "scale": "standard"}
        for name in ("age", "weight", "height", "pulse")
    ]
    return nnviz.run(
        RowNetwork().eval(), data, folder / "run.zarr",
        preprocessing={"kind": "table", "columns": columns},
        workers=0, progress=False,
    )  # fmt: skip


@pytest.fixture(scope="module", params=[write_texts, write_rows])
def written(request, tmp_path_factory):
    """Return a run whose instances are to be read, and its address."""
    store = request.param(tmp_path_factory.mktemp("written"))
    with served(store.url) as (_, address):
        yield store, address


def test_card__of_texts_and_rows_can_be_read(visit, written):
    store, address = written
    results = RunResults(store)
    layer = next(x.name for x in results.layers if x.name.startswith("late"))
    page = visit(address, "?class=0")
    page.wait_for_selector(".nodes[data-still='yes']", state="attached")
    keys = page.locator(f".node[data-key^='{layer}-']").evaluate_all(
        "nodes => nodes.map((node) => node.dataset.key)"
    )
    found = {key: results.diverse.of(layer, int(key.split("-")[-1])) for key in keys}
    key, wanted = max(found.items(), key=lambda item: len(item[1]))
    assert len(wanted) >= 3

    page.locator(f".node[data-key='{key}']").click()

    pictures = page.get_by_role("group", name="Diverse examples").locator("img")
    expect(pictures).to_have_count(len(wanted))
    for picture, one in zip(pictures.all(), wanted, strict=True):
        expect(picture).to_have_js_property("complete", value=True)
        assert picture.evaluate("image => image.naturalWidth") > 0
        assert f"#{one.instance}: activation" in picture.get_attribute("alt")
        assert picture.bounding_box()["width"] >= 90  # as among the instances
    card = page.locator(".card.pinned")
    page.set_viewport_size({"width": 390, "height": 844})
    wait_until(page, lambda: card.bounding_box()["x"] >= 0)
    box = card.bounding_box()
    assert box["x"] + box["width"] <= 390
    page.set_viewport_size({"width": 1280, "height": 720})

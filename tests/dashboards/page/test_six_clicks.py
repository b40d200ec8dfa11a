"""Why is one class taken for another? Answered in six clicks, with the pictures."""

import pytest

from nnviz.aggregation.aggregation import aggregate
from nnviz.derivation.derivation import derive
from nnviz.subsets.naming import named_subsets
from nnviz.testing import PlantedDataset, PlantedRun, planted_channels, write_store
from tests.dashboards.served_pages import served

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect = sync_api.expect

HORSES_AS_DOGS = "label = horse and prediction = dog"
RUN = PlantedRun(
    n_classes=4,
    class_names=("horse", "dog", "deer", "cat"),
    n_instances=240,
    influence_ranks=3,
    accuracy=0.7,
    examples_per_channel=4,
)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    store = write_store(tmp_path_factory.mktemp("animals") / "run.zarr", RUN)
    aggregate(store, [named_subsets(store, name) for name in ("label", "prediction")])
    derive(store, dataset=PlantedDataset(RUN))
    with served(store.url) as (_, address):
        yield address


@pytest.mark.moving
def test_confusion__is_explained_in_six_clicks(visit, address):
    page = visit(address)
    sentence = page.locator(".sentence")
    taken = (RUN.labels == 0) & (RUN.predictions == 1) & ~RUN.is_unreadable

    # 1: which class is taken for which?
    page.get_by_role("button", name="Confusions", exact=True).click()
    # 2: horses that are taken for dogs, against those that are not
    page.locator(f".confusion-cell[data-query='{HORSES_AS_DOGS}']").click()
    expect(sentence).to_contain_text(
        f"{taken.sum()} of {((RUN.labels == 0) & ~RUN.is_unreadable).sum()} instances "
        "of horse are taken for dog"
    )
    # 3: by which channels do they differ? The answer has their pictures
    page.get_by_role("button", name="Differences", exact=True).click()
    rows = page.locator(".difference-row")
    expect(rows.first.locator(".faces img").first).to_be_visible(timeout=30_000)
    channel = int(rows.first.get_attribute("data-channel"))
    layer = rows.first.get_attribute("data-layer")
    # 4: the instances of both, by the channel that differs most
    rows.first.get_by_text("Instances").click()
    squares = page.locator(".side-a .square")
    expect(squares).to_have_count(min(40, int(taken.sum())))
    # 5: one of them
    squares.first.locator(".square-main").click()
    opened = page.get_by_label("Opened instance")
    expect(opened).to_contain_text("horse, taken for dog")
    expect(opened.locator(".opened-channel img").first).to_be_visible()
    # 6: how it comes about, beside how it does where they are right
    page.get_by_role("button", name="Graph", exact=True).click()
    expect(page.locator(".node[data-side='first']").first).to_be_visible(timeout=30_000)
    expect(page.locator(".panel.facts")).to_contain_text(
        "against horse, predicted right"
    )

    if layer in dict.fromkeys(name for name, _, _ in RUN.layers):
        of_both = {*planted_channels(RUN, layer, 0), *planted_channels(RUN, layer, 1)}
        assert channel in of_both

"""The map of the instances as a plain object."""

import base64
import csv
import zlib

import numpy as np
import pytest

from nnviz.results.map_windows import MapWindow
from nnviz_dashboards.instance_map.model import InstanceMapModel
from nnviz_dashboards.instance_map.view import InstanceMapView
from nnviz_dashboards.subsets.model import SubsetPairModel
from tests.planted_stores import NAMES, RUN

USABLE = ~RUN.is_unreadable
EVERYWHERE = [-9.0, 9.0, -9.0, 9.0]


@pytest.fixture
def model(results, selection):
    selection.choose(view="map", a="label = cat", b="label = dog")
    return InstanceMapModel(results, SubsetPairModel(results, selection))


@pytest.fixture
def sent(model, monkeypatch):
    """Return a function that asks the view for a part, and gives its answer."""
    view = InstanceMapView(model, pictures="p", layers={}, point_at=lambda _: None)
    panel, messages = view.__panel__(), []
    monkeypatch.setattr(panel, "_send_msg", messages.append)

    def ask(window, shape=(8, 9)):
        version = panel.shown["version"]
        message = {"type": "look", "version": version, "turn": 3, "window": window}
        panel._handle_msg({**message, "shape": list(shape)})
        return messages.pop()["part"]

    return ask


def test_points__are_all_usable_instances_with_class_outcome_and_side(model):
    shown = model.shown

    instances = shown.placed.instances
    labels = RUN.labels[instances]
    np.testing.assert_array_equal(instances, np.flatnonzero(USABLE))
    np.testing.assert_array_equal(shown.labels, labels)
    wrong = RUN.predictions[instances] != labels
    sides = (labels == 6) + 2 * (labels == 7)
    np.testing.assert_array_equal(shown.marks, sides + 4 * wrong)


def test_middles__are_the_medians_of_the_classes(model):
    shown = model.shown

    for index, middle in zip(shown.placed.classes, shown.middles, strict=True):
        places = shown.placed.places[shown.labels == index]
        np.testing.assert_allclose(middle, np.median(places, axis=0), atol=1e-6)


def test_points__of_another_layer__have_other_places(model, selection):
    before = model.shown

    selection.choose(layer="middle")

    assert model.shown.placed.layer == "middle"
    assert not np.allclose(model.shown.placed.places, before.placed.places)


def test_loop__becomes_a_subset(model, selection):
    place = model.shown.placed.places[4]
    near = np.abs(model.shown.placed.places - place).max(axis=1) < 0.05

    model.surround(
        [place + d for d in np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) / 20]
    )
    assert model.n_chosen == near.sum()
    model.use("a")

    chosen = model.results.pairs.finder.find(selection.a).instances
    assert chosen.tolist() == model.shown.placed.instances[near].tolist()
    assert selection.b == "label = dog"
    assert model.n_chosen == 0


@pytest.mark.parametrize(
    "loop",
    [
        pytest.param([], id="empty"),
        pytest.param([[0, float("nan")]] * 4, id="no place"),
        pytest.param(["ab", "cd", "ef"], id="no numbers"),
    ],
)
def test_loop__that_is_none__chooses_nothing(model, selection, loop):
    model.surround(loop)
    model.use("a")

    assert (model.n_chosen, selection.a) == (0, "label = cat")


def test_open__shows_the_instance(model, selection):
    model.open(12)

    assert (selection.view, selection.instance) == ("instances", 12)


def test_view__that_nobody_looks_at__keeps_no_places(model, selection):
    selection.choose(view="graph")

    assert model.shown is None


def test_colors__are_of_a_column_and_of_a_channel(model, selection, finished):
    model.color("confidence")
    assert model.shown.colors.title == "confidence"
    assert model.shown.colors.kind == "number"

    selection.choose(channel=3)
    model.color("channel")
    first = model.shown.codes
    values = finished.activations(selection.layer)[model.shown.placed.instances]
    order = np.argsort(values[:, 3], kind="stable")
    assert np.all(np.diff(first[order].astype(int)) >= 0)
    selection.choose(channel=5)
    assert not np.array_equal(model.shown.codes, first)


def test_colors__that_there_are_none_of__are_a_and_b(model):
    model.color("nothing like this")

    assert model.shown.colors.kind == "sides"


def test_table__has_the_place_and_the_value_of_every_instance(model, finished):
    model.color("confidence")

    rows = list(csv.DictReader(model.table().csv().decode().splitlines()))

    confidence = finished.column("confidence")
    for row, place in zip(rows, model.shown.placed.places, strict=True):
        assert float(row["x"]) == pytest.approx(float(place[0]), rel=1e-5)
        wanted = pytest.approx(float(confidence[int(row["instance"])]), rel=1e-5)
        assert float(row["confidence"]) == wanted


def test_cell__tells_how_many_of_which(model):
    model.color("class")

    facts = model.cell(MapWindow(*EVERYWHERE))

    assert facts.n_instances == USABLE.sum()
    counts = np.bincount(RUN.labels[USABLE])
    assert [n for _, n in facts.told] == sorted(counts.tolist())[::-1][:3]
    assert all(counts[NAMES.index(name)] == n for name, n in facts.told if name)
    assert model.cell(MapWindow(50, 51, 50, 51)).instance == -1


def test_view__sends_few_points_as_they_are(model, sent):
    part = sent(EVERYWHERE)

    shown, n = model.shown, part["n"]
    content = zlib.decompress(base64.b64decode(part["points"]))
    numbers = np.cumsum(np.frombuffer(content, "<u4", n))
    places = np.frombuffer(content, "<f4", 2 * n, 4 * n).reshape(-1, 2)
    assert part["is_all"] is True
    np.testing.assert_array_equal(numbers, shown.placed.instances)
    np.testing.assert_allclose(places, shown.placed.places, rtol=4e-5, atol=1e-7)
    labels = np.frombuffer(content, "<i2", n, 12 * n)
    np.testing.assert_array_equal(labels, shown.labels)
    np.testing.assert_array_equal(np.frombuffer(content, "u1", n, 15 * n), shown.marks)


def test_view__counts_many_points_in_cells_until_few_are_seen(model, sent, monkeypatch):
    monkeypatch.setattr("nnviz_dashboards.instance_map.model.MAX_POINTS", 40)

    part = sent([-2.0, 2.0, -2.0, 2.0])

    levels, codes = np.frombuffer(
        zlib.decompress(base64.b64decode(part["cells"])), "u1"
    ).reshape(2, 8, 9)
    assert part["shape"] == [8, 9]
    places = model.shown.placed.places.astype(np.float64)
    row, column = ((places[:, ::-1] + 2) / (4 / np.array([8, 9]))).astype(int).T
    counts = np.zeros((8, 9), int)
    np.add.at(counts, (row, column), 1)
    np.testing.assert_array_equal(levels > 0, counts > 0)
    assert levels.max() == 255
    assert part["n"] == USABLE.sum()
    np.testing.assert_array_equal(codes == 255, counts == 0)

    x, y = (float(v) for v in places[7])
    near = np.abs(places - places[7]).max(axis=1) <= 0.02
    part = sent([x - 0.02, x + 0.02, y - 0.02, y + 0.02])
    assert part["n"] == near.sum()
    assert part["is_all"] is False


def test_cells__of_another_subset__are_found_once_and_counted_again(
    model, selection, results
):
    window, shape = MapWindow(*EVERYWHERE), (2, 3)
    cats = model.shown.raster(window, shape)
    selection.choose(a="label = wolf")

    wolves = model.shown.raster(window, shape)

    assert results.map_cells.cache_info().misses == 1
    places, codes = model.shown.placed.places, model.shown.codes
    x, y = (places[:, 0] + 9) // 6, (places[:, 1] + 9) // 9
    for row, column in np.ndindex(shape):
        is_in = (x == column) & (y == row)
        assert cats.counts[row, column] == wolves.counts[row, column] == is_in.sum()
        if is_in.any():
            whole = np.array([(codes == side).sum() for side in range(4)])
            inside = np.array([(codes[is_in] == side).sum() for side in range(4)])
            share = inside / np.maximum(whole, 1)
            assert share[wolves.codes[row, column]] == share.max()


@pytest.mark.parametrize("window", [[1, 0, 0, 1], ["a", 1, 0, 1], [0, 1], None])
def test_view__asked_for_no_part__does_not_answer(sent, window):
    with pytest.raises(IndexError):
        sent(window)

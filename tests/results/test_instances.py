"""Single instances, against plain NumPy over what is stored."""

import io
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import nnviz
from nnviz.aggregation.index import make_index
from nnviz.aggregation.index_channels import IndexedChannels
from nnviz.errors import ShapeError
from nnviz.results.instance_pictures import InstancePictures
from nnviz.results.run_results import RunResults
from nnviz.store.store import Store
from nnviz.testing import PlantedDataset, PlantedRun, write_store
from tests.planted_stores import NAMES, RUN

USABLE = ~RUN.is_unreadable
WOLVES = np.flatnonzero(USABLE & (RUN.labels == 1))


def everything(ordered):
    return ordered.part(0, len(ordered))


def test_ordered__by_a_column__is_its_argsort(results, finished):
    confidence = finished.column("confidence")

    down = everything(results.instances.ordered(WOLVES, "confidence"))
    up = everything(
        results.instances.ordered(WOLVES, "confidence", largest_first=False)
    )

    assert np.all(np.diff(confidence[down]) <= 0)
    assert np.all(np.diff(confidence[up]) >= 0)
    assert sorted(down.tolist()) == sorted(up.tolist()) == WOLVES.tolist()


def test_ordered__by_a_channel__is_by_its_stored_activation(results, finished):
    values = finished.activations("late")[:, 18].astype(np.float64)

    found = everything(results.instances.ordered_by_channel(WOLVES, "late", 18))

    assert np.all(np.diff(values[found]) <= 0)


def test_ordered__by_what_there_is_not__stays(results):
    found = results.instances.ordered(WOLVES, "colour")

    assert found.part(1, 3).tolist() == WOLVES[1:3].tolist()


def test_ordered__of_a_part__is_that_of_all(results, finished):
    confidence = finished.column("confidence")
    expected = sorted(WOLVES.tolist(), key=lambda n: -float(confidence[n]))

    found = results.instances.ordered(WOLVES, "confidence")

    assert len(found) == len(WOLVES)
    for start in range(0, len(WOLVES), 7):
        assert found.part(start, start + 7).tolist() == expected[start : start + 7]


def test_page__is_read_once_its_columns_are(results):
    instances = results.instances
    assert not instances.is_read("confidence")

    instances.facts_of([0, 1])

    assert instances.is_read("confidence")
    assert not instances.is_read("loss")
    instances.ordered(WOLVES, "loss")
    assert instances.is_read("loss")


def test_orders__are_known_without_reading_texts(results):
    assert "confidence" in results.instances.orders()

    assert not results.pairs.finder.columns.is_read("id")


def test_facts__are_those_of_the_instance_table(results, finished):
    n = int(WOLVES[0])

    facts = results.instances.facts(n, is_whole=True)

    assert facts.id == str(finished.column("id")[n])
    assert facts.label == RUN.labels[n]
    assert facts.prediction == finished.column("prediction")[n]
    assert facts.is_wrong == (facts.label != facts.prediction)
    assert "loss" in dict(facts.others)
    assert "id" not in dict(facts.others)


def test_table__has_names_of_classes_and_no_value_where_there_is_none(
    results, finished
):
    rows = WOLVES[:5][::-1]

    table = dict(results.instances.table(rows, side=["A"] * 5).columns)

    assert list(table)[:2] == ["instance", "side"]
    assert table["label"] == ["wolf"] * 5
    taken = finished.column("prediction")[rows]
    assert table["prediction"] == [NAMES[i] if i >= 0 else None for i in taken]
    assert table["id"] == finished.column("id")[rows].tolist()
    assert table["confidence"] == pytest.approx(finished.column("confidence")[rows])
    broken = np.flatnonzero(RUN.is_unreadable)[:1]
    assert dict(results.instances.table(broken).columns)["prediction"] == [None]


def test_facts__of_no_instance__say_how_many_there_are(results):
    with pytest.raises(ShapeError, match="no instance 300; the run has 300"):
        results.instances.facts(300)


def test_standing_out__are_the_largest_deviations_from_all_instances(results, finished):
    n = int(WOLVES[0])
    values = finished.activations("late").astype(np.float64)
    z = (values[n] - values[USABLE].mean(0)) / values[USABLE].std(0)
    expected = np.argsort(-np.nan_to_num(z))[:5]

    found = results.instances.standing_out(n, ["late"])["late"]

    assert [one.channel for one in found] == expected.tolist()
    np.testing.assert_allclose([o.deviations for o in found], z[expected], rtol=1e-4)
    assert found[0].value == values[n, expected[0]]


def test_standing_out__with_an_index__are_the_same_and_need_no_chunk(
    tmp_path, finished_url, results
):
    url = tmp_path / "run.zarr"
    shutil.copytree(finished_url, url)
    make_index(Store.open(str(url), writable=True))
    indexed = RunResults(Store.open(str(url))).instances
    n, layers = int(WOLVES[0]), [layer.name for layer in results.layers]
    shutil.rmtree(url / "activations" / "float16" / "c")

    found = indexed.standing_out(n, layers)

    assert found == results.instances.standing_out(n, layers)


@pytest.mark.parametrize("layer", ["late", "output"])  # of which one is shown
@pytest.mark.parametrize("instances", [[0], [0, 3, 150, 151, 299], []])
def test_rows__of_any_layer__are_those_that_are_stored(
    tmp_path, finished_url, finished, layer, instances
):
    url = tmp_path / "run.zarr"
    shutil.copytree(finished_url, url)
    make_index(Store.open(str(url), writable=True))
    instances = np.array(instances, dtype=np.int64)

    found = IndexedChannels(Store.open(str(url))).rows(layer, instances)

    stored = finished.activations(layer)[instances]
    assert found.dtype == stored.dtype
    assert np.array_equal(found, stored, equal_nan=True)


def test_outputs__are_probabilities_where_they_agree_with_the_confidence(results):
    n = int(WOLVES[0])

    found, is_probability = results.instances.outputs(n)

    facts = results.instances.facts(n)
    best, value = found[0]
    assert 0 <= best < len(NAMES)
    if is_probability:
        assert best == facts.prediction
        assert value == pytest.approx(facts.confidence, abs=0.02)


class OfTheLast(nn.Module):
    """Says the next word behind every word, of which the last one is its output."""

    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(9, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.words(x))[:, -1]


@pytest.mark.slow
def test_outputs__are_no_maxima_over_positions(tmp_path):
    torch.manual_seed(0)
    network, words = (
        OfTheLast().eval(),
        np.random.default_rng(0).integers(0, 9, (20, 7)),
    )
    store = nnviz.run(
        network, (words, [0] * 20), str(tmp_path / "run.zarr"), classes=["a", "b", "c"],
        workers=0, progress=False,
    )  # fmt: skip
    instances = RunResults(store).instances
    with torch.no_grad():
        shares = network(torch.from_numpy(words)).softmax(1).numpy()

    for n in range(20):
        found, is_probability = instances.outputs(n)

        assert is_probability
        ((best, value),) = found
        assert best == shares[n].argmax()
        assert value == pytest.approx(shares[n].max(), abs=1e-3)


def test_pictures__are_files_of_the_instance(finished):
    pictures = InstancePictures(finished, PlantedDataset(RUN))

    small, large = pictures.picture(5), pictures.picture(5, is_large=True)

    assert pictures.missing == ""
    assert small[:4] == large[:4] == b"\x89PNG"
    assert len(large) > len(small)
    assert pictures.picture(300) == pictures.picture(-1) == b""


def test_heat__of_patch_tokens__lies_at_their_places(tmp_path):
    layers = (("patches", 8, (4, 4)), ("tokens", 8, (17,)))
    run = PlantedRun(n_classes=2, n_instances=4, layers=layers)
    pictures = InstancePictures(write_store(tmp_path / "run.zarr", run))
    tokens = pictures._store.layer("tokens")
    values = np.zeros(17, dtype=np.float32)
    values[[0, 1 + 4 * 2 + 1]] = 9.0, 1.0  # the class token; row 2, column 1

    file = pictures.heat(0, values, tokens, 64)

    opacity = np.asarray(Image.open(io.BytesIO(file)))[..., 1]
    row, column = np.unravel_index(opacity.argmax(), opacity.shape)
    assert opacity.shape == (64, 64)
    assert (row // 16, column // 16) == (2, 1)
    assert pictures.has_places(tokens)
    assert pictures.patches(tokens).n_before == 1


def test_pictures__without_their_data__say_why(results):
    assert results.instance_pictures.picture(5) == b""
    assert results.instance_pictures.missing == (
        "the data set of the run is not at hand"
    )

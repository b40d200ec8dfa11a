"""What there is to see of a network that has no classes: a regression, an encoder."""

import numpy as np
import pytest
import torch
from torch import nn

import nnviz
from nnviz.results.run_progress import progress_of
from nnviz.results.run_results import RunResults

TARGETS = 2.5 * np.random.default_rng(0).normal(size=80)


def run(folder, data):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
    store = nnviz.run(network, data, folder / "run.zarr", workers=0, progress=False)
    return RunResults(store)


@pytest.fixture(scope="module")
def inputs():
    x = np.random.default_rng(1).normal(size=(80, 6)).astype(np.float32)
    x[:, 0] = TARGETS / 2.5
    return x


@pytest.fixture(scope="module")
def regression(tmp_path_factory, inputs):
    return run(tmp_path_factory.mktemp("regression"), (inputs, TARGETS))


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory, inputs):
    return run(tmp_path_factory.mktemp("unlabelled"), inputs)


def test_regression__is_complete_and_says_what_stands_for_classes(regression):
    assert not regression.has_classes
    assert regression.kind == "target"
    assert regression.missing_stage() is None
    assert progress_of(regression.store.url, regression.kind).stage == ""
    missing = regression.missing_classes()
    assert missing.title == "There are no classes"
    assert "a part of the target" in missing.text


def test_parts__of_target_and_error__hold_a_quarter_each(regression):
    pairs = regression.pairs

    assert [part.n_instances for part in pairs.parts] == [20] * 8
    assert ["error" in part.query for part in pairs.parts] == [False] * 4 + [True] * 4
    pair = pairs.pair(pairs.usual_query(-1))
    largest = np.sort(np.argsort(TARGETS)[-20:])
    np.testing.assert_array_equal(pair.found.subset.instances, largest)


def test_channels_of_a_subset__are_counted_in_its_instances(regression):
    pairs = regression.pairs
    found = pairs.count(pairs.pair(pairs.usual_query(-1)))

    used = regression.channels_of(found, "0")

    activations = regression.store.activations("0")[found.subset.instances]
    mean = activations.astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(used.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(used.count, used.share * 20)
    everything = nnviz.aggregates_of(regression.store, "all").share("0")[0]
    np.testing.assert_allclose(used.base_rate, everything)
    assert len(used) == 8


def test_map__lies_along_the_main_directions(regression, unlabelled):
    for results in (regression, unlabelled):
        found = results.maps.of("0")
        values = results.store.activations("0").astype(np.float64)
        spread = values.std(axis=0)
        z = (values - values.mean(axis=0))[:, spread > 0] / spread[spread > 0]
        _, _, axes = np.linalg.svd(z, full_matrices=False)

        ratio = found.places / (z @ axes[:2].T)

        assert found.classes.size == 0
        middle = np.median(ratio, axis=0)
        np.testing.assert_allclose(ratio, np.ones((80, 1)) * middle, rtol=1e-3)
        np.testing.assert_allclose(*np.abs(middle), rtol=1e-4)
        again = found.place(results.store.activations("0")[3:5])
        np.testing.assert_allclose(again, found.places[3:5])


def test_map__of_one_channel__is_a_line(regression):
    found = regression.maps.of("2")

    output = regression.store.activations("2")[:, 0]
    assert np.corrcoef(found.places[:, 0], output)[0, 1] == pytest.approx(1)
    assert np.all(found.places[:, 1] == 0)


def test_unlabelled_run__has_no_parts_and_asks_for_a_query(unlabelled):
    assert unlabelled.kind == "all"
    assert unlabelled.missing_stage() is None
    assert unlabelled.pairs.parts == []
    assert unlabelled.pairs.targets is None
    assert unlabelled.pairs.usual_query(-1) == ""
    assert "Write a query" in unlabelled.missing_classes().text
    assert progress_of(unlabelled.store.url, unlabelled.kind).stage == ""


def test_orders__leave_out_what_nothing_has(regression, results):
    assert "confidence" not in regression.instances.orders()
    assert "target" in regression.instances.orders()
    assert "confidence" in results.instances.orders()

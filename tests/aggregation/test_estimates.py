"""Estimates from a sample hold what they say, with an index and without one."""

import numpy as np
import pytest

from nnviz.aggregation import estimates
from nnviz.aggregation.estimates import estimate, is_worthwhile
from nnviz.aggregation.index import make_index
from nnviz.aggregation.subset_index import SubsetIndex
from nnviz.results.estimate_lines import estimate_lines
from nnviz.store.store import open_store
from nnviz.testing import PlantedRun, write_store

RUN = PlantedRun(n_instances=2000, instances_per_chunk=40, n_unreadable=7)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("estimates")
    write_store(folder / "with.zarr", RUN)
    write_store(folder / "without.zarr", RUN)
    make_index(open_store(folder / "with.zarr"))
    return {name: open_store(folder / f"{name}.zarr") for name in ("with", "without")}


@pytest.fixture
def small_samples(monkeypatch):
    monkeypatch.setattr(estimates, "SAMPLE", 100)


def exact_means(store, members):
    usable = np.flatnonzero(store.usable())
    rows = np.intersect1d(members, usable)
    return {
        layer.name: store.activations(layer.name)[rows].astype(np.float64).mean(axis=0)
        for layer in store.shown_layers
    }


@pytest.mark.slow
@pytest.mark.parametrize("which", ["with", "without"])
def test_estimate__of_many_samples__covers_as_often_as_it_says(
    stores, which, small_samples
):
    store = stores[which]
    index = SubsetIndex(store)
    members = np.flatnonzero(store.column("label") != 2)
    truth = exact_means(store, members)

    found = [estimate(index, members, seed=seed) for seed in range(40)]

    for layer, mean in truth.items():
        inside = [abs(one[layer].mean - mean) <= one[layer].mean_error for one in found]
        assert 0.88 < np.mean(inside) < 0.99
        assert found[0][layer].n_sampled < found[0][layer].n_instances
        bias = np.mean([one[layer].mean for one in found], axis=0) - mean
        assert (abs(bias) < np.mean([one[layer].mean_error for one in found], 0)).all()


@pytest.mark.parametrize("which", ["with", "without"])
def test_estimate__of_few_instances__is_exact(stores, which):
    store = stores[which]
    members = np.arange(3, 90)
    truth = exact_means(store, members)

    found = estimate(SubsetIndex(store), members)

    for layer, mean in truth.items():
        np.testing.assert_allclose(found[layer].mean, mean, rtol=1e-5, atol=1e-6)
        assert (found[layer].mean_error == 0).all()
        assert found[layer].n_sampled == found[layer].n_instances


def test_estimate__shares__are_those_of_counts(stores, small_samples):
    members = np.flatnonzero(stores["with"].column("label") < 3)
    exact = estimate(SubsetIndex(stores["with"]), members)
    about = estimate(SubsetIndex(stores["without"]), members)

    counts = SubsetIndex(stores["with"]).activation_counts(members)
    for layer, one in exact.items():
        np.testing.assert_allclose(one.share, counts[layer] / one.n_instances)
        assert (one.share_error == 0).all()
        is_near = abs(about[layer].share - one.share) <= about[layer].share_error
        assert is_near.mean() > 0.85


def test_estimate__of_one_chunk_among_several__knows_no_error(stores, monkeypatch):
    monkeypatch.setattr(estimates, "SAMPLED_CHUNKS", 1)

    found = estimate(SubsetIndex(stores["without"]), np.arange(100))

    assert all(np.isinf(one.mean_error).all() for one in found.values())


@pytest.mark.parametrize("which", ["with", "without"])
def test_estimate__of_nobody__is_not_a_number(stores, which):
    found = estimate(SubsetIndex(stores[which]), np.array([], np.int64))

    assert all(np.isnan(one.mean).all() for one in found.values())
    assert all(one.n_instances == 0 for one in found.values())


@pytest.mark.parametrize("which", ["with", "without"])
def test_estimate__is_worthwhile__of_many_instances_or_chunks(
    stores, which, monkeypatch
):
    monkeypatch.setattr(estimates, "LARGE", 400)
    monkeypatch.setattr(estimates, "LARGE_CHUNKS", 12)
    index = SubsetIndex(stores[which])

    assert is_worthwhile(index, np.arange(2000))
    assert is_worthwhile(index, np.arange(0, 480, 40)) == (which == "without")
    assert not is_worthwhile(index, np.arange(0, 399))


def test_estimate_lines__say_of_how_many(stores, small_samples):
    index = SubsetIndex(stores["with"])
    label = stores["with"].column("label")
    sets = [np.flatnonzero(label == 0), np.flatnonzero(label != 0)]

    lines = estimate_lines(*(estimate(index, members) for members in sets), n=3)

    assert lines[0].startswith("about          from 100 of ")
    assert len(lines) == 4
    assert all(" ± " in line for line in lines[1:])

"""Places of instances, against what is planted and plain NumPy."""

import numpy as np
import pytest

from nnviz.derivation.instance_map import _laid_out
from tests.planted_stores import NAMES, RUN

USABLE = ~RUN.is_unreadable


def test_sample__of_few_instances__is_all_that_can_be_used(results):
    np.testing.assert_array_equal(results.maps.sample, np.flatnonzero(USABLE))


def test_sample__of_many__takes_as_many_of_every_class(results, monkeypatch):
    monkeypatch.setattr("nnviz.derivation.instance_map.N_SAMPLED", 60)

    sample = results.maps.sample

    counts = np.bincount(RUN.labels[sample], minlength=len(NAMES))
    assert len(sample) == 60
    assert counts.max() - counts.min() <= 1
    assert np.all(USABLE[sample])


@pytest.mark.filterwarnings("error")
def test_places__in_a_layer_that_nothing_excites__are_one():
    np.testing.assert_array_equal(_laid_out(np.zeros((5, 8))), np.zeros((5, 2)))


def test_places__are_nearest_to_the_class_that_an_instance_resembles(results, finished):
    found = results.maps.of("late")
    values = finished.activations("late").astype(np.float64)
    z = (values - values[USABLE].mean(0)) / np.maximum(values[USABLE].std(0), 1e-9)
    means = np.stack([z[USABLE & (RUN.labels == c)].mean(0) for c in found.classes])
    true = ((z[found.instances][:, None] - means[None]) ** 2).sum(2).argmin(1)

    far = np.linalg.norm(found.places[:, None] - found.class_places[None], axis=2)

    assert (far.argmin(1) == true).mean() > 0.8
    assert np.abs(found.class_places).max() <= 1.2
    assert 0 < found.kept <= 1


def test_place__of_others__is_as_if_they_were_of_the_sample(results):
    found = results.maps.of("late")
    some = found.instances[::7]

    places = found.place(results.maps.rows("late", some))

    np.testing.assert_allclose(places, found.places[::7], atol=1e-9)


def test_rows__are_those_that_are_stored(results, finished):
    some = np.array([0, 5, 150, 299])
    some = some[USABLE[some]]

    rows = results.maps.rows("middle", some)

    np.testing.assert_array_equal(rows, finished.activations("middle")[some])


@pytest.mark.parametrize("n", [2, 3, 4, 7])
def test_classes__whose_means_lie_in_a_plane__keep_their_distances(n):
    points = np.random.default_rng(n).normal(size=(n, 2))
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 2)))
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)

    places = _laid_out(points @ turn.T)

    found = np.linalg.norm(places[:, None] - places[None], axis=2)
    ratio = found[0, 1] / distance[0, 1]
    np.testing.assert_allclose(found, distance * ratio, atol=1e-6)
    assert np.abs(places).max() == pytest.approx(1)


def test_placed__are_the_places_that_derivation_keeps(results, finished):
    kept = finished.groups.read("artifacts/instance_places/place/middle")

    found = results.maps.placed("middle")

    np.testing.assert_array_equal(np.isfinite(kept).all(axis=1), USABLE)
    np.testing.assert_array_equal(found.instances, np.flatnonzero(USABLE))
    np.testing.assert_array_equal(found.places, kept[USABLE])
    laid = results.maps.of("middle")
    np.testing.assert_allclose(kept[laid.instances], laid.places, atol=1e-5)
    assert found.kept == pytest.approx(laid.kept)
    np.testing.assert_allclose(found.class_places, laid.class_places, atol=1e-6)
    assert not found.is_sample


def test_placed__of_a_large_run_that_was_not_derived__are_a_sample(
    results, monkeypatch
):
    monkeypatch.setattr("nnviz.derivation.instance_map.PLACES", "artifacts/nowhere")
    monkeypatch.setattr("nnviz.derivation.instance_map.N_SAMPLED", 60)

    everyone = results.maps.placed("late")
    monkeypatch.setattr("nnviz.derivation.instance_map.FEW", 100)
    results.maps.placed.cache_clear()
    few = results.maps.placed("late")

    assert len(everyone.instances) == USABLE.sum()
    assert not everyone.is_sample
    assert len(few.instances) == 60
    assert few.is_sample
    at = np.isin(everyone.instances, few.instances)
    np.testing.assert_allclose(everyone.places[at], few.places, atol=1e-5)

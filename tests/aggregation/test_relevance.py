"""Relevance of subsets against plain NumPy over the stored parts, for any reference."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nnviz.aggregation.aggregates import Aggregates
from nnviz.aggregation.aggregation import aggregate
from nnviz.aggregation.references import reference_values, relevance_sums
from nnviz.aggregation.relevance import check_relevance
from nnviz.errors import ConfigError, MissingDataError
from nnviz.store.store import Store
from nnviz.subsets.naming import named_subsets
from nnviz.subsets.subsets import Subset
from nnviz.testing import PlantedRun, write_store

RUN = PlantedRun(
    n_classes=4,
    n_instances=120,
    layers=(("early", 8, (4, 4)), ("late", 12, ())),
    instances_per_chunk=32,
    n_unreadable=5,
    has_relevance=True,
)
USABLE = ~RUN.is_unreadable
LAYERS = ("early", "late")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = write_store(tmp_path_factory.mktemp("relevance") / "run.zarr", RUN)
    aggregate(store, [named_subsets(store, "label")])
    return Store.open(store.url)


def parts(store, layer):
    return [
        store.read(f"relevance/{layer}/{part}").astype(np.float64)
        for part in ("product", "gradient", "mean", "norm")
    ]


def by_hand(store, layer, members, reference):
    """Return mean and variance of the relevances of some instances, shape (C,) each."""
    product, gradient, mean, _ = parts(store, layer)
    if isinstance(reference, str):
        value = mean[USABLE].mean(0) if reference == "mean" else 0.0
    else:
        value = mean[reference].mean(0)
    relevance = (product - value * gradient)[members]
    return relevance.mean(0), relevance.var(0)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("reference", ["mean", "zero", "subset"])
def test_relevance__of_subsets__is_the_mean_over_their_instances(
    store, layer, reference
):
    members = np.flatnonzero(RUN.labels == 2)
    usable = members[USABLE[members]]
    other = np.flatnonzero((RUN.labels == 1) & USABLE)
    chosen = Subset("one", other) if reference == "subset" else reference

    value = reference_values(store, chosen)[layer]
    sums = relevance_sums(store, [Subset("two", members)])[layer]

    against = other if reference == "subset" else reference
    mean, variance = by_hand(store, layer, usable, against)
    np.testing.assert_allclose(sums.mean(value)[0], mean, atol=1e-12)
    np.testing.assert_allclose(sums.variance(value)[0], variance, atol=1e-12)
    for signal, part in (("gradient", 1), ("gradient_norm", 3)):
        values = parts(store, layer)[part][usable]
        mean, variance = (
            of(signal, value)[0] for of in (sums.mean_of, sums.variance_of)
        )
        np.testing.assert_allclose(mean, values.mean(0), atol=1e-12)
        np.testing.assert_allclose(variance, values.var(0), atol=1e-12)


@pytest.mark.parametrize("layer", LAYERS)
def test_aggregates__relevance_of_classes_is_against_the_mean_of_all(store, layer):
    aggregates = Aggregates(store, "label")

    found = aggregates.relevance(layer)

    for row in range(RUN.n_classes):
        members = np.flatnonzero((RUN.labels == row) & USABLE)
        mean, _ = by_hand(store, layer, members, "mean")
        np.testing.assert_allclose(found[row], mean, atol=1e-12)
        gradient = parts(store, layer)[1][members].mean(0)
        np.testing.assert_allclose(aggregates.gradient(layer)[row], gradient)
        norm = parts(store, layer)[3][members].mean(0)
        np.testing.assert_allclose(aggregates.gradient_norm(layer)[row], norm)
    zero = aggregates.relevance(layer, np.zeros(found.shape[1]))
    members = np.flatnonzero((RUN.labels == 0) & USABLE)
    np.testing.assert_allclose(
        zero[0], by_hand(store, layer, members, "zero")[0], atol=1e-12
    )


def test_reference__mean_is_the_same_with_and_without_aggregates(store, tmp_path):
    bare = write_store(tmp_path / "bare.zarr", RUN)

    for layer, values in reference_values(store, "mean").items():
        np.testing.assert_allclose(reference_values(bare, "mean")[layer], values)


def test_relevance__of_no_instance__has_no_values(store):
    nothing = Subset("nothing", np.array([], np.int64))

    sums = relevance_sums(store, [nothing])["early"]

    assert np.isnan(sums.mean(np.zeros(8))).all()
    with pytest.raises(ConfigError, match="'nothing' has no usable instance"):
        reference_values(store, nothing)


def test_reference__other_text_is_refused(store):
    with pytest.raises(ConfigError, match="reference is 'median'; it is 'mean'"):
        reference_values(store, "median")


def test_relevance__of_a_run_without_it__is_missing(tmp_path):
    run = dataclasses.replace(RUN, has_relevance=False)
    store = write_store(tmp_path / "run.zarr", run)
    aggregate(store, [named_subsets(store, "label")])

    for ask in (
        lambda: reference_values(store, "mean"),
        lambda: relevance_sums(store, []),
        lambda: Aggregates(store, "label").relevance("early"),
    ):
        with pytest.raises(MissingDataError, match="relevance = "):
            ask()


def test_gradient_norm__of_a_run_from_before_it_was_kept__is_missing(store, tmp_path):
    run = dataclasses.replace(RUN, has_gradient_norms=False)
    before = write_store(tmp_path / "run.zarr", run)
    aggregate(before, [named_subsets(before, "label")])

    for ask in (
        lambda: Aggregates(before, "label").gradient_norm("early"),
        lambda: check_relevance(before, "gradient_norm"),
    ):
        with pytest.raises(MissingDataError, match="planned before they were kept"):
            ask()
    old, new = Aggregates(before, "label"), Aggregates(store, "label")
    np.testing.assert_array_equal(old.relevance("late"), new.relevance("late"))
    np.testing.assert_array_equal(old.gradient("late"), new.gradient("late"))


def test_relevance__aggregated_before_it_was_recorded__is_summed_anew(tmp_path):
    """Groups that an earlier nnviz has written lack it, and are not gone on from."""
    store = write_store(tmp_path / "run.zarr", RUN)
    aggregate(store, [named_subsets(store, "label")])
    whole = Aggregates(Store.open(store.url), "label").relevance("late")

    aggregate(store, [named_subsets(store, "label")])

    again = Aggregates(Store.open(store.url), "label").relevance("late")
    np.testing.assert_array_equal(again, whole)

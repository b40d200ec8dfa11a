"""Rows of the neuron matrix and what tells A from B, by plain NumPy over the store."""

import itertools

import numpy as np
import pytest
from scipy import stats

from nnviz.aggregation.relevance import SIGNALS
from nnviz.errors import ShapeError
from nnviz.results.neuron_matrix import (
    MEASURES,
    clustered,
    shading,
)
from tests.oracles import aggregates as oracle
from tests.planted_stores import NAMES, RUN

USABLE = ~RUN.is_unreadable
A, B = (USABLE & (RUN.labels == i) for i in (6, 7))
LAYER = "late"
ACTIVE = [name for name in MEASURES if name not in SIGNALS]


@pytest.fixture
def values(finished):
    return finished.activations(LAYER).astype(np.float64)


@pytest.fixture
def counted(results):
    pairs = results.pairs
    return pairs.count(pairs.pair("label = cat", "label = dog"))


def top_of(values):
    top = np.zeros(values.shape)
    for row in np.flatnonzero(USABLE):
        top[row, oracle.top_channels(values[row], share=RUN.share)] = 1
    return top


def by_hand(values, members, measure):
    if measure == "share":
        return top_of(values)[members].mean(axis=0)
    chosen = values[members]
    return chosen.mean(axis=0) if measure == "mean" else chosen.max(axis=0)


@pytest.mark.parametrize("measure", ACTIVE)
def test_classes__are_means_shares_and_maxima(results, values, measure):
    rows = results.neurons.classes(LAYER, measure)

    assert results.neurons.class_rows.tolist() == list(range(len(NAMES)))
    for index in range(len(NAMES)):
        expected = by_hand(values, USABLE & (RUN.labels == index), measure)
        np.testing.assert_allclose(rows[index], expected, rtol=1e-5)


@pytest.mark.parametrize("measure", ACTIVE)
def test_pair__and_subset__are_equal_and_right(results, values, counted, measure):
    rows = results.neurons.pair(counted, LAYER, measure)

    np.testing.assert_allclose(rows[0], by_hand(values, A, measure), rtol=1e-5)
    np.testing.assert_allclose(rows[1], by_hand(values, B, measure), rtol=1e-5)
    alone = results.neurons.subset(counted.subset, LAYER, measure)
    np.testing.assert_allclose(alone, rows[0], rtol=1e-5)


def test_subset__of_nothing__has_no_values(results):
    empty = results.pairs.pair("confidence > 2").found.subset

    for measure in ACTIVE:
        row = results.neurons.subset(empty, LAYER, measure)
        assert np.isnan(row).all()


def test_instance__is_itself(results, values):
    n = int(np.flatnonzero(USABLE)[3])

    for measure in ("mean", "maximum"):
        row = results.neurons.instance(LAYER, n, measure)
        np.testing.assert_allclose(row, values[n])
    share = results.neurons.instance(LAYER, n, "share")
    np.testing.assert_array_equal(share, top_of(values)[n])


def test_instance__that_cannot_be_used__has_no_values(results):
    n = int(np.flatnonzero(RUN.is_unreadable)[0])

    for measure in ACTIVE:
        assert np.isnan(results.neurons.instance(LAYER, n, measure)).all()


@pytest.mark.parametrize("n", [-1, 300])
def test_instance__that_there_is_not__is_refused(results, n):
    with pytest.raises(ShapeError, match="there is no instance"):
        results.neurons.instance(LAYER, n, "mean")


def test_contrast__of_means__is_welchs_test(results, values, counted):
    found = results.neurons.contrast(counted, LAYER, "mean")

    test = stats.ttest_ind(values[A], values[B], equal_var=False)
    raw = np.where(np.isnan(test.pvalue), 1.0, test.pvalue)
    np.testing.assert_allclose(
        found.p_value, stats.false_discovery_control(raw), rtol=1e-5, atol=1e-12
    )
    spread = np.sqrt(
        ((values[A] - values[A].mean(0)) ** 2).sum(0)
        + ((values[B] - values[B].mean(0)) ** 2).sum(0)
    ) / np.sqrt(A.sum() + B.sum() - 2)
    d = (values[A].mean(0) - values[B].mean(0)) / spread
    np.testing.assert_allclose(found.effect, d, rtol=1e-4)


def test_contrast__of_shares__is_that_of_the_counts(results, counted):
    found = results.neurons.contrast(counted, LAYER, "share")

    expected = {c.channel: c for c in counted.channels if c.layer == LAYER}
    for channel in range(len(found.effect)):
        one = expected.get(channel)
        assert found.effect[channel] == (one.effect if one else 0)
        assert found.p_value[channel] == (one.p_value if one else 1)


def test_contrast__of_maxima__has_no_test(results, values, counted):
    found = results.neurons.contrast(counted, LAYER, "maximum")

    difference = values[A].max(0) - values[B].max(0)
    np.testing.assert_allclose(found.effect, difference, rtol=1e-5)
    assert np.isnan(found.p_value).all()


def test_dead__are_channels_that_nothing_excites(results, values):
    expected = ~(np.nanmax(values[USABLE], axis=0) > 0)

    np.testing.assert_array_equal(results.neurons.dead(LAYER), expected)


def test_bounds__hold_nearly_all_values_of_classes(results):
    rows = results.neurons.classes(LAYER, "mean")

    low, high = results.neurons.bounds(LAYER, "mean")

    assert low == min(0, rows.min())
    assert 0.99 < (rows <= high).mean() < 1
    own_low, own_high = results.neurons.channel_bounds(LAYER, "mean")
    assert (own_low <= rows).all()
    np.testing.assert_allclose(own_high, rows.max(axis=0))


def test_clustered__puts_what_is_alike_side_by_side():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(3, 40))
    rows = base[np.arange(12) % 3] + 0.1 * rng.normal(size=(12, 40))
    rows[5] = 7.0  # does not vary

    order = clustered(rows)

    assert sorted(order) == list(range(12))
    assert order[-1] == 5
    groups = [int(row) % 3 for row in order[:-1]]
    assert sum(a != b for a, b in itertools.pairwise(groups)) == 2


@pytest.mark.parametrize("n_rows", [0, 1, 2])
def test_clustered__of_few__keeps_their_order(n_rows):
    rows = np.arange(n_rows * 4.0).reshape(n_rows, 4)

    assert clustered(rows).tolist() == list(range(n_rows))


def test_shading__is_from_0_to_254_and_255_for_none():
    shades = shading(np.array([-1.0, 0.0, 1.0, 2.0, 3.0, np.nan]), 0.0, 2.0)

    assert shades.tolist() == [0, 0, 127, 254, 254, 255]

"""Intervals cover, tests agree with scipy's, adjustment controls."""

import numpy as np
import pytest
from scipy import stats

from nnviz.statistics import (
    adjusted_p_values,
    difference_interval,
    difference_p_values,
    effect_sizes,
    enrichment_p_values,
    exact_interval,
    lift_interval,
    mean_difference_p_values,
    mean_effect_sizes,
    wilson_interval,
)

CASES = [(k, n) for n in (1, 2, 5, 40) for k in {0, 1, n // 2, n}]


@pytest.mark.parametrize(
    ("interval", "method"),
    [(wilson_interval, "wilson"), (exact_interval, "exact")],
    ids=["wilson", "exact"],
)
def test_interval__agrees_with_scipy(interval, method):
    k, n = np.array(CASES).T

    low, high = interval(k, n, 0.9)

    wanted = [
        stats.binomtest(int(a), int(b)).proportion_ci(0.9, method) for a, b in CASES
    ]
    np.testing.assert_allclose(low, [ci.low for ci in wanted], atol=1e-12)
    np.testing.assert_allclose(high, [ci.high for ci in wanted], atol=1e-12)


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        ((56, 70, 48, 80), (0.0524, 0.3339)),
        ((9, 10, 3, 10), (0.1705, 0.8090)),
        ((10, 10, 0, 10), (0.6075, 1.0)),
        ((0, 10, 0, 10), (-0.2775, 0.2775)),
        ((3, 7, 0, 0), (-1.0, 1.0)),
    ],
)
def test_difference__has_the_interval_of_newcombes_table(counts, wanted):
    np.testing.assert_allclose(difference_interval(*counts), wanted, atol=6e-5)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.97])
@pytest.mark.parametrize("n", [1, 3, 12])
def test_exact_interval__of_small_subsets__covers_as_often_as_it_says(share, n):
    k = np.arange(n + 1)
    low, high = exact_interval(k, n)

    covers = (low <= share) & (share <= high)

    assert stats.binom.pmf(k[covers], n, share).sum() >= 0.95


@pytest.mark.parametrize("interval", [wilson_interval, exact_interval])
def test_interval__without_instances__is_everything(interval):
    low, high = interval(0, 0)

    assert (float(low), float(high)) == (0, 1)


def test_lift_interval__holds_the_lift_and_is_unknown_without_a_base():
    low, high = lift_interval([5, 5, 5], 10, [0.25, 0.0, np.nan])

    assert low[0] < 2 < high[0]
    assert np.isnan([low[1:], high[1:]]).all()


def test_enrichment__agrees_with_fishers_test():
    k, n, base, total = 6, 10, 12, 60

    p = enrichment_p_values(k, n, base, total)

    table = [[k, n - k], [base - k, total - n - (base - k)]]
    assert float(p) == pytest.approx(stats.fisher_exact(table, "greater").pvalue)


def test_difference__is_symmetric_and_twice_the_smaller_tail():
    p = float(difference_p_values(9, 10, 2, 12))

    table = [[9, 1], [2, 10]]
    assert p == pytest.approx(2 * stats.fisher_exact(table, "greater").pvalue)
    assert p == pytest.approx(float(difference_p_values(2, 12, 9, 10)))


def test_difference__of_equal_shares_or_of_nothing__is_not_significant():
    assert difference_p_values([3, 0, 4], [6, 0, 4], [3, 2, 0], [6, 5, 0]).tolist() == [
        1,
        1,
        1,
    ]


def test_adjusted_p_values__agree_with_scipy():
    p_values = np.random.default_rng(0).random(50) ** 3

    wanted = stats.false_discovery_control(p_values)
    np.testing.assert_allclose(adjusted_p_values(p_values), wanted)
    assert adjusted_p_values(np.zeros(0)).shape == (0,)


def test_effect_sizes__without_instances__are_unknown():
    assert np.isnan(effect_sizes([0, 3], [0, 4], [1, 0], [2, 0])).all()


def test_mean_difference__agrees_with_welchs_test_of_scipy():
    rng = np.random.default_rng(3)
    a, b = rng.normal(1, 2, (30, 5)), rng.normal(0, 1, (200, 5))

    found = mean_difference_p_values(
        [a.mean(0), b.mean(0)], [a.var(0), b.var(0)], (30, 200)
    )

    expected = stats.ttest_ind(a, b, equal_var=False).pvalue
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_mean_difference__without_spread_or_instances__says_nothing():
    means, variances = [[3.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]

    assert mean_difference_p_values(means, variances, (5, 5)).tolist() == [1, 1]
    assert mean_difference_p_values(means, variances, (1, 5)).tolist() == [1, 1]
    effect = mean_effect_sizes(means, variances, (5, 5))
    assert np.isnan(effect[0])
    assert effect[1] == 0

"""Tests of differences agree with scipy's and with tables written out; many, too."""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from nnviz.significance import (
    adjusted_p_values,
    difference_p_values,
    difference_tests,
    enrichment_p_values,
    least_p_values,
    mean_difference_p_values,
    score_difference_p_values,
)
from nnviz.statistics import mean_effect_sizes
from tests.oracles import discrete_tests as oracle


def test_enrichment__agrees_with_fishers_test():
    k, n, base, total = 6, 10, 12, 60

    p = enrichment_p_values(k, n, base, total)

    table = [[k, n - k], [base - k, total - n - (base - k)]]
    assert float(p) == pytest.approx(stats.fisher_exact(table, "greater").pvalue)


@pytest.mark.parametrize("table", [(9, 10, 2, 12), (0, 5, 3, 4), (2, 2, 0, 50)])
def test_difference__is_symmetric_and_the_oracle_s(table):
    a, n, b, m = table

    p = float(difference_p_values(a, n, b, m))

    assert p == pytest.approx(oracle.mid_p(a, n, b, m))
    assert p == pytest.approx(float(difference_p_values(b, m, a, n)))


@pytest.mark.parametrize(
    ("a", "n", "b", "m"),
    [(140, 1_000, 900, 9_000), (60, 1_000, 900, 9_000), (0, 40, 5_000, 6_000)],
)
def test_difference__of_many_instances__is_that_of_whole_numbers(a, n, b, m):
    both = a + b
    ways = {
        k: math.comb(n, k) * math.comb(m, both - k)
        for k in range(max(0, both - m), min(n, both) + 1)
    }
    upper, lower = (
        sum(w for k, w in ways.items() if (k > a if is_upper else k < a))
        for is_upper in (True, False)
    )
    mid_p = Fraction(2 * min(upper, lower) + ways[a], math.comb(n + m, both))

    assert float(difference_p_values(a, n, b, m)) == pytest.approx(
        float(min(mid_p, 1)), rel=1e-9
    )


def test_difference__of_equal_shares_or_of_nothing__is_not_significant():
    found = difference_p_values([3, 0, 4], [6, 0, 4], [3, 2, 0], [6, 5, 0])

    assert found == pytest.approx(1)


def test_adjusted_p_values__agree_with_scipy():
    p_values = np.random.default_rng(0).random(50) ** 3

    wanted = stats.false_discovery_control(p_values)
    np.testing.assert_allclose(adjusted_p_values(p_values), wanted)
    assert adjusted_p_values(np.zeros(0)).shape == (0,)


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


def test_difference_tests__leave_out_what_cannot_be_significant():
    """Counts drawn alike, many of them of rare channels."""
    rng = np.random.default_rng(3)
    n, m = 20, 30
    rates = rng.choice([0.02, 0.05, 0.3, 0.6], size=60)
    a, b = rng.binomial(n, rates), rng.binomial(m, rates)
    a[:4], b[:4] = 18, 1  # these differ

    p_values, adjusted = difference_tests(a, n, b, m)

    pairs = list(zip(a.tolist(), b.tolist(), strict=True))
    np.testing.assert_allclose(p_values, [oracle.mid_p(x, n, y, m) for x, y in pairs])
    least = [oracle.least_p(x + y, n, m) for x, y in pairs]
    np.testing.assert_allclose(least_p_values(a + b, n, m), least)
    np.testing.assert_allclose(adjusted, oracle.adjusted(p_values.tolist(), least))
    assert (adjusted[:4] < 1e-5).all()
    assert (adjusted == 1).sum() > 20


def test_difference_tests__of_nothing__find_nothing():
    assert [x.shape for x in difference_tests([], 5, [], 5)] == [(0,), (0,)]
    assert difference_tests([1, 2], 0, [1, 2], 3)[1].tolist() == [1, 1]


def test_score_difference__is_student_s_t():
    found = score_difference_p_values([0.3, -0.3, 0.1], [0.1, 0.1, 0.0], 19)

    assert found[:2] == pytest.approx(2 * stats.t.sf(3.0, 19))
    assert np.isnan(found[2])

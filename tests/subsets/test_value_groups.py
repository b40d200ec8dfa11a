"""Groups of the numbers of a column: disjoint, and as their queries say."""

import re

import numpy as np
import pytest

from nnviz.subsets.columns import Column
from nnviz.subsets.value_groups import N_BINS, value_groups


def meant(query, values):
    """Take a query of borders at its word."""
    found = np.ones(len(values), dtype=bool)
    for sign, border in re.findall(r"(>|<=) (\S+)", query):
        end = float(border)
        found &= values > end if sign == ">" else values <= end
    return found


@pytest.mark.parametrize("first", [0, 10_000_000, 2_000_000_000])
def test_groups__of_large_numbers_that_lie_close__are_all_there(first):
    values = first + np.random.default_rng(0).permutation(100)

    groups = list(value_groups("stamp", column(values), ()))

    assert len(groups) == N_BINS
    np.testing.assert_array_equal(sum(mask.astype(int) for _, mask in groups), 1)
    assert all(15 <= mask.sum() <= 25 for _, mask in groups)
    for query, mask in groups:
        np.testing.assert_array_equal(mask, meant(query, values))


def column(values):
    return Column("number", values, np.zeros(len(values), dtype=bool))

"""Subsets of a column's values: texts, dates, numbers, sets."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from nnviz.errors import DatasetError
from nnviz.subsets.by_value import column_subsets, quarter_queries, set_subsets


def texts(*values):
    return np.array(values, dtype=object)


def test_dates__are_months():
    days = texts("2024-03-17", "2024-03-01", "2024-04-01T12:00", "")

    found = column_subsets(days, "taken")

    assert found.names == ("2024-03", "2024-04")
    assert found.subset("2024-03").instances.tolist() == [0, 1]


def test_truth_values__are_two():
    found = column_subsets(np.array([True, False, True]), "is_new")

    assert (found.name, found.names) == ("is_new", ("False", "True"))


def test_columns__of_any_name__are_collections_of_different_names():
    """What a path in a store cannot be told apart by, or is taken by other groups."""
    columns = ["is new", "is_new", "is-new", "ü", "é", "classes", "columns", "label"]

    found = [column_subsets(texts("a", "b"), name).name for name in columns]

    assert len(set(found)) == len(columns)
    assert found[1:3] == columns[1:3]
    assert not {"classes", "columns", "label"} & set(found)


def test_few_numbers__are_themselves():
    found = column_subsets(np.array([3, 1, 3]), "n")

    assert {s.name: s.instances.tolist() for s in found} == {"1": [1], "3": [0, 2]}


def test_many_numbers__are_quarters_without_nan():
    values = np.append(np.random.default_rng(0).normal(size=400), np.nan)

    found = column_subsets(values, "price")

    assert [len(subset) for subset in found] == [100] * 4
    ends = [values[subset.instances] for subset in found]
    assert all(a.max() < b.min() for a, b in itertools.pairwise(ends))


def test_too_many_texts__are_refused():
    with pytest.raises(DatasetError, match="1,001 different texts"):
        column_subsets(texts(*map(str, range(1001))), "id")


def test_sets__put_an_instance_into_several():
    found = set_subsets(texts('["b", "a"]', "[]", '["b", "c"]'), ("a", "b"), name="l")

    members = {subset.name: subset.instances.tolist() for subset in found}
    assert members == {"a": [0], "b": [0, 2], "c": [2]}


@pytest.mark.parametrize("kind", ["real", "whole", "tiny", "with ties"])
def test_quarter_queries__mean_the_quarters(kind):
    rng = np.random.default_rng(7)
    values = {
        "real": rng.normal(0, 40, 101).astype(np.float32),
        "whole": rng.integers(20, 350, 101),
        "tiny": rng.random(101) * 1e-7,
        "with ties": rng.integers(0, 15, 101).astype(float),
    }[kind]
    frame = pd.DataFrame({"x": values})

    queries = quarter_queries(values, "x")

    found = [frame.query(query).index.tolist() for query in queries]
    subsets = column_subsets(values, "x")
    assert found == [subsets.subset(n).instances.tolist() for n in subsets.names]


def test_quarter_queries__are_short():
    values = np.array([*np.arange(30) + 0.123456, np.nan])

    assert quarter_queries(values, "blood sugar")[:2] == [
        '"blood sugar" < 8',
        '"blood sugar" >= 8 and "blood sugar" < 15',
    ]


def test_quarter_queries__of_few_values_are_none():
    assert quarter_queries(np.array([1.0, 2.0, 2.0]), "x") == []

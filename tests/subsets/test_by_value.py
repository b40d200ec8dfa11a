"""Subsets of a column's values: texts, dates, numbers, sets."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from nnviz.errors import DatasetError
from nnviz.subsets.by_value import column_subsets, part_queries, set_subsets


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


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(size=200),
        np.random.default_rng(1).normal(size=200).astype(np.float32) * 1e-6,
        np.random.default_rng(2).integers(0, 5, size=60).astype(float),
        np.random.default_rng(3).integers(0, 5_000_000, size=60),
        np.nextafter(1.0, 2.0) ** np.arange(40),
        np.where(np.arange(80) % 7 == 0, np.nan, np.geomspace(1e-9, 1e9, 80)),
    ],
)
def test_parts__are_found_by_their_queries(values):
    """Read by hand: ``target > 1 and target <= 2``."""
    wanted = column_subsets(values, "target")

    queries = part_queries(values, "target")

    found = [np.isfinite(values) for _ in queries]
    for part, query in zip(found, queries, strict=True):
        for one in query.split(" and "):
            name, sign, number = one.split()
            assert name == "target"
            end = float(number)
            part &= values > end if sign == ">" else values <= end
    expected = [wanted.subset(name).instances.tolist() for name in wanted.names]
    assert [np.flatnonzero(part).tolist() for part in found] == expected


def test_numbers__that_agree_in_six_digits__have_names_of_their_own():
    few = 1.0 + np.array([1e-9, 2e-9, 3e-9])
    many = 1.0 + np.arange(40) * 1e-9

    assert column_subsets(few, "x").names == (
        "1.000000001",
        "1.000000002",
        "1.000000003",
    )
    parts = column_subsets(many, "x")
    assert [len(parts.subset(name)) for name in parts.names] == [10, 10, 10, 10]


def test_parts__of_one_value__are_none():
    assert part_queries(np.full(5, 2.5), "target") == []


def test_part_queries__of_any_name():
    values = np.arange(30) + 0.123456

    queries = part_queries(values, "blood sugar")

    frame = pd.DataFrame({"blood sugar": values})
    quarters = pd.qcut(frame["blood sugar"], 4, labels=False)
    for number, query in enumerate(queries):
        found = frame.query(query.replace('"', "`")).index
        assert found.tolist() == np.flatnonzero(quarters == number).tolist()


def test_part_queries__write_large_numbers_in_full():
    queries = part_queries(np.arange(0.0, 2e6, 2e4), "price")

    assert queries[0] == "price <= 490000"
    assert "e+" not in "".join(queries)

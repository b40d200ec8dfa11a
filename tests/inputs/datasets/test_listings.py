"""Columns, labels and fingerprints of listings."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nnviz.inputs.datasets.listings import (
    fingerprint_of,
    make_column,
    make_labels,
    typed_column,
)


@pytest.mark.parametrize(
    ("texts", "dtype", "values"),
    [
        pytest.param(["1", "-2", "+3"], np.int64, [1, -2, 3], id="whole"),
        pytest.param(["1", "2.5", "1e3"], np.float64, [1, 2.5, 1000], id="numbers"),
        pytest.param(["0.5", "0", "-0"], np.float64, [0.5, 0, 0], id="zeros"),
        pytest.param(["TRUE", "false"], np.bool_, [True, False], id="truth"),
        pytest.param(["true", ""], object, ["true", ""], id="truth-with-gaps"),
        pytest.param(["01", "2"], object, ["01", "2"], id="codes"),
        pytest.param(["1", "x"], object, ["1", "x"], id="mixed"),
        pytest.param(["1_000"], object, ["1_000"], id="underscore"),
        pytest.param(["9" * 25, "1"], np.float64, [1e25, 1], id="too-long"),
        pytest.param(["", ""], object, ["", ""], id="nothing"),
    ],
)
def test_typed_column__finds_the_narrowest_type(texts, dtype, values):
    column = typed_column(texts)

    assert column.dtype == dtype
    assert column.tolist() == values


def test_typed_column__takes_infinity_and_nan():
    column = typed_column(["inf", "-INF", "nan", "1"])

    assert column.tolist()[:2] == [math.inf, -math.inf]
    assert math.isnan(column[2])


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        pytest.param([1, 2], np.int64, id="whole"),
        pytest.param([1, 2.5], np.float64, id="numbers"),
        pytest.param([True, False], np.bool_, id="truth"),
        pytest.param([True, None], object, id="truth-with-gaps"),
        pytest.param([1, "a"], object, id="mixed"),
        pytest.param([2**70, 1], np.float64, id="huge"),
        pytest.param([None, None], object, id="nothing"),
    ],
)
def test_make_column__keeps_numbers_and_turns_the_rest_to_text(values, dtype):
    column = make_column(values)

    assert column.dtype == dtype
    assert dtype is not object or all(isinstance(value, str) for value in column)


def test_make_labels__keeps_names_and_whole_numbers():
    values = ["cat", b"dog", 3, np.int8(4), 5.0, float("nan"), None, "", True]

    labels = make_labels(values)

    assert labels.tolist() == ["cat", "dog", 3, 4, 5, None, None, None, "true"]
    assert make_labels([None, ""]) is None


def test_fingerprint__tells_listings_apart():
    labels = make_labels(["a", "b"])
    prints = {
        fingerprint_of("folder", ["x", "y"], labels, {}),
        fingerprint_of("table", ["x", "y"], labels, {}),
        fingerprint_of("folder", ["x", "z"], labels, {}),
        fingerprint_of("folder", ["xy", ""], labels, {}),
        fingerprint_of("folder", ["x", "y"], None, {}),
        fingerprint_of("folder", ["x", "y"], make_labels(["1", "2"]), {}),
        fingerprint_of("folder", ["x", "y"], make_labels([1, 2]), {}),
        fingerprint_of("folder", ["x", "y"], labels, {"n": np.arange(2)}),
        fingerprint_of("folder", ["x", "y"], labels, {}, [10, 20]),
    }

    assert len(prints) == 9
    assert fingerprint_of("folder", ["x"], None, {}) == fingerprint_of(
        "folder", ["x"], None, {}
    )

"""Colours of instances, against the instance table in plain loops."""

import numpy as np
import pytest

from nnviz.errors import UnknownNameError
from nnviz.results.map_colors import (
    N_CATEGORIES,
    NO_VALUE,
    color_by_numbers,
    color_by_sides,
    color_columns,
    color_of,
    sides_of,
)
from tests.planted_stores import NAMES, RUN

USABLE = ~RUN.is_unreadable


@pytest.fixture
def columns(results):
    return results.pairs.finder.columns


def test_numbers__are_between_the_percentiles_and_none_is_told():
    values = np.random.default_rng(0).normal(size=500)
    values[[3, 4]] = np.nan, np.inf
    values[5] = 1e9

    colors = color_by_numbers(values, "loss")

    known = values[np.isfinite(values)]
    low, high = np.percentile(known, 2), np.percentile(known, 98)
    assert colors.bounds == pytest.approx((low, high))
    for value, code in zip(values.tolist(), colors.codes.tolist(), strict=True):
        if not np.isfinite(value):
            assert code == NO_VALUE
        else:
            share = min(1.0, max(0.0, (value - low) / (high - low)))
            assert code / 254 == pytest.approx(share, abs=0.003)
    assert colors.n_missing(np.arange(10)) == 2


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_numbers__have_the_percentiles_and_shades_of_double_precision(dtype):
    rng = np.random.default_rng(4)
    for n in (1, 2, 51, 30_011):
        values = rng.normal(size=n).astype(dtype)
        values[1::7], values[2::11] = np.nan, -np.inf

        colors = color_by_numbers(values, "loss")

        wide = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
        low, high = (float(np.nanpercentile(wide, q)) for q in (2, 98))
        assert colors.bounds[0] == low
        assert colors.bounds[1] == max(high, low + 1e-12 * max(1.0, abs(low)))
        share = np.clip((wide - low) / (colors.bounds[1] - low), 0, 1)
        expected = np.where(np.isnan(share), NO_VALUE, np.round(254 * share))
        np.testing.assert_array_equal(colors.codes, expected)


def test_numbers__that_are_not_there__have_no_scale():
    colors = color_by_numbers(np.full(4, np.nan), "loss")

    assert set(colors.codes.tolist()) == {NO_VALUE}
    assert np.isnan(colors.bounds).all()


@pytest.mark.parametrize("b", [np.array([1, 2]), np.array([0, 1, 1, 0, 0], np.bool_)])
def test_sides__tell_a_from_b_both_and_neither(b):
    side = sides_of(5, np.array([0, 1]), b)
    colors = color_by_sides(side, ("x", "y"))

    names = [colors.names[code] for code in colors.codes]
    assert names == ["x", "both", "y", "neither", "neither"]


def test_class__has_the_name_of_every_instance(columns):
    colors = color_of(columns, "class")

    for number in np.flatnonzero(USABLE)[::13]:
        assert colors.names[colors.codes[number]] == NAMES[RUN.labels[number]]
    assert colors.n_other == 0


def test_class__of_many__has_the_most_frequent_and_the_first_wanted(
    columns, monkeypatch
):
    monkeypatch.setattr("nnviz.results.map_colors.N_CATEGORIES", 3)
    rarest = int(np.bincount(RUN.labels[USABLE]).argmin())

    colors = color_of(columns, "class", first=rarest)

    assert colors.names[0] == NAMES[rarest]
    assert colors.names[-1] == "other"
    assert len(colors.names) == 4
    assert colors.n_other == len(set(RUN.labels[USABLE].tolist())) - 3
    of_rarest = USABLE & (RUN.labels == rarest)
    assert set(colors.codes[of_rarest].tolist()) == {0}


def test_outcome__is_wrong_where_label_and_prediction_differ(columns, finished):
    colors = color_of(columns, "outcome")

    prediction = finished.column("prediction")
    wrong = USABLE & (prediction != RUN.labels) & (prediction >= 0)
    np.testing.assert_array_equal(colors.codes == 1, wrong)
    assert set(colors.codes[~USABLE].tolist()) <= {NO_VALUE}


def test_columns__are_those_of_the_table_and_no_other_can_be_asked_for(columns):
    names = color_columns(columns)

    assert "confidence" in names
    assert "id" not in names
    for name in names:
        assert len(color_of(columns, name).names) <= N_CATEGORIES + 1
    with pytest.raises(UnknownNameError):
        color_of(columns, "colour of the moon")

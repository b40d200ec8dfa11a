"""What a run file may say of a table's columns, and what the plan says of them."""

from __future__ import annotations

import json
import math

import pytest

from nnviz.errors import ConfigError
from nnviz.runs.config import PreprocessingConfig
from nnviz.runs.json_values import from_json, to_json
from nnviz.runs.table_columns import ColumnConfig, category_of

WRONG = {
    "scale of categories": (
        {"encoding": "codes", "scale": "standard"},
        r"states scale, which needs encoding = 'number'",
    ),
    "mean without scale": ({"mean": 1.0, "std": 2.0}, "needs scale = 'standard'"),
    "mean alone": ({"scale": "standard", "mean": 1.0}, "state both, or neither"),
    "negative std": ({"scale": "standard", "mean": 0, "std": -1.0}, "0 or more"),
    "reversed range": (
        {"scale": "range", "lowest": 2.0, "highest": 1.0},
        "lowest = 2.0 and highest = 1.0",
    ),
    "categories of a number": ({"categories": [1, 2]}, "states categories"),
    "first code of one-hot": (
        {"encoding": "one-hot", "first_code": 1},
        "states first_code",
    ),
    "no value": ({"missing": "value"}, "and no value"),
    "value without missing": ({"value": 1.0}, "states value, which needs missing"),
    "text for a number": ({"missing": "value", "value": "a"}, "should be a number"),
    "mean of categories": (
        {"encoding": "codes", "missing": "mean"},
        "only numbers have",
    ),
    "category of a number": ({"missing": "category"}, "and is a number"),
    "zeros of codes": ({"encoding": "codes", "unseen": "zeros"}, "'one-hot' has"),
    "code of one-hot": ({"encoding": "one-hot", "unseen": 0}, "'codes' has"),
    "category twice": (
        {"encoding": "codes", "categories": ["1", 1.0]},
        "the category '1' twice",
    ),
    "missing category": (
        {"encoding": "codes", "categories": ["", "a"]},
        'state missing = "category"',
    ),
    "value that is none": (
        {"encoding": "codes", "categories": ["a"], "missing": "value", "value": "b"},
        "'b', which is not among its categories",
    ),
    "indicator that fills": (
        {"encoding": "indicator", "missing": "value", "value": 0.0},
        "beside the indicator",
    ),
    "alone in one-hot": ({"encoding": "one-hot", "alone": True}, "states alone"),
    "unknown option": ({"encodng": "codes"}, "did you mean 'encoding'"),
    "wrong unseen": ({"unseen": "zero"}, "'error' or 'zeros' or a whole number"),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_column__says_what_would_do(case: str) -> None:
    options, message = WRONG[case]
    with pytest.raises(ConfigError, match=message):
        from_json(PreprocessingConfig, {"columns": [{"name": "age", **options}]})


def test_column__comes_back_from_json() -> None:
    columns = (
        ColumnConfig("age", scale="standard", mean=3, std=2.5, missing="mean"),
        ColumnConfig("sex", "codes", categories=("f", 1, 2.5, True), unseen=7),
        ColumnConfig("city", "one-hot", input="x", unseen="zeros", missing="zeros"),
    )
    config = PreprocessingConfig(kind="table", columns=columns)
    again = from_json(PreprocessingConfig, json.loads(json.dumps(to_json(config))))
    assert again == config


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (
            ColumnConfig("a", scale="standard", mean=-2, std=0.5),
            "(x + 2) / 0.5",
        ),
        (
            ColumnConfig(
                "a", scale="range", lowest=1, highest=5, missing="mean", value=2
            ),
            "(x - 1) / 4; missing is 2, the mean",
        ),
        (
            ColumnConfig("a", "codes", categories=("x", ""), missing="category"),
            "codes: 0 = x, 1 = missing; missing is a category",
        ),
        (
            ColumnConfig(
                "a",
                "one-hot",
                categories=tuple("abcdefghij"),
                unseen="zeros",
                missing="zeros",
            ),
            "one-hot: a, b, c, d, e, f, …, j, zeros for others; missing is zeros",
        ),
        (ColumnConfig("a", "indicator"), "1 where it is missing, else 0"),
    ],
    ids=["standard", "range", "codes", "one-hot", "indicator"],
)
def test_column__says_what_becomes_of_it(column: ColumnConfig, said: str) -> None:
    assert str(column) == said


def test_category_of__nan_is_missing() -> None:
    assert category_of(math.nan) == category_of("  ") == category_of(None) == ""


def test_category_of__keeps_codes_with_leading_zeros() -> None:
    assert [category_of("007"), category_of(7), category_of(7.25)] == [
        "007",
        "7",
        "7.25",
    ]

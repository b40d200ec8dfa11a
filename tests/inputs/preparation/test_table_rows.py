"""Rows become the numbers that scikit-learn makes of them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.preprocessing import (
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)

from nnviz.errors import UnreadableInstanceError
from nnviz.inputs.preparation.table_rows import TableRows, number_of
from nnviz.runs.table_columns import ColumnConfig

N = 60
CITIES = ["Bonn", "Oslo", "Rome"]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    found = pd.DataFrame(
        {
            "age": rng.integers(18, 90, N).astype(float),
            "city": rng.choice([*CITIES, "Lima"], N).astype(object),
        }
    )
    found.loc[::7, "age"] = np.nan
    found.loc[::9, "city"] = None
    return found


def encoded(frame: pd.DataFrame, *columns: ColumnConfig) -> np.ndarray:
    rows = TableRows(columns)
    records = frame.to_dict("records")
    return np.stack([rows.arrays_of(record)["0"] for record in records])


def test_numbers__standardised_and_filled(frame: pd.DataFrame) -> None:
    scaler = StandardScaler().fit(frame[["age"]])
    filler = SimpleImputer(strategy="median").set_output(transform="pandas")
    wanted = scaler.transform(filler.fit_transform(frame[["age"]]))
    column = ColumnConfig(
        "age",
        scale="standard",
        mean=float(scaler.mean_[0]),
        std=float(scaler.scale_[0]),
        missing="median",
        value=float(filler.statistics_[0]),
    )
    found = encoded(frame, column)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_numbers__from_0_to_1(frame: pd.DataFrame) -> None:
    known = frame.dropna()
    scaler = MinMaxScaler().fit(known[["age"]])
    column = ColumnConfig(
        "age",
        scale="range",
        lowest=float(scaler.data_min_[0]),
        highest=float(scaler.data_max_[0]),
    )
    np.testing.assert_allclose(
        encoded(known, column), scaler.transform(known[["age"]]), atol=1e-6
    )


def test_one_hot__unseen_and_missing_are_zeros(frame: pd.DataFrame) -> None:
    encoder = OneHotEncoder(
        categories=[CITIES], handle_unknown="ignore", sparse_output=False
    )
    wanted = encoder.fit_transform(frame[["city"]].fillna("Lima"))
    column = ColumnConfig(
        "city", "one-hot", categories=CITIES, unseen="zeros", missing="zeros"
    )
    assert encoded(frame, column).tolist() == wanted.tolist()


def test_codes__with_codes_of_their_own(frame: pd.DataFrame) -> None:
    encoder = OrdinalEncoder(
        categories=[[*CITIES, "none"]],
        handle_unknown="use_encoded_value",
        unknown_value=-1,
    )
    wanted = encoder.fit_transform(frame[["city"]].fillna("none"))
    column = ColumnConfig(
        "city",
        "codes",
        categories=[*CITIES, ""],
        missing="category",
        unseen=0,
        first_code=1,
    )
    found = encoded(frame, column)
    assert found.dtype == np.int64
    assert found.tolist() == (wanted + 1).tolist()


def test_indicator__where_missing(frame: pd.DataFrame) -> None:
    wanted = MissingIndicator(features="all").fit_transform(frame[["age"]])
    found = encoded(frame, ColumnConfig("age", "indicator"))
    assert found.tolist() == wanted.astype(float).tolist()


def test_inputs__stand_side_by_side_in_the_stated_order() -> None:
    rows = TableRows(
        [
            ColumnConfig("city", "codes", "place", alone=True, categories=CITIES),
            ColumnConfig("city", "codes", "x", categories=CITIES),
            ColumnConfig("age", input="x"),
        ]
    )
    found = rows.arrays_of({"age": np.asarray(7.5), "city": np.asarray("Rome")})
    assert found["place"].shape == ()
    assert found["place"].dtype == np.int64
    assert found["x"].tolist() == [2, 7.5]


@pytest.mark.parametrize("as_text", [False, True], ids=["typed", "texts"])
def test_categories__are_the_same_of_numbers_and_texts(as_text: bool) -> None:
    column = ColumnConfig("grade", "codes", categories=(3, "2", 1.0, True))
    rows = TableRows([column])
    values = ["1", "2", "3", "True"] if as_text else [1.0, 2, np.int64(3), True]
    codes = [rows.arrays_of({"grade": value})["0"].item() for value in values]
    assert codes == [2, 1, 0, 3]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (ColumnConfig("a"), math.nan, "'a' has no value.*missing"),
        (ColumnConfig("a"), "young", "'a' has 'young', which is not a number"),
        (ColumnConfig("a"), math.inf, "'a' has inf, which is not a number"),
        (
            ColumnConfig("a", "codes", categories=CITIES),
            "Lima",
            "'a' has 'Lima', which is none of the 3 categories",
        ),
        (ColumnConfig("a", "one-hot", categories=CITIES), None, "'a' has no value"),
        (ColumnConfig("b"), 1.0, "it has no column 'b', but a"),
    ],
    ids=["missing", "text", "infinite", "unseen", "missing category", "no column"],
)
def test_row__that_cannot_be_read(
    column: ColumnConfig, value: object, message: str
) -> None:
    with pytest.raises(UnreadableInstanceError, match=message):
        TableRows([column]).arrays_of({"a": value})


def test_constant_column__is_only_shifted() -> None:
    column = ColumnConfig("a", scale="standard", mean=4, std=0)
    assert TableRows([column]).arrays_of({"a": 5.0})["0"].tolist() == [1.0]


def test_number_of__kinds() -> None:
    found = [number_of(value) for value in (" 2.5", True, np.float32(3), "x", math.inf)]
    assert found == [2.5, 1.0, 3.0, None, None]
    assert math.isnan(number_of(None) or 0.0)

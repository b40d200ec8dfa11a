"""Tables of charts against other readers of the same files."""

import csv
import io

import numpy as np
import pandas as pd
import pytest

from nnviz.errors import ShapeError
from nnviz.results.chart_tables import ChartTable, table_formats


@pytest.fixture
def table():
    return ChartTable(
        (
            ("name", ["plain", "=1+1", 'with "quotes", and\na line', None]),
            ("share", np.array([0.1234567, np.nan, -2.0, 1e-12])),
            ("count", np.array([1, 2, 3, 4])),
            ("share", [True, False, True, False]),
        )
    )


def test_csv__is_read_as_it_was_written_but_for_formulas(table):
    head, *rows = csv.reader(io.StringIO(table.csv().decode(), newline=""))

    assert head == ["name", "share", "count", "share"]
    assert [row[0] for row in rows] == [
        "plain",
        "'=1+1",
        'with "quotes", and\na line',
        "",
    ]
    assert [row[1] for row in rows] == ["0.123457", "", "-2", "1e-12"]
    assert [row[3] for row in rows] == ["True", "False", "True", "False"]


def test_parquet__keeps_texts_and_numbers_as_they_are(table):
    pytest.importorskip("pyarrow")

    read = pd.read_parquet(io.BytesIO(table.written("parquet")))

    assert list(read) == ["name", "share", "count", "share (2)"]
    assert read["name"][1] == "=1+1"
    assert read["name"].isna().tolist() == [False, False, False, True]
    np.testing.assert_array_equal(read["share"], [0.1234567, np.nan, -2.0, 1e-12])
    assert read["share (2)"].tolist() == [True, False, True, False]


def test_formats__begin_with_one_that_needs_no_library():
    assert table_formats()[0] == "csv"


def test_table__of_columns_of_other_lengths__is_refused():
    with pytest.raises(ShapeError, match="one length"):
        ChartTable((("a", [1, 2]), ("b", [1])))

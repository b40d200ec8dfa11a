"""Every array is declared once, and a run creates what it needs."""

import numpy as np
import pytest

from nnviz.runs.arrays import InfluenceSpec, run_arrays
from nnviz.runs.declarations import (
    MARK_FIELDS,
    RESERVED_COLUMNS,
    declaration_of,
    markdown_table,
)

INFLUENCES = [InfluenceSpec("b", n_targets=10, n_sources=100, n_kept=4, n_ranks=5)]


def arrays(**options):
    defaults = {
        "n_instances": 1000,
        "rows_per_chunk": 256,
        "layers": [("a", 100, "float16"), ("b", 10, "float32")],
        "shown": ["a"],
        "metadata": {"age": "float64"},
        "examples_per_channel": 3,
    }
    return {spec.path: spec for spec in run_arrays(**{**defaults, **options})}


def test_run_arrays__names_every_array_with_its_shape():
    shapes = {path: spec.shape for path, spec in arrays().items()}

    assert shapes == {
        "instances/id": (1000,),
        "instances/label": (1000,),
        "instances/age": (1000,),
        "instances/prediction": (1000,),
        "instances/confidence": (1000,),
        "instances/probability": (1000,),
        "instances/status": (1000,),
        "activations/a": (1000, 100),
        "activations/b": (1000, 10),
        "peaks/a/instance": (4, 100, 3),
        "peaks/a/position": (4, 100, 3),
        "peaks/a/value": (4, 100, 3),
        "extraction_done": (4, len(MARK_FIELDS) + 9),
    }


def test_run_arrays__give_a_task_whole_shards():
    for spec in arrays().values():
        rows = 1 if spec.path.startswith(("peaks/", "extraction")) else 256
        assert spec.rows_per_shard in (rows, 65_536)
        if spec.inner_chunk:
            assert spec.inner_chunk[0] == spec.rows_per_shard
            assert spec.inner_chunk[1] <= spec.shape[1]


def test_run_arrays__keep_no_peaks_where_none_are_wanted():
    assert not [path for path in arrays(examples_per_channel=0) if "peaks" in path]


def test_run_arrays__have_influences_where_they_are_kept():
    specs = arrays(influences=INFLUENCES)

    assert specs["influences/b/target"].shape == (1000, 4)
    assert specs["influences/b/source"].shape == (1000, 4, 5)
    assert specs["influences/b/influence"].dtype == "float32"


def test_run_arrays__have_one_chunk_for_no_instances():
    assert arrays(n_instances=0)["extraction_done"].shape[0] == 1


def test_n_bytes__is_the_size_of_the_values():
    specs = arrays()

    assert specs["activations/a"].n_bytes == 1000 * 100 * 2
    assert specs["peaks/a/instance"].n_bytes == 4 * 100 * 3 * 8


def test_reserved_columns__are_those_that_every_run_has():
    assert set(RESERVED_COLUMNS) == {
        "id",
        "label",
        "prediction",
        "confidence",
        "probability",
        "status",
    }


def test_declarations__say_what_every_array_means():
    table = markdown_table()

    for path, spec in arrays(influences=INFLUENCES).items():
        assert spec.declaration.meaning.endswith(".")
        assert len(spec.declaration.dimensions) == len(spec.shape), path
        assert f"`{spec.declaration.pattern}`" in table


@pytest.mark.parametrize(
    ("pattern", "fill"),
    [
        pytest.param("activations/<layer>", np.nan, id="activations"),
        pytest.param("instances/prediction", -1, id="prediction"),
        pytest.param("peaks/<layer>/instance", -1, id="peaks"),
    ],
)
def test_fill_values__are_none_that_a_result_could_be(pattern, fill):
    np.testing.assert_equal(declaration_of(pattern).fill, fill)

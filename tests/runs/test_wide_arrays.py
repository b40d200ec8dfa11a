"""Every array of a run has its own columns in one of a few stored ones."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnviz.runs.arrays import InfluenceSpec, run_arrays
from nnviz.runs.declarations import RELEVANCE_PARTS
from nnviz.runs.wide_arrays import StoredArrays

DTYPES = st.sampled_from(["float16", "float32"])
LAYERS = st.lists(st.tuples(st.integers(1, 70), DTYPES), min_size=1, max_size=6)


def run_of(layers, rows=5, **options):
    """Return the arrays of a run whose layers have the names of dtypes, and others."""
    names = ["float16", "int32", "a", "b", "c", "d"][: len(layers)]
    kept = [
        InfluenceSpec(name, n, 40_000 if name == "b" else 9, min(n, 3), 2, rows % 2 > 0)
        for name, (n, _) in zip(names[1:], layers[1:], strict=True)
    ]
    return run_arrays(
        n_instances=12,
        rows_per_chunk=rows,
        layers=[(name, *layer) for name, layer in zip(names, layers, strict=True)],
        shown=names[:2],
        metadata={"float32": "float32"},
        examples_per_channel=3,
        influences=kept,
        outcome_columns=("margin", "rank"),
        relevance_parts=RELEVANCE_PARTS,
        **options,
    )


@pytest.mark.slow
@given(layers=LAYERS, rows=st.integers(1, 12))
@settings(deadline=None)
def test_wide_arrays__hold_every_array_once_and_nothing_twice(layers, rows):
    arrays = run_of(layers, rows)
    stored = StoredArrays.of(arrays, 3)

    assert stored.places.keys() == {spec.path for spec in arrays}
    paths = [spec.path for spec in stored.specs]
    assert len(set(paths)) == len(paths)
    for spec in arrays:
        place = stored.places[spec.path]
        assert place.shape == spec.shape[1:]
        assert place.spec.dtype == spec.dtype
        assert place.spec.rows_per_shard == spec.rows_per_shard
        assert place.spec.shape[0] == spec.shape[0]
        assert str(place.spec.declaration.fill) == str(spec.declaration.fill)
    for whole in stored.specs:
        taken = np.zeros(math.prod(whole.shape[1:]), dtype=int)
        for place in stored.places.values():
            if place.spec is whole:
                taken[place.first : place.last] += 1
        assert taken.max() == 1
        if whole.path.split("/")[0] not in ("activations", "relevance"):
            assert taken.min() == 1


@given(layers=LAYERS)
@settings(deadline=None)
def test_activations__of_two_layers_share_no_strip(layers):
    arrays = run_of(layers)
    stored = StoredArrays.of(arrays, 3)
    strips = set()

    for spec in arrays:
        if spec.path.startswith("activations/"):
            place = stored.places[spec.path]
            width = place.spec.inner_chunk[1]
            assert place.first % width == 0
            own = {
                (place.spec.path, column // width)
                for column in range(place.first, place.last)
            }
            assert not own & strips
            strips |= own


@given(layers=LAYERS)
@settings(deadline=None)
def test_chunk__of_any_network__is_a_dozen_files(layers):
    arrays = run_of([(n, "float16") for n, _ in layers])

    stored = [spec for spec in StoredArrays.of(arrays, 3).specs if not spec.is_static]

    # With influences, relevance, peaks and more than 32,767 sources.
    assert len(stored) <= 12


@pytest.mark.parametrize("version", [1, 2])
def test_arrays__of_older_formats__are_stored_by_themselves(version):
    arrays = run_of([(20, "float16"), (7, "float32")])

    stored = StoredArrays.of(arrays, version)

    assert stored.specs == arrays
    assert all(place.first == 0 for place in stored.places.values())
    assert all(not spec.columns for spec in stored.specs)


@pytest.mark.parametrize("version", [2, 3])
def test_parts__keep_every_value_in_its_place(version):
    arrays = [
        spec
        for spec in run_of([(20, "float16"), (7, "float32")])
        if not spec.is_static and spec.dtype != "string"
    ]
    rng = np.random.default_rng(0)
    rows = {spec.path: 1 if spec.declaration.is_by_chunk else 4 for spec in arrays}
    values = {
        spec.path: rng.integers(0, 99, (rows[spec.path], *spec.shape[1:])).astype(
            spec.dtype
        )
        for spec in arrays
    }
    stored = StoredArrays.of(arrays, version)

    parts = dict(stored.parts(values))

    assert parts.keys() == {spec.path for spec in stored.specs}
    for path, expected in values.items():
        place = stored.places[path]
        (rows,) = (r for first, r in parts[place.spec.path] if first == place.first)
        np.testing.assert_array_equal(place.part_of(rows), expected)
        assert list(parts[place.spec.path]) == sorted(
            parts[place.spec.path], key=lambda part: part[0]
        )

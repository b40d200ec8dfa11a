"""Formats 2 and 3 hold the same, and the same is made from them."""

import json
from pathlib import Path

import pytest

import nnviz
from nnviz.aggregation.index import make_index
from nnviz.store.store import Store
from nnviz.testing import PlantedRun, write_store
from tests.oracles.files import tree_bytes
from tests.oracles.stored_arrays import stored_array

RUN = PlantedRun(
    n_classes=3,
    n_instances=50,
    layers=(("early", 70, (4, 4)), ("late", 6, (2, 2)), ("last", 33, ())),
    instances_per_chunk=20,
    n_unreadable=2,
    influence_ranks=3,
    has_relevance=True,
)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Return the same run, with all stages but pictures, in format 2 and in 3."""
    found = []
    for version in (2, 3):
        folder = tmp_path_factory.mktemp(f"format-{version}")
        store = write_store(folder / "run.zarr", RUN, version=version)
        nnviz.aggregate(store, [nnviz.named_subsets(store, "label")])
        nnviz.derive(store, pictures=False)
        make_index(store)
        found.append(Store.open(store.url))
    return found


@pytest.mark.slow
def test_formats__have_every_bit_of_every_array_alike(both):
    old, new = both

    assert old.chunks.arrays == new.chunks.arrays
    assert (old.chunks.mark_values() == new.chunks.mark_values()).all()
    for path in old.chunks.arrays:
        one, other = old.read(path), new.read(path)
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert one.tolist() == other.tolist() or one.tobytes() == other.tobytes(), path
        for store in both:
            seen = stored_array(store.url, path)
            if seen.dtype.kind in "biuf":
                assert seen.tobytes() == one.tobytes(), path


@pytest.mark.parametrize("group", ["aggregates", "artifacts", "index"])
def test_formats__give_the_same_bytes_of_what_is_derived(both, group):
    """But for checksums of strips, which are narrower, and of what was packed."""
    one, other = (tree_bytes(Path(store.url) / group) for store in both)

    assert one.keys() == other.keys()
    differing = {name for name in one if one[name] != other[name]}
    words = ("strip_crc32c", "checksums", "columns/zarr.json")
    assert all(any(word in name for word in words) for name in differing)
    assert group == "index" or not differing


def test_chunk__has_at_most_a_dozen_files(both):
    store = both[1]
    filled = [spec for spec in store.stored.specs if not spec.is_static]
    files = [
        path
        for spec in filled
        for path in (Path(store.url) / spec.path).rglob("*")
        if path.is_file() and path.name != "zarr.json"
    ]

    assert len(files) == len(filled) * len(store.chunks)
    assert len(filled) <= 12


def test_wide_array__names_its_columns_and_axes(both):
    document = json.loads(
        (Path(both[1].url) / "activations/float16/zarr.json").read_bytes()
    )

    assert document["dimension_names"] == ["instance", "float16_column"]
    assert document["attributes"]["columns"]["activations/late"] == {
        "first": 80,
        "shape": [6],
    }

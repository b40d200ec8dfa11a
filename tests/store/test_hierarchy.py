"""Arrays by path: values, pieces, and what is not a hierarchy."""

import numpy as np
import pytest
import zarr

from nnviz.errors import StoreExistsError, StoreFormatError, StoreNotFoundError
from nnviz.store.hierarchy import Hierarchy


@pytest.fixture
def hierarchy(tmp_path):
    return Hierarchy.create(tmp_path / "h.zarr")


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.arange(12).reshape(3, 4), id="integers"),
        pytest.param(np.array([[np.nan, np.inf], [-0.0, 1e-30]]), id="floats"),
        pytest.param(np.array([True, False]), id="bools"),
        pytest.param(
            np.array(["ü", "", "a\x00b", "🙂" * 50], dtype=object), id="texts"
        ),
        pytest.param(np.array(["<b>", "x"]), id="fixed-texts"),
        pytest.param(np.zeros((0, 5)), id="no-rows"),
        pytest.param(np.zeros((5, 0)), id="no-columns"),
        pytest.param(np.array(3.5), id="no-axes"),
        pytest.param(np.zeros(0, dtype=np.uint8), id="no-bytes"),
    ],
)
def test_write_dense__comes_back(hierarchy, values):
    hierarchy.write_dense("a/b", values)

    again = Hierarchy.open(hierarchy.url)
    found = again.read("a/b")
    assert found.shape == values.shape
    assert found.tolist() == values.tolist() or np.array_equal(
        found, values, equal_nan=True
    )
    again.check_pieces("a/b")


def test_write_dense__replaces_an_array_of_another_shape(hierarchy):
    hierarchy.write_dense("a", np.zeros((1000, 3)))
    hierarchy.write_dense("a", np.array(["x"]))

    assert hierarchy.read("a").tolist() == ["x"]
    assert hierarchy.dtype("a") == "string"


def test_write_dense__cuts_large_arrays_by_rows(hierarchy, tmp_path):
    values = np.arange(2_000_000, dtype=np.float64).reshape(20_000, 100)

    hierarchy.write_dense("a", values, dimensions=("subset", "channel"))

    array = zarr.open_array(tmp_path / "h.zarr" / "a", mode="r")
    assert array.chunks[1] == 100
    assert array.chunks[0] < 20_000
    assert array.metadata.dimension_names == ("subset", "channel")
    np.testing.assert_array_equal(
        hierarchy.read("a", 4_990, 5_010), values[4_990:5_010]
    )


def test_attributes__come_back_and_are_renewed(hierarchy):
    hierarchy.create_group("a/b", {"x": 1, "name": "<b>ü"})
    hierarchy.create_group("a/b", {"y": [1, None]})

    assert Hierarchy.open(hierarchy.url).attributes("a/b") == {"y": [1, None]}
    assert hierarchy.children("a") == ["b"]
    assert hierarchy.children("nothing") == []


def test_delete__removes_all_below(hierarchy):
    hierarchy.write_dense("a/b/c", np.arange(3))
    hierarchy.read("a/b/c")

    hierarchy.delete("a/b")
    hierarchy.delete("a/b")

    assert not hierarchy.has("a/b")
    with pytest.raises(StoreFormatError, match="no array 'a/b/c'"):
        hierarchy.read("a/b/c")


def test_read__of_a_group_is_an_error(hierarchy):
    hierarchy.create_group("a", {})

    with pytest.raises(StoreFormatError, match="is a group, not an array"):
        hierarchy.read("a")


def test_open__of_an_array_or_of_garbage_is_an_error(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", shape=(3,), dtype="int8")
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "zarr.json").write_text("{not json")

    with pytest.raises((StoreFormatError, StoreNotFoundError)):
        Hierarchy.open(tmp_path / "a.zarr")
    with pytest.raises(StoreFormatError, match="cannot be opened"):
        Hierarchy.open(tmp_path / "b.zarr")


def test_create__takes_an_empty_folder_and_refuses_a_store(tmp_path):
    (tmp_path / "h.zarr").mkdir()
    Hierarchy.create(tmp_path / "h.zarr")

    with pytest.raises(StoreExistsError, match="choose another path"):
        Hierarchy.create(tmp_path / "h.zarr")


def test_create__in_memory_needs_no_folder():
    hierarchy = Hierarchy.create("memory://nnviz-test")
    hierarchy.write_dense("a", np.arange(3))

    assert hierarchy.files.folder is None
    hierarchy.check_pieces("a")
    assert hierarchy.read("a").tolist() == [0, 1, 2]

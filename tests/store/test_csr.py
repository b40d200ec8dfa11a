"""Sparse matrices on disk: AnnData's encoding, any matrix, the same bytes."""

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from nnviz.errors import StoreFormatError
from nnviz.store.csr import read_csr, write_csr
from nnviz.store.hierarchy import Hierarchy
from tests.oracles.files import tree_bytes


@pytest.fixture
def hierarchy(tmp_path):
    return Hierarchy.create(tmp_path / "h.zarr")


@given(
    rows=st.integers(0, 6),
    columns=st.integers(0, 6),
    density=st.sampled_from([0, 0.3, 1]),
    dtype=st.sampled_from(["int64", "float64", "uint8", "float32"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_csr__comes_back_as_it_was(
    tmp_path_factory, rows, columns, density, dtype, seed
):
    hierarchy = Hierarchy.create(tmp_path_factory.mktemp("csr") / "h.zarr")
    rng = np.random.default_rng(seed)
    dense = rng.integers(1, 9, (rows, columns)) * (
        rng.random((rows, columns)) < density
    )
    matrix = sparse.csr_array(dense.astype(dtype))

    write_csr(hierarchy, "m", matrix)

    found = read_csr(hierarchy, "m")
    assert (found.shape, found.dtype) == (matrix.shape, matrix.dtype)
    np.testing.assert_array_equal(found.toarray(), dense)


def test_csr__is_encoded_as_anndata_does(hierarchy, tmp_path):
    write_csr(hierarchy, "m", sparse.csr_array([[0, 2], [3, 0]]), {"unit": "instances"})

    group = zarr.open_group(tmp_path / "h.zarr", mode="r")["m"]

    attributes = dict(group.attrs)
    assert len(attributes.pop("document_crc32")) == 8
    assert attributes == {
        "encoding-type": "csr_matrix",
        "encoding-version": "0.1.0",
        "shape": [2, 2],
        "unit": "instances",
    }
    assert group["data"][:].tolist() == [2, 3]
    assert group["indices"][:].tolist() == [1, 0]
    assert group["indptr"][:].tolist() == [0, 1, 2]


def test_csr__of_one_matrix_has_one_form_on_disk(tmp_path):
    entries = (np.array([5, 1, 2]), (np.array([0, 0, 0]), np.array([2, 1, 2])))
    unsorted = sparse.csr_array(
        (np.array([7, 1]), np.array([2, 1]), np.array([0, 2])), shape=(1, 3)
    )
    forms = [
        sparse.csr_array(entries, shape=(1, 3)),
        unsorted,
        sparse.csc_array(unsorted),
    ]

    for index, matrix in enumerate(forms):
        write_csr(Hierarchy.create(tmp_path / f"{index}.zarr"), "m", matrix)

    trees = [tree_bytes(tmp_path / f"{index}.zarr") for index in range(3)]
    assert trees[0] == trees[1] == trees[2]


def test_write_csr__leaves_the_matrix_as_it_is(hierarchy):
    matrix = sparse.csr_array(
        (np.array([7, 1]), np.array([2, 1]), np.array([0, 2])), shape=(1, 3)
    )

    write_csr(hierarchy, "m", matrix)

    assert matrix.indices.tolist() == [2, 1]


def test_read_csr__refuses_another_group(hierarchy):
    hierarchy.create_group("g", {"encoding-type": "csc_matrix"})

    with pytest.raises(StoreFormatError, match="is not a CSR matrix"):
        read_csr(hierarchy, "g")

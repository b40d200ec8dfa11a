"""Cosines of counts."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse

from nnviz.derivation.similarity import cosine_similarity, nearest_subsets
from tests.oracles import aggregates as oracle


@given(arrays.arrays(np.int64, (4, 6), elements=st.integers(0, 1300)))
@settings(max_examples=50, deadline=None)
def test_cosine_similarity__agrees_with_plain_loops(counts):
    similarity = cosine_similarity(sparse.csr_array(counts))

    wanted = [[oracle.cosine(a, b) for b in counts.tolist()] for a in counts.tolist()]
    np.testing.assert_allclose(similarity, wanted, rtol=1e-6)
    assert similarity.tobytes() == similarity.T.tobytes()


def test_cosine_similarity__of_equal_directions_is_exactly_one():
    counts = sparse.csr_array(np.outer([1, 3, 7], [1, 2, 3]))

    assert (cosine_similarity(counts) == 1).all()


def test_cosine_similarity__without_subsets_is_empty():
    assert cosine_similarity(sparse.csr_array((0, 3), dtype=np.int64)).shape == (0, 0)


def test_nearest_subsets__begins_with_itself_and_ends_with_the_undefined():
    similarity = cosine_similarity(
        sparse.csr_array([[1, 1, 0], [0, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 1]])
    )

    assert nearest_subsets(similarity, 2).tolist() == [2, 0, 3, 4, 1]
    assert nearest_subsets(similarity, 1).tolist() == [1, 0, 2, 3, 4]

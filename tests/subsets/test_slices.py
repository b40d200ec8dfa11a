"""Slices of high error, against a search over every pair."""

import itertools

import numpy as np
import pytest
from scipy import sparse

from nnviz.errors import ShapeError
from nnviz.subsets.slices import features_of, find_slices


def plain_score(chosen, errors):
    """Score a slice straight from the paper's formula."""
    size = int(chosen.sum())
    if size == 0:
        return -np.inf
    mean = errors[chosen].mean()
    return 0.95 * (mean / errors.mean() - 1) - 0.05 * (len(errors) / size - 1)


def every_slice(features, errors, column_of, min_size):
    """Return (score, features) of every slice of one or two features."""
    n = features.shape[1]
    pairs = list(itertools.combinations(range(n), 2))
    pairs = [p for p in pairs if column_of[p[0]] != column_of[p[1]]]
    found = []
    for one in [*((f,) for f in range(n)), *pairs]:
        chosen = features[:, list(one)].all(axis=1)
        parts = [int(features[:, f].sum()) for f in one]
        if chosen.sum() < min_size or (len(one) == 2 and chosen.sum() in parts):
            continue
        score = plain_score(chosen, errors)
        if score > 0:
            found.append((-score, one))
    return sorted(found)


@pytest.mark.parametrize("seed", range(12))
def test_find_slices__are_those_of_a_search_over_every_pair(seed):
    rng = np.random.default_rng(seed)
    features = rng.random((400, 14)) < rng.uniform(0.05, 0.6, 14)
    column_of = rng.integers(0, 6, 14)
    risk = 0.1 + 0.4 * features[:, 0] * features[:, 1] + 0.2 * features[:, 2]
    errors = (rng.random(400) < risk).astype(float)

    found = find_slices(
        sparse.csc_array(features),
        errors,
        column_of=column_of,
        min_size=10,
        n_slices=8,
    )

    expected = every_slice(features, errors, column_of, 10)[:8]
    assert [s.features for s in found] == [one for _, one in expected]
    assert np.allclose([-s.score for s in found], [score for score, _ in expected])


@pytest.mark.parametrize("seed", range(3))
def test_find_slices__are_those_of_the_authors_package(seed):
    # Its slices are cells of a table of codes; ours are any features, here those cells.
    sliceline = pytest.importorskip("sliceline.slicefinder")
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 3, (2000, 5))
    risk = 0.05 + 0.6 * (table[:, 1] == 2) * (table[:, 3] == 0) + 0.1 * table[:, 0]
    errors = (rng.random(2000) < risk).astype(float)
    cells = [(column, value) for column in range(5) for value in range(3)]
    features = np.stack([table[:, c] == v for c, v in cells], axis=1)

    found = find_slices(
        sparse.csc_array(features),
        errors,
        column_of=np.array([column for column, _ in cells]),
        min_size=20,
        n_slices=6,
    )

    finder = sliceline.Slicefinder(alpha=0.95, k=6, max_l=2, min_sup=20, verbose=False)
    finder.fit(table, errors)
    theirs = [
        tuple(cells.index((c, v)) for c, v in enumerate(one) if v is not None)
        for one in finder.top_slices_.tolist()
    ]
    scores = [one["slice_score"] for one in finder.top_slices_statistics_]
    assert [one.features for one in found] == theirs[:6]
    np.testing.assert_allclose([one.score for one in found], scores[:6])


def test_find_slices__planted_pair__is_first():
    rng = np.random.default_rng(0)
    features = rng.random((20_000, 60)) < 0.2
    risk = np.where(features[:, 7] & features[:, 31], 0.7, 0.05)
    errors = (rng.random(20_000) < risk).astype(float)

    found = find_slices(
        sparse.csc_array(features),
        errors,
        column_of=np.arange(60),
        min_size=50,
        n_slices=5,
    )

    assert found[0].features == (7, 31)
    assert found[0].size == (features[:, 7] & features[:, 31]).sum()


def test_find_slices__nothing_wrong__finds_nothing():
    features = sparse.csc_array(np.ones((5, 2), dtype=bool))

    found = find_slices(
        features, np.zeros(5), column_of=np.arange(2), min_size=1, n_slices=3
    )

    assert found == []


def test_find_slices__shapes_that_do_not_fit__are_refused():
    with pytest.raises(ShapeError, match="expected"):
        find_slices(
            sparse.csc_array(np.ones((5, 2), dtype=bool)),
            np.zeros(4),
            column_of=np.arange(2),
            min_size=1,
            n_slices=3,
        )


def test_features_of__sets__are_columns():
    features = features_of([np.array([0, 2]), np.array([], np.int64), np.array([2])], 4)
    assert features.dtype == np.bool_
    assert features.toarray().astype(int).tolist() == [
        [1, 0, 0],
        [0, 0, 0],
        [1, 0, 1],
        [0, 0, 0],
    ]

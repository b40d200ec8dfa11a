"""Coordinates of subsets: by neighbourhoods, never by numbers."""

import importlib

import numpy as np
import pytest
from scipy import sparse

from nnviz.derivation.embedding import (
    COMPILED_BY_UMAP,
    MIN_SUBSETS_FOR_UMAP,
    embed_layers,
)


def planted_counts(n_groups, n_each, *, seed=0):
    """Return counts of subsets that come in groups, group by group."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 200, (n_groups, 40)) * (rng.random((n_groups, 40)) < 0.2)
    counts = np.repeat(centres, n_each, axis=0) + rng.integers(
        0, 6, (n_groups * n_each, 40)
    )
    return sparse.csr_array(counts)


def share_of_near_neighbours(coordinates, n_each):
    """Return how often a point's nearest neighbours are of its own group."""
    distances = np.linalg.norm(coordinates[:, None] - coordinates[None], axis=2)
    nearest = np.argsort(distances, axis=1)[:, 1:n_each]
    groups = np.arange(len(coordinates)) // n_each
    return np.mean(groups[nearest] == groups[:, None])


@pytest.mark.parametrize(
    ("n_groups", "method"),
    [
        pytest.param(3, "classical scaling", id="few"),
        pytest.param(8, "umap", id="many", marks=pytest.mark.slow),
    ],
)
def test_embed_layers__keeps_groups_together(n_groups, method):
    (embedding,) = embed_layers([planted_counts(n_groups, 6)])

    assert embedding.method == method
    assert embedding.coordinates.dtype == np.float32
    assert share_of_near_neighbours(embedding.coordinates, 6) > 0.9


@pytest.mark.slow
def test_embed_layers__keeps_what_umap_compiles_for_the_next_process():
    embed_layers([planted_counts(8, 6)])

    for module, name in COMPILED_BY_UMAP:
        stats = getattr(importlib.import_module(module), name).stats
        assert stats.cache_path, name
        assert stats.cache_hits or stats.cache_misses, f"{name} was not called"


def test_embed_layers__of_few_keeps_distances_that_fit_into_a_plane():
    counts = sparse.csr_array([[3, 0], [0, 5], [4, 4]])

    (embedding,) = embed_layers([counts])

    vectors = np.array([[1, 0], [0, 1], [0.5**0.5, 0.5**0.5]])
    wanted = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    found = embedding.coordinates
    distances = np.linalg.norm(found[:, None] - found[None], axis=2)
    np.testing.assert_allclose(distances, wanted, atol=1e-6)


def test_embed_layers__of_few_turns_a_layer_onto_the_one_before():
    counts = planted_counts(3, 4)
    mirrored = sparse.csr_array(counts.toarray()[:, ::-1])

    first, second = embed_layers([counts, mirrored])

    np.testing.assert_allclose(first.coordinates, second.coordinates, atol=1e-5)


def ring_counts(n, *, seed):
    """Return counts of subsets that are similar to the next and the last one."""
    angles = np.arange(n) / n * 2 * np.pi
    channels = np.arange(60) / 60 * 2 * np.pi
    centres = 5 * np.exp(3 * np.cos(angles[:, None] - channels[None]))
    noise = np.random.default_rng(seed).integers(0, 5, centres.shape)
    return sparse.csr_array(centres.astype(np.int64) + noise)


@pytest.mark.slow
def test_embed_layers__starts_a_layer_from_the_one_before():
    first, second = embed_layers([ring_counts(40, seed=0), ring_counts(40, seed=1)])

    (alone,) = embed_layers([ring_counts(40, seed=1)])
    moved = np.linalg.norm(first.coordinates - second.coordinates, axis=1)
    unaligned = np.linalg.norm(first.coordinates - alone.coordinates, axis=1)
    assert np.median(moved) < np.std(first.coordinates) / 3
    assert np.median(moved) < np.median(unaligned) / 3


@pytest.mark.slow
def test_embed_layers__gives_the_same_numbers_again():
    counts = [planted_counts(5, 5), planted_counts(5, 5, seed=1)]

    one, two = embed_layers(counts), embed_layers(counts)

    for a, b in zip(one, two, strict=True):
        assert a.coordinates.tobytes() == b.coordinates.tobytes()


@pytest.mark.parametrize(
    "n",
    [
        pytest.param(4, id="few"),
        pytest.param(MIN_SUBSETS_FOR_UMAP + 5, id="many", marks=pytest.mark.slow),
    ],
)
def test_embed_layers__leaves_out_subsets_without_counts(n):
    counts = planted_counts(n, 1).toarray()
    counts[2] = 0

    first, second = embed_layers([sparse.csr_array(counts), planted_counts(n, 1)])

    assert np.isnan(first.coordinates[2]).all()
    assert np.isfinite(np.delete(first.coordinates, 2, axis=0)).all()
    assert np.isfinite(second.coordinates).all()


@pytest.mark.parametrize("n", [0, 1, 2], ids=str)
def test_embed_layers__takes_hardly_any_subsets(n):
    counts = sparse.csr_array(np.eye(n, 3, dtype=np.int64))

    first, second = embed_layers([counts, counts])

    assert first.coordinates.shape == second.coordinates.shape == (n, 2)
    assert np.isfinite(second.coordinates).all()


@pytest.mark.slow
def test_embed_layers__takes_many_equal_subsets():
    counts = sparse.csr_array(np.ones((30, 4), dtype=np.int64))

    first, second = embed_layers([counts, counts])

    assert np.isfinite(first.coordinates).all()
    assert np.isfinite(second.coordinates).all()

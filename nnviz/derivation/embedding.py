"""Where do subsets lie in the plane, so that those that look alike are close?

1. Many subsets: UMAP on activation counts with the cosine as metric, each layer started
   from the coordinates of the one before [1]_.
2. Fewer than :data:`MIN_SUBSETS_FOR_UMAP`: too few for a graph of neighbours. Classical
   scaling of the distances between the counts as unit vectors, which is principal
   component analysis of these.
3. Both are turned, mirrored and moved onto the layer before. That changes no distance,
   and points can be followed from layer to layer.

Symbols: S subsets, C channels of a layer.

References
----------
.. [1] Hohman et al., "Summit", IEEE TVCG 26(1), 2020, sections 7.1 and 8.2.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.derivation.plane import classical_scaling, turned
from nnviz.errors import UnknownNameError
from nnviz.store.store import Store

__all__ = [
    "MIN_SUBSETS_FOR_UMAP",
    "UMAP_PARAMETERS",
    "LayerEmbedding",
    "embed_layers",
    "read_embedding",
    "read_similarity",
]

MIN_SUBSETS_FOR_UMAP = 20
"""With fewer points, 15 neighbours are nearly all of them."""


UMAP_PARAMETERS = {
    "n_components": 2,
    "metric": "cosine",
    "n_neighbors": 15,
    "min_dist": 0.1,
    "random_state": 6510,
}
"""Those of SUMMIT, its seed included."""

COMPILED_BY_UMAP = (
    ("umap.utils", "fast_knn_indices"),
    ("umap.umap_", "smooth_knn_dist"),
    ("umap.umap_", "compute_membership_strengths"),
    ("umap.layouts", "_nb_optimize_layout_euclidean_single_epoch"),
)
"""Module and name of the functions that UMAP compiles anew in every process."""


@dataclass(frozen=True, slots=True, eq=False)
class LayerEmbedding:
    """Coordinates of the subsets in one layer."""

    coordinates: NDArray[np.float32]
    """Shape (S, 2); NaN for a subset without counts."""
    method: Literal["umap", "classical scaling"]


def embed_layers(counts: Sequence[sparse.csr_array]) -> tuple[LayerEmbedding, ...]:
    """Embed the subsets in every layer, each aligned with the one before.

    Parameters
    ----------
    counts
        Activation counts of each layer in order of computation, shape (S, C).

    Returns
    -------
    tuple of LayerEmbedding
        One for each layer. The same counts give the same coordinates in one
        environment; UMAP's differ between versions and processors, so store them.
    """
    embeddings: list[LayerEmbedding] = []
    before: NDArray[np.float64] | None = None
    for layer_counts in counts:
        rows = np.diff(layer_counts.indptr) > 0
        coordinates = np.full((layer_counts.shape[0], 2), np.nan)
        vectors = layer_counts[np.flatnonzero(rows)].toarray().astype(np.float64)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        start = None if before is None else before[rows]
        method: Literal["umap", "classical scaling"]
        if len(vectors) < MIN_SUBSETS_FOR_UMAP:
            method = "classical scaling"
            coordinates[rows] = classical_scaling(vectors)
        else:
            method = "umap"
            coordinates[rows] = _umap(vectors, start)
        coordinates[rows] = turned(coordinates[rows], start)
        embeddings.append(LayerEmbedding(coordinates.astype(np.float32), method))
        before = coordinates
    return tuple(embeddings)


def _umap(
    vectors: NDArray[np.float64], before: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    parameters = {
        **UMAP_PARAMETERS,
        "n_neighbors": min(15, len(vectors) - 1),
        "transform_seed": UMAP_PARAMETERS["random_state"],
        "n_jobs": 1,
    }
    if before is not None and np.isfinite(before).any():
        known = np.isfinite(before).all(axis=1)
        start = before.copy()
        start[~known] = before[known].mean(axis=0)
        parameters["init"] = start.astype(np.float32)
    with warnings.catch_warnings():
        # It tells about graphs that fall apart and about its own dependencies.
        warnings.simplefilter("ignore")
        umap = _umap_class()(**parameters)
        return np.asarray(umap.fit_transform(vectors.astype(np.float32)), np.float64)


@functools.cache
def _umap_class() -> type[Any]:
    """Import UMAP, and let numba keep what it compiles, as our own kernels.

    Compilation takes eight seconds, for twenty subsets as for a thousand; what is kept
    is read in a tenth of one. A release of UMAP in which a function is missing costs
    these seconds and nothing else.
    """
    # These take seconds, and only many subsets need them.
    from nnviz.compiling import ensure_place  # noqa: PLC0415

    ensure_place()
    from umap import UMAP  # noqa: PLC0415

    for module, name in COMPILED_BY_UMAP:
        function = getattr(importlib.import_module(module), name, None)
        with contextlib.suppress(AttributeError):
            function.enable_caching()  # type: ignore[union-attr]
    return UMAP  # type: ignore[no-any-return]


def read_similarity(store: Store, name: str, layer: str) -> NDArray[np.float32]:
    """Return the cosine similarity between the subsets of a collection in one layer.

    Returns
    -------
    ndarray
        Shape (S, S); NaN for a subset without counts.

    Raises
    ------
    UnknownNameError
        If there is no such layer, or it is not shown.
    MissingDataError
        If 'nnviz derive' has not run for this collection.
    """
    return _artifact(store, name, "similarity", layer)


def read_embedding(store: Store, name: str, layer: str) -> NDArray[np.float32]:
    """Return the coordinates of the subsets of a collection in one layer.

    Returns
    -------
    ndarray
        Shape (S, 2); NaN for a subset without counts.

    Raises
    ------
    UnknownNameError
        If there is no such layer, or it is not shown.
    MissingDataError
        If 'nnviz derive' has not run for this collection.
    """
    return _artifact(store, name, "embedding", layer)


def _artifact(store: Store, name: str, what: str, layer: str) -> NDArray[Any]:
    layers = list(store.groups.attributes(f"artifacts/{name}")["embedding_methods"])
    if store.layer(layer).name not in layers:
        msg = (
            f"layer {layer!r} is not shown and has no {what}; those with one are "
            f"{', '.join(layers)}"
        )
        raise UnknownNameError(msg)
    return store.groups.read(f"artifacts/{name}/{what}/{layer}")

"""What did extraction find out about some instances? Facts, as reductions take them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.aggregation.reductions import InfluenceRows
from nnviz.network.top_channels import planned_top_channels
from nnviz.store.store import Store

__all__ = ["activation_facts", "influence_facts", "relevance_facts"]


def activation_facts(
    store: Store, layer: str, span: tuple[int, int], counted: NDArray[np.bool_]
) -> tuple[sparse.csr_array, NDArray[np.floating]]:
    """Return the top channels and the activations of a span of instances.

    Parameters
    ----------
    store
        With the chunks of the span complete.
    layer
        Name of a recorded layer.
    span
        First and past-last instance: n.
    counted
        Which of them count, shape (n,); unusable ones must not.

    Returns
    -------
    tuple
        T (csr_array, binary) and A, each of shape (n, channel), 0 for what does not
        count.
    """
    values = store.activations(layer, *span)
    # Instances that count nowhere are NaN, and have no top channels as zeros.
    values[~counted] = 0
    rows = store.plan.rows_per_chunk
    top = [
        planned_top_channels(values[start : start + rows], layer, store.plan.extraction)
        for start in range(0, max(1, len(values)), rows)
    ]
    return sparse.vstack(top, format="csr"), values


def relevance_facts(
    store: Store, layer: str, span: tuple[int, int], counted: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the parts of the relevance of a layer's channels in a span of instances.

    Parameters
    ----------
    store, span, counted
        As in :func:`activation_facts`.
    layer
        Name of a shown layer of a run with relevance.

    Returns
    -------
    ndarray
        The plan's `relevance_parts` by instance and channel, shape (4, n, C), or
        (3, n, C) of runs without norms; 0 for what does not count.
    """
    names = store.plan.relevance_parts
    parts = [store.read(f"relevance/{layer}/{part}", *span) for part in names]
    values = np.stack(parts)
    values[:, ~counted] = 0
    return values


def influence_facts(store: Store, layer: str, span: tuple[int, int]) -> InfluenceRows:
    """Return the influences on a target layer of a span of instances.

    Parameters
    ----------
    store
        With the chunks of the span complete.
    layer
        Name of the target layer.
    span
        First and past-last instance.
    """
    parts = ("target", "source", "influence")
    target, source, influence = (
        store.read(f"influences/{layer}/{part}", *span) for part in parts
    )
    options = store.plan.extraction
    if options.signal == "peak":
        # Contributions at a peak are signed; those against it are no evidence for it.
        sign = 1 if options.extremum == "max" else -1
        source = np.where(sign * influence > 0, source, -1)
    return InfluenceRows(target, source, influence)

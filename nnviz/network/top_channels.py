"""Which channels are an instance's top channels?

They are selected from the *stored* activations, so that the threshold can be changed
later without the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.compiling import compiled, compiled_with
from nnviz.errors import ShapeError
from nnviz.runs.config import ExtractionConfig

__all__ = ["planned_targets", "planned_top_channels", "top_channels"]

_CANDIDATES = 64
"""Channels that are sorted first; hardly any instance needs more at small shares."""

_BLOCK = 32
"""Channels of which the largest one is kept while the others are looked for."""


def top_channels(
    activations: NDArray[np.floating],
    *,
    share: float | None = None,
    count: int | None = None,
    at_least: int = 0,
    excluded: Sequence[int] = (),
) -> sparse.csr_array:
    """Select the top channels of each instance.

    Parameters
    ----------
    activations
        Stored activations of one layer, shape (N, C).
    share
        Share rule: ``max(a, 0)`` is sorted in descending order, ties to the lower
        channel, and channels are taken until their sum reaches this fraction of the
        layer's total; the channel that crosses it is included.
    count
        Count rule: the first so many channels in the same order, those with a positive
        activation only.
    at_least
        So many of these are taken, whatever the rule takes.
    excluded
        Channels that count nowhere, not in the total either.

    Returns
    -------
    scipy.sparse.csr_array
        Shape (N, C), uint8, 1 for a top channel, with sorted indices. An instance
        without a positive activation has none, and so has one with NaN or infinity.

    Raises
    ------
    ShapeError
        If `activations` has other than two axes.
    ValueError
        Unless exactly one rule is given, with a share in (0, 1] or a count of at least
        1.

    Examples
    --------
    >>> import numpy as np
    >>> top_channels(np.array([[1.0, 6.0, 3.0]]), share=0.7).toarray()
    array([[0, 1, 1]], dtype=uint8)
    """
    indptr, indices = _selected(activations, share, count, at_least, excluded)
    ones = np.ones(len(indices), dtype=np.uint8)
    return sparse.csr_array((ones, indices, indptr), shape=activations.shape)


def _selected(
    activations: NDArray[np.floating],
    share: float | None,
    count: int | None,
    at_least: int,
    excluded: Sequence[int],
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return what :func:`top_channels` selects, as the arrays of its matrix."""
    if activations.ndim != 2:
        msg = (
            f"activations have shape {activations.shape}; expected two axes, "
            "(instance, channel)"
        )
        raise ShapeError(msg)
    if (share is None) == (count is None):
        msg = f"share={share} and count={count}; give exactly one of the two rules"
        raise ValueError(msg)
    if share is not None and not 0 < share <= 1:
        msg = f"share={share} is not a fraction in (0, 1]; the paper's value is 0.03"
        raise ValueError(msg)
    if count is not None and count < 1:
        msg = f"count={count} selects no channel; give at least 1"
        raise ValueError(msg)
    dtype = np.result_type(np.float32, activations.dtype)
    values = np.asarray(activations, dtype=dtype)
    left_out = np.arange(values.shape[1])[list(excluded)]
    indptr = np.zeros(len(values) + 1, dtype=np.int64)
    indices = np.empty(values.size, dtype=np.int32)
    n_least = max(count or 0, at_least)
    n = _select(values, left_out, share or 0.0, n_least, _CANDIDATES, indptr, indices)
    return indptr, indices[:n].copy()


def planned_top_channels(
    activations: NDArray[np.floating], layer: str, options: ExtractionConfig
) -> sparse.csr_array:
    """Select top channels by the rule of a plan; see :func:`top_channels`.

    Parameters
    ----------
    activations
        Stored activations of the layer, shape (N, C).
    layer
        Its name, by which channels are excluded.
    options
        Of the plan.
    """
    return top_channels(
        activations,
        share=options.share if options.top_count is None else None,
        count=options.top_count,
        excluded=options.excluded_channels.get(layer, ()),
    )


def planned_targets(
    activations: NDArray[np.floating], layer: str, options: ExtractionConfig
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Select the channels of which influences are kept; as `planned_top_channels`.

    They are the top channels, and at least ``targets_minimum`` of those with a positive
    activation: the first in the same order.

    Returns
    -------
    tuple
        Instance and channel of each pair, sorted by both, shape (pairs,) each.
    """
    indptr, channels = _selected(
        activations,
        options.share if options.top_count is None else None,
        options.top_count,
        options.targets_minimum,
        options.excluded_channels.get(layer, ()),
    )
    instance = np.repeat(np.arange(len(activations)), np.diff(indptr))
    return instance, channels.astype(np.int64)


@compiled_with(fastmath={"nnan", "nsz"})
def _largest_of(rest: Any) -> Any:
    """Return the largest of a few values, none of them NaN, by vector instructions."""
    largest = rest[0]
    for value in rest:
        largest = value if value > largest else largest
    return largest


@compiled
def _select(
    values: Any,
    left_out: Any,
    share: float,
    n_least: int,
    n_candidates: int,
    indptr: Any,
    indices: Any,
) -> int:
    """Write the sorted top channels of each row, and return how many there are.

    The largest channels are found one after another while they are few; from then on
    the rest is sorted. Sums are in float64, in descending order of activation. The
    largest of each block of channels is kept, so that the next one is found among a few
    and one block is looked through again.
    """
    n_rows, n_channels = values.shape
    n_blocks = (n_channels + _BLOCK - 1) // _BLOCK
    largest = np.empty(n_blocks, values.dtype)
    # What is behind the last channel is never larger than what counts.
    rest = np.zeros(n_blocks * _BLOCK, values.dtype)
    n = 0
    for row in range(n_rows):
        is_finite = True
        for c in range(n_channels):
            rest[c] = values[row, c]
            is_finite &= abs(rest[c]) < np.inf
        rest[left_out] = 0
        total = 0.0
        if is_finite:
            for c in range(n_channels):
                if rest[c] > 0:
                    total += np.float64(rest[c])
        threshold = share * total
        start, taken, reached = n, 0, 0.0
        order = np.empty(0, np.int64)
        if total > 0:
            for block in range(n_blocks):
                first = block * _BLOCK
                largest[block] = _largest_of(rest[first : first + _BLOCK])
        while total > 0:
            block = 0
            if taken < n_candidates:
                for other in range(1, n_blocks):
                    if largest[other] > largest[block]:
                        block = other
                best = block * _BLOCK
                while rest[best] != largest[block]:
                    best += 1
            else:
                if taken == n_candidates:
                    order = np.argsort(-rest[:n_channels], kind="mergesort")
                if taken - n_candidates >= n_channels:
                    break
                best = order[taken - n_candidates]
            value = np.float64(rest[best])
            if value <= 0:
                break
            if taken < n_candidates:
                rest[best] = 0
                first = block * _BLOCK
                largest[block] = _largest_of(rest[first : first + _BLOCK])
            indices[n] = best
            n += 1
            taken += 1
            reached += value
            if taken >= n_least and reached >= threshold:
                break
        indices[start:n].sort()
        indptr[row + 1] = n
    return n

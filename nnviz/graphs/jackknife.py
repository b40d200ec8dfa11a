"""How sure are the scores of a graph, and what is in it? Blocks of instances tell.

The graph is made again and again: without each block (jackknife), from blocks drawn
with replacement (bootstrap), and from each of two halves. How much scores change, and
what is kept again, says what other instances would change.

Symbols: B blocks, V kept nodes, E kept arcs.

References
----------
.. [1] Quenouille, "Notes on bias in estimation", Biometrika 43(3/4), 1956; Tukey, "Bias
   and confidence in not-quite large samples", Annals of Mathematical Statistics 29(2),
   1958; with blocks of more than one instance: Shao and Wu, "A general theory for
   jackknife variance estimation", Annals of Statistics 17(3), 1989.
.. [2] Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics
   7(1), 1979.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnviz.graphs.attribution_graph import GraphErrors
from nnviz.graphs.presets import GraphSelection

__all__ = [
    "NodeScores",
    "block_errors",
    "half_weights",
    "node_scores",
    "resampled_weights",
    "standard_errors",
]

N_RESAMPLED = 50
"""Graphs of resampled blocks; the error of a share of them is at most 0.07."""

SEED = 0

ROUNDING = 1e-12
"""Of a score, below which an error is none."""


@dataclass(frozen=True, slots=True, eq=False)
class NodeScores:
    """What the nodes of a full graph are kept by, with errors of blocks."""

    n_blocks: int
    spans: Mapping[str, slice]
    """Of each layer's nodes."""
    scores: NDArray[np.float64]
    """Of all nodes."""
    errors: NDArray[np.float64]
    """Standard errors, of all nodes."""

    def at(
        self, nodes: Sequence[tuple[str, int]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return scores and errors of (layer, channel)s, in their order."""
        rows = [self.spans[layer].start + channel for layer, channel in nodes]
        return self.scores[rows], self.errors[rows]


Made = Callable[[NDArray[np.int64]], GraphSelection]
"""Makes the selection with each block taken so many times, shape (B,). The nodes have
the same numbers in all."""


def node_scores(
    whole: GraphSelection, spans: Mapping[str, slice], n_blocks: int, made: Made
) -> NodeScores:
    """Return the scores of all nodes, kept or not, with errors by the jackknife.

    Parameters
    ----------
    whole
        What is kept of all instances of the subset.
    spans
        Of each layer's nodes.
    n_blocks
        B, at least two; blocks of about one size.
    made
        Makes the selection of some blocks.
    """
    left_out = 1 - np.eye(n_blocks, dtype=np.int64)
    scores = np.stack([made(weights).scores for weights in left_out])
    return NodeScores(n_blocks, spans, whole.scores, standard_errors(scores))


def block_errors(whole: GraphSelection, scores: NodeScores, made: Made) -> GraphErrors:
    """Return how much a selection depends on which instances there are.

    Parameters
    ----------
    whole
        What is kept of all instances of the subset.
    scores
        Of its nodes.
    made
        Makes the selection of some blocks.
    """
    nodes, arcs, n_blocks = np.flatnonzero(whole.keep), _codes(whole), scores.n_blocks
    again = [made(weights) for weights in resampled_weights(n_blocks)]
    return GraphErrors(
        n_blocks,
        scores.errors[nodes],
        np.mean([drawn.keep[nodes] for drawn in again], axis=0),
        np.mean([np.isin(arcs, _codes(drawn)) for drawn in again], axis=0),
    )


def half_weights(n_blocks: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which blocks are in each of two halves."""
    is_first = np.arange(n_blocks) < n_blocks // 2
    return is_first.astype(np.int64), (~is_first).astype(np.int64)


def standard_errors(without: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``sqrt((B - 1) / B * sum over b of (x_b - mean)^2)``. [1]_.

    Parameters
    ----------
    without
        Values without each block, shape (B, n).
    """
    n_blocks = len(without)
    squares = ((without - without.mean(axis=0)) ** 2).sum(axis=0)
    errors: NDArray[np.float64] = np.sqrt((n_blocks - 1) / n_blocks * squares)
    # What no block changes differs in its last bits, and has no error.
    return np.where(errors > ROUNDING * np.abs(without).max(axis=0), errors, 0.0)


def resampled_weights(n_blocks: int) -> NDArray[np.int64]:
    """Return how often each block is drawn, (draws, B), the same at each call. [2]_."""
    draws = np.random.default_rng(SEED).integers(n_blocks, size=(N_RESAMPLED, n_blocks))
    return np.stack([np.bincount(draw, minlength=n_blocks) for draw in draws])


def _codes(selection: GraphSelection) -> NDArray[np.int64]:
    """Return one number for each kept arc."""
    codes: NDArray[np.int64] = (
        selection.arcs.target * len(selection.keep) + selection.arcs.source
    )
    return codes

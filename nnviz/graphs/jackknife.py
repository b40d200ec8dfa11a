"""How sure are the scores of a graph? A jackknife over blocks of instances.

The graph is made again and again, each time without one block of the subset's
instances; how much scores change says how much they would change with other instances.

Symbols: B blocks, V kept nodes, E kept arcs.

References
----------
.. [1] Quenouille, "Notes on bias in estimation", Biometrika 43(3/4), 1956; Tukey, "Bias
   and confidence in not-quite large samples", Annals of Mathematical Statistics 29(2),
   1958; with blocks of more than one instance: Shao and Wu, "A general theory for
   jackknife variance estimation", Annals of Statistics 17(3), 1989.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nnviz.graphs.attribution_graph import GraphErrors
from nnviz.graphs.presets import GraphSelection

__all__ = ["jackknife_errors"]


def jackknife_errors(
    whole: GraphSelection, without: Sequence[GraphSelection]
) -> GraphErrors:
    """Return how much a selection depends on single blocks of instances.

    Parameters
    ----------
    whole
        Full graph of all instances of the subset.
    without
        Full graphs of all but one block, for each block: B, at least two; blocks of
        about one size. The nodes have the same numbers as in `whole`.

    Returns
    -------
    GraphErrors
        Standard errors are ``sqrt((B - 1) / B * sum over b of (x_b - mean)^2)``. [1]_
    """
    nodes = np.flatnonzero(whole.keep)
    n_blocks = len(without)
    scores = np.stack([selection.scores[nodes] for selection in without])
    deviations = scores - scores.mean(axis=0)
    error = np.sqrt((n_blocks - 1) / n_blocks * (deviations**2).sum(axis=0))
    kept = np.mean([selection.keep[nodes] for selection in without], axis=0)
    arcs = _codes(whole)
    arc_kept = np.mean([np.isin(arcs, _codes(other)) for other in without], axis=0)
    return GraphErrors(n_blocks, error, kept, arc_kept)


def _codes(selection: GraphSelection) -> NDArray[np.int64]:
    """Return one number for each kept arc."""
    codes: NDArray[np.int64] = (
        selection.arcs.target * len(selection.keep) + selection.arcs.source
    )
    return codes

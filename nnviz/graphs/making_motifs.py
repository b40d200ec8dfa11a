"""Which parts do the graphs of a store's subsets share?"""

from __future__ import annotations

from typing import Unpack

from nnviz.graphs.making import SubsetGraphs
from nnviz.graphs.motif_search import AT_LEAST, MOST, SHUFFLES, find_motifs
from nnviz.graphs.motifs import Motifs
from nnviz.graphs.options import GraphChoices, GraphOptions
from nnviz.store.store import Store

__all__ = ["subset_motifs"]


def subset_motifs(
    store: Store,
    subsets: str | None = None,
    *,
    at_least: int = AT_LEAST,
    most: int = MOST,
    shuffles: int = SHUFFLES,
    **options: Unpack[GraphChoices],
) -> Motifs:
    """Return the parts that the graphs of a collection share.

    What derivation has stored is read; else they are searched for, which takes seconds
    with a thousand graphs.

    Parameters
    ----------
    store
        With aggregates of influences.
    subsets
        Name of the collection; None: the usual one.
    at_least, most, shuffles
        As in :func:`nnviz.graphs.motif_search.find_motifs`.
    **options
        As in :func:`nnviz.graphs.making.attribution_graph`.

    Raises
    ------
    UnknownNameError
        If there is no such collection.
    MissingDataError
        If nothing has been aggregated, or no influences were extracted.
    ConfigError
        If an option has no such value.
    """
    graphs = SubsetGraphs(store, subsets)
    if (at_least, most, shuffles) == (AT_LEAST, MOST, SHUFFLES):
        stored = graphs.stored(GraphOptions(**options))
        if stored is not None and stored.motifs is not None:
            return stored.motifs
    return find_motifs(
        list(graphs.graphs(**options)),
        graphs.collection,
        at_least=at_least,
        most=most,
        shuffles=shuffles,
    )

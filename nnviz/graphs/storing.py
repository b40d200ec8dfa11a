"""How are the graphs of all subsets made once? A block of them in each task.

What they share is found when all of them are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from nnviz.aggregation.aggregates import aggregates_of
from nnviz.aggregation.subset_index import subset_index
from nnviz.engine.tasks import run_tasks
from nnviz.errors import NnvizError, TaskError
from nnviz.graphs.attribution_graph import AttributionGraph
from nnviz.graphs.making import HALVED_INSTANCES, SubsetGraphs
from nnviz.graphs.motif_search import find_motifs
from nnviz.graphs.options import GraphOptions, keywords
from nnviz.graphs.stored import write_graphs
from nnviz.store.store import Store

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["store_graphs"]

SUBSETS_PER_TASK = 32

_Graphs: TypeAlias = tuple[AttributionGraph, ...]
"""Of one subset, one for each of the options."""


def store_graphs(
    store: Store,
    subsets: str,
    options: Sequence[GraphOptions],
    client: Client | None = None,
) -> int:
    """Make and write the graphs of a collection, and what they share; return how many.

    All graphs of a subset are made together: what they are made of is read once.

    Parameters
    ----------
    store
        With aggregates of influences; opened for writing.
    subsets
        Name of the collection.
    options
        How the graphs of every subset are made: one for each.
    client
        Client of a running cluster, whose workers can open the store; None computes
        here. The bytes are the same.

    Raises
    ------
    TaskError
        If a task failed on a worker.
    """
    aggregates, everything = aggregates_of(store, subsets), aggregates_of(store, "all")
    names = aggregates.names
    if not names:
        return 0
    blocks = [
        names[start : start + SUBSETS_PER_TASK]
        for start in range(0, len(names), SUBSETS_PER_TASK)
    ]
    arguments = (store.url, subsets, tuple(options))
    made: dict[tuple[str, ...], list[_Graphs]] = {}
    if client is None:
        graphs = SubsetGraphs(store, subsets, use_stored=False)
        made = {block: _graphs(graphs, block, options) for block in blocks}
    else:
        for outcome in run_tasks(client, _make_graphs, blocks, arguments=arguments):
            if isinstance(outcome.error, NnvizError):
                raise outcome.error
            if outcome.error is not None:
                msg = f"the graphs of {outcome.item[0]!r} failed: {outcome.error!r}"
                raise TaskError(msg) from outcome.error
            made[outcome.item] = outcome.value
    ordered = [several for block in blocks for several in made[block]]
    for place, chosen in enumerate(options):
        found = [several[place] for several in ordered]
        # What graphs of the default preset share is looked for once; of others when
        # asked.
        motifs = find_motifs(found, subsets) if chosen == GraphOptions() else None
        write_graphs(store, aggregates, everything, chosen, found, motifs)
    return len(ordered) * len(options)


def _make_graphs(
    names: tuple[str, ...], url: str, subsets: str, options: tuple[GraphOptions, ...]
) -> list[_Graphs]:
    """Make the graphs of some subsets on a worker."""
    graphs = SubsetGraphs(Store.open(url), subsets, use_stored=False)
    return _graphs(graphs, names, options)


def _graphs(
    graphs: SubsetGraphs, names: tuple[str, ...], options: Sequence[GraphOptions]
) -> list[_Graphs]:
    """Make graphs, with how alike halves are where an index makes counting quick."""
    index = subset_index(graphs.store)
    is_quick = index.is_complete and index.has_pairs
    made = []
    for name in names:
        several = [graphs.graph(name, **keywords(chosen)) for chosen in options]
        if several and is_quick and 2 <= several[0].n_instances <= HALVED_INSTANCES:
            halves = graphs.counted(name, 2)
            several = [
                graphs.with_halves(graph, halves, **keywords(chosen))
                for graph, chosen in zip(several, options, strict=True)
            ]
        made.append(tuple(several))
    return made

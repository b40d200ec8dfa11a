"""Which graphs are compared, and over which instances are their counts tested?

Tests suppose that two subsets share no instance. Where they do, what is tested is what
is only in one against what is only in the other, or the part against the rest.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

import numpy as np

from nnviz.aggregation.totals import BlockTotals, SubsetTotals
from nnviz.errors import NnvizError
from nnviz.graphs.comparison import GraphComparison, compare_graphs
from nnviz.graphs.full_graph import FullGraph
from nnviz.graphs.making import SubsetGraphs
from nnviz.graphs.network_matching import (
    Matches,
    check_layers_agree,
    matched_channels,
)
from nnviz.graphs.options import GraphChoices
from nnviz.graphs.same_subset import same_subset
from nnviz.store.store import Store
from nnviz.subsets.subsets import Subset

if TYPE_CHECKING:
    from distributed import Client

__all__ = [
    "compare_in_networks",
    "compare_made",
    "compare_networks",
    "compare_subsets",
]

Side = tuple[SubsetGraphs, str | Subset]


def compare_subsets(
    store: Store,
    first: str | Subset,
    second: str | Subset,
    *,
    subsets: str | None = None,
    other_subsets: str | None = None,
    jackknife: int = 0,
    halves: bool = True,
    client: Client | None = None,
    **options: Unpack[GraphChoices],
) -> GraphComparison:
    """Compare the attribution graphs of two subsets of one network.

    Parameters
    ----------
    store
        With aggregates of influences.
    first, second
        Names of subsets, or any sets of instances.
    subsets
        Name of the collection of the first; None: the usual one.
    other_subsets
        Collection of the second one; None: the collection of the first.
    jackknife
        In how many blocks of instances errors of the scores are estimated, by which
        nodes are tested on what they are kept by; 0: they are not.
    halves
        Whether graphs of random halves are made, for how alike they are by chance; else
        that is told of stored graphs that know it, and of sets up to
        :data:`nnviz.graphs.making.HALVED_INSTANCES`, which are counted so anyway.
    client
        Client of a running cluster, for sets that are counted; None counts here.
    **options
        As in :func:`nnviz.graphs.making.attribution_graph`.

    Raises
    ------
    UnknownNameError
        If there is no such subset or collection.
    MissingDataError
        If nothing has been aggregated, no influences were extracted, or a subset has no
        instances.
    ConfigError
        If an option has no such value.
    """
    one = SubsetGraphs(store, subsets)
    is_same = other_subsets in (None, subsets)
    two = one if is_same else SubsetGraphs(store, str(other_subsets))
    return compare_made(
        (one, first),
        (two, second),
        jackknife=jackknife,
        halves=halves,
        client=client,
        **options,
    )


def compare_made(
    first: Side,
    second: Side,
    *,
    jackknife: int = 0,
    halves: bool = True,
    client: Client | None = None,
    **options: Unpack[GraphChoices],
) -> GraphComparison:
    """Compare the graphs of two subsets, each of a collection that is open already.

    Every set of instances is counted once, and once only if it is both of them.

    Parameters
    ----------
    first, second
        The graphs of a collection; and the name of one of its subsets, or any set of
        instances.
    jackknife, halves, client, **options
        As in :func:`compare_subsets`.

    Raises
    ------
    UnknownNameError
        If there is no such subset.
    MissingDataError
        If a subset has no instances.
    """
    one, two = first[0], second[0]
    is_same = one is two and first[1] == second[1]
    n_blocks = jackknife or (2 if halves else 0)
    a = _counted(first, n_blocks, client)
    b = a if is_same else _counted(second, n_blocks, client)
    notes: list[str] = []
    # The relevance of each is told against the other: what the output would lose, to
    # first order, if a channel were as it is there.
    against: tuple[SubsetTotals | None, SubsetTotals | None] = None, None
    is_one_network = one.store.url == two.store.url
    if options.get("scoring") == "relevance" and is_one_network and not is_same:
        against = b.totals, a.totals
        notes.append("the relevance of each is told against the mean in the other")
    graphs = (
        one.graph_of(a.totals, against=against[0], **options),
        two.graph_of(b.totals, against=against[1], **options),
    )
    layers = graphs[0].layers
    tested: tuple[FullGraph, FullGraph] | None = None
    if not is_one_network:
        notes.append("both networks saw the same instances, so that tests are cautious")
    elif not is_same:
        tested, said = _disjoint(first, second, layers, client)
        notes += said
    scores = None
    if jackknife and a.blocks is not None and b.blocks is not None:
        scores = (
            one.node_scores(a.blocks, against=against[0], **options),
            two.node_scores(b.blocks, against=against[1], **options),
        )
    elif jackknife:
        notes.append("errors of scores need two instances in each subset at least")
    alike = [
        made.halves
        if side.blocks is None
        else graph.half_likeness(side.blocks, against=other, **options)
        for graph, made, side, other in zip(
            (one, two), graphs, (a, b), against, strict=True
        )
    ]
    return compare_graphs(
        *graphs,
        first_full=one.full(a.totals, layers),
        second_full=two.full(b.totals, layers),
        tested=tested,
        scores=scores,
        halves=(alike[0], alike[1]),
        notes=notes,
    )


@dataclass(frozen=True, slots=True)
class _Counted:
    totals: SubsetTotals
    blocks: BlockTotals | None
    """None where none were counted, or there are fewer than two instances."""


def _counted(side: Side, n_blocks: int, client: Client | None) -> _Counted:
    """Count a subset once, in blocks where they are needed."""
    graphs, subset = side
    if not n_blocks:
        found = graphs.totals(subset, client=client)
        blocks = found if isinstance(found, BlockTotals) else None
        return _Counted(found, _usable(blocks))
    blocks = graphs.counted(subset, n_blocks, client)
    known = isinstance(subset, str) and graphs.has(subset)
    totals = graphs.totals(subset) if known else blocks
    return _Counted(totals, _usable(blocks))


def _usable(blocks: BlockTotals | None) -> BlockTotals | None:
    # Facts of the instances may be without influences though aggregates have them.
    if blocks is None or "influence_counts" not in blocks.blocks:
        return None
    return blocks if blocks.n_blocks > 1 else None


def _disjoint(
    first: Side, second: Side, layers: tuple[str, ...], client: Client | None
) -> tuple[tuple[FullGraph, FullGraph] | None, list[str]]:
    """Return full graphs of what is not in both, and what to say; None to take all."""
    if (
        first[0] is second[0]
        and first[0].is_partition
        and all(side[1] in side[0].names for side in (first, second))
    ):
        return None, []
    try:
        a, b = (side[0].instances(side[1]) for side in (first, second))
    except NnvizError:
        return None, ["whether the subsets share instances is not known"]
    n_shared = len(np.intersect1d(a.instances, b.instances, assume_unique=True))
    if not n_shared:
        return None, []
    only = [
        Subset(f"only {x.name}", np.setdiff1d(x.instances, y.instances), x.n_masked)
        for x, y in ((a, b), (b, a))
    ]
    if not len(only[0]) and not len(only[1]):
        return None, ["both subsets are the same instances"]
    sets = [own if len(own) else x for own, x in zip(only, (a, b), strict=True)]
    names = [
        f"the {len(own):,} that are only in {x.name!r}" if len(own) else repr(x.name)
        for own, x in zip(only, (a, b), strict=True)
    ]
    text = f"they share {n_shared:,} instances: tests compare {' with '.join(names)}"
    graphs = first[0], second[0]
    one, two = (
        made.full(made.totals(subset, client=client), layers)
        for made, subset in zip(graphs, sets, strict=True)
    )
    return (one, two), [text]


def compare_networks(
    first: Store,
    second: Store,
    subset: str | Subset,
    *,
    subsets: str | None = None,
    match: bool = True,
    jackknife: int = 0,
    **options: Unpack[GraphChoices],
) -> GraphComparison:
    """Compare the attribution graphs of one subset in two networks.

    Parameters
    ----------
    first, second
        Stores of two networks with the same layers over the same instances: before and
        after further training, for instance.
    subset
        Name of a subset that both have; a query, which is asked of both, unless it
        names instances or channels by their numbers; or a set of instances of the
        first: then the same instances are taken.
    subsets
        Name of its collection; None: the usual one of the first network.
    match
        Whether channels are matched by their activations, as those of two seeds must
        be. Else channels of one number belong together, as in two checkpoints of one
        training.
    jackknife
        As in :func:`compare_subsets`.
    **options
        As in :func:`nnviz.graphs.making.attribution_graph`.

    Returns
    -------
    GraphComparison
        The second network's channels have the numbers of the first one's that they
        match (:func:`nnviz.graphs.network_matching.matched_channels`); how well they
        do is in it.

    Raises
    ------
    ShapeError
        If the networks have other layers.
    ConfigError
        If the stores share no instance, or an option has no such value.
    UnknownNameError
        If there is no such subset or collection.
    MissingDataError
        If nothing has been aggregated, or no influences were extracted.
    """
    check_layers_agree(first, second)
    matches = matched_channels(first, second) if match else None
    one = SubsetGraphs(first, subsets)
    channels = None if matches is None else matches.channels
    two = SubsetGraphs(second, one.collection, channels=channels)
    return compare_in_networks(
        one, two, subset, matches=matches, jackknife=jackknife, **options
    )


def compare_in_networks(
    first: SubsetGraphs,
    second: SubsetGraphs,
    subset: str | Subset,
    *,
    matches: Matches | None,
    query: str = "",
    jackknife: int = 0,
    halves: bool = True,
    **options: Unpack[GraphChoices],
) -> GraphComparison:
    """Compare one subset's graphs in two networks whose collections are open already.

    Parameters
    ----------
    first, second
        The graphs of both networks; the second's with the channels of `matches`.
    subset
        Name of a subset that both have, a query, or a set of instances of the first.
    matches
        Which channels belong together; None: those of one number.
    query
        What the set was found by: see :func:`nnviz.graphs.same_subset.same_subset`.
    jackknife, halves, **options
        As in :func:`compare_subsets`.

    Raises
    ------
    UnknownNameError
        If there is no such subset.
    QueryError
        If a query cannot be asked of one of them.
    MissingDataError
        If it has no instances in one of them.
    """
    other, notes = subset, list[str]()
    if isinstance(subset, Subset) or not first.has(subset):
        query = subset if isinstance(subset, str) else query
        subset = first.instances(subset)
        other, how = same_subset(first.store, second.store, subset, query=query)
        notes.append(how)
    compared = compare_made(
        (first, subset), (second, other), jackknife=jackknife, halves=halves, **options
    )
    if matches is not None:
        notes.insert(0, str(matches))
    return dataclasses.replace(
        compared, matches=matches, notes=(*notes, *compared.notes)
    )

"""What does one ask of a store? Its graphs, and what tells two of them apart."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Unpack

from nnviz.argument_types import checked
from nnviz.derivation.examples import read_examples
from nnviz.errors import ConfigError, MissingDataError, UnknownNameError
from nnviz.explanation.instance_explanation import InstanceExplanation
from nnviz.explanation.own_graph import own_graph
from nnviz.graphs.attribution_graph import AttributionGraph
from nnviz.graphs.comparison import GraphComparison
from nnviz.graphs.from_totals import output_names
from nnviz.graphs.making import SubsetGraphs
from nnviz.graphs.making_comparisons import compare_networks, compare_subsets
from nnviz.graphs.making_motifs import subset_motifs
from nnviz.graphs.motif_search import AT_LEAST, MOST, SHUFFLES
from nnviz.graphs.motifs import Motifs
from nnviz.graphs.options import GraphChoices
from nnviz.graphs.published import compare_published
from nnviz.graphs.rescoring import Rescored, rescored_graph
from nnviz.graphs.summit_files import SUFFIX, read_summit_file
from nnviz.store.store import Store, opened
from nnviz.subsets.subsets import Subset

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["attribution_graph", "compare", "instance_graph", "motifs", "rescore"]


@checked
def attribution_graph(
    store: Store | str | os.PathLike[str],
    subset: str | int | Subset | None = None,
    *,
    subsets: str | None = None,
    jackknife: int = 0,
    pictures: bool = True,
    client: Client | None = None,
    **options: Unpack[GraphChoices],
) -> AttributionGraph:
    """Return the attribution graph of one subset; a notebook draws it.

    Parameters
    ----------
    store
        The store, or its path; influences were aggregated. Or the path of a graph that
        SUMMIT published (``ag-N.json``), which is read as it is, without a subset.
    subset
        Name of a subset, its number in the collection, or any set of instances.
    subsets
        Name of the collection that it is in; None: of the labels, or without labels
        the next that was aggregated.
    jackknife
        In how many blocks of instances errors of the scores are estimated; 0: none.
    pictures
        Whether to read what excites each node most, for the drawing.
    client
        Of a running cluster, for subsets that are counted; None counts here.
    **options
        ``preset``, ``share``, ``inner``, ``weight`` and ``scoring``, each as in
        :class:`nnviz.graphs.options.GraphOptions`.

    Raises
    ------
    UnknownNameError
        If there is no such subset or collection.
    MissingDataError
        If nothing has been aggregated, or no influences were extracted.
    ConfigError
        If an option has no such value, or neither a subset nor a published file is
        named.
    StoreFormatError
        If a published file does not follow SUMMIT's schema.
    """
    if subset is None:
        if isinstance(store, Store) or not os.fspath(store).endswith(SUFFIX):
            msg = (
                "no subset is named; name one of the store, or in its place the path "
                "of a graph that SUMMIT published, ag-N.json"
            )
            raise ConfigError(msg)
        return read_summit_file(store)
    made = opened(store)
    graphs = SubsetGraphs(made, subsets)
    graph = graphs.graph(
        _named(subset, graphs),
        jackknife=jackknife,
        client=client,
        **options,
    )
    return _to_be_drawn(made, graph, pictures=pictures)


def instance_graph(
    store: Store,
    explanation: InstanceExplanation,
    *,
    pictures: bool = True,
    **options: Unpack[GraphChoices],
) -> AttributionGraph:
    """Return the graph of one explained instance, to be drawn.

    Parameters
    ----------
    store
        Of the instance; influences were aggregated.
    explanation
        What the network did with it.
    pictures, **options
        As in :func:`attribution_graph`; ``share`` and ``inner`` alone.
    """
    graph = own_graph(store, explanation, **options)
    return _to_be_drawn(store, graph, pictures=pictures)


def _to_be_drawn(
    store: Store, graph: AttributionGraph, *, pictures: bool
) -> AttributionGraph:
    """Return a graph with what only its drawing needs: names of outputs, pictures."""
    names = output_names(store, graph.layers[-1])
    found = _pictures(store, graph) if pictures else {}
    return dataclasses.replace(graph, pictures=found, output_names=names)


def _named(subset: object, graphs: SubsetGraphs) -> str | Subset:
    names = graphs.names
    if isinstance(subset, (str, Subset)):
        return subset
    if isinstance(subset, int) and not isinstance(subset, bool):
        if 0 <= subset < len(names):
            return names[subset]
        msg = (
            f"there is no subset {subset}; collection {graphs.collection!r} "
            f"has the subsets 0 to {len(names) - 1}"
        )
        raise UnknownNameError(msg)
    msg = (
        f"the subset is a {type(subset).__name__}; it should be a name, its number, or "
        "a Subset"
    )
    raise ConfigError(msg)


def _numbered(
    store: Store, subset: str | int | Subset, subsets: str | None
) -> str | Subset:
    """Return the name of what is given by its number, and else what is given."""
    if isinstance(subset, int):
        return _named(subset, SubsetGraphs(store, subsets))
    return subset


def _class_name(store: Store, subset: str | int | Subset, subsets: str | None) -> str:
    """Return the name of what two networks have."""
    found = _numbered(store, subset, subsets)
    if not isinstance(found, str):
        msg = f"the subset of two networks is named; it is a {type(found).__name__}"
        raise ConfigError(msg)
    return found


def _pictures(store: Store, graph: AttributionGraph) -> dict[tuple[str, int], bytes]:
    """Return the picture of each node's strongest example, where there is one."""
    found: dict[tuple[str, int], bytes] = {}
    by_layer: dict[str, list[int]] = {}
    for layer, channel in graph:
        by_layer.setdefault(layer, []).append(channel)
    for layer, channels in by_layer.items():
        try:
            examples = read_examples(store, layer)
        except (MissingDataError, UnknownNameError):
            continue
        pictures = {channel: examples.picture(channel, 0) for channel in channels}
        found |= {(layer, channel): p for channel, p in pictures.items() if p}
    return found


@checked
def compare(
    store: Store | str | os.PathLike[str],
    first: str | int | Subset,
    second: str | int | Subset | None = None,
    *,
    other_store: Store | str | os.PathLike[str] | None = None,
    published: str | os.PathLike[str] | None = None,
    subsets: str | None = None,
    other_subsets: str | None = None,
    match: bool = True,
    jackknife: int = 0,
    pictures: bool = True,
    **options: Unpack[GraphChoices],
) -> GraphComparison:
    """Say what tells two graphs apart: of two subsets, or networks, or a published one.

    Parameters
    ----------
    store
        The store, or its path.
    first, second
        Names of subsets, their numbers in the collections, or sets of instances;
        without `second` there is another network's store, or a published graph.
    other_store
        Of another network with the same layers over the same instances, of which the
        same subset is compared: a query is asked of its own columns.
    published
        File of the same class's graph that SUMMIT published (``ag-N.json``), which is
        compared in the layers of the same names.
    subsets, other_subsets
        Collections of the first and, if it is another one, of the second subset; None
        as in :func:`nnviz.attribution_graph`.
    match
        Whether channels of two networks are matched by their activations, as those of
        two seeds must be; else channels of one number belong together, as in two
        checkpoints of one training.
    jackknife
        In how many blocks of instances errors of the scores are estimated, by which
        nodes are tested on what they are kept by, 20 for instance; 0: they are not.
    pictures
        Whether to read what excites each node most, for the drawing.
    **options
        ``preset``, ``share``, ``inner``, ``weight`` and ``scoring``, as in
        :func:`nnviz.attribution_graph`.

    Raises
    ------
    ConfigError
        If there is none of a second subset, another store and a file, or several.
    UnknownNameError
        If there is no such subset or collection.
    MissingDataError
        If nothing has been aggregated.
    """
    if [second, other_store, published].count(None) != 2:
        msg = (
            "give a second subset, another network's store as other_store, or a file "
            "as published; one of them"
        )
        raise ConfigError(msg)
    one = opened(store)
    if published is not None:
        theirs = read_summit_file(published)
        compared = compare_published(
            one, _class_name(one, first, subsets), theirs, subsets=subsets, **options
        )
        return _both_to_be_drawn(one, one, compared, pictures=pictures)
    if other_store is None:
        assert second is not None  # above
        compared = compare_subsets(
            one,
            _numbered(one, first, subsets),
            _numbered(one, second, other_subsets or subsets),
            subsets=subsets,
            other_subsets=other_subsets,
            jackknife=jackknife,
            **options,
        )
        return _both_to_be_drawn(one, one, compared, pictures=pictures)
    assert other_store is not None  # above
    other = opened(other_store)
    compared = compare_networks(
        one,
        other,
        _numbered(one, first, subsets),
        subsets=subsets,
        match=match,
        jackknife=jackknife,
        **options,
    )
    return _both_to_be_drawn(one, other, compared, pictures=pictures)


def _both_to_be_drawn(
    store: Store, other: Store, compared: GraphComparison, *, pictures: bool
) -> GraphComparison:
    return dataclasses.replace(
        compared,
        first=_to_be_drawn(store, compared.first, pictures=pictures),
        second=_to_be_drawn(other, compared.second, pictures=pictures),
    )


@checked
def motifs(
    store: Store | str | os.PathLike[str],
    *,
    subsets: str | None = None,
    at_least: int = AT_LEAST,
    most: int = MOST,
    shuffles: int = SHUFFLES,
    **options: Unpack[GraphChoices],
) -> Motifs:
    """Return the parts that the graphs of many subsets share, such as dog breeds'.

    Parameters
    ----------
    store
        The store, or its path.
    subsets
        Name of the collection whose graphs are searched; None as in
        :func:`nnviz.attribution_graph`.
    at_least
        Graphs that share a part, 2 or more.
    most
        Parts, at most.
    shuffles
        In how many shuffled tables of the same graphs is looked for what chance would
        find: of n of them, something is listed in one of n + 1 collections that share
        nothing. 0: everything is listed.
    **options
        ``preset``, ``share``, ``inner``, ``weight`` and ``scoring``, as in
        :func:`nnviz.attribution_graph`.

    Raises
    ------
    UnknownNameError
        If there is no such collection.
    MissingDataError
        If nothing has been aggregated, or no influences were extracted.
    ConfigError
        If an option has no such value.
    """
    return subset_motifs(
        opened(store),
        subsets,
        at_least=at_least,
        most=most,
        shuffles=shuffles,
        **options,
    )


@checked
def rescore(*files: str | os.PathLike[str]) -> Rescored:
    """Score the nodes of graphs that SUMMIT published anew, by their own arcs.

    Parameters
    ----------
    *files
        Published graphs, ``ag-0.json``.

    Returns
    -------
    Rescored
        Both scores of all nodes, and for each layer how well their orders agree.

    Raises
    ------
    ConfigError
        If no file is named, or one cannot be read.
    StoreFormatError
        If one does not follow SUMMIT's schema.
    """
    if not files:
        msg = "no file is named; name graphs that SUMMIT published, such as 'ag-0.json'"
        raise ConfigError(msg)
    return Rescored(tuple(rescored_graph(read_summit_file(x)) for x in files))

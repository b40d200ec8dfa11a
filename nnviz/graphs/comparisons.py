"""What differs between two subsets, or between two networks on the same instances?

Channels of two networks are matched layer by layer, by what the same instances excite;
the second network's graph is then written in the first one's numbers.
"""

from __future__ import annotations

from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import ConfigError, ShapeError
from nnviz.graphs.comparison import GraphComparison, compare_graphs
from nnviz.graphs.full_graphs import output_layer
from nnviz.graphs.making import GraphChoices, SubsetGraphs
from nnviz.graphs.matching import match_channels
from nnviz.store.store import Store
from nnviz.subsets.subsets import Subset

__all__ = ["compare_networks", "compare_subsets", "matched_channels"]

Matches = dict[str, NDArray[np.int64]]


def compare_subsets(
    store: Store,
    first: str | Subset,
    second: str | Subset,
    *,
    subsets: str = "label",
    other_subsets: str | None = None,
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
        Name of the collection of the first.
    other_subsets
        Of the second; None: of the same one.
    **options
        As in :func:`nnviz.graphs.making.attribution_graph`.

    Raises
    ------
    UnknownNameError
        If there is no such subset or collection.
    MissingDataError
        If nothing has been aggregated, or no influences were extracted.
    ConfigError
        If an option has no such value.
    """
    one = SubsetGraphs(store, subsets)
    other = other_subsets is None or other_subsets == subsets
    two = one if other else SubsetGraphs(store, str(other_subsets))
    graphs = one.graph(first, **options), two.graph(second, **options)
    layers = graphs[0].layers
    return compare_graphs(
        *graphs,
        first_full=one.full(first, layers),
        second_full=two.full(second, layers),
    )


def compare_networks(
    first: Store,
    second: Store,
    subset: str,
    *,
    subsets: str = "label",
    **options: Unpack[GraphChoices],
) -> GraphComparison:
    """Compare the attribution graphs of one subset in two networks.

    Parameters
    ----------
    first, second
        Stores of two networks with the same layers over the same instances: before and
        after further training, for instance.
    subset
        Name of a subset that both have.
    subsets
        Name of its collection.
    **options
        As in :func:`nnviz.graphs.making.attribution_graph`.

    Returns
    -------
    GraphComparison
        The second network's channels have the numbers of the first one's that they
        match (:func:`matched_channels`).

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
    matches = matched_channels(first, second)
    one = SubsetGraphs(first, subsets)
    two = SubsetGraphs(second, subsets, channels=matches)
    graphs = one.graph(subset, **options), two.graph(subset, **options)
    layers = graphs[0].layers
    return compare_graphs(
        *graphs,
        first_full=one.full(subset, layers),
        second_full=two.full(subset, layers),
    )


def matched_channels(first: Store, second: Store) -> Matches:
    """Match the channels of two networks in every recorded layer.

    Parameters
    ----------
    first, second
        Stores of two networks with the same layers. Instances are joined by their ids;
        those that only one store has, or that one could not use, are left out.

    Returns
    -------
    dict
        By layer, the second network's channel at each of the first one's, shape (C,).
        The network's outputs keep their numbers, and are not in it.

    Raises
    ------
    ShapeError
        If the networks have other layers.
    ConfigError
        If the stores share no instance.
    """
    sizes = [
        {layer.name: layer.n_channels for layer in store.layers}
        for store in (first, second)
    ]
    if sizes[0] != sizes[1]:
        odd = sorted(set(sizes[0].items()) ^ set(sizes[1].items()))[:4]
        names = ", ".join(f"{name} ({n} channels)" for name, n in odd)
        msg = (
            f"the networks have other layers, as {names}; compare two states of one "
            "architecture, recorded with the same layers"
        )
        raise ShapeError(msg)
    rows = _shared_rows(first, second)
    matches = {}
    for name in sizes[0]:
        if name == output_layer(first):
            continue
        values = [
            store.activations(name)[index]
            for store, index in zip((first, second), rows, strict=True)
        ]
        matches[name] = match_channels(*values)[0]
    return matches


def _shared_rows(
    first: Store, second: Store
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of the instances that both stores have and can use."""
    ids: list[NDArray[np.object_]] = [first.column("id"), second.column("id")]
    shared, one, two = np.intersect1d(ids[0], ids[1], return_indices=True)
    if not len(shared):
        msg = (
            f"the stores {first.url!r} and {second.url!r} share no instance: "
            f"{ids[0][:1].tolist()} and {ids[1][:1].tolist()}, for example; networks "
            "are compared on the same data set"
        )
        raise ConfigError(msg)
    usable = first.usable()[one] & second.usable()[two]
    return one[usable].astype(np.int64), two[usable].astype(np.int64)

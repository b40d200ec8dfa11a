"""What does one ask of a store? Its graphs, and what tells two of them apart."""

from __future__ import annotations

import os
from typing import Unpack

from nnviz.errors import ConfigError
from nnviz.graphs.comparison import (
    GraphComparison,
    compare_networks,
    compare_subsets,
)
from nnviz.graphs.options import GraphChoices
from nnviz.interface.given import opened
from nnviz.store.store import Store
from nnviz.subsets.subsets import Subset

__all__ = ["compare"]


def compare(
    store: Store | str | os.PathLike[str],
    first: str | Subset,
    second: str | Subset | None = None,
    *,
    other_store: Store | str | os.PathLike[str] | None = None,
    subsets: str = "label",
    other_subsets: str | None = None,
    **options: Unpack[GraphChoices],
) -> GraphComparison:
    """Say what tells two attribution graphs apart: of two subsets, or of two networks.

    Parameters
    ----------
    store
        The store, or its path.
    first, second
        Names of subsets, or sets of instances; without `second` there is another
        network's store.
    other_store
        Of another network with the same layers over the same instances, of which the
        same subset is compared.
    subsets, other_subsets
        Collections of the first and, if it is another one, of the second subset.
    **options
        ``preset``, ``share``, ``inner``, ``weight`` and ``scoring``, as in
        :func:`nnviz.attribution_graph`.

    Raises
    ------
    ConfigError
        If there is neither a second subset nor another store, or both.
    UnknownNameError
        If there is no such subset or collection.
    MissingDataError
        If nothing has been aggregated.
    """
    if (second is None) == (other_store is None):
        msg = "give a second subset, or another network's store as other_store"
        raise ConfigError(msg)
    one = opened(store)
    if other_store is None:
        assert second is not None  # above
        return compare_subsets(
            one,
            first,
            second,
            subsets=subsets,
            other_subsets=other_subsets,
            **options,
        )
    if not isinstance(first, str):
        msg = f"the subset of two networks is named; it is a {type(first).__name__}"
        raise ConfigError(msg)
    return compare_networks(one, opened(other_store), first, subsets=subsets, **options)

"""What does a query mean in another network's store over the same instances?

Its columns have other values there: what the other network predicts, and how surely.
Numbers of instances and of channels, and names that only one store knows, mean nothing
there: of those queries the same instances are taken, joined by their ids.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from nnviz.aggregation.index_channels import IndexedChannels
from nnviz.errors import MissingDataError, QueryError
from nnviz.graphs.network_matching import shared_rows
from nnviz.store.store import Store
from nnviz.subsets.expressions import (
    Activation,
    ColumnName,
    Named,
    Top,
    parse_query,
)
from nnviz.subsets.lookup import SubsetFinder
from nnviz.subsets.subsets import Subset

__all__ = ["same_subset"]

OF_ONE_STORE = frozenset({"instance"})
"""Columns whose values are numbers of a store's own."""


def same_subset(
    first: Store, second: Store, subset: Subset, *, query: str = ""
) -> tuple[Subset, str]:
    """Return what a subset is in the store of another network.

    Parameters
    ----------
    first, second
        Stores of two networks over the same instances.
    subset
        Of the first.
    query
        What it was found by, which is asked of the second store; empty: the same
        instances are taken.

    Returns
    -------
    Subset
        Instances of the second store, of the same name.
    str
        How they were found, in words.

    Raises
    ------
    QueryError
        If the second store has no such column, or no such value in it.
    ConfigError
        If the stores share no instance.
    MissingDataError
        If no instance is in it there.
    """
    finder = SubsetFinder(second, IndexedChannels(second))
    if query and _is_portable(query, finder):
        try:
            found = finder.find(query, name=subset.name)
        except QueryError as error:
            msg = (
                f"{query!r} cannot be asked of the other network's store, "
                f"{second.url!r}: {error}"
            )
            raise QueryError(msg) from error
        how = "as its own columns say"
    else:
        one, two = shared_rows(first, second)
        there = np.sort(two[np.isin(one, subset.instances)])
        found = Subset(subset.name, there, len(second.usable()))
        how = "the same instances"
    if not len(found):
        msg = (
            f"no instance is in {subset.name!r} in the other network's store, "
            f"{second.url!r}: there is nothing to compare with"
        )
        raise MissingDataError(msg)
    return found, f"in the other network {subset.name!r} has {len(found):,} ({how})"


def _is_portable(query: str, finder: SubsetFinder) -> bool:
    """Whether a text can be asked of another store."""
    try:
        tree = parse_query(query)
    except QueryError:
        return finder.named(query) is not None
    columns = finder.columns.names
    return not any(
        isinstance(part, (Activation, Top))
        or (isinstance(part, ColumnName) and part.name in OF_ONE_STORE)
        or (
            isinstance(part, Named)
            and part.name not in columns
            and finder.named(part.name) is None
        )
        for part in _parts(tree)
    )


def _parts(tree: object) -> Iterator[object]:
    yield tree
    if dataclasses.is_dataclass(tree):
        for field in dataclasses.fields(tree):
            value = getattr(tree, field.name)
            for part in value if isinstance(value, tuple) else (value,):
                yield from _parts(part)

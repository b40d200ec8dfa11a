"""Which subsets are checked? Those of a collection, or any sets of instances."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from nnviz.aggregation.aggregates import aggregates_of, usual_collection
from nnviz.aggregation.aggregation import aggregate
from nnviz.aggregation.index_channels import IndexedChannels
from nnviz.engine.progress import Listener
from nnviz.store.store import Store
from nnviz.subsets.lookup import SubsetFinder
from nnviz.subsets.naming import named_subsets
from nnviz.subsets.subsets import SubsetCollection, collect_subsets

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["asked_subsets"]


def asked_subsets(
    store: Store,
    names: Sequence[str],
    subsets: str | None,
    *,
    client: Client | None = None,
    listeners: Iterable[Listener] = (),
) -> tuple[SubsetCollection, list[str] | None]:
    """Return the collection that is meant, and which subsets of it.

    Names that no aggregated collection has are queries, or saved subsets. They become a
    collection of their own, which is aggregated here: their channels are counted.

    Parameters
    ----------
    store
        Whose labels, or another collection, were aggregated.
    names
        Of subsets, or queries; without any, all subsets of the collection.
    subsets
        Name of the collection; None: the labels, or without labels the next that was
        aggregated, and whatever else `names` say.
    client
        Of a running cluster; None counts in this process.
    listeners
        Told what is aggregated.

    Returns
    -------
    tuple
        The collection, and the names in it; None for all.

    Raises
    ------
    DatasetError
        If there is no such collection.
    MissingDataError
        If nothing has been aggregated.
    QueryError
        If a name is no subset, and no query of this store.
    """
    collection = named_subsets(store, subsets or usual_collection(store))
    if not names or subsets is not None:
        return collection, list(names) or None
    known = aggregates_of(store, collection.name)
    if all(known.named(name) in known.all_names for name in names):
        return collection, list(names)
    finder = SubsetFinder(store, IndexedChannels(store))
    found = [finder.find(name) for name in dict.fromkeys(names)]
    digest = hashlib.sha256("\n".join(one.name for one in found).encode())
    made = collect_subsets(
        found,
        store.n_instances,
        name=f"query-{digest.hexdigest()[:8]}",
        kind="query",
    )
    aggregate(store, [made], client=client, listeners=listeners)
    return made, None

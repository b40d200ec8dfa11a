"""Against what is relevance told? The reference, chosen in one place.

The relevance of a channel in an instance is ``product - r * gradient``: what the
explained output would lose, to first order, if the channel had the value ``r``
everywhere. The reference ``r`` is chosen here, for everybody who asks:

- ``mean``: the channel's mean over all usable instances and their positions, as if the
  channel said nothing;
- ``zero``: the sum over positions of gradient times activation;
- any set of instances: the channel's mean in these. Of A against the reference B it is,
  to first order, what tells A's outputs from what they would be with B's channels.

Symbols: S subsets, C channels of a layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nnviz.aggregation.aggregates import aggregates_of
from nnviz.aggregation.relevance import RelevanceSums, check_relevance
from nnviz.aggregation.totals import relevance_totals
from nnviz.errors import ConfigError, MissingDataError
from nnviz.store.store import Store
from nnviz.subsets.subsets import Subset

__all__ = [
    "REFERENCES",
    "Reference",
    "reference_values",
    "relevance_sums",
]

Reference = str | Subset
"""``mean``, ``zero``, or a set of instances."""

REFERENCES = ("mean", "zero")

Values = NDArray[np.float64]


def relevance_sums(store: Store, subsets: Sequence[Subset]) -> dict[str, RelevanceSums]:
    """Sum relevance over any sets of instances, by shown layer.

    Parameters
    ----------
    store
        With a complete extraction.
    subsets
        S sets, at least one; unusable instances do not count.

    Raises
    ------
    MissingDataError
        If the run has recorded no relevance, or is not complete.
    """
    usable = store.usable()
    sizes = np.array([int(usable[one.instances].sum()) for one in subsets])
    return {
        layer: RelevanceSums(sizes, sums)
        for layer, sums in relevance_totals(store, subsets).items()
    }


def reference_values(store: Store, reference: Reference) -> dict[str, Values]:
    """Return the value of every channel that relevance is told against, by shown layer.

    Parameters
    ----------
    store
        With a complete extraction.
    reference
        ``mean``, ``zero``, or a set of instances.

    Returns
    -------
    dict
        By layer, shape (C,).

    Raises
    ------
    ConfigError
        If the reference is another text, or an empty set.
    MissingDataError
        If the run has recorded no relevance.
    """
    check_relevance(store)
    if isinstance(reference, str):
        if reference == "zero":
            return {x.name: np.zeros(x.n_channels) for x in store.shown_layers}
        if reference != "mean":
            msg = (
                f"the reference is {reference!r}; it is 'mean' (of all instances), "
                "'zero', or a set of instances"
            )
            raise ConfigError(msg)
        known = _of_all(store)
        if known is not None:
            return known
        reference = Subset("all", np.arange(store.n_instances))
    found = relevance_sums(store, [reference])
    if any(not one.n_instances.all() for one in found.values()):
        msg = (
            f"the reference {reference.name!r} has no usable instance, and so no mean; "
            "give another set, 'mean' or 'zero'"
        )
        raise ConfigError(msg)
    return {layer: one.position_mean[0] for layer, one in found.items()}


def _of_all(store: Store) -> dict[str, Values] | None:
    """Return the means over all instances where they were aggregated."""
    try:
        everything = aggregates_of(store, "all")
        if everything.note:
            return None
        return {
            layer.name: everything.relevance_sums(layer.name).position_mean[0]
            for layer in store.shown_layers
        }
    except MissingDataError:
        return None

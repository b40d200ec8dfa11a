"""What of a class against all others is in the aggregates? All of it, without a read.

The aggregates have the sums of every class and of all instances; the difference is what
all others have. So the commonest question of the page reads no instance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.aggregation.aggregates import Aggregates
from nnviz.errors import NnvizError
from nnviz.store.store import Store
from nnviz.subsets.columns import InstanceColumns

__all__ = ["aggregated_totals"]

COLLECTIONS = ("label", "prediction")
SUMS = (("activation_sum", False), ("activation_sum_of_squares", True))


def aggregated_totals(
    store: Store,
    columns: InstanceColumns,
    subset: NDArray[np.int64],
    against: NDArray[np.int64],
) -> dict[str, dict[str, Any]] | None:
    """Return the totals of a class and of all other instances, if they are known.

    Parameters
    ----------
    store
        The run.
    columns
        Of its instance table.
    subset, against
        Usable instances of two sets without a common one, ascending.

    Returns
    -------
    dict or None
        By shown layer ``activation_counts`` (csr_array, int64), ``activation_sum`` and
        ``activation_sum_of_squares`` (float64), shape (2, C), of the set first; None
        where the set is no class, the other one not all the rest, or the aggregates are
        missing, or do not cover every instance.
    """
    n_usable = np.count_nonzero(columns.usable)
    if not len(subset) or len(subset) + len(against) != n_usable:
        return None
    for name in COLLECTIONS:
        place = _class_of(columns, name, subset)
        if place is None:
            continue
        try:
            return _difference(store, name, place, (len(subset), len(against)))
        except NnvizError:  # not aggregated, or not to its end
            return None
    return None


def _class_of(
    columns: InstanceColumns, name: str, subset: NDArray[np.int64]
) -> int | None:
    """Return the class whose usable instances these are, every one of them."""
    column = columns.column(name)
    if column.kind != "class" or column.null[subset].any():
        return None
    place = int(column.values[subset[0]])
    if not (column.values[subset] == place).all():
        return None
    members = (column.values == place) & ~column.null & columns.usable
    return place if np.count_nonzero(members) == len(subset) else None


def _difference(
    store: Store, name: str, place: int, sizes: tuple[int, int]
) -> dict[str, dict[str, Any]] | None:
    classes, everything = Aggregates(store, name), Aggregates(store, "all")
    row = classes.row(classes.all_names[place])
    counted = (int(classes.n_instances[row]), int(everything.n_instances[0]))
    if classes.note or everything.note or counted != (sizes[0], sum(sizes)):
        return None
    found: dict[str, dict[str, Any]] = {}
    for layer in (layer.name for layer in store.shown_layers):
        count = classes.counts(layer)[[row], :]
        counts = sparse.vstack([count, everything.counts(layer) - count])
        found[layer] = {"activation_counts": sparse.csr_array(counts, dtype=np.int64)}
        for what, squares in SUMS:
            mine = classes.sums(layer, squares=squares)[row]
            rest = everything.sums(layer, squares=squares)[0] - mine
            if not np.isfinite(rest).all():
                return None  # an overflow has no difference
            found[layer][what] = np.stack([mine, rest])
    return found

"""What of a class against all others is in the aggregates? All of it, without a read.

The aggregates have the sums of every class and of all instances; the difference is what
all others have. So the commonest question of the page reads no instance. The sums of
small collections are kept, so that the next class reads nothing at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nnviz.aggregation.aggregates import Aggregates
from nnviz.errors import NnvizError
from nnviz.runs.architecture import Layer
from nnviz.store.store import Store
from nnviz.subsets.columns import InstanceColumns

__all__ = ["aggregated_totals"]

COLLECTIONS = ("label", "prediction")
SUMS = {"activation_sum": False, "activation_sum_of_squares": True}

KEPT_BYTES = 1 << 26
"""Of the sums of one collection that are kept for the next class."""

BYTES_PER_VALUE = 32
"""Of a channel of a class: two sums, and a count with its place."""


def aggregated_totals(
    store: Store,
    columns: InstanceColumns,
    subset: NDArray[np.int64],
    against: NDArray[np.int64],
    *,
    reads: bool = True,
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
    reads
        Whether sums may be read; else only those that are kept answer, at once.

    Returns
    -------
    dict or None
        By shown layer ``activation_counts`` (int64), ``activation_sum`` and
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
            if reads or _known(store).has_read(name, "all"):
                return _difference(store, name, place, (len(subset), len(against)))
        except NnvizError:  # not aggregated, or not to its end
            pass
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
    classes, everything = _summed(store, name), _summed(store, "all")
    row = classes.aggregates.row(classes.aggregates.all_names[place])
    counted = (
        int(classes.aggregates.n_instances[row]),
        int(everything.aggregates.n_instances[0]),
    )
    notes = classes.aggregates.note or everything.aggregates.note
    if notes or counted != (sizes[0], sum(sizes)):
        return None
    found: dict[str, dict[str, Any]] = {}
    for layer in (layer.name for layer in store.shown_layers):
        mine, whole = classes.of(layer), everything.of(layer)
        count = _row(mine["activation_counts"], row)
        rest = _row(whole["activation_counts"], 0) - count
        found[layer] = {"activation_counts": np.stack([count, rest])}
        for what in SUMS:
            rest = whole[what][0] - mine[what][row]
            if not np.isfinite(rest).all():
                return None  # an overflow has no difference
            found[layer][what] = np.stack([mine[what][row], rest])
    return found


def _row(counts: sparse.csr_array, row: int) -> NDArray[np.int64]:
    """Return a row of counts, without the small matrix that SciPy would make."""
    first, end = counts.indptr[row : row + 2]
    found = np.zeros(counts.shape[1], dtype=np.int64)
    np.add.at(found, counts.indices[first:end], counts.data[first:end])
    return found


class _Summed:
    """What was summed of one collection; small ones are read once."""

    def __init__(self, aggregates: Aggregates, layers: Sequence[Layer]) -> None:
        self.aggregates = aggregates
        n_values = len(aggregates) * sum(layer.n_channels for layer in layers)
        self.is_small = n_values * BYTES_PER_VALUE <= KEPT_BYTES
        """Whether it may be kept."""
        self._layers = layers
        self._kept: dict[str, dict[str, Any]] = {}

    @property
    def is_read(self) -> bool:
        """Whether the sums of all layers are kept."""
        return len(self._kept) == len(self._layers)

    def of(self, layer: str) -> dict[str, Any]:
        """Return the sums of a layer by their names; leave them as they are."""
        found = self._kept.get(layer) or self._read(layer)
        if self.is_small:
            self._kept[layer] = found
        return found

    def _read(self, layer: str) -> dict[str, Any]:
        found = self.aggregates
        return {
            "activation_counts": found.counts(layer),
            **{what: found.sums(layer, squares=on) for what, on in SUMS.items()},
        }


class _Known:
    """The collections of an opened store whose sums were read last."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[dict[str, Any], _Summed]] = {}

    def of(self, store: Store, name: str) -> _Summed:
        written = store.groups.attributes(f"aggregates/{name}")
        before, summed = self._found.get(name, ({}, None))
        # It may have been aggregated again since.
        if summed is None or before != written or not written.get("fingerprint"):
            summed = _Summed(Aggregates(store, name), store.shown_layers)
            if summed.is_small:
                self._found[name] = written, summed
        return summed

    def has_read(self, *names: str) -> bool:
        """Whether all layers of these collections are kept."""
        return all(x in self._found and self._found[x][1].is_read for x in names)


def _summed(store: Store, name: str) -> _Summed:
    return _known(store).of(store, name)


def _known(store: Store) -> _Known:
    known = store.kept.setdefault(_Known, _Known())
    assert isinstance(known, _Known)
    return known

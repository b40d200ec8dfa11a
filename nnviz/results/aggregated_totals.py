"""What of two sets is in the aggregates? Of classes all of it, without a read.

The aggregates have the sums of every class, of what is predicted right and wrong in it,
and of all instances; the difference is what all others have. So the commonest questions
of the page read no instance. The sums of small collections are kept, so that the next
class reads nothing at all.

Symbols: N instances, C channels of a layer, S subsets of a collection.
"""

from __future__ import annotations

import weakref
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

__all__ = ["aggregated_row", "aggregated_totals"]

COLLECTIONS = ("label", "prediction", "outcome")
SUMS = {"activation_sum": False, "activation_sum_of_squares": True}

KEPT_BYTES = 1 << 26
"""Of the sums of one collection that are kept for the next class."""

BYTES_PER_VALUE = 32
"""Of a channel of a class: two sums, and a count with its place."""


def aggregated_totals(
    store: Store,
    columns: InstanceColumns,
    subset: NDArray[np.int64],
    against: NDArray[np.int64] | None,
    *,
    reads: bool = True,
) -> dict[str, dict[str, Any]] | None:
    """Return the totals of two sets, if both are known.

    Parameters
    ----------
    store
        The run.
    columns
        Of its instance table.
    subset, against
        Usable instances of two sets, ascending; None for all others. The first has to
        be as of :func:`aggregated_row`, and the second too, or all others.
    reads
        Whether sums may be read; else only those that are kept answer, at once.

    Returns
    -------
    dict or None
        By shown layer ``activation_counts`` (int64), ``activation_sum`` and
        ``activation_sum_of_squares`` (float64), shape (2, C), of the set first; None
        where one of them is not known.
    """
    n_usable = int(np.count_nonzero(columns.usable))
    is_rest = against is None or (
        len(subset) + len(against) == n_usable and _are_apart(subset, against)
    )
    first = _row_of(store, columns, subset, reads=reads, is_any_size=is_rest)
    if first is None:
        return None
    if against is None or is_rest:
        second = _rest(store, first, (len(subset), n_usable), reads=reads)
    else:
        second = _row_of(store, columns, against, reads=reads)
    if second is None:
        return None
    return {
        layer: {what: np.stack([mine[what], second[layer][what]]) for what in mine}
        for layer, mine in first.items()
    }


def aggregated_row(
    store: Store, columns: InstanceColumns, instances: NDArray[np.int64]
) -> dict[str, dict[str, NDArray[Any]]] | None:
    """Return the totals of one set, if it is a subset that was aggregated.

    Parameters
    ----------
    store
        The run.
    columns
        Of its instance table.
    instances
        Usable ones, ascending.

    Returns
    -------
    dict or None
        As of :func:`aggregated_totals`, shape (C,) each; None where these are not all
        usable instances of a class, by label or prediction, or all that are predicted
        right, or wrong, in one, or where the aggregates are missing, do not cover every
        instance, or are too large to be kept: then it is quicker to count.
    """
    return _row_of(store, columns, instances)


def _row_of(
    store: Store,
    columns: InstanceColumns,
    instances: NDArray[np.int64],
    *,
    reads: bool = True,
    is_any_size: bool = False,
) -> dict[str, dict[str, NDArray[Any]]] | None:
    if not len(instances):
        return None
    known = _known(store)
    for name in COLLECTIONS:
        place = known.place_of(columns, name, instances)
        if place is None:
            continue
        try:
            if not reads and not known.has_read(name):
                continue
            summed = known.of(store, name)
            row = summed.row(place, len(instances))
            if row is not None and (summed.is_small or is_any_size):
                return {
                    layer.name: summed.totals(layer.name, row)
                    for layer in store.shown_layers
                }
        except NnvizError:  # not aggregated, or not to its end
            pass
    return None


def _are_apart(some: NDArray[np.int64], others: NDArray[np.int64]) -> bool:
    """Return whether two sets, both ascending, have no common instance."""
    if not len(some) or not len(others):
        return True
    places = np.minimum(np.searchsorted(others, some), len(others) - 1)
    return not (others[places] == some).any()


def _rest(
    store: Store,
    mine: dict[str, dict[str, NDArray[Any]]],
    sizes: tuple[int, int],
    *,
    reads: bool,
) -> dict[str, dict[str, NDArray[Any]]] | None:
    """Return the totals of all others; `sizes` are those of mine and of all."""
    known = _known(store)
    try:
        if not reads and not known.has_read("all"):
            return None
        everything = known.of(store, "all")
        row = everything.row(0, sizes[1])
    except NnvizError:
        return None
    if row is None:
        return None
    found: dict[str, dict[str, NDArray[Any]]] = {}
    for layer, one in mine.items():
        whole = everything.totals(layer, row)
        found[layer] = {what: whole[what] - one[what] for what in one}
        if not all(np.isfinite(found[layer][what]).all() for what in SUMS):
            return None  # an overflow has no difference
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

    def row(self, place: int, n: int) -> int | None:
        """Return the row of a subset that has n instances; None where it has others."""
        found = self.aggregates
        row = found.row(found.all_names[place])
        return None if found.note or int(found.n_instances[row]) != n else row

    def totals(self, layer: str, row: int) -> dict[str, NDArray[Any]]:
        """Return one subset's sums, shape (C,) each."""
        sums = self.of(layer)
        found = {what: sums[what][row] for what in SUMS}
        return {"activation_counts": _row(sums["activation_counts"], row), **found}

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
        self._sizes: weakref.WeakKeyDictionary[
            InstanceColumns, dict[str, NDArray[np.int64]]
        ] = weakref.WeakKeyDictionary()

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

    def place_of(
        self, columns: InstanceColumns, name: str, instances: NDArray[np.int64]
    ) -> int | None:
        """Return which subset of a collection has these usable instances.

        None where there is none that has all of them and no others.
        """
        parts = ("label", "prediction") if name == "outcome" else (name,)
        if any(columns.column(part).kind != "class" for part in parts):
            return None
        sizes = self._sizes.setdefault(columns, {})
        if name not in sizes:
            places = _places(columns, name, columns.usable)
            sizes[name] = np.bincount(places[places >= 0])
        place = int(_places(columns, name, instances[:1])[0])
        if place < 0 or sizes[name][place] != len(instances):
            return None
        is_one = (_places(columns, name, instances) == place).all()
        return place if is_one else None


def _places(
    columns: InstanceColumns, name: str, which: NDArray[Any]
) -> NDArray[np.signedinteger]:
    """Return the place in a collection of some instances, -1 for those in no subset."""
    place: NDArray[np.signedinteger]
    if name != "outcome":
        place = columns.column(name).values[which]
        return place
    true, taken = (columns.column(of).values[which] for of in ("label", "prediction"))
    place = 2 * true.astype(np.int64) + (true != taken)
    place[(true < 0) | (taken < 0)] = -1
    return place


def _known(store: Store) -> _Known:
    known = store.kept.setdefault(_Known, _Known())
    assert isinstance(known, _Known)
    return known

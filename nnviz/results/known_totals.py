"""Which totals of a set of instances need not be counted again?

Those of a subset that was aggregated, and those that were counted a moment ago: mostly
a visitor changes A or B, and the other one stays.

Symbols: C channels of a layer, S sets.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.aggregation.totals import activation_totals
from nnviz.results.aggregated_totals import aggregated_row
from nnviz.results.share_tests import dense
from nnviz.results.subset_key import SubsetKey
from nnviz.store.store import Store
from nnviz.subsets.columns import InstanceColumns
from nnviz.subsets.subsets import Subset

__all__ = ["KnownTotals"]

N_KEPT = 16
"""Sets whose totals are kept."""

KEPT_INSTANCES = 1 << 17
"""Larger sets are not kept: their numbers alone take a megabyte."""

NAMES = ("activation_counts", "activation_sum", "activation_sum_of_squares")

Row = dict[str, dict[str, NDArray[Any]]]
"""What is summed in one set, by layer and name, shape (C,)."""


class KnownTotals:
    """The totals of sets of instances of an opened store; may be shared by threads.

    Parameters
    ----------
    store
        With a complete extraction.
    columns
        Of its instance table.
    """

    def __init__(self, store: Store, columns: InstanceColumns) -> None:
        self._store, self._columns = store, columns

    def has(self, subset: Subset) -> bool:
        """Whether nothing has to be counted for this set."""
        return self._known(subset) is not None

    def of(self, subsets: Sequence[Subset]) -> dict[str, dict[str, NDArray[Any]]]:
        """Return the totals of some sets.

        Parameters
        ----------
        subsets
            Of usable instances.

        Returns
        -------
        dict
            By shown layer ``activation_counts`` (int64), ``activation_sum`` and
            ``activation_sum_of_squares`` (float64), shape (S, C).

        Raises
        ------
        MissingDataError
            If extraction is not complete.
        """
        known = [self._known(subset) for subset in subsets]
        unknown = [one for one, row in zip(subsets, known, strict=True) if row is None]
        counted = iter(self._counted(unknown) if unknown else ())
        rows = [next(counted) if row is None else row for row in known]
        return {
            layer.name: {
                what: np.stack([row[layer.name][what] for row in rows])
                for what in NAMES
            }
            for layer in self._store.shown_layers
        }

    def _counted(self, subsets: Sequence[Subset]) -> list[Row]:
        # Without maxima, of nearly all others only the few left out have to be read.
        counted = activation_totals(self._store, subsets, maxima=False)
        rows: list[Row] = []
        for place, subset in enumerate(subsets):
            row: Row = {
                layer: {what: dense(sums[what])[place] for what in NAMES}
                for layer, sums in counted.items()
            }
            self._kept.put(SubsetKey(subset), row)
            rows.append(row)
        return rows

    def _known(self, subset: Subset) -> Row | None:
        kept = self._kept.get(SubsetKey(subset))
        return kept or aggregated_row(self._store, self._columns, subset.instances)

    @property
    def _kept(self) -> _Kept:
        kept = self._store.kept.setdefault(_Kept, _Kept())
        assert isinstance(kept, _Kept)
        return kept


class _Kept:
    """The totals that were counted last."""

    def __init__(self) -> None:
        self._rows: OrderedDict[SubsetKey, Row] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: SubsetKey) -> Row | None:
        with self._lock:
            return self._rows.get(key)

    def put(self, key: SubsetKey, row: Row) -> None:
        if len(key.subset) > KEPT_INSTANCES:
            return
        with self._lock:
            self._rows[key] = row
            self._rows.move_to_end(key)
            while len(self._rows) > N_KEPT:
                self._rows.popitem(last=False)

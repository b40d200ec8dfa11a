"""Which instance of the data set is a row of the store, and is it still the same?

Rows never change their number. When a data set grows, its listing is sorted anew, and
the rows that were there are found at other places of it; new instances are the last
rows, wherever they are listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import PlanMismatchError
from nnviz.inputs.datasets.contents_check import hash_of
from nnviz.inputs.datasets.items import Raw
from nnviz.inputs.datasets.opening import Dataset

__all__ = ["StoreRows", "in_store_order"]


class StoreRows:
    """A data set whose instances are the rows of a store.

    Satisfies :class:`nnviz.inputs.datasets.opening.Dataset`.

    Parameters
    ----------
    dataset
        As it is listed.
    positions
        Index in it of each row, shape (instance,); None: in the listing's order.
    hashes
        Hashes of every row when the plan was made, shape (instance,), with which it is
        compared as it is read; 0 for what could not be read then. None: not compared.
    """

    def __init__(
        self,
        dataset: Dataset,
        positions: NDArray[np.int64] | None,
        hashes: NDArray[np.uint64] | None = None,
    ) -> None:
        self._dataset = dataset
        self._positions = positions
        self._hashes = hashes

    @property
    def ids(self) -> Sequence[str]:
        """One identifier for each row."""
        ids = self._dataset.ids
        if self._positions is None:
            return ids
        return [ids[int(index)] for index in self._positions]

    @property
    def labels(self) -> NDArray[np.object_] | None:
        """Raw labels of the rows."""
        labels = self._dataset.labels
        return None if labels is None else self._in_order(labels)

    @property
    def class_names(self) -> tuple[str, ...]:
        """All classes that the data set knows, in order."""
        return self._dataset.class_names

    @property
    def metadata(self) -> Mapping[str, NDArray[Any]]:
        """Columns of the rows."""
        columns = self._dataset.metadata
        return {name: self._in_order(values) for name, values in columns.items()}

    @property
    def notes(self) -> Sequence[str]:
        """What was left out of the listing."""
        return self._dataset.notes

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the listing, as it is listed."""
        return self._dataset.fingerprint

    def __len__(self) -> int:
        return len(self._dataset if self._positions is None else self._positions)

    def read(self, index: int) -> Raw:
        """Return the instance of one row.

        Raises
        ------
        PlanMismatchError
            If it has other contents than when the plan was made.
        UnreadableInstanceError
            Whatever else happens to this one instance.
        """
        place = index if self._positions is None else int(self._positions[index])
        data = self._dataset.read(place)
        planned = 0 if self._hashes is None else int(self._hashes[index])
        if planned and hash_of(data) != planned:
            msg = (
                f"the contents of {self._dataset.ids[place]!r} have changed since the "
                "plan was made; bring them back, or plan again into a new store"
            )
            raise PlanMismatchError(msg)
        return data

    def _in_order(self, values: NDArray[Any]) -> NDArray[Any]:
        return values if self._positions is None else values[self._positions]


def in_store_order(
    dataset: Dataset,
    positions: NDArray[np.int64] | None,
    hashes: NDArray[np.uint64] | None = None,
) -> Dataset:
    """Return the data set in the order of a store's rows.

    Parameters
    ----------
    dataset
        As it is listed.
    positions
        Index in it of each row; None for a store that was never extended.
    hashes
        Hashes of the contents of every row, which are then compared as they are read.
    """
    if positions is None and hashes is None:
        return dataset
    return StoreRows(dataset, positions, hashes)

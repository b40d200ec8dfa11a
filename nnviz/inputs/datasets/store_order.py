"""Which instance of the data set is a row of the store?

Rows never change their number. When a data set grows, its listing is sorted anew, and
the rows that were there are found at other places of it; new instances are the last
rows, wherever they are listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.inputs.datasets.items import Raw
from nnviz.inputs.datasets.opening import Dataset

__all__ = ["OrderedDataset", "in_store_order"]


class OrderedDataset:
    """A data set whose instances come in the order of a store's rows.

    Satisfies :class:`nnviz.inputs.datasets.opening.Dataset`.

    Parameters
    ----------
    dataset
        As it is listed.
    positions
        Index in it of each row, shape (instance,).
    """

    def __init__(self, dataset: Dataset, positions: NDArray[np.int64]) -> None:
        self._dataset = dataset
        self._positions = positions

    @property
    def ids(self) -> Sequence[str]:
        """One identifier for each row."""
        ids = self._dataset.ids
        return [ids[int(index)] for index in self._positions]

    @property
    def labels(self) -> NDArray[np.object_] | None:
        """Raw labels of the rows."""
        labels = self._dataset.labels
        return None if labels is None else labels[self._positions]

    @property
    def class_names(self) -> tuple[str, ...]:
        """All classes that the data set knows, in order."""
        return self._dataset.class_names

    @property
    def metadata(self) -> Mapping[str, NDArray[Any]]:
        """Columns of the rows."""
        columns = self._dataset.metadata
        return {name: values[self._positions] for name, values in columns.items()}

    @property
    def notes(self) -> Sequence[str]:
        """What was left out of the listing."""
        return self._dataset.notes

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the listing, as it is listed."""
        return self._dataset.fingerprint

    def __len__(self) -> int:
        return len(self._positions)

    def read(self, index: int) -> Raw:
        """Return the instance of one row.

        Raises
        ------
        UnreadableInstanceError
            Whatever happens to this one instance.
        """
        return self._dataset.read(int(self._positions[index]))


def in_store_order(dataset: Dataset, positions: NDArray[np.int64] | None) -> Dataset:
    """Return the data set in the order of a store's rows.

    Parameters
    ----------
    dataset
        As it is listed.
    positions
        Index in it of each row; None for a store that was never extended.
    """
    return dataset if positions is None else OrderedDataset(dataset, positions)

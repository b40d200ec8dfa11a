"""How well does the network know each class, and how sure is it?

Symbols: N instances, S classes, B bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnviz.formatting import html_table, text_table
from nnviz.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["N_BINS", "ClassTable", "make_class_table", "read_class_table"]

N_BINS = 20
"""Bins of the confidence, as in SUMMIT's class list; all of width 1 / 20."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassTable:
    """One row for each class of the network."""

    names: tuple[str, ...]
    """Name of each class, none twice."""
    n_instances: NDArray[np.int64]
    """Usable instances with this label, shape (S,)."""
    n_correct: NDArray[np.int64]
    """How many of them are predicted right, shape (S,)."""
    n_predicted: NDArray[np.int64]
    """Usable instances with this prediction, whatever their label, shape (S,)."""
    confidence_histogram: NDArray[np.int64]
    """Instances with this label by the probability of their prediction, (S, B)."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """Fraction that is predicted right, shape (S,).

        NaN for a class without instances, and for a network that predicts no class.
        """
        is_known = (self.n_instances > 0) & self.has_predictions
        n = np.where(is_known, self.n_instances, 1)
        return np.where(is_known, self.n_correct / n, np.nan)

    @property
    def has_predictions(self) -> bool:
        """Whether the network predicts classes at all."""
        return bool(self.n_predicted.any())

    @property
    def total_accuracy(self) -> float:
        """Fraction of all labelled instances that is predicted right; NaN for none."""
        n = int(self.n_instances.sum())
        is_known = n > 0 and self.has_predictions
        return float(self.n_correct.sum()) / n if is_known else float("nan")

    def to_frame(self) -> pd.DataFrame:
        """Return the table without the histograms."""
        import pandas as pd  # noqa: PLC0415  slow to import, and needed here only

        return pd.DataFrame(dict(self._columns()))

    def _columns(self) -> list[tuple[str, NDArray[np.generic]]]:
        return [
            ("class", np.array(self.names, dtype=object)),
            ("n_instances", self.n_instances),
            ("accuracy", self.accuracy),
            ("n_predicted", self.n_predicted),
        ]

    def _title(self) -> str:
        return f"{len(self):,} classes, accuracy {self.total_accuracy:.4f}"

    def __repr__(self) -> str:
        return text_table(self._title(), self._columns())

    def _repr_html_(self) -> str:
        return html_table(self._title(), self._columns())


def make_class_table(
    labels: ArrayLike,
    predictions: ArrayLike,
    confidence: ArrayLike,
    names: tuple[str, ...],
) -> ClassTable:
    """Count instances, right predictions and confidences of each class.

    Parameters
    ----------
    labels, predictions
        Class indices of the usable instances, shape (N,); -1 for none.
    confidence
        Probability of the predicted class, shape (N,); NaN for none.
    names
        Name of each class, none twice.

    Returns
    -------
    ClassTable
        A confidence of 1 is in the last bin, one on a border in the upper one.

    Examples
    --------
    >>> make_class_table([0, 0, 1], [0, 1, 1], [0.9, 0.6, 1.0], ("cat", "dog"))
    2 classes, accuracy 0.6667
      class  n_instances  accuracy  n_predicted
        cat            2       0.5            1
        dog            1         1            2
    """
    true = np.asarray(labels).astype(np.int64)
    predicted = np.asarray(predictions).astype(np.int64)
    certainty = np.asarray(confidence, dtype=np.float64)
    has_label = true >= 0
    is_sure = has_label & np.isfinite(certainty)
    bins = np.clip((certainty[is_sure] * N_BINS).astype(np.int64), 0, N_BINS - 1)
    places = true[is_sure] * N_BINS + bins
    histogram = np.bincount(places, minlength=len(names) * N_BINS)
    return ClassTable(
        names,
        _count(true[has_label], len(names)),
        _count(true[has_label & (true == predicted)], len(names)),
        _count(predicted[predicted >= 0], len(names)),
        histogram.reshape(len(names), N_BINS).astype(np.int64),
    )


def _count(indices: NDArray[np.integer], n_classes: int) -> NDArray[np.int64]:
    return np.bincount(indices, minlength=n_classes).astype(np.int64)


def read_class_table(store: Store) -> ClassTable:
    """Return instances, accuracy and confidences of each class.

    Raises
    ------
    MissingDataError
        If 'nnviz derive' has not run.
    """
    names = store.groups.attributes("artifacts/classes")["names"]
    parts = ("n_instances", "n_correct", "n_predicted", "confidence_histogram")
    arrays = (store.groups.read(f"artifacts/classes/{part}") for part in parts)
    return ClassTable(tuple(names), *arrays)

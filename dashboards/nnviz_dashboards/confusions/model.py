"""Which class is taken for which, and how often?

With many classes only those are shown that have most to do with errors; the most
frequent confusions of all classes are listed beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import param
from numpy.typing import NDArray

from nnviz.errors import NnvizError
from nnviz.results.chart_tables import ChartTable
from nnviz.results.missing import Missing
from nnviz.results.run_results import RunResults
from nnviz_dashboards.shared.publishing import follow, publish, published
from nnviz_dashboards.shared.selection import Selection
from nnviz_dashboards.subsets.model import SubsetPairModel

__all__ = ["ConfusionTable", "ConfusionsModel", "Frequent", "Pick"]

N_CLASSES = 24
"""Classes of the table, at most: so many cells can still be told apart."""

N_FREQUENT = 20

Pick = Literal["both", "a", "b"]
"""What a click chooses: A and, as B, what is predicted right of its class; or one."""


@dataclass(frozen=True, slots=True)
class Frequent:
    """A confusion, by the indices of two classes."""

    label: int
    prediction: int
    n_instances: int


@dataclass(frozen=True, slots=True, eq=False)
class ConfusionTable:
    """Instances by true and predicted class."""

    classes: NDArray[np.int64]
    """Indices of the K classes that are shown, ascending."""
    counts: NDArray[np.int64]
    """Shape (K, K): rows are true classes, columns predicted ones."""
    n_instances: NDArray[np.int64]
    """Usable instances of each class, shape (K,)."""
    n_present: int
    """Classes that have instances, shown or not."""
    n_wrong: int
    """Instances that are predicted wrong, of all classes."""
    frequent: tuple[Frequent, ...]
    """The most frequent confusions of all classes, the most frequent first."""


class ConfusionsModel(param.Parameterized):
    """The confusions of the run, from which A and B are picked.

    Parameters
    ----------
    results
        The run.
    pairs
        A and B.
    """

    table = published(ConfusionTable, "What is shown.")
    missing = published(Missing, "Why nothing is shown.")

    def __init__(self, results: RunResults, pairs: SubsetPairModel) -> None:
        super().__init__()
        self.selection: Selection = pairs.selection
        self.results = results
        self._pairs = pairs
        follow(self.selection, ["view"], self._update)

    def pick(self, label: int, prediction: int, *, what: Pick = "both") -> None:
        """Look at the instances of a cell."""
        pairs = self.results.pairs
        n = len(self.results.store.class_names)
        if not (0 <= label < n and 0 <= prediction < n):
            return
        right = pairs.right_query(label)
        query = right
        if label != prediction:
            query = pairs.confusion_query(label, prediction)
        if what != "both":
            self._pairs.write(what, query)
            return
        against = "" if label == prediction else right
        self._pairs.compare(query, against, subset=label)

    def pick_class(self, index: int, *, predicted: bool, what: Pick = "both") -> None:
        """Look at all instances of a true class, or of a predicted one."""
        pairs = self.results.pairs
        if not 0 <= index < len(self.results.store.class_names):
            return
        query = pairs.prediction_query(index) if predicted else pairs.class_query(index)
        if what != "both":
            self._pairs.write(what, query)
        elif predicted:
            self._pairs.compare(query, "")
        else:
            self.selection.choose(subset=index)

    def data(self) -> ChartTable | None:
        """Return instances by true and predicted class, none empty."""
        store, columns = self.results.store, self.results.pairs.finder.columns
        label, prediction = (columns.column(name) for name in ("label", "prediction"))
        if self.table is None or label.kind != "class":
            return None
        names = store.class_names
        is_known = columns.usable & ~(label.null | prediction.null)
        both = np.stack([label.values[is_known], prediction.values[is_known]])
        pairs, counts = np.unique(both, axis=1, return_counts=True)
        true, taken = ([names[i] for i in indices] for indices in pairs.tolist())
        return ChartTable(
            (("label", true), ("prediction", taken), ("instances", counts))
        )

    def _update(self, _changed: set[str]) -> None:
        if self.selection.view != "confusions" or self.table is not None:
            return
        try:
            updates = self._found()
        except NnvizError as error:
            missing = Missing("The confusions cannot be shown", str(error))
            updates = {"table": None, "missing": missing}
        publish(self, updates)

    def _found(self) -> dict[str, object]:
        results = self.results
        missing = results.missing_classes()
        if missing is not None:
            return {"table": None, "missing": missing}
        if results.kind != "label":
            text = (
                "Which class is taken for which is known where instances have labels."
            )
            return {"table": None, "missing": Missing("There are no labels", text)}
        classes = results.class_table()
        wrong = results.confusions().tocoo()
        present = classes.present
        order = np.lexsort((wrong.col, wrong.row, -wrong.data))
        shown = present
        if len(present) > N_CLASSES:
            # The classes of the most frequent confusions, so that these are seen.
            pairs = np.stack([wrong.row[order], wrong.col[order]], axis=1).ravel()
            first = np.sort(np.unique(pairs, return_index=True)[1])
            shown = np.unique(pairs[first][:N_CLASSES])
        counts = results.confusions()[shown][:, shown].toarray().astype(np.int64)
        known = results.class_table().n_instances[shown]
        accuracy = np.nan_to_num(classes.accuracy[shown])
        np.fill_diagonal(counts, np.round(accuracy * known).astype(np.int64))
        frequent = tuple(
            Frequent(int(wrong.row[i]), int(wrong.col[i]), int(wrong.data[i]))
            for i in order[:N_FREQUENT]
        )
        table = ConfusionTable(
            shown, counts, known, len(present), int(wrong.data.sum()), frequent
        )
        return {"table": table, "missing": None}

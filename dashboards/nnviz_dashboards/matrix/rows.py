"""Which rows has the neuron matrix, and by which keys are they known?

A, B, what is pointed at, what the visitor keeps, and the classes of the list.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import NnvizError
from nnviz.results.neuron_matrix import Measure
from nnviz.results.run_results import RunResults
from nnviz.results.subset_pairs import SubsetPair
from nnviz.results.subset_results import SubsetResults

__all__ = [
    "MAX_KEPT",
    "KeptRow",
    "MatrixRow",
    "RowSource",
    "class_key",
    "instance_of",
    "kept_rows",
    "written",
]

RowKind = Literal["a", "b", "instance", "subset"]

MAX_KEPT = 24

MAX_NAME = 80
"""Characters of a name that a visitor gives to a row."""


@dataclass(frozen=True, slots=True, eq=False)
class MatrixRow:
    """One row of the matrix that is not a class's."""

    key: str
    """``A``, ``B``, ``#12`` for an instance, or a query."""
    kind: RowKind
    name: str
    n_instances: int
    values: NDArray[np.float32]
    """Shape (C,)."""


def class_key(index: int) -> str:
    """Return the key of a class's row."""
    return f"class {index}"


def instance_of(key: str) -> int | None:
    """Return the number of the instance whose key this is, or None."""
    is_instance = key.startswith("#") and key[1:].isdecimal() and len(key) < 14
    return int(key[1:]) if is_instance else None


@dataclass(frozen=True, slots=True)
class KeptRow:
    """A row that a visitor keeps, as it is written in a selection."""

    key: str
    """``#12`` for an instance, or a query."""
    name: str = ""
    """What the visitor calls it; empty: what it is."""


def kept_rows(kept: str) -> list[KeptRow]:
    r"""Return the further rows of a selection, in order, none twice.

    Examples
    --------
    >>> kept_rows("#4\nlabel = cat\tmy cats")
    [KeptRow(key='#4', name=''), KeptRow(key='label = cat', name='my cats')]
    """
    rows: dict[str, KeptRow] = {}
    for line in kept.split("\n"):
        key, _, name = line.partition("\t")
        if key.strip():
            rows.setdefault(key, KeptRow(key, name.strip()[:MAX_NAME]))
    return list(rows.values())[:MAX_KEPT]


def written(rows: Iterable[KeptRow]) -> str:
    """Return rows as a selection has them."""
    return "\n".join(f"{r.key}\t{r.name}" if r.name else r.key for r in rows)


class RowSource:
    """Makes rows of one run.

    Parameters
    ----------
    results
        The run.
    """

    def __init__(self, results: RunResults) -> None:
        self._results = results

    def of_pair(
        self,
        pair: SubsetPair,
        found: SubsetResults,
        layer: str,
        measure: Measure,
    ) -> list[MatrixRow]:
        """Return the rows of A and B."""
        a, b = self._results.neurons.pair(found, layer, measure)
        name_a, name_b = pair.names
        return [
            MatrixRow("A", "a", name_a, len(found.subset), a),
            MatrixRow("B", "b", name_b, found.n_against, b),
        ]

    def of_kept(self, kept: KeptRow, layer: str, measure: Measure) -> MatrixRow | None:
        """Return a kept row by its name; None for neither instance nor query."""
        row = self._of_key(kept.key, layer, measure)
        return replace(row, name=kept.name) if row and kept.name else row

    def _of_key(self, key: str, layer: str, measure: Measure) -> MatrixRow | None:
        n = instance_of(key)
        try:
            if n is not None:
                return self.of_instance(n, layer, measure)
            pair = self._results.pairs.pair(key)
            subset = pair.found.subset
            values = self._results.neurons.subset(subset, layer, measure)
        except NnvizError:
            return None
        return MatrixRow(key, "subset", pair.names[0], len(subset), values)

    def of_instance(self, n: int, layer: str, measure: Measure) -> MatrixRow:
        """Return the row of an instance.

        Raises
        ------
        ShapeError
            If the run has no such instance.
        """
        values = self._results.neurons.instance(layer, n, measure)
        return MatrixRow(f"#{n}", "instance", self._said_of(n), 1, values)

    def _said_of(self, n: int) -> str:
        store = self._results.store
        columns = self._results.pairs.finder.columns
        label, prediction = (
            int(columns.column(name).values[n]) for name in ("label", "prediction")
        )
        names = store.class_names
        if not self._results.has_classes:
            return f"#{n:,}"
        true = names[label] if label >= 0 else "no label"
        if prediction < 0 or prediction == label:
            return f"#{n:,} {true}"
        return f"#{n:,} {true}, taken for {names[prediction]}"

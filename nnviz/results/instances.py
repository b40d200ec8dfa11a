"""What is known of single instances: their outcome, and which channels stand out?

Instances of a subset are sorted by a column of the instance table, or by the activation
of a channel. One that is opened shows the outputs of the network, and in every layer
the channels that are strongest compared with all instances.

Symbols: N instances, C channels of a layer, S classes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.aggregation.index_channels import activation_row
from nnviz.aggregation.standing_out import StandingOut, standing_out
from nnviz.errors import ShapeError
from nnviz.graphs.from_totals import output_layer
from nnviz.network.class_scores import as_logits, softmax
from nnviz.results.chart_tables import ChartTable
from nnviz.results.stable_order import StableOrder
from nnviz.store.store import Store
from nnviz.subsets.columns import Column, InstanceColumns

__all__ = ["InstanceFacts", "Instances", "OrderedInstances"]

FIRST_ORDERS = (
    "confidence",
    "probability",
    "margin",
    "loss",
    "entropy",
    "absolute_error",
    "error",
    "output",
)
"""Columns of numbers that are offered first, where a store has them."""

BYTES_AT_ONCE = 1 << 24
"""Of a chunk of outputs: as float32, some 20 ms."""

TOLD = (
    "id",
    "instance",
    "label",
    "prediction",
    "correct",
    "confidence",
    "probability",
    "status",
)
"""Columns that the facts of an instance have by themselves, or that follow."""

SHOWN = ("id", "label", "prediction", "confidence", "probability")
"""Columns that every page of instances shows."""

NO_ORDERS = ("id", "label", "prediction", "status")
"""Columns that nothing is sorted by, though some have numbers."""

TOLERANCE = 0.02
"""How far the softmax of stored outputs may be from the stored confidence."""


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """One instance of the run."""

    number: int
    id: str
    label: int
    """Index of its class; -1 for none, and where an instance may have several."""
    prediction: int
    confidence: float
    """Of the prediction; NaN where there is none."""
    probability: float
    """That the network gives to the label; NaN where there is none."""
    others: tuple[tuple[str, str], ...] = ()
    """Further columns by name, as texts."""
    target: float = math.nan
    """The measured value that the network was trained to give; NaN for none."""
    output: float = math.nan
    """The single value that it gives; NaN where it gives classes."""

    @property
    def is_wrong(self) -> bool:
        """Whether it has a label and another prediction."""
        has_both = self.label >= 0 and self.prediction >= 0
        return has_both and self.label != self.prediction


@dataclass(frozen=True, slots=True, eq=False)
class OrderedInstances:
    """Instances in an order that is found where it is looked at."""

    instances: NDArray[np.int64]
    """Their numbers, ascending."""
    order: StableOrder | None = None
    """Of these; None leaves them as they are."""

    def __len__(self) -> int:
        return len(self.instances)

    def part(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the numbers of a part, as those of a slice of all in order."""
        if self.order is None:
            return self.instances[start:stop]
        return self.instances[self.order.part(start, stop)]


class Instances:
    """The instances of one run; may be shared by threads.

    Parameters
    ----------
    store
        With a complete extraction, where something is asked.
    columns
        Its instance table.
    """

    def __init__(self, store: Store, columns: InstanceColumns) -> None:
        self._store = store
        self._columns = columns

    def orders(self) -> tuple[str, ...]:
        """Return the columns of numbers that instances can be sorted by.

        Those without a single value are left out, as is the confidence where nothing is
        predicted.
        """
        columns = self._columns
        # Texts are never sorted by, and take long to be read.
        names = [
            name
            for name in columns.names
            if name not in NO_ORDERS and not columns.has_texts(name)
        ]
        names = [name for name in names if not columns.column(name).null.all()]
        numbers = [
            name
            for name in names
            if name not in FIRST_ORDERS
            and columns.column(name).kind in ("number", "date")
        ]
        return (*(name for name in FIRST_ORDERS if name in names), *sorted(numbers))

    def is_read(self, by: str) -> bool:
        """Whether all is in memory that a page in the order of a column takes."""
        names = (by, *SHOWN) if by in self._columns.names else SHOWN
        return all(map(self._columns.is_read, names))

    def ordered(
        self, instances: NDArray[np.int64], by: str, *, largest_first: bool = True
    ) -> OrderedInstances:
        """Return instances in the order of a column; those without a value come last.

        Parameters
        ----------
        instances
            Their numbers, ascending.
        by
            One of `orders`; anything else leaves them as they are.
        largest_first
            Whether the largest value is first.
        """
        if by not in self.orders():
            return OrderedInstances(instances)
        column = self._columns.column(by)
        values, null = column.values[instances], column.null[instances]
        order = StableOrder(values, null, largest_first=largest_first)
        return OrderedInstances(instances, order)

    def ordered_by_channel(
        self,
        instances: NDArray[np.int64],
        layer: str,
        channel: int,
        *,
        largest_first: bool = True,
    ) -> OrderedInstances:
        """Return instances in the order of the activation of a channel."""
        values = self._columns.channels.activation_of(layer, channel, instances)
        order = StableOrder(values, np.isnan(values), largest_first=largest_first)
        return OrderedInstances(instances, order)

    def facts(self, number: int, *, is_whole: bool = False) -> InstanceFacts:
        """Return what the instance table has of an instance.

        Parameters
        ----------
        number
            Of the instance.
        is_whole
            Whether further columns are read.

        Raises
        ------
        ShapeError
            If the run has no such instance.
        """
        found = self.facts_of([number])[0]
        if not is_whole:
            return found
        names = [name for name in self._columns.names if name not in TOLD]
        texts = [(name, _text(self._columns.column(name), number)) for name in names]
        others = (*found.others, *((name, text) for name, text in texts if text))
        return dataclasses.replace(found, others=others)

    def facts_of(self, numbers: Sequence[int]) -> tuple[InstanceFacts, ...]:
        """Return what the instance table has of some instances, in their order.

        Raises
        ------
        ShapeError
            If the run has no such instance.
        """
        for number in numbers:
            self._check(number)
        column = self._columns.column
        label, prediction = column("label"), column("prediction").values
        has_sets = label.kind == "classes"
        confidence, probability = (
            column(name).values for name in ("confidence", "probability")
        )
        ids = column("id")
        target = self._measured(self._store.plan.target_column)
        output = self._measured("output")
        return tuple(
            InstanceFacts(
                number,
                _text(ids, number),
                -1 if has_sets else int(label.values[number]),
                int(prediction[number]),
                float(confidence[number]),
                float(probability[number]),
                _labels(label, number) if has_sets else (),
                math.nan if target is None else float(target[number]),
                math.nan if output is None else float(output[number]),
            )
            for number in numbers
        )

    def table(
        self, instances: NDArray[np.int64], **added: Sequence[Any] | NDArray[Any]
    ) -> ChartTable:
        """Return what the instance table has of some instances.

        Parameters
        ----------
        instances
            Their numbers, in the order of the rows.
        **added
            Further columns by name, a value for each of the rows; they come first.
        """
        names = [name for name in self._columns.names if name != "instance"]
        columns = [(name, self._of(name, instances)) for name in names]
        return ChartTable((("instance", instances), *added.items(), *columns))

    def _of(self, name: str, instances: NDArray[np.int64]) -> list[Any]:
        """Return the values of a column; None where there is none."""
        column = self._columns.column(name)
        values: list[Any] = column.values[instances].tolist()
        if column.kind in ("text", "classes"):
            values = [column.texts[code] if code >= 0 else None for code in values]
        elif column.kind == "class":
            names = self._store.class_names
            values = [names[index] if index >= 0 else None for index in values]
        elif column.kind == "date":
            values = [str(value) for value in column.values[instances]]
        null = column.null[instances].tolist()
        return [None if no else v for v, no in zip(values, null, strict=True)]

    def _measured(self, name: str | None) -> NDArray[Any] | None:
        """Return the values of a column of measured values, if the run has it."""
        plan = self._store.plan
        if name is None or name not in (plan.target_column, *plan.outcome_columns):
            return None
        return self._columns.column(name).values

    @property
    def opens_at_once(self) -> bool:
        """Whether outputs are read in no time: of a chunk all are read for one."""
        plan, name = self._store.plan, output_layer(self._store)
        n = 0 if name is None else self._store.layer(name).n_channels
        return 4 * n * plan.rows_per_chunk <= BYTES_AT_ONCE

    def outputs(self, number: int, n: int = 5) -> tuple[list[tuple[int, float]], bool]:
        """Return the classes that the network finds most likely.

        Returns
        -------
        tuple
            (class, value), the largest first, and whether values are probabilities:
            they are where the softmax of the stored outputs has the stored confidence.
            Without stored outputs the prediction alone, also where the last layer has
            several positions: what is stored of them are maxima, not what the network
            makes of them.
        """
        facts = self.facts(number)
        layer = output_layer(self._store)
        if layer is None or math.prod(self._store.layer(layer).positions) > 1:
            known = facts.prediction >= 0
            return ([(facts.prediction, facts.confidence)] if known else []), True
        row = activation_row(self._store, layer, number).astype(np.float64)
        given = self._store.plan.gives_probabilities
        shares = softmax(as_logits(row[None], gives_probabilities=given))[0]
        best = float(np.nanmax(shares)) if len(shares) else np.nan
        is_probability = abs(best - facts.confidence) < TOLERANCE
        values = shares if is_probability else row
        order = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")[:n]
        return [(int(i), float(values[i])) for i in order], is_probability

    def standing_out(
        self, number: int, layers: Sequence[str], n: int = 5
    ) -> dict[str, list[StandingOut]]:
        """Return the channels of an instance that are strongest for what is usual.

        Parameters
        ----------
        number
            Of the instance.
        layers
            Names of layers.
        n
            Channels of each layer, at most; those below the mean of all instances are
            left out.

        Raises
        ------
        ShapeError
            If the run has no such instance.
        MissingDataError
            If nothing has been aggregated.
        """
        self._check(number)
        return standing_out(self._store, number, layers, n)

    def _check(self, number: int) -> None:
        n = self._store.n_instances
        if not 0 <= number < n:
            msg = f"there is no instance {number:,}; the run has {n:,}, from 0 on"
            raise ShapeError(msg)


def _text(column: Column, number: int) -> str:
    """Return a value of a column as a text; empty where there is none."""
    if column.null[number]:
        return ""
    value = column.values[number]
    if column.kind in ("text", "classes"):
        return column.texts[int(value)]
    if column.kind == "number":
        return f"{float(value):.4g}"
    return str(value)


def _labels(column: Column, number: int) -> tuple[tuple[str, str], ...]:
    """Return the set of labels of an instance, by its name; nothing for none."""
    text = _text(column, number)
    return (("labels", text),) if text else ()

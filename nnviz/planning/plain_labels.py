"""Which labels are no classes? Measured values, and sets of labels.

A class is one of the network's outputs. Values of a regression are none, and neither is
a set of several labels: both become columns of the instance table, by which subsets can
be made.

1. Labels that are numbers, one of them not whole, are measured values. So are whole
   numbers of many different values, where the network has one output.
2. Sets of labels become a column of texts, each a JSON list of names.
3. Where there are said to be no labels, a column ``label`` is no class either. The
   instance table has one of that name already, so it becomes ``target``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import DatasetError
from nnviz.inputs.datasets.items import Raw
from nnviz.inputs.datasets.listings import DEFAULT_LABEL, make_column
from nnviz.inputs.datasets.opening import Dataset
from nnviz.runs.architecture import Architecture
from nnviz.runs.config import ClassesConfig, DatasetConfig
from nnviz.runs.declarations import LABEL_SETS, TARGET

__all__ = ["PlainLabels", "n_classes_of", "target_column_of", "with_plain_labels"]

MOST_CLASSES = 20
"""Whole numbers of more values than these are measured, with one output."""


def n_classes_of(architecture: Architecture) -> int | None:
    """Return of how many classes the network is a classifier; None if it is not.

    One output is a value, or the logit of one class against another: no label names it.
    """
    shape = architecture.output_shape
    return shape[0] if len(shape) == 1 and shape[0] > 1 else None


class PlainLabels:
    """A data set whose labels are a column, and which has no classes.

    Satisfies :class:`nnviz.inputs.datasets.opening.Dataset`.

    Parameters
    ----------
    dataset
        As it is listed.
    name
        Of the column.
    column
        A value for each instance.
    are_measured
        Whether these are values that the network is to give.
    """

    def __init__(
        self, dataset: Dataset, name: str, column: NDArray[Any], *, are_measured: bool
    ) -> None:
        self._dataset = dataset
        self.name, self.are_measured = name, are_measured
        others = dict(dataset.metadata)
        others.pop(DEFAULT_LABEL, None)
        self.metadata: Mapping[str, NDArray[Any]] = {**others, name: column}
        self.labels: NDArray[np.object_] | None = None
        self.class_names: tuple[str, ...] = ()

    @property
    def ids(self) -> Sequence[str]:
        """One identifier for each instance."""
        return self._dataset.ids

    @property
    def notes(self) -> Sequence[str]:
        """What the listing has to say to a person."""
        return self._dataset.notes

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the listing, with its labels."""
        return self._dataset.fingerprint

    def __len__(self) -> int:
        return len(self._dataset)

    def read(self, index: int) -> Raw:
        """Return one instance; raises as the data set does."""
        return self._dataset.read(index)


def target_column_of(dataset: Dataset) -> str | None:
    """Return the column of labels that are measured values; None if there is none.

    Parameters
    ----------
    dataset
        As :func:`with_plain_labels` returned it.
    """
    if not isinstance(dataset, PlainLabels) or not dataset.are_measured:
        return None
    return dataset.name


def with_plain_labels(
    dataset: Dataset,
    config: DatasetConfig,
    classes: ClassesConfig,
    n_classes: int | None,
    class_names: Sequence[str] = (),
) -> Dataset:
    """Return the data set with labels as a column, if they are no classes.

    Parameters
    ----------
    dataset
        As it is listed.
    config
        Its `label_column` names the column, unless that is ``label``: ``target`` then.
    classes
        With a class map, labels are what it lists.
    n_classes
        Of the network, see :func:`n_classes_of`.
    class_names
        Names of the outputs, by which sets of numbers become sets of names.

    Raises
    ------
    DatasetError
        If a set has the number of an output that there is not.
    """
    labels, columns = dataset.labels, dataset.metadata
    if labels is None and DEFAULT_LABEL in columns and TARGET not in columns:
        return PlainLabels(dataset, TARGET, columns[DEFAULT_LABEL], are_measured=False)
    if labels is None or classes.map is not None:
        return dataset
    values = labels.tolist()
    if any(isinstance(value, tuple) for value in values):
        names = list(class_names) or list(dataset.class_names)
        _check_members(values, n_classes)
        texts = [_set_text(value, names) for value in values]
        return PlainLabels(dataset, LABEL_SETS, make_column(texts), are_measured=False)
    numbers = [_number(value) for value in values]
    known = [n for n, v in zip(numbers, values, strict=True) if v is not None]
    known_names = {*class_names, *dataset.class_names}
    are_names = all(v is None or str(v) in known_names for v in values)
    if are_names or any(np.isnan(number) for number in known):
        return dataset
    is_whole = all(number == int(number) for number in known if np.isfinite(number))
    if is_whole and (n_classes is not None or len(set(known)) <= MOST_CLASSES):
        return dataset
    stated = config.label_column
    name = TARGET if stated in ("", DEFAULT_LABEL) else stated
    column = np.array(numbers, dtype=np.float64)
    return PlainLabels(dataset, name, column, are_measured=True)


def _check_members(values: Sequence[object], n_classes: int | None) -> None:
    """Refuse numbers of classes that the network does not have."""
    sets = [value for value in values if isinstance(value, tuple)]
    numbers = {each for value in sets for each in value if isinstance(each, int)}
    wrong = sorted(
        n for n in numbers if n_classes is not None and not 0 <= n < n_classes
    )
    if wrong:
        msg = (
            f"sets of labels have the number {wrong[0]}, and the network has the "
            f"outputs 0 to {(n_classes or 0) - 1}; correct them, or give names, which "
            "need not be the network's"
        )
        raise DatasetError(msg)


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError):
        return float("nan")


def _set_text(value: object, names: Sequence[str]) -> str:
    members = value if isinstance(value, tuple) else () if value is None else (value,)
    return json.dumps([_name(member, names) for member in members], ensure_ascii=False)


def _name(member: object, names: Sequence[str]) -> str:
    if isinstance(member, int) and 0 <= member < len(names):
        return names[member]
    return str(member)

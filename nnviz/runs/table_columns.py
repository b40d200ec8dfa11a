"""What does a column of a table become, before the network receives it?

Everything is stated in the run file, or measured once, when the run is planned, and
then stands in the plan: means, standard deviations, categories in their order. So rows
that come later are prepared with the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nnviz.errors import ConfigError
from nnviz.runs.json_values import check_fields

__all__ = ["MISSING", "ColumnConfig", "category_of", "columns_of_inputs"]

MISSING = ""
"""How a missing value is written among categories."""

_WILDCARDS = "*?["
_EXACT = 2.0**53
"""Whole numbers up to this one are exact as floats."""


@dataclass(frozen=True, slots=True)
class ColumnConfig:
    """One column, or several that are treated alike."""

    name: str
    """Name of the column, or a glob pattern: all columns that fit, in their order, but
    for those that are named by themselves, the label and the instances' names."""
    encoding: Literal["number", "one-hot", "codes", "indicator"] = "number"
    """What it becomes: a number; a number for each category, of which one is 1; the
    category's place among the categories; or 1 where the value is missing and else 0,
    beside the same column as a number."""
    input: str | None = None
    """Parameter of the network's ``forward`` to which it belongs; None: the first. The
    columns of an input stand side by side in the order in which they are stated. An
    input of codes alone is int64, others are float32."""
    alone: bool = False
    """Whether it is its input by itself, as an embedding takes it: shape (instance,)
    and not (instance, column)."""
    scale: Literal["none", "standard", "range"] = "none"
    """Of numbers: ``standard`` subtracts `mean` and divides by `std`; ``range``
    subtracts `lowest` and divides by `highest` less `lowest`."""
    mean: float | None = None
    """Of ``standard``. None: measured, of the values that are not missing."""
    std: float | None = None
    """Of ``standard``. None: measured, of the values that are not missing; the sum of
    squares is divided by their number."""
    lowest: float | None = None
    """Of ``range``. None: measured."""
    highest: float | None = None
    """Of ``range``. None: measured."""
    categories: tuple[str | int | float | bool, ...] = ()
    """Of ``one-hot`` and ``codes``, in the network's order; empty: those that occur,
    sorted, numbers by their size. "" is a missing value."""
    first_code: int = 0
    """Code of the first category."""
    unseen: Literal["error", "zeros"] | int = "error"
    """What a category that is not among them becomes: ``zeros`` of one-hot, or a
    code."""
    missing: Literal["error", "value", "mean", "median", "category", "zeros"] = "error"
    """What a missing value becomes: `value`; the mean or the median of the others,
    before scaling; a category of its own, after the others unless `categories` has "";
    zeros of one-hot."""
    value: float | str | bool | None = None
    """What stands for a missing value, before scaling; None: measured, if `missing` is
    the mean or the median."""

    def __post_init__(self) -> None:
        check_fields(self)
        for problem in (self._wrong_option(), self._wrong_value()):
            if problem:
                msg = f"the column {self.name!r} of preprocessing.columns {problem}"
                raise ConfigError(msg)

    @property
    def is_pattern(self) -> bool:
        """Whether the name has wildcards."""
        return any(mark in self.name for mark in _WILDCARDS)

    @property
    def has_categories(self) -> bool:
        """Whether its values are categories."""
        return self.encoding in ("one-hot", "codes")

    @property
    def lacks_numbers(self) -> bool:
        """Whether something is to be measured."""
        return (
            (self.has_categories and not self.categories)
            or (self.missing in ("mean", "median") and self.value is None)
            or (self.scale == "standard" and self.std is None)
            or (self.scale == "range" and self.lowest is None)
        )

    @property
    def n_numbers(self) -> int:
        """How many numbers an instance has of it, once its categories are known."""
        return len(self.categories) if self.encoding == "one-hot" else 1

    @property
    def names_of_numbers(self) -> tuple[str, ...]:
        """What each of its numbers is."""
        if self.encoding == "one-hot":
            names = [category_of(each) or "missing" for each in self.categories]
            return tuple(f"{self.name} = {name}" for name in names)
        return (f"{self.name} missing" if self.encoding == "indicator" else self.name,)

    @property
    def shift_and_divisor(self) -> tuple[float, float]:
        """What is subtracted, and by what is divided; of a constant column by 1."""
        if self.scale == "standard":
            shift, divisor = self.mean, self.std
        elif self.scale == "range":
            shift = self.lowest
            divisor = (self.highest or 0.0) - (self.lowest or 0.0)
        else:
            return 0.0, 1.0
        return shift or 0.0, divisor or 1.0

    def __str__(self) -> str:
        """Say what becomes of a value, in one line."""
        said = getattr(self, f"_said_of_{self.encoding.replace('-', '_')}")()
        return "; ".join(filter(None, [said, self._said_of_missing()]))

    def _said_of_number(self) -> str:
        shift, divisor = self.shift_and_divisor
        if self.scale == "none":
            return "as it is"
        sign, size = ("-", shift) if shift >= 0 else ("+", -shift)
        return f"(x {sign} {size:.6g}) / {divisor:.6g}"

    def _said_of_one_hot(self) -> str:
        unseen = ", zeros for others" if self.unseen == "zeros" else ""
        return f"one-hot: {self._said_of_categories(numbered=False)}{unseen}"

    def _said_of_codes(self) -> str:
        unseen = "" if self.unseen == "error" else f", {self.unseen} others"
        return f"codes: {self._said_of_categories(numbered=True)}{unseen}"

    def _said_of_indicator(self) -> str:
        return "1 where it is missing, else 0"

    def _said_of_categories(self, *, numbered: bool) -> str:
        names = [str(each) or "missing" for each in self.categories]
        if numbered:
            names = [f"{self.first_code + i} = {name}" for i, name in enumerate(names)]
        if len(names) > 8:
            names = [*names[:6], "…", names[-1]]
        return ", ".join(names)

    def _said_of_missing(self) -> str:
        if self.missing == "error":
            return ""
        if self.missing == "category":
            return "missing is a category"
        if self.missing == "zeros":
            return "missing is zeros"
        shown = f"{self.value:.6g}" if isinstance(self.value, float) else self.value
        of = "" if self.missing == "value" else f", the {self.missing}"
        return f"missing is {shown}{of}"

    def _wrong_option(self) -> str:
        """Say which option the encoding does not have."""
        is_number, has_categories = self.encoding == "number", self.has_categories
        needs = {
            "scale": (self.scale != "none", is_number, "encoding = 'number'"),
            "categories": (
                bool(self.categories),
                has_categories,
                "encoding = 'one-hot' or 'codes'",
            ),
            "first_code": (
                self.first_code != 0,
                self.encoding == "codes",
                "encoding = 'codes'",
            ),
            "missing": (
                self.missing != "error",
                self.encoding != "indicator",
                "the same column with another encoding, beside the indicator",
            ),
            "alone": (
                self.alone,
                self.encoding in ("number", "codes"),
                "encoding = 'codes' or 'number'",
            ),
            "value": (
                self.value is not None,
                self.missing in ("value", "mean", "median"),
                "missing = 'value'",
            ),
        }
        of_scales = {"mean": "standard", "std": "standard"}
        of_scales |= {"lowest": "range", "highest": "range"}
        for name, scale in of_scales.items():
            is_stated = getattr(self, name) is not None
            needs[name] = (is_stated, self.scale == scale, f"scale = {scale!r}")
        for name, (is_stated, is_allowed, wanted) in needs.items():
            if is_stated and not is_allowed:
                return f"states {name}, which needs {wanted}"
        return ""

    def _wrong_value(self) -> str:
        """Say which value cannot be."""
        for first, second in (("mean", "std"), ("lowest", "highest")):
            if (getattr(self, first) is None) != (getattr(self, second) is None):
                return f"states one of {first} and {second}; state both, or neither"
        if self.std is not None and not 0 <= self.std < math.inf:
            return f"has std = {self.std}; it should be 0 or more"
        if None not in (self.lowest, self.highest) and not (
            (self.lowest or 0.0) <= (self.highest or 0.0)
        ):
            return f"has lowest = {self.lowest} and highest = {self.highest}"
        if self.missing == "value" and category_of(self.value) == MISSING:
            return "has missing = 'value', and no value"
        if self.missing in ("mean", "median") and self.encoding != "number":
            return f"has missing = {self.missing!r}, which only numbers have"
        if self.missing == "category" and not self.has_categories:
            return "has missing = 'category', and is a number"
        for name in ("unseen", "missing"):
            if getattr(self, name) == "zeros" and self.encoding != "one-hot":
                return f"has {name} = 'zeros', which only encoding = 'one-hot' has"
        if isinstance(self.unseen, int) and self.encoding != "codes":
            return f"has unseen = {self.unseen}, which only encoding = 'codes' has"
        is_text = isinstance(self.value, (str, bool))
        if self.encoding == "number" and is_text:
            return f"has value = {self.value!r}; it should be a number"
        names = [category_of(each) for each in self.categories]
        twice = next((each for each in names if names.count(each) > 1), None)
        if twice is not None:
            return f"has the category {twice!r} twice"
        if MISSING in names and self.missing != "category":
            return 'has the category "", a missing value; state missing = "category"'
        known = not self.categories or category_of(self.value) in names
        if self.has_categories and self.missing == "value" and not known:
            return f"has value = {self.value!r}, which is not among its categories"
        return ""


def columns_of_inputs(columns: Sequence[ColumnConfig]) -> dict[str, tuple[str, ...]]:
    """Return what each number is that an input of the network receives.

    Parameters
    ----------
    columns
        Of the plan: each with its own name, its input, and all that is measured.

    Returns
    -------
    dict
        By the parameter of ``forward``, "0" where none is stated; a category has its
        column's name before it.

    Examples
    --------
    >>> kind = ColumnConfig("kind", encoding="one-hot", categories=("a", "b"))
    >>> columns_of_inputs([ColumnConfig("age"), kind])
    {'0': ('age', 'kind = a', 'kind = b')}
    """
    found: dict[str, tuple[str, ...]] = {}
    for column in columns:
        name = column.input or "0"
        found[name] = (*found.get(name, ()), *column.names_of_numbers)
    return found


def category_of(value: Any) -> str:
    """Return the name of a category: what a table writes as 1, 1.0 or "1" is one.

    Parameters
    ----------
    value
        A number, a truth value, a text, or None.

    Examples
    --------
    >>> [category_of(each) for each in (3, 3.0, " 3", 2.5, True, "True", None)]
    ['3', '3', '3', '2.5', 'true', 'true', '']
    """
    if value is None or value != value:
        return MISSING
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value)).lower()
    if isinstance(value, (float, np.floating)):
        number = float(value)
        is_whole = number.is_integer() and abs(number) < _EXACT
        return str(int(number)) if is_whole else repr(number)
    text = str(value).strip()
    return text.lower() if text.lower() in ("true", "false") else text

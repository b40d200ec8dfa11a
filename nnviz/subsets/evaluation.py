"""Which instances does a query mean? A tree of a query, applied to columns.

Logic is that of SQL, with three values: where a column has no value, a comparison is
neither true nor false, its negation is not true either, and only what is true is in the
result. ``is null`` asks for such instances. NaN is no value, so ``confidence > 0.5``
never holds for a network that is no classifier. ``except`` is about sets: it takes away
those for which its right side is true.

1. A part of an ``and`` is evaluated where the parts before it can still be true; cheap
   parts, on columns of the table, come before channels.
2. Texts are compared once for each distinct value, not once for each instance.
3. Between parts the clock is asked: a query that takes too long ends with an error.

Symbols: N instances.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnviz.errors import NnvizError, QueryError, did_you_mean
from nnviz.subsets.columns import (
    KIND_EXAMPLES,
    KIND_NAMES,
    Column,
    InstanceColumns,
)
from nnviz.subsets.expressions import (
    Activation,
    And,
    Between,
    ColumnName,
    Comparison,
    Except,
    Expression,
    IsNull,
    Named,
    Not,
    OneOf,
    Operand,
    Or,
    Span,
    TextMatch,
    Top,
    WrittenValue,
    parse_query,
    pointing_at,
)

__all__ = ["SubsetLookup", "matching_instances"]

TIME_LIMIT_S = 30.0
"""A query that runs longer ends with an error, between two of its parts."""

Mask = NDArray[np.bool_]
SubsetLookup: TypeAlias = Callable[[str], "NDArray[np.int64] | None"]
"""The instances of a subset by its name, ascending; None where there is none."""

_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TRUTHS = {
    "true": True,
    "yes": True,
    "1": True,
    "false": False,
    "no": False,
    "0": False,
}


def matching_instances(
    query: str,
    columns: InstanceColumns,
    *,
    subsets: SubsetLookup = lambda _: None,
    subset_names: Iterable[str] = (),
    time_limit_s: float = TIME_LIMIT_S,
) -> NDArray[np.int64]:
    """Return the instances for which a query is true.

    Parameters
    ----------
    query
        In the language of :mod:`nnviz.subsets.expressions`.
    columns
        Of the store that is asked.
    subsets
        Finds saved subsets by name.
    subset_names
        Names of these, for near matches in messages.
    time_limit_s
        Seconds after which the query ends with an error.

    Returns
    -------
    ndarray
        Indices, ascending, int64; unusable instances are among them where the query is
        true for them.

    Raises
    ------
    QueryError
        If the query cannot be read, names what there is not, compares what cannot be
        compared, or takes too long; the message points at the place.
    MissingDataError
        If a column that it names has not been extracted.
    """
    tree = parse_query(query)
    evaluation = _Evaluation(
        query, columns, subsets, tuple(subset_names), time.monotonic() + time_limit_s
    )
    true, _ = evaluation.of(tree, np.ones(columns.n_instances, dtype=np.bool_))
    return np.flatnonzero(true)


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """One query on its way through its tree.

    Every method returns where a part is true, and where it has no value; what lies
    outside of the instances that were asked for is left undefined.
    """

    text: str
    columns: InstanceColumns
    subsets: SubsetLookup
    subset_names: tuple[str, ...]
    deadline: float
    _no: Mask = field(init=False)

    def __post_init__(self) -> None:
        no = np.zeros(self.columns.n_instances, dtype=np.bool_)
        object.__setattr__(self, "_no", no)

    def of(self, part: Expression, within: Mask) -> tuple[Mask, Mask]:
        """Evaluate a part where `within` is true."""
        if time.monotonic() > self.deadline:
            raise self.error("the query takes too long; make it shorter", part.span)
        if isinstance(part, Not):
            true, null = self.of(part.part, within)
            return ~true & ~null, null
        if isinstance(part, And):
            return self._all(part.parts, within)
        if isinstance(part, Or):
            return self._any(part.parts, within)
        if isinstance(part, Except):
            kept, null = self.of(part.kept, within)
            removed, _ = self.of(part.removed, within & (kept | null))
            return kept & ~removed, null & ~removed
        if not within.any():
            return self._no, self._no
        if isinstance(part, Named):
            return self._named(part)
        if isinstance(part, Top):
            self._check_channel(part.layer, part.channel, part.span)
            return self.columns.channels.is_top(part.layer, part.channel), self._no
        if isinstance(part.operand, Activation):
            column = self._activation(part.operand)
        else:
            column = self._column(part.operand)
        return self._predicate(part, column)

    def _all(self, parts: Iterable[Expression], within: Mask) -> tuple[Mask, Mask]:
        true, null = within, self._no
        for part in sorted(parts, key=_cost):
            part_true, part_null = self.of(part, true | null)
            # Unknown stays unknown unless a part is false.
            null = (null & (part_true | part_null)) | (true & part_null)
            true = true & part_true & ~part_null
        return true, null & ~true

    def _any(self, parts: Iterable[Expression], within: Mask) -> tuple[Mask, Mask]:
        true, null = self._no, self._no
        for part in sorted(parts, key=_cost):
            part_true, part_null = self.of(part, within & ~true)
            true, null = true | (part_true & within & ~true), null | part_null
        return true, null & ~true

    def _named(self, part: Named) -> tuple[Mask, Mask]:
        if part.name in self.columns.names:
            column = self.columns.column(part.name)
            if column.kind == "truth":
                return column.values & ~column.null, column.null
            msg = (
                f"{part.name!r} is a column of {KIND_NAMES[column.kind]}; compare "
                f"it with something: {part.name} {KIND_EXAMPLES[column.kind]}"
            )
            raise self.error(
                msg,
                part.span,
            )
        instances = self.subsets(part.name)
        if instances is not None:
            mask = self._no.copy()
            mask[instances] = True
            return mask, self._no
        known = [*self.subset_names, *self.columns.names]
        msg = (
            f"there is no subset and no column of truth values called {part.name!r}"
            f"{did_you_mean(part.name, known)}"
        )
        raise self.error(
            msg,
            part.span,
        )

    def _activation(self, operand: Activation) -> Column:
        self._check_channel(operand.layer, operand.channel, operand.span)
        values = self.columns.channels.activation(operand.layer, operand.channel)
        return Column("number", values, np.isnan(values))

    def _column(self, operand: ColumnName) -> Column:
        known = self.columns.names
        if operand.name not in known:
            msg = (
                f"there is no column {operand.name!r} among {', '.join(known)}"
                f"{did_you_mean(operand.name, known)}"
            )
            raise self.error(
                msg,
                operand.span,
            )
        return self.columns.column(operand.name)

    def _check_channel(self, layer: str, channel: int, span: Span) -> None:
        try:
            n_channels = self.columns.store.layer(layer).n_channels
        except NnvizError as error:
            raise self.error(str(error), span) from None
        if channel >= n_channels:
            msg = (
                f"layer {layer!r} has {n_channels:,} channels, from 0 on; there is no "
                f"channel {channel:,}"
            )
            raise self.error(
                msg,
                span,
            )

    def _predicate(
        self, part: Comparison | Between | OneOf | IsNull | TextMatch, column: Column
    ) -> tuple[Mask, Mask]:
        if isinstance(part, IsNull):
            return column.null, self._no
        if column.members is not None:
            return self._of_sets(part, column, column.members), column.null
        if isinstance(part, TextMatch):
            true = self._text_match(part, column)
        elif isinstance(part, OneOf):
            true = self._one_of(part, column)
        elif isinstance(part, Between):
            true = self._compared(part.operand, column, ">=", part.low)
            true = true & self._compared(part.operand, column, "<=", part.high)
        else:
            other = self._other_column(part, column)
            if other is not None:
                null = column.null | other.null
                true = _compare(part.operator, column.values, other.values)
                return true & ~null, null
            true = self._compared(part.operand, column, part.operator, part.value)
        return true & ~column.null, column.null

    def _of_sets(
        self,
        part: Comparison | Between | OneOf | TextMatch,
        column: Column,
        members: NDArray[np.bool_],
    ) -> Mask:
        """Return whose classes have one that was named among them."""
        if isinstance(part, TextMatch):
            chosen = self._classes_like(part)
        else:
            if isinstance(part, OneOf):
                values = part.values
            elif isinstance(part, Comparison) and part.operator in ("=", "!="):
                values = (part.value,)
            else:
                raise self._no_order(part.operand, part.span)
            chosen = np.zeros(members.shape[1], dtype=np.bool_)
            chosen[[self._class(value, part.operand) for value in values]] = True
        found = members[:, chosen].any(axis=1)
        if isinstance(part, Comparison) and part.operator == "!=":
            found = ~found
        return _of_each(np.append(found, False), column) & ~column.null

    def _classes_like(self, part: TextMatch) -> NDArray[np.bool_]:
        """Return which classes have a name or label with a text in it."""
        names, labels = self.columns.class_names, self.columns.labels
        found = _matches(names, part.how, part.value.text)
        by_label = _matches(tuple(labels), part.how, part.value.text)
        found[np.array(list(labels.values()), dtype=np.int64)[by_label]] = True
        return found

    def _other_column(self, part: Comparison, column: Column) -> Column | None:
        """Return the column that a bare word stands for, where it is no value."""
        value = part.value
        if value.kind != "word" or value.text not in self.columns.names:
            return None
        if column.kind == "class" and self.columns.class_index(value.text) is not None:
            return None
        if column.kind == "text" and value.text in column.code_of:
            return None
        other = self.columns.column(value.text)
        if column.kind == "class" and part.operator not in ("=", "!="):
            raise self._no_order(part.operand, part.span)
        if other.kind != column.kind or column.kind == "text":
            msg = (
                f"{_name(part.operand)} is a column of {KIND_NAMES[column.kind]}, "
                f"and {value.text} one of {KIND_NAMES[other.kind]}; these cannot be "
                "compared"
            )
            raise self.error(
                msg,
                part.span,
            )
        return other

    def _one_of(self, part: OneOf, column: Column) -> Mask:
        if column.kind == "class":
            wanted = [self._class(value, part.operand) for value in part.values]
            chosen = np.zeros(len(self.columns.class_names) + 1, dtype=np.bool_)
            chosen[wanted] = True
            return _of_each(chosen, column)
        if column.kind == "text":
            wanted = [column.code_of.get(value.text, -1) for value in part.values]
            chosen = np.zeros(len(column.texts) + 1, dtype=np.bool_)
            chosen[[code for code in wanted if code >= 0]] = True
            return _of_each(chosen, column)
        if column.kind == "number":
            numbers = [self._number(value, part.operand) for value in part.values]
            return np.isin(column.values, numbers)
        true = self._no
        for value in part.values:
            true = true | self._compared(part.operand, column, "=", value)
        return true

    def _text_match(self, part: TextMatch, column: Column) -> Mask:
        if column.kind == "class":
            return _of_each(np.append(self._classes_like(part), False), column)
        if column.kind == "text":
            texts = column.texts
        else:
            msg = (
                f"{_name(part.operand)} is a column of {KIND_NAMES[column.kind]}; only "
                "texts and classes can be searched"
            )
            raise self.error(
                msg,
                part.span,
            )
        found = _matches(texts, part.how, part.value.text)
        return _of_each(np.append(found, False), column)

    def _compared(
        self, operand: Operand, column: Column, symbol: str, value: WrittenValue
    ) -> Mask:
        if column.kind == "class":
            if symbol not in ("=", "!="):
                raise self._no_order(operand, value.span)
            wanted = self._class(value, operand)
            return _compare(symbol, column.values, wanted)
        if column.kind == "truth":
            if value.text.lower() not in _TRUTHS or symbol not in ("=", "!="):
                msg = f"{_name(operand)} is true or false"
                raise self.error(msg, value.span)
            wanted_truth = _TRUTHS[value.text.lower()]
            return _compare(symbol, column.values, wanted_truth)
        if column.kind == "number":
            number = self._number(value, operand)
            return _compare(symbol, column.values, number)
        if column.kind == "date" or value.kind == "date":
            dates = column.values if column.kind == "date" else column.dates
            found = self._dates_compared(dates, symbol, value)
            return found if column.kind == "date" else _of_each(found, column)
        if symbol in ("=", "!="):
            code = column.code_of.get(value.text, -1)
            return _compare(symbol, column.values, code)
        compare = _OPERATORS[symbol]
        ordered = np.array([compare(text, value.text) for text in column.texts])
        return _of_each(np.append(ordered, False), column)

    def _dates_compared(
        self, dates: NDArray[np.datetime64], symbol: str, value: WrittenValue
    ) -> Mask:
        """Compare dates; one that was written without a time is its whole day."""
        try:
            start = np.datetime64(value.text, "ms")
        except ValueError:
            msg = f"{value.text!r} is not a date as 2024-05-31"
            raise self.error(msg, value.span) from None
        is_day = len(value.text) == len("2024-05-31")
        stop = start + np.timedelta64(1 if is_day else 0, "D")
        inside = (dates >= start) & ((dates < stop) if is_day else (dates <= stop))
        before, known = dates < start, ~np.isnat(dates)
        outcomes = {
            "=": inside,
            "!=": known & ~inside,
            "<": before,
            "<=": before | inside,
            ">": known & ~before & ~inside,
            ">=": known & ~before,
        }
        return np.asarray(outcomes[symbol], dtype=np.bool_)

    def _number(self, value: WrittenValue, operand: Operand) -> np.float64:
        try:
            # Not a Python float: NumPy would round it to the float16 of activations.
            return np.float64(value.text)
        except ValueError:
            msg = f"{_name(operand)} is a column of numbers; {value.text!r} is none"
            raise self.error(
                msg,
                value.span,
            ) from None

    def _class(self, value: WrittenValue, operand: Operand) -> int:
        """Return the index of a class that was named."""
        names = self.columns.class_names
        named = self.columns.class_index(value.text)
        if named is not None:
            return named
        if value.kind == "number" and value.text.isdigit():
            index = int(value.text)
            if index < len(names):
                return index
        msg = (
            f"there is no class {value.text!r}"
            f"{did_you_mean(value.text, [*names, *self.columns.labels])}; "
            f"{_name(operand)} is one of {len(names):,} classes, by name or index"
        )
        raise self.error(
            msg,
            value.span,
        )

    def _no_order(self, operand: Operand, span: Span) -> QueryError:
        return self.error(
            f"{_name(operand)} is a class, and classes have no order; compare it with "
            "= or !=, or with in (...)",
            span,
        )

    def error(self, problem: str, span: Span) -> QueryError:
        """Return an error that points at a place of the query."""
        return QueryError(f"{problem}:\n{pointing_at(self.text, span)}")


def _compare(symbol: str, values: NDArray[Any], other: Any) -> Mask:
    return np.asarray(_OPERATORS[symbol](values, other), dtype=np.bool_)


def _of_each(outcomes: Mask, column: Column) -> Mask:
    """Return of each instance what is true of its class or text; -1 is the last."""
    return np.asarray(outcomes[column.values], dtype=np.bool_)


def _name(operand: Operand) -> str:
    if isinstance(operand, Activation):
        return f"activation({operand.layer}, {operand.channel})"
    return operand.name


def _cost(part: Expression) -> int:
    """Return how dear a part is: columns, texts that are searched, channels."""
    if isinstance(part, And | Or):
        return max(_cost(inner) for inner in part.parts)
    if isinstance(part, Not):
        return _cost(part.part)
    if isinstance(part, Except):
        return max(_cost(part.kept), _cost(part.removed))
    if isinstance(part, Named):
        return 0
    if isinstance(part, Top) or isinstance(part.operand, Activation):
        return 2
    return int(isinstance(part, TextMatch))


def _matches(texts: tuple[str, ...], how: str, wanted: str) -> Mask:
    """Return which of the texts contain another one, or start or end with it."""
    if how == "starts":
        found = (text.startswith(wanted) for text in texts)
    elif how == "ends":
        found = (text.endswith(wanted) for text in texts)
    else:
        found = (wanted in text for text in texts)
    return np.fromiter(found, dtype=np.bool_, count=len(texts))

"""How is a subset written down as a query, and read out as words?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nnviz.errors import QueryError
from nnviz.subsets.expressions import (
    And,
    ColumnName,
    Comparison,
    Expression,
    Named,
    Not,
    OneOf,
    parse_query,
)

__all__ = ["Confusion", "class_word", "confusion_of", "quoted", "words_of"]

_RESERVED = ("and", "or", "not", "except", "between", "is", "null")


def quoted(name: str) -> str:
    """Return a name as it stands in a query.

    Examples
    --------
    >>> quoted("layer3.2"), quoted("great white")
    ('layer3.2', '"great white"')
    """
    plain = name.replace(".", "").replace("_", "").replace("-", "")
    if plain.isalnum() and not name[0].isdigit() and name.lower() not in _RESERVED:
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def class_word(class_names: Sequence[str], index: int) -> str:
    """Return a class as it stands in a query.

    That is its name, or its index where a class before it has the same name.

    Examples
    --------
    >>> class_word(["crane", "wolf", "crane"], 0)
    'crane'
    >>> class_word(["crane", "wolf", "crane"], 2)
    '2'
    """
    name = class_names[index]
    return quoted(name) if class_names.index(name) == index else str(index)


@dataclass(frozen=True, slots=True)
class Confusion:
    """Instances of one class that are predicted as another."""

    label: str
    taken_for: str
    of: str
    """Query of all instances of the class."""


def confusion_of(query: str, class_names: Sequence[str] = ()) -> Confusion | None:
    """Return which confusion a query asks for; None if it asks for something else.

    Parameters
    ----------
    query
        In the language of :mod:`nnviz.subsets.expressions`.
    class_names
        What a class that is meant by its index is called.

    Examples
    --------
    >>> confusion_of("label = horse and prediction = dog").of
    'label = horse'
    """
    try:
        tree = parse_query(query)
    except QueryError:
        return None
    if not isinstance(tree, And) or len(tree.parts) != 2:
        return None
    first, second = tree.parts
    label = _class_of(first, "label", class_names)
    taken = _class_of(second, "prediction", class_names)
    if label is None or taken is None or taken == label:
        return None
    start, stop = first.span
    return Confusion(label, taken, query[start:stop])


def words_of(query: str, class_names: Sequence[str] = ()) -> str:
    """Return a query about classes as one would say it; any other as it is written.

    Parameters
    ----------
    query
        In the language of :mod:`nnviz.subsets.expressions`.
    class_names
        What a class that is meant by its index is called.

    Examples
    --------
    >>> words_of("label = horse and prediction = dog")
    'horse taken for dog'
    >>> words_of("label = horse and not correct"), words_of("confidence > 0.5")
    ('horse, predicted wrong', 'confidence > 0.5')
    >>> words_of("instance in (3, 8)")
    '2 chosen instances'
    """
    confusion = confusion_of(query, class_names)
    if confusion is not None:
        return f"{confusion.label} taken for {confusion.taken_for}"
    try:
        tree = parse_query(query)
    except QueryError:
        return query
    if isinstance(tree, OneOf) and isinstance(tree.operand, ColumnName):
        n = len(tree.values)
        is_chosen = tree.operand.name == "instance"
        return f"{n} chosen instance{'' if n == 1 else 's'}" if is_chosen else query
    parts = tree.parts if isinstance(tree, And) else (tree,)
    label, rest = _class_of(parts[0], "label", class_names), parts[1:]
    if label is None or len(rest) > 1:
        taken = _class_of(tree, "prediction", class_names)
        return query if taken is None else f"predicted as {taken}"
    if not rest:
        return label
    if _class_of(rest[0], "prediction", class_names) == label:
        return f"{label}, predicted right"
    outcome = _outcome_of(rest[0])
    return query if outcome is None else f"{label}, predicted {outcome}"


def _class_of(part: Expression, column: str, class_names: Sequence[str]) -> str | None:
    """Return the class that a column of classes is compared with."""
    if not (isinstance(part, Comparison) and isinstance(part.operand, ColumnName)):
        return None
    if part.operand.name != column or part.operator != "=":
        return None
    text = part.value.text
    is_index = text.isdecimal() and text not in class_names
    return class_names[int(text)] if is_index and int(text) < len(class_names) else text


def _outcome_of(part: Expression) -> str | None:
    inner = part.part if isinstance(part, Not) else part
    if not (isinstance(inner, Named) and inner.name == "correct"):
        return None
    return "right" if inner is part else "wrong"

"""What could be written next in a query? Names and words that fit the place.

The beginning of a query need not be one yet. What comes before the word that is being
written is walked through token by token; each leaves the query in a state in which some
kinds of words can follow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from nnviz.subsets.columns import Column
from nnviz.subsets.lookup import SubsetFinder
from nnviz.subsets.writing import class_word, quoted

__all__ = ["Completion", "complete_query"]

Meaning = Literal["column", "class", "value", "subset", "layer", "word"]

MAX_VALUES = 1_000
"""Columns of texts with more distinct values complete none of them."""

_TOKEN = re.compile(
    r""""(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|[\w][\w./:-]*|[=<>!]+|[(),]""", re.DOTALL
)

State = Literal[
    "operand", "operator", "value", "joiner", "layer", "channel", "open", "list", "with"
]

_JOINERS = ("and", "or", "except")


@dataclass(frozen=True, slots=True)
class Completion:
    """One thing that could be written."""

    text: str
    """As it stands in the query."""
    start: int
    """First character that it replaces."""
    stop: int
    """Past-last character that it replaces."""
    meaning: Meaning


def complete_query(
    text: str, cursor: int, finder: SubsetFinder, *, n: int = 12
) -> list[Completion]:
    """Return what fits where a query is being written, the likeliest first.

    Parameters
    ----------
    text
        What is written so far, also after the cursor.
    cursor
        Number of characters before the cursor.
    finder
        Of the store that will be asked.
    n
        Return at most this many.

    Returns
    -------
    list
        Those that begin with what is written come before those that contain it.
    """
    cursor = max(0, min(cursor, len(text)))
    tokens = [m for m in _TOKEN.finditer(text[:cursor]) if m.group().strip()]
    start, written = cursor, ""
    if tokens and tokens[-1].end() == cursor and tokens[-1].group()[0] not in "(),=<>!":
        last = tokens.pop()
        start, written = last.start(), last.group()
    place = _Place.after((token.group() for token in tokens), finder)
    wanted = written.strip("\"'").casefold()
    first, second = [], []
    for name, shown, meaning in place.words(finder):
        known = name.casefold()
        if known.startswith(wanted):
            first.append(Completion(shown, start, cursor, meaning))
        elif wanted in known:
            second.append(Completion(shown, start, cursor, meaning))
        if len(first) >= n:
            break
    return [one for one in [*first, *second][:n] if one.text != written]


@dataclass(frozen=True, slots=True)
class _Place:
    """What can follow, and which column is spoken of."""

    state: State
    column: str = ""
    call: str = ""
    is_between: bool = False

    @classmethod
    def after(cls, tokens: Iterable[str], finder: SubsetFinder) -> _Place:
        place = cls("operand")
        for token in tokens:
            place = place._next(token, finder)
        return place

    def _next(self, token: str, finder: SubsetFinder) -> _Place:
        word = token.lower()
        if self.call and self.state == "operand":
            return _Place("layer", call=self.call)
        if self.state == "operand":
            return self._after_operand(token, word, finder)
        if self.state == "operator":
            return self._after_operator(word)
        if self.state == "layer":
            return _Place("channel", call=self.call)
        if self.state == "channel":
            if word != ")":
                return self
            return _Place("joiner" if self.call == "top" else "operator")
        if self.state == "with":
            return _Place("value", self.column)
        if self.state == "open":
            return _Place("list", self.column)
        if self.state == "list":
            return _Place("joiner") if word == ")" else self
        if self.state == "value":
            return _Place("joiner", self.column, is_between=self.is_between)
        if word == "and" and self.is_between:
            return _Place("value", self.column)
        return _Place("operand") if word in _JOINERS else _Place("joiner")

    def _after_operand(self, token: str, word: str, finder: SubsetFinder) -> _Place:
        if word in ("not", "("):
            return self
        if word in ("top", "activation"):
            return _Place("operand", call=word)
        name = token.strip("\"'")
        is_column = name in finder.columns.names
        return _Place("operator", name) if is_column else _Place("joiner")

    def _after_operator(self, word: str) -> _Place:
        if word in _JOINERS:
            return _Place("operand")
        if word == "not":
            return self
        if word == "in":
            return _Place("open", self.column)
        if word in ("starts", "ends"):
            return _Place("with", self.column)
        if word == "null" or word == ")":
            return _Place("joiner")
        if word == "is":
            return self
        return _Place("value", self.column, is_between=word == "between")

    def words(self, finder: SubsetFinder) -> Iterator[tuple[str, str, Meaning]]:
        """Yield what can be written: its name, its text in a query and its kind."""
        store = finder.store
        if self.state == "operand" and not self.call:
            for name in finder.columns.names:
                yield name, quoted(name), "column"
            for name in finder.saved():
                yield name, quoted(name), "subset"
            for word in ("not", "top(", "activation("):
                yield word, word, "word"
            for index, name in enumerate(store.class_names):
                word = class_word(store.class_names, index)
                yield name, f"label = {word}", "class"
        elif self.state == "layer" or self.call:
            for layer in store.layers:
                yield layer.name, quoted(layer.name), "layer"
        elif self.state in ("value", "list"):
            yield from self._values(finder)
        elif self.state == "operator":
            yield from self._operators(finder)
        else:
            words = {"joiner": _JOINERS, "open": ("(",), "with": ("with",)}
            for word in words.get(self.state, ()):
                yield word, word, "word"

    def _column(self, finder: SubsetFinder) -> Column | None:
        known = self.column in finder.columns.names
        return finder.columns.column(self.column) if known else None

    def _operators(self, finder: SubsetFinder) -> Iterator[tuple[str, str, Meaning]]:
        column = self._column(finder)
        kind = "number" if column is None else column.kind
        words = {
            "class": ("=", "!=", "in (", "not in ("),
            "classes": ("=", "!=", "in (", "not in ("),
            "text": ("=", "!=", "contains", "starts with", "ends with", "in ("),
            "truth": _JOINERS,
        }.get(kind, (">", "<", ">=", "<=", "=", "between"))
        for word in (*words, "is null", "is not null"):
            yield word, word, "word"

    def _values(self, finder: SubsetFinder) -> Iterator[tuple[str, str, Meaning]]:
        column = self._column(finder)
        if column is None:
            return
        if column.kind in ("class", "classes"):
            names = finder.columns.class_names
            for index, name in enumerate(names):
                yield name, class_word(names, index), "class"
            for label in finder.columns.labels:
                yield label, quoted(label), "class"
        elif column.kind == "text" and len(column.texts) <= MAX_VALUES:
            for text in sorted(filter(None, column.texts)):
                yield text, quoted(text), "value"
        elif column.kind == "truth":
            for word in ("true", "false"):
                yield word, word, "word"
